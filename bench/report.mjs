/** How results look: machine, rows as text, JSON file. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { dirname } from 'node:path';

/** The machine and engine that the figures belong to. */
export function machine() {
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryBytes: totalmem(),
    platform: `${process.platform} ${process.arch}`,
    node: process.versions.node,
    v8: process.versions.v8,
    date: new Date().toISOString(),
    load: loadavg().map((load) => Number(load.toFixed(2))),
  };
}

export function printMachine(m) {
  console.log(`${m.cpu}, ${m.cores} cores, ${m.platform}; Node ${m.node}, V8 ${m.v8}; ${m.date}`);
  if (m.load[0] > 0.7)
    console.log(`load average ${m.load[0]}: other work is running, which medians, and so the verdicts, suffer from`);
}

export const percent = (x) => `${(100 * x).toFixed(1)} %`;
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
const verdict = (met) => (met ? 'met' : 'MISSED');
const fixed = (x, digits, width) => x.toFixed(digits).padStart(width);

/** Median and best side by side. */
function pair(found, digits, width) {
  if (found === undefined) return `${'-'.padStart(width)} ${'-'.padStart(7)}`;
  return `${fixed(found.median, digits, width)} ${fixed(found.best, digits, 7)}`;
}

function sharePair(share) {
  if (share === undefined) return `${'-'.padStart(7)} ${'-'.padStart(7)}`;
  return `${percent(share.median).padStart(7)} ${percent(share.best).padStart(7)}`;
}

function milliseconds({ min, median }) {
  const digits = min < 1 ? 3 : 2;
  return `${fixed(median, digits, 8)} ${fixed(min, digits, 8)}`;
}

const NAME = 42;
const two = (title, width) => `${title.padStart(width)} ${'best'.padStart(7)}`;
const MS = `${'ms'.padStart(8)} ${'best'.padStart(8)}`;

/**
 * Each figure is a median, its best beside it. Shares: of the micro-kernel's peak, the median of calls of the median of samples that
 * last as long, the best call of the fastest run.
 */
const headings = {
  conv: `${'convolution'.padEnd(NAME)} ${two('GFLOP/s', 8)}  ${two('peak', 7)}  ${two('of peak', 7)} ${'by CPU'.padStart(7)}  ${MS}  target`,
  op: `${'op'.padEnd(NAME)} ${two('GFLOP/s', 8)}  ${two('of peak', 7)}  ${two('GB/s', 7)} ${'of copy'.padStart(8)}  ${MS}  operands (in the caches, more than a copy's speed is possible)`,
  model: `${'model'.padEnd(NAME)} ${two('images/s', 8)}  ${two('GFLOP/s', 7)}  ${two('of peak', 7)} ${'by CPU'.padStart(7)}  ${MS} ${'CPU'.padStart(8)}`,
  threads: 'one thread against all, in turns, beside arithmetic alone on as many; medians',
  batch: 'as the batch grows',
  memory: 'peak resident memory, each in a process of its own',
};

function convLine({ name, gflops, peakGflops, share, target, met, ms, note }) {
  const goal = target === undefined ? `none: ${note}` : `${percent(target)} ${verdict(met)}`;
  return `${name.padEnd(NAME)} ${pair(gflops, 1, 8)}  ${pair(peakGflops, 1, 7)}  ${sharePair(share)} ${percent(share.cpu).padStart(7)}  ${milliseconds(ms)}  ${goal}`;
}

function opLine({ name, gflops, share, gbytesPerSecond, copyShare, ms, shape, drawn }) {
  const operands = drawn ? `${shape} (drawn small: no size set in ops.mjs)` : shape;
  const ofCopy = copyShare === undefined ? '-' : percent(copyShare);
  return `${name.padEnd(NAME)} ${pair(gflops, 2, 8)}  ${sharePair(share)}  ${pair(gbytesPerSecond, 1, 7)} ${ofCopy.padStart(8)}  ${milliseconds(ms)}  ${operands}`;
}

