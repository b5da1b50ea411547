/** One thread against one for each processor, in turns: ResNet-18's forward pass and the chapter's training step. */
import { availableParallelism } from 'node:os';
import { performance } from 'node:perf_hooks';
import { evenness } from './evenness.mjs';
import { wasm } from './library.mjs';
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
  { name: 'threads d2l training step 96×96 b256', make: (device) => trainingStep(device, 256), rounds: 2, perRound: 1 },
];

function seconds(run, times) {
  const start = performance.now();
  for (let i = 0; i < times; i++) run();
  return (performance.now() - start) / 1000 / times;
}

/** Rows of the cases whose names `wanted` accepts. The ratio is the median of those of the rounds. */
export async function* benchThreads(wanted, context) {
  const threads = availableParallelism();
  if (threads === 1) return;
  if (cases.some(({ name }) => wanted(name))) {
    yield { name: 'threads, arithmetic in registers', section: 'evenness', cores: await evenness(threads) };
  }
  for (const { name, math = 'exact', make, rounds, perRound, imagesTarget } of cases) {
    if (!wanted(name)) continue;
    const devices = [await wasm({ math }), await wasm({ math, threads })];
    const models = devices.map(make);
    const losses = models.map((model) => model.run());
    if (losses[0] !== losses[1]) throw new Error(`${name}: ${losses[0]} on one thread, ${losses[1]} on ${threads}`);
    const times = [[], []];
    for (let round = 0; round < (context.quick ? Math.ceil(rounds / 4) : rounds); round++) {
      for (const i of round % 2 === 0 ? [0, 1] : [1, 0]) times[i].push(seconds(models[i].run, perRound));
    }
    for (const device of devices) device.dispose();
    const [one, all] = times.map(median);
    const ratio = median(times[0].map((time, i) => time / times[1][i]));
    const images = models[0].images / all;
    const targets = { ratio: { value: ratio, target: RATIO_TARGET, met: ratio >= RATIO_TARGET } };
    if (imagesTarget !== undefined)
      targets.images = { value: images, target: imagesTarget, met: images >= imagesTarget };
    const best = Math.min(...times[1]);
    yield { name, section: 'threads', threads, images: models[0].images, one, all, best, ratio, targets };
  }
}
