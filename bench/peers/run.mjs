/**
 * atalho and its peers on the same weights and inputs, each in a process of its own, taking turns; outputs compared. Inference
 * of ResNet-18 (the chapter's layout, 3×224×224, 1000 classes, batch 1) and torchvision's ResNet-50, and the chapter's training step at 96×96.
 */
import { fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median } from '../measure.mjs';
import { Peak } from '../peak.mjs';
import { machine, printMachine, writeJson } from '../report.mjs';
import { pythonWithTorch } from './pytorch.mjs';

const many = availableParallelism();
const ATALHO = ['atalho exact', 'atalho fast', 'atalho relaxed'];
/** Largest difference from the exact mode's outputs, relative to the largest of them: rounding, no more. */
const TOLERANCE = 1e-4;

/** Between turns of several threads: those of the last contestant may spin on after its run, in the next one's way. */
const PAUSE_MS = 50;

/** What takes turns with what, and for how many rounds. */
const GROUPS = [
  {
    name: 'infer, 1 thread',
    workload: 'infer',
    threads: 1,
    images: 1,
    rounds: 30,
    peers: ['onnxruntime-web', 'TensorFlow.js wasm', 'onnxruntime-node', 'PyTorch'],
  },
  {
    name: `infer, ${many} threads`,
    workload: 'infer',
    threads: many,
    images: 1,
    rounds: 30,
    peers: ['onnxruntime-web', 'onnxruntime-node', 'PyTorch'],
  },
  {
    name: `infer ResNet-50, ${many} threads`,
    workload: 'infer50',
    threads: many,
    images: 1,
    rounds: 15,
    peers: ['onnxruntime-web', 'onnxruntime-node'],
  },
  // Takes seconds an image.
  {
    name: 'infer, 1 thread, jax-js',
    workload: 'infer',
    threads: 1,
    images: 1,
    rounds: 2,
    warmups: 1,
    peers: ['jax-js wasm'],
  },
  { name: `train b32, ${many} threads`, workload: 'train32', threads: many, images: 32, rounds: 6, peers: ['PyTorch'] },
  {
    name: `train b256, ${many} threads`,
    workload: 'train256',
    threads: many,
    images: 256,
    rounds: 2,
    peers: ['PyTorch'],
  },
];

/** How many times as fast as a peer a mode wants to be, by the ratio of medians. */
const TARGETS = [
  ['infer, 1 thread', 'atalho exact', 'onnxruntime-web', 1.6],
  ['infer, 1 thread', 'atalho fast', 'onnxruntime-web', 3],
  ['infer, 1 thread', 'atalho fast', 'TensorFlow.js wasm', 2.5],
  ['infer, 1 thread', 'atalho relaxed', 'onnxruntime-web', 3.8],
  ['infer, 1 thread', 'atalho relaxed', 'onnxruntime-node', 1],
  [`infer ResNet-50, ${many} threads`, 'atalho relaxed', 'onnxruntime-web', 2],
  [`train b32, ${many} threads`, 'atalho relaxed', 'PyTorch', 1],
  [`train b256, ${many} threads`, 'atalho relaxed', 'PyTorch', 1],
];

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string' },
    filter: { type: 'string', default: '' },
    json: { type: 'string' },
  },
});
if (options.rounds !== undefined && !/^[1-9]\d*$/.test(options.rounds)) {
  console.error(`bench:peers: --rounds is ${options.rounds}; want a positive whole number`);
  process.exit(2);
}

/** A contestant's process. */
class Contestant {
  static async start(name, threads, workload) {
    const path = fileURLToPath(new URL('child.mjs', import.meta.url));
    const one = new Contestant(name, fork(path, [name, String(threads), workload]));
    one.version = (await one.answer()).version;
    return one;
  }

  constructor(name, child) {
    Object.assign(this, { name, child, ms: [], cpuMs: [] });
    child.on('message', (message) => this.settle?.(message));
    child.on('exit', (code) => this.settle?.({ error: `its process ended with ${code}` }));
  }

  /** The next message of the process. */
  async answer() {
    const message = await new Promise((resolve) => {
      this.settle = resolve;
    });
    if (message.error) throw new Error(`${this.name}: ${message.error}`);
    return message;
  }

  ask(message) {
    this.child.send(message);
    return this.answer();
  }

  /** One run; PyTorch's own clock counts for PyTorch, so that no pipe does. */
  async run() {
    const found = await this.ask('run');
    this.memory = { base: found.base, peak: found.peak };
    return found;
  }

  end() {
    this.child.kill();
  }
}

const about = machine();
printMachine(about);
const peak = new Peak();
const python = pythonWithTorch();
if (python === null) console.log('no Python with torch: PyTorch does not take part (Debian: python3-torch)');

