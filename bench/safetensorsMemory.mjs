/**
 * Peak memory of loading a safetensors file, beyond what the model takes anyway; each step in a process of its own:
 *
 *     node bench/safetensorsMemory.mjs write FILE F32|F16|BF16|unaligned     resnet50's state dict: 102 MB, or half
 *     node --expose-gc bench/safetensorsMemory.mjs load FILE                 prints fileBytes and peakBytes as JSON
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { Generator, meta, readSafetensors, resnet50, wasm, writeSafetensors } from './library.mjs';
import { peakResident, resident } from './resident.mjs';

/** Draws nothing, since drawing 25 million weights takes longer than loading them. */
class Zeros extends Generator {
  uniformArray = (shape) => new Float32Array(shape.reduce((a, b) => a * b, 1));
  normalArray = this.uniformArray;
}

function write(path, dtype) {
  const generator = new Generator(1);
  // The same few values over and over: only their number matters, and that pages are not those of zeros.
  const values = generator.uniformArray([65_536], 1);
  const entries = [...resnet50({ device: meta() }).stateDict()].map(([name, { shape, size, dtype: own }]) => {
    if (own === 'int64') return [name, { shape, data: new BigInt64Array(size) }];
    const data = Float32Array.from({ length: size }, (_, i) => values[i % values.length]);
    return [name, { shape, data, dtype: dtype === 'unaligned' ? 'F32' : dtype }];
  });
  const bytes = Buffer.from(writeSafetensors(entries).buffer);
  if (dtype !== 'unaligned') writeFileSync(path, bytes);
  else {
    // One more space behind the header, as files had before the format's writers aligned it.
    const end = 8 + Number(bytes.readBigUInt64LE(0));
    bytes.writeBigUInt64LE(BigInt(end - 7), 0);
    writeFileSync(path, Buffer.concat([bytes.subarray(0, end), Buffer.from(' '), bytes.subarray(end)]));
  }
}

/** Peak resident memory counts from now on, on Linux. */
function resetPeak() {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // Then a peak before this moment may hide behind it: the figure is too high, never too low.
  }
}

async function load(path) {
  const device = await wasm();
  const net = resnet50({ device, generator: new Zeros(0) });
  globalThis.gc();
  resetPeak();
  const before = resident();
  const bytes = readFileSync(path);
  net.loadStateDict(readSafetensors(bytes));
  const peakBytes = peakResident() - before;
  const last = net.stateDict().get('fc.bias').dataSync();
  console.log(
    JSON.stringify({ fileBytes: bytes.length, peakBytes, modelBytes: device.memory().used, last: last[999] }),
  );
}

const [command, path, dtype] = process.argv.slice(2);
if (command === 'write') write(path, dtype);
else await load(path);
