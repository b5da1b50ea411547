/**
 * Runs the chapter's training step at 96×96 in a process of its own and prints what memory it took, as JSON:
 * `node bench/memoryStep.mjs BATCH STEPS`.
 */
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { wasm } from './library.mjs';
import { trainingStep } from './models.mjs';

/** Peak resident bytes. maxRSS may start at the parent's; Linux also keeps the figure of this program alone. */
function peakResident() {
  try {
    const line = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
    if (line) return Number(line[1]) * 1024;
  } catch {
    // Not Linux.
  }
  return process.resourceUsage().maxRSS * 1024;
}

const [batch, steps] = process.argv.slice(2).map(Number);
const device = await wasm();
const model = trainingStep(device, batch);
let loss = 0;
let ms = Number.POSITIVE_INFINITY;
for (let i = 0; i < steps; i++) {
  const start = performance.now();
  loss = model.run();
  ms = Math.min(ms, performance.now() - start);
}
console.log(JSON.stringify({ batch, steps, loss, ms, residentBytes: peakResident(), heap: device.memory() }));