/** From the outputs of the first. NaN, and a wrong number of outputs, count as infinitely far. */
function difference(outputs, want) {
  if (outputs.length !== want.length) return Number.POSITIVE_INFINITY;
  const largest = want.reduce((max, v) => Math.max(max, Math.abs(v)), 0);
  const furthest = outputs.reduce((max, v, i) => Math.max(max, Math.abs(v - want[i])), 0) / largest;
  return Number.isNaN(furthest) ? Number.POSITIVE_INFINITY : furthest;
}

let apart = false;
const results = [];
for (const group of GROUPS) {
  if (!group.name.includes(options.filter)) continue;
  const rounds = Number(options.rounds ?? group.rounds);
  const names = [...ATALHO, ...group.peers.filter((name) => name !== 'PyTorch' || python !== null)];
  const all = [];
  for (const name of names) all.push(await Contestant.start(name, group.threads, group.workload));
  const peaks = [];
  // The first run also warms up; its outputs are compared, before training has moved the weights far.
  for (const one of all) {
    await one.run();
    one.first = (await one.ask('outputs')).outputs;
    for (let i = 1; i < (group.warmups ?? (group.workload.startsWith('infer') ? 4 : 1)); i++) await one.run();
  }
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < all.length; i++) {
      // Everyone goes first in turn, and the peak is taken beside each.
      const one = all[(round + i) % all.length];
      if (group.threads > 1) await pause(PAUSE_MS);
      peaks.push(peak.sample(one.ms.at(-1) ?? 0).mean);
      const { ms, cpuMs } = await one.run();
      one.ms.push(ms);
      one.cpuMs.push(cpuMs);
    }
  }
  const gflops = median(peaks);
  console.log(`\n${group.name}: ${rounds} rounds; micro-kernel peak ${gflops.toFixed(1)} GFLOP/s (median)`);
  console.log(
    `${''.padEnd(30)} ${['ms best', 'median', 'worst', 'CPU', 'images/s', 'MiB'].map((t) => t.padStart(8)).join(' ')}  difference`,
  );
  for (const one of all) {
    const { name, version, ms, cpuMs, memory, first } = one;
    const middle = median(ms);
    const off = difference(first, all[0].first);
    apart ||= !(off <= TOLERANCE);
    const row = {
      group: group.name,
      name,
      version,
      threads: group.threads,
      ms: { min: Math.min(...ms), median: middle, max: Math.max(...ms) },
      cpuMs: median(cpuMs),
      imagesPerSecond: (group.images * 1000) / middle,
      memoryBytes: memory.peak - memory.base,
      peakGflops: gflops,
      difference: off,
    };
    results.push(row);
    const cells = [row.ms.min, middle, row.ms.max, row.cpuMs, row.imagesPerSecond, row.memoryBytes / 2 ** 20];
    const label = version === name.split(' ')[1] ? name : `${name} ${version}`;
    console.log(`${label.padEnd(30)} ${cells.map((v) => v.toFixed(1).padStart(8)).join(' ')}  ${off.toExponential(1)}`);
    one.end();
  }
}

const find = (group, name) => results.find((row) => row.group === group && row.name === name);
const targets = TARGETS.flatMap(([group, name, peer, target]) => {
  const [own, other] = [find(group, name), find(group, peer)];
  if (!own || !other) return [];
  const ratio = other.ms.median / own.ms.median;
  return [{ group, name, peer, target, ratio, best: other.ms.min / own.ms.min, met: ratio >= target }];
});
const [ownMemory, peerMemory] = ['atalho relaxed', 'PyTorch'].map((name) => find(`train b256, ${many} threads`, name));
if (ownMemory && peerMemory) {
  const ratio = peerMemory.memoryBytes / ownMemory.memoryBytes;
  const what = { group: 'memory of the b256 step', name: 'atalho relaxed', peer: 'PyTorch', target: 1 };
  targets.push({ ...what, ratio, best: ratio, met: ratio >= 1 });
}
console.log('\nHow many times as fast as the peer (or as small): ratio of medians, of best, target');
for (const { group, name, peer, target, ratio, best, met } of targets) {
  const line = `${group}: ${name} against ${peer}`;
  console.log(
    `${line.padEnd(70)} ${ratio.toFixed(2)}× ${best.toFixed(2)}×  ${target.toFixed(2)}× ${met ? 'met' : 'MISSED'}`,
  );
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const path = options.json ?? join(root, 'bench', 'results', `peers-${about.date.replaceAll(':', '-')}.json`);
writeJson(path, { machine: about, results, targets });
console.log(`written: ${relative(process.cwd(), path)}`);
if (apart) console.error('bench:peers: outputs differ by more than rounding');
process.exit(apart ? 1 : 0);
