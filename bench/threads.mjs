/**
 * One thread against one for each processor, in turns: ResNet-18's forward pass and the chapter's training step. Beside each round, and for
 * about as long, arithmetic alone is timed on both: what threads can come to at best, here and now. A turn begins with a call that does not
 * count: until then workers slept, and the caches held the other's model.
 */
import { availableParallelism } from 'node:os';
import { performance } from 'node:perf_hooks';
import { oracle, wasm } from './library.mjs';
import { median } from './measure.mjs';
import { resnetCompiled, resnetForward, trainingStep } from './models.mjs';

const RATIO_TARGET = 1.85;

const cases = [
  { name: 'threads resnet18 forward 224×224 b1', make: (device) => resnetForward(device), rounds: 25, perRound: 4 },
  { name: 'threads resnet18 compiled 224×224 b1', make: (device) => resnetCompiled(device), rounds: 25, perRound: 4 },
  {
    name: 'threads resnet18 compiled 224×224 b1, relaxed',
    math: 'relaxed',
    make: (device) => resnetCompiled(device),
    rounds: 25,
    perRound: 8,
  },
  {
    name: 'threads d2l training step 96×96 b32, relaxed',
    math: 'relaxed',
    make: (device) => trainingStep(device, 32),
    rounds: 9,
    perRound: 1,
  },
  {
    name: 'threads d2l training step 96×96 b32',
    make: (device) => trainingStep(device, 32),
    rounds: 7,
    perRound: 1,
    imagesTarget: 38,
  },
  {
    name: 'threads d2l training step 96×96 b256',
    make: (device) => trainingStep(device, 256),
    rounds: 2,
    perRound: 1,
    // A step takes seconds, in which that is lost.
    warmUp: false,
  },
];

function seconds(run, times) {
  const start = performance.now();
  for (let i = 0; i < times; i++) run();
  return (performance.now() - start) / 1000 / times;
}

/** Operands of the micro-kernel that fit the first-level cache, and repeats that take about a quarter of a millisecond. */
const [K, PANELS, REPEATS] = [288, 4, 150];
/** Parts of a job; about 15 ms. */
const PARTS = 60;
/** Seconds of it in a round, at most. */
const MOST_ALONE = 4;

/**
 * The micro-kernel on operands in the first-level cache, in parts that the device's threads take as they take those of its kernels: no memory,
 * no transform, nothing that waits for something else but the ends of jobs.
 */
function arithmetic(device) {
  const { context } = device;
  const operands = device.alloc(PANELS * K * 4 + K * 8);
  device.write(operands, oracle.numbers(1, 'operands', operands.size, -1, 1));
  const b = operands.address + 16 * PANELS * K;
  const parts = Array.from({ length: PARTS }, () => {
    // A tile of its own, far from the others' lines.
    const c = device.alloc(PANELS * 32 + 64);
    return [operands.address, b, K, PANELS, REPEATS, c.address];
  });
  return () => {
    context.parallel('tilePeak', parts);
    context.settle();
  };
}

/** Rows of the cases whose names `wanted` accepts. Ratios are the medians of those of the rounds. */
export async function* benchThreads(wanted, context) {
  const threads = availableParallelism();
  if (threads === 1) return;
  for (const { name, math = 'exact', make, rounds, perRound, warmUp = true, imagesTarget } of cases) {
    if (!wanted(name)) continue;
    const devices = [await wasm({ math }), await wasm({ math, threads })];
    const models = devices.map(make);
    const peaks = devices.map(arithmetic);
    const losses = models.map((model) => model.run());
    if (losses[0] !== losses[1]) throw new Error(`${name}: ${losses[0]} on one thread, ${losses[1]} on ${threads}`);
    peaks[1]();
    const jobs = Math.ceil(Math.min(MOST_ALONE, perRound * seconds(models[0].run, 1)) / seconds(peaks[0], 3));
    const times = [[], []];
    const alone = [[], []];
    for (let round = 0; round < (context.quick ? Math.ceil(rounds / 4) : rounds); round++) {
      for (const i of round % 2 === 0 ? [0, 1] : [1, 0]) {
        if (warmUp) models[i].run();
        times[i].push(seconds(models[i].run, perRound));
        alone[i].push(seconds(peaks[i], jobs));
      }
    }
    for (const device of devices) device.dispose();
    const [one, all] = times.map(median);
    const ratioOf = ([first, second]) => median(first.map((time, i) => time / second[i]));
    const [ratio, ceiling] = [ratioOf(times), ratioOf(alone)];
    const images = models[0].images / all;
    const targets = { ratio: { value: ratio, target: RATIO_TARGET, met: ratio >= RATIO_TARGET } };
    if (imagesTarget !== undefined)
      targets.images = { value: images, target: imagesTarget, met: images >= imagesTarget };
    const best = Math.min(...times[1]);
    yield { name, section: 'threads', threads, images: models[0].images, one, all, best, ratio, ceiling, targets };
  }
}
