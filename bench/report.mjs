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
  if (m.load[0] > 0.7) console.log(`load average ${m.load[0]}: other work is running, so look at best, not at median`);
}

const percent = (x) => `${(100 * x).toFixed(1)} %`;
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
const verdict = (met) => (met ? 'met' : 'MISSED');
const fixed = (x, digits, width) => x.toFixed(digits).padStart(width);

function milliseconds({ min, median, max }) {
  const digits = min < 1 ? 3 : 2;
  return `${fixed(min, digits, 8)} ${fixed(median, digits, 8)} ${fixed(max, digits, 9)}`;
}

const NAME = 42;
const MS = `${'ms best'.padStart(8)} ${'median'.padStart(8)} ${'worst'.padStart(9)}`;

const headings = {
  conv: `${'convolution'.padEnd(NAME)} ${'GFLOP/s best'.padStart(12)} ${'median'.padStart(7)}  ${'peak best'.padStart(9)} ${'median'.padStart(7)}  ${'share'.padStart(7)} ${'median'.padStart(7)} ${'by CPU'.padStart(7)}  ${'target'.padStart(7)}         ${MS}`,
  op: `${'op'.padEnd(NAME)} ${'GFLOP/s best'.padStart(12)} ${'median'.padStart(7)}  ${'GB/s best'.padStart(9)} ${'median'.padStart(7)}  ${MS}  operands`,
  model: `${'model'.padEnd(NAME)} ${'images/s'.padStart(12)} ${'median'.padStart(7)}  ${'GFLOP/s'.padStart(9)} ${'median'.padStart(7)}  ${'of peak'.padStart(7)} ${'median'.padStart(7)} ${'by CPU'.padStart(7)}  ${MS} ${'CPU'.padStart(9)}`,
  memory: 'memory',
};

function convLine({ name, gflops, peakGflops: p, share, target, met, ms }) {
  return (
    `${name.padEnd(NAME)} ${fixed(gflops.best, 1, 12)} ${fixed(gflops.median, 1, 7)}  ${fixed(p.best, 1, 9)} ${fixed(p.median, 1, 7)}` +
    `  ${percent(share.best).padStart(7)} ${percent(share.median).padStart(7)} ${percent(share.cpu).padStart(7)}  ${percent(target).padStart(7)} ${verdict(met).padEnd(6)}  ${milliseconds(ms)}`
  );
}

function rate(found, digits, width) {
  if (found === undefined) return `${'-'.padStart(width)} ${'-'.padStart(7)}`;
  return `${fixed(found.best, digits, width)} ${fixed(found.median, digits, 7)}`;
}

function opLine({ name, gflops, gbytesPerSecond, ms, shape, drawn }) {
  const operands = drawn ? `${shape} (drawn small: no size set in ops.mjs)` : shape;
  return `${name.padEnd(NAME)} ${rate(gflops, 2, 12)}  ${rate(gbytesPerSecond, 1, 9)}  ${milliseconds(ms)}  ${operands}`;
}

function modelLines({ name, imagesPerSecond: i, gflops, share, ms, cpuMs, images, flops, split, targets }) {
  const lines = [
    `${name.padEnd(NAME)} ${fixed(i.best, 2, 12)} ${fixed(i.median, 2, 7)}  ${fixed(gflops.best, 1, 9)} ${fixed(gflops.median, 1, 7)}` +
      `  ${percent(share.best).padStart(7)} ${percent(share.median).padStart(7)} ${percent(share.cpu).padStart(7)}  ${milliseconds(ms)} ${fixed(cpuMs.median, 2, 9)}`,
    `  ${(flops / images / 1e9).toFixed(3)} GFLOP of products an image; convolution ${percent(split.convolutionShare)} of the time, everything else ${percent(split.otherShare)}:`,
  ];
  for (const { name: kernel, ms: time, calls, share: part, flops: work } of split.parts) {
    const rate = work > 0 ? ` ${fixed(work / time / 1e6, 1, 6)} GFLOP/s` : '';
    lines.push(
      `    ${kernel.padEnd(26)} ${percent(part).padStart(7)} ${fixed(time, 2, 9)} ms ${String(calls).padStart(5)} calls${rate}`,
    );
  }
  if (targets.imagesPerSecond) {
    const { value, target, met } = targets.imagesPerSecond;
    lines.push(`  ${value.toFixed(2)} images/s, target ${target} on one 3.5 GHz Zen 4 core: ${verdict(met)}`);
    const other = targets.otherShare;
    lines.push(
      `  not convolution ${percent(other.value)}, target under ${percent(other.target)}: ${verdict(other.met)}`,
    );
  }
  return lines.join('\n');
}

function memoryLine({ name, residentBytes, heap, ms, target, met }) {
  const goal = target === undefined ? '' : `, target ${mib(target)}: ${verdict(met)}`;
  return `${name.padEnd(NAME)} resident ${mib(residentBytes)}${goal}; wasm memory ${mib(heap.reserved)}, most in use ${mib(heap.peak)}; step ${(ms / 1000).toFixed(2)} s`;
}

const lines = { conv: convLine, op: opLine, model: modelLines, memory: memoryLine };

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
