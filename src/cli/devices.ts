/** The devices that the command knows by name. */
import { setFlagsFromString } from 'node:v8';
import type { Device } from '../device/device.js';
import { reference } from '../device/reference.js';
import { type WasmMath, wasm } from '../device/wasm/index.js';
import { ArgumentError } from '../errors.js';
import { warn } from './output.js';

/** Threads of the device: a number, or one for each processor. */
export type Threads = number | 'auto';

const DEVICES: ReadonlyMap<string, (threads: Threads, math: WasmMath) => Promise<Device>> = new Map([
  ['wasm', (threads: Threads, math: WasmMath) => wasm({ threads, math, onWarning: warn })],
  [
    'reference',
    async (_: Threads, math: WasmMath) => {
      if (math === 'relaxed') throw new ArgumentError("the reference device has no math 'relaxed'; want exact or fast");
      return reference({ math });
    },
  ],
]);

export const deviceNames: readonly string[] = [...DEVICES.keys()];

export const DEFAULT_DEVICE = 'wasm';

/** Node 20 has relaxed SIMD behind a flag. */
function allowRelaxedSimd(): void {
  if (Number(process.versions.node.split('.')[0]) < 22) setFlagsFromString('--experimental-wasm-relaxed-simd');
}

/** The device of that name. Throws `ArgumentError`, listing what there is. */
export async function makeDevice(name: string, threads: Threads = 'auto', math = 'exact'): Promise<Device> {
  const make = DEVICES.get(name);
  if (make === undefined) {
    throw new ArgumentError(`there is no device ${JSON.stringify(name)}; want one of ${deviceNames.join(', ')}`);
  }
  if (math === 'relaxed') allowRelaxedSimd();
  return make(threads, math as WasmMath);
}