function modelLines({ name, imagesPerSecond, gflops, share, ms, cpuMs, images, flops, split, targets }) {
  const lines = [
    `${name.padEnd(NAME)} ${pair(imagesPerSecond, 2, 8)}  ${pair(gflops, 1, 7)}  ${sharePair(share)} ${percent(share.cpu).padStart(7)}  ${milliseconds(ms)} ${fixed(cpuMs.median, 2, 8)}`,
    `  ${(flops / images / 1e9).toFixed(3)} GFLOP of products an image`,
  ];
  if (split === null) return lines.join('\n');
  lines.push(
    `  convolution ${percent(split.convolutionShare)} of the time, everything else ${percent(split.otherShare)}:`,
  );
  for (const { name: kernel, ms: time, calls, share: part, flops: work } of split.parts) {
    const rate = work > 0 ? ` ${fixed(work / time / 1e6, 1, 6)} GFLOP/s` : '';
    lines.push(
      `    ${kernel.padEnd(26)} ${percent(part).padStart(7)} ${fixed(time, 2, 9)} ms ${String(calls).padStart(5)} calls${rate}`,
    );
  }
  const { imagesPerSecond: rate, otherShare: other } = targets;
  if (rate) lines.push(`  target ${rate.target} images/s (a 3.5 GHz Zen 4 core): ${verdict(rate.met)}`);
  if (other) lines.push(`  not convolution under ${percent(other.target)}: ${verdict(other.met)}`);
  return lines.join('\n');
}

/** The first step is cold: code is compiled and memory touched for the first time. */
function stepTimes(stepMs) {
  const [cold, ...warm] = stepMs.map((ms) => `${(ms / 1000).toFixed(2)} s`);
  return warm.length === 0 ? `one cold step ${cold}` : `steps: cold ${cold}, then ${warm.join(', ')}`;
}

function memoryLine({ name, residentBytes, heap, stepMs, command, speed, target, met }) {
  const parts = [`${name.padEnd(NAME)} ${mib(residentBytes)}`];
  if (target !== undefined) parts.push(`target ${mib(target)}: ${verdict(met)}`);
  if (heap !== undefined) parts.push(`wasm memory ${mib(heap.reserved)}, most in use ${mib(heap.peak)}`);
  if (stepMs !== undefined) parts.push(stepTimes(stepMs));
  if (command !== undefined) parts.push(`${speed}: ${command}`);
  return parts.join('; ');
}

function threadsLine({ name, threads, images, one, all, best, ratio, ceiling, targets }) {
  const rate = (seconds) => `${(images / seconds).toFixed(2)} images/s (${(1000 * seconds).toFixed(1)} ms)`;
  const goals = [`target ${targets.ratio.target}×: ${verdict(targets.ratio.met)}`];
  if (targets.images) goals.push(`target ${targets.images.target} images/s: ${verdict(targets.images.met)}`);
  return `${name.padEnd(NAME)} one ${rate(one)}; ${threads} threads ${rate(all)}, best ${(1000 * best).toFixed(1)} ms; ${ratio.toFixed(2)}×, arithmetic alone ${ceiling.toFixed(2)}×; ${goals.join('; ')}`;
}

function batchLine({ name, imagesPerSecond, met }) {
  return `${name.padEnd(NAME)} ${imagesPerSecond.toFixed(2)} images/s; not less than a smaller batch: ${verdict(met)}`;
}

const lines = {
  batch: batchLine,
  threads: threadsLine,
  conv: convLine,
  op: opLine,
  model: modelLines,
  memory: memoryLine,
};

let printed = null;

/** Prints one row, and its section's heading before the first. */
export function printRow(row) {
  if (row.section !== printed) console.log(`\n${headings[row.section]}`);
  printed = row.section;
  console.log(lines[row.section](row));
}

/** Every target that a row was held against. */
export function verdicts(row) {
  const own = row.met === undefined ? [] : [row.met];
  return [...own, ...Object.values(row.targets ?? {}).map(({ met }) => met)];
}

export function writeJson(path, value) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}
