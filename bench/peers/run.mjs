/**
 * ResNet-18 (the chapter's layout, 3×224×224, 1000 classes, batch 1, eval mode) on atalho, onnxruntime-web and
 * TensorFlow.js wasm: the same weights, the same image, one thread each, one process, taking turns; outputs compared.
 */
import { join, relative } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { noGrad, wasm } from '../library.mjs';
import { cpuNow, median } from '../measure.mjs';
import { resnetForward } from '../models.mjs';
import { Peak } from '../peak.mjs';
import { machine, printMachine, writeJson } from '../report.mjs';
import { seedWeights } from './network.mjs';
import { ortPeer } from './ort.mjs';
import { tfjsPeer } from './tfjs.mjs';

/** How many times as fast as each peer atalho wants to be. */
const TARGETS = { 'onnxruntime-web': 1.5, 'TensorFlow.js wasm': 1.25 };
/** Largest difference from atalho's logits, relative to the largest logit: rounding, no more. */
const TOLERANCE = 1e-4;
const SHAPE = [1, 3, 224, 224];

const { values: options } = parseArgs({
  options: { rounds: { type: 'string', default: '30' }, json: { type: 'string' } },
});
const rounds = Number(options.rounds);
if (!(Number.isInteger(rounds) && rounds > 0)) {
  console.error(`bench:peers: --rounds is ${options.rounds}; want a positive whole number`);
  process.exit(2);
}

// Everything comes from node_modules: a peer that wants to download something fails here.
globalThis.fetch = (address) => {
  throw new Error(`bench:peers: a peer tried to fetch ${address}`);
};

const about = machine();
printMachine(about);
const peak = new Peak();
const device = await wasm();
const model = resnetForward(device);
const weights = seedWeights(model.net);
const input = model.x.dataSync();
const atalho = {
  name: 'atalho',
  version: 'exact',
  threads: 1,
  run: async () => device.scope(() => noGrad(() => model.net.forward(model.x).dataSync())),
};
const all = [atalho, await ortPeer(weights, SHAPE, input), await tfjsPeer(weights, SHAPE, input)];

/** Outputs of the first call, which also warms up, and of the last round. */
const outputs = [];
const lastOutputs = [];
for (const one of all) {
  outputs.push(Float32Array.from(await one.run()));
  for (let i = 0; i < 2; i++) await one.run();
}
const largest = outputs[0].reduce((max, v) => Math.max(max, Math.abs(v)), 0);
/** From atalho's first logits. NaN, and a wrong number of logits, count as infinitely far. */
function difference(output) {
  if (output.length !== outputs[0].length) return Number.POSITIVE_INFINITY;
  const furthest = output.reduce((max, v, i) => Math.max(max, Math.abs(v - outputs[0][i])), 0) / largest;
  return Number.isNaN(furthest) ? Number.POSITIVE_INFINITY : furthest;
}

const times = all.map(() => []);
const cpus = all.map(() => []);
const peaks = [];
for (let round = 0; round < rounds; round++) {
  for (let i = 0; i < all.length; i++) {
    // Everyone goes first in turn, and the peak is taken beside each.
    const at = (round + i) % all.length;
    peaks.push(peak.sample());
    const [start, cpuStart] = [performance.now(), cpuNow()];
    const output = await all[at].run();
    times[at].push(performance.now() - start);
    cpus[at].push(cpuNow() - cpuStart);
    if (round === rounds - 1) lastOutputs[at] = Float32Array.from(output);
  }
}

const results = all.map(({ name, version, threads }, i) => {
  const ms = { min: Math.min(...times[i]), median: median(times[i]), max: Math.max(...times[i]) };
  const cpuMs = { min: Math.min(...cpus[i]), median: median(cpus[i]) };
  const row = {
    name,
    version,
    threads,
    ms,
    cpuMs,
    outputs: outputs[i].length,
    relativeDifference: { first: difference(outputs[i]), last: difference(lastOutputs[i]) },
  };
  if (i === 0) return row;
  const own = times[0];
  const speedup = {
    best: ms.min / Math.min(...own),
    median: ms.median / median(own),
    rounds: median(times[i].map((t, round) => t / own[round])),
    cpu: cpuMs.median / median(cpus[0]),
  };
  return { ...row, speedup, target: TARGETS[name], met: speedup.median >= TARGETS[name] };
});

const differences = ({ first, last }) => `${first.toExponential(2)}, ${last.toExponential(2)}`;
const peakGflops = { min: Math.min(...peaks), median: median(peaks), max: Math.max(...peaks), samples: peaks.length };
console.log(
  `\nResNet-18, 224×224, batch 1, one thread, ${rounds} rounds; micro-kernel peak ${peakGflops.median.toFixed(1)} GFLOP/s (median), ${peakGflops.max.toFixed(1)} (best)`,
);
console.log(
  `${''.padEnd(30)} ${'ms best'.padStart(8)} ${'median'.padStart(8)} ${'worst'.padStart(8)} ${'CPU'.padStart(8)}  largest difference: first, last  atalho is faster by: median, best, round by round, CPU`,
);
for (const { name, version, ms, cpuMs, relativeDifference, speedup, target, met } of results) {
  const numbers = [ms.min, ms.median, ms.max, cpuMs.median].map((t) => t.toFixed(1).padStart(8)).join(' ');
  const ratio = speedup
    ? `${speedup.median.toFixed(2)}×  ${speedup.best.toFixed(2)}×  ${speedup.rounds.toFixed(2)}×  ${speedup.cpu.toFixed(2)}×   target ${target}×: ${met ? 'met' : 'MISSED'}`
    : '';
  console.log(
    `${`${name} ${version}`.padEnd(30)} ${numbers}  ${differences(relativeDifference).padStart(31)}  ${ratio}`,
  );
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const path = options.json ?? join(root, 'bench', 'results', `peers-${about.date.replaceAll(':', '-')}.json`);
writeJson(path, { machine: about, rounds, peakGflops, results });
console.log(`written: ${relative(process.cwd(), path)}`);

// atalho's own bits may not move at all between the first call and the last.
const allowed = (row) => (row.name === 'atalho' ? 0 : TOLERANCE);
const apart = results.filter((row) => {
  const { first, last } = row.relativeDifference;
  return !(first <= allowed(row) && last <= allowed(row));
});
for (const row of apart) {
  const found = differences(row.relativeDifference);
  console.error(`${row.name}: logits differ by ${found} of the largest (first call, last); at most ${allowed(row)}`);
}
// onnxruntime keeps the event loop alive.
process.exit(apart.length > 0 ? 1 : 0);
