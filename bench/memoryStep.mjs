/**
 * Runs a model a few times in a process of its own and prints what memory it took, as JSON:
 * `node bench/memoryStep.mjs forward|training BATCH STEPS MATH`.
 */
import './flags.mjs';
import { performance } from 'node:perf_hooks';
import { wasm } from './library.mjs';
import { resnetForward, trainingStep } from './models.mjs';
import { peakResident } from './resident.mjs';

const models = { forward: resnetForward, training: trainingStep };
const [kind, ...numbers] = process.argv.slice(2);
const math = numbers.pop();
const [batch, steps] = numbers.map(Number);
const device = await wasm({ math });
const model = models[kind](device, batch);
/** Milliseconds of each step; the first also compiles and touches its memory for the first time. */
const ms = [];
let loss;
for (let i = 0; i < steps; i++) {
  const start = performance.now();
  loss = model.run();
  ms.push(performance.now() - start);
}
console.log(JSON.stringify({ batch, loss, stepMs: ms, residentBytes: peakResident(), heap: device.memory() }));
