/** The suites: which calls a backend is asked for. A suite and a seed give the same numbers everywhere. */
import { ArgumentError } from '../errors.js';
import { bfloatReader, bfloatWriter, halfToFloat, halfWriter } from '../io/half.js';
import { sizeOf } from '../shape.js';
import type { Input, OpCase, Trial } from './cases/case.js';
import { addCase, meanCase, mulCase, reluCase, sumCase } from './cases/elementwise.js';
import { adamCase, adamwCase, rmspropCase, sgdCase } from './cases/inplace.js';
import {
  type BatchNormCaseOptions,
  batchNormEvalCase,
  batchNormReluEvalCase,
  batchNormReluTrainCase,
  batchNormTrainCase,
} from './cases/normalization.js';
import { adaptiveAvgPool2dCase, avgPool2dCase, maxPool2dCase, type PoolOptions } from './cases/pooling.js';
import { CONV_KINDS, type ConvOptions, conv2dCase, drawConv, linearCase, matmulCase } from './cases/products.js';
import { crossEntropyCase, logSoftmaxCase, softmaxCase } from './cases/softmax.js';
import { cases } from './cases.js';
import { seededDraw } from './draw.js';

/**
 * - `smoke`: each op a few times, small; seconds.
 * - `resnet`: the layers of the chapter's network, ResNet-50 and ResNeXt, on maps small enough for plain loops.
 * - `edge`: whole numbers, whose sums are exact in any order, so that their bound is 0; every extent different; odd sizes, one
 *   element, strides past the kernel, dilation, groups, padding on one side, ties, long sums.
 * - `gradients`: what `smoke` and `edge` ask for, with all gradients.
 * - `full`: all of these, and 20 random calls of every op.
 */
export type SuiteName = 'smoke' | 'resnet' | 'edge' | 'gradients' | 'full';
/** All suites. */
export const SUITES: readonly SuiteName[] = ['smoke', 'resnet', 'edge', 'gradients', 'full'];

/** One call of a suite. */
export interface SuiteItem {
  /** Unique in the suite; also a file name. */
  readonly id: string;
  /** What it is about, in a few words. */
  readonly title: string;
  readonly row: OpCase;
  readonly trial: Trial;
  /** Whether gradients are asked for too. */
  readonly gradients: boolean;
}

type Draft = Omit<SuiteItem, 'id' | 'gradients'>;

/** Rows that stand for an op of every library; the others are kernels of our own contract. */
const PUBLIC: readonly OpCase[] = cases.filter(({ name }) => name !== 'prepareConv2d' && name !== 'accumulate');

type Axes = readonly [number, number];

class Suite {
  readonly drafts: Draft[] = [];
  #salt: number;

  constructor(seed: number) {
    this.#salt = seed;
  }

  /** A salt of its own for each call. */
  salt(): number {
    this.#salt = (Math.imul(this.#salt, 0x9e3779b1) + 0x7f4a7c15) >>> 1;
    return this.#salt;
  }

  add(title: string, row: OpCase, trial: Trial): void {
    this.drafts.push({ title, row, trial });
  }

  draw(title: string, row: OpCase, count: number): void {
    for (let i = 0; i < count; i++) this.add(title, row, row.draw(seededDraw(this.salt(), row.name)));
  }

  conv(title: string, o: Partial<ConvOptions> & Pick<ConvOptions, 'inChannels' | 'outChannels'>): Trial {
    const trial = conv2dCase.trial({
      ...{ salt: this.salt(), batch: 1, height: 14, width: 14, kernel: [3, 3], stride: 1, padding: 1 },
      ...{ dilation: 1, groups: 1, bias: false, ...o },
    });
    this.add(title, conv2dCase, trial);
    return trial;
  }

  norm(title: string, row: typeof batchNormTrainCase, o: Partial<BatchNormCaseOptions> & { shape: readonly number[] }) {
    const usual = { weight: true, bias: true, running: true, momentum: 0.1, unbiased: true, eps: 1e-5 };
    this.add(title, row, row.trial({ ...usual, salt: this.salt(), offset: 0, residual: false, ...o }));
  }

  pool<O extends PoolOptions>(o: Partial<O>): PoolOptions {
    return {
      ...{ salt: this.salt(), batch: 1, channels: 8, height: 14, width: 14, kernelSize: 3, stride: 2, padding: 1 },
      ...{ dilation: 1, ceilMode: false, ...o },
    };
  }
}

function addSmoke(s: Suite): void {
  for (const row of PUBLIC) s.draw('a small call', row, 3);
}

function addResnet(s: Suite): void {
  s.conv("the chapter's first layer", {
    ...{ inChannels: 1, outChannels: 64, height: 26, width: 24, kernel: [7, 7], stride: 2, padding: 3, bias: true },
  });
  s.conv("ResNet-50's first layer", {
    ...{ inChannels: 3, outChannels: 64, height: 24, width: 22, kernel: [7, 7], stride: 2, padding: 3 },
  });
  s.conv('3×3, 64 channels', { inChannels: 64, outChannels: 64, height: 12, width: 14, bias: true });
  s.conv('3×3, stride 2', { inChannels: 64, outChannels: 128, height: 13, width: 14, stride: 2, bias: true });
  s.conv('1×1 shortcut, stride 2', {
    ...{ inChannels: 64, outChannels: 128, height: 13, width: 14, kernel: [1, 1], stride: 2, padding: 0, bias: true },
  });
  s.conv('3×3, 128 channels', { inChannels: 128, outChannels: 128, batch: 2, height: 6, width: 7 });
  s.conv('3×3, 256 channels', { inChannels: 256, outChannels: 256, height: 5, width: 6 });
  s.conv('3×3, 512 channels', { inChannels: 512, outChannels: 512, height: 3, width: 3, bias: true });
  s.conv('1×1, narrowing', { inChannels: 1024, outChannels: 256, height: 5, width: 6, kernel: [1, 1], padding: 0 });
  s.conv('1×1, widening', { inChannels: 512, outChannels: 2048, height: 3, width: 4, kernel: [1, 1], padding: 0 });
  s.conv('3×3 in 32 groups', { inChannels: 128, outChannels: 128, height: 8, width: 7, groups: 32 });
  s.norm('batch norm after the first layer', batchNormTrainCase, { shape: [2, 64, 13, 12] });
  s.norm('batch norm far from 0', batchNormTrainCase, { shape: [4, 16, 14, 13], offset: 3 });
  s.norm('batch norm of small maps', batchNormTrainCase, { shape: [4, 128, 3, 3] });
  s.norm('batch norm by running statistics', batchNormEvalCase, { shape: [2, 64, 7, 6] });
  s.norm('batch norm and relu', batchNormReluTrainCase, { shape: [2, 32, 7, 6] });
  s.norm('batch norm, residual and relu', batchNormReluTrainCase, { shape: [2, 32, 7, 6], residual: true });
  s.norm('the same by running statistics', batchNormReluEvalCase, { shape: [2, 32, 7, 6], residual: true });
  const map = [2, 16, 7, 6];
  s.add('relu', reluCase, reluCase.trial({ salt: s.salt(), shape: map }));
  s.add('a residual', addCase, addCase.trial({ salt: s.salt(), a: map, b: map, scalar: 0 }));
  s.add('a channel scale', mulCase, mulCase.trial({ salt: s.salt(), a: map, b: [16, 1, 1], scalar: 0 }));
  s.add('max pooling', maxPool2dCase, maxPool2dCase.trial({ ...s.pool({ height: 15, width: 14 }), ties: false }));
  s.add('max pooling with ties', maxPool2dCase, maxPool2dCase.trial({ ...s.pool({ height: 12 }), ties: true }));
  s.add('average pooling', avgPool2dCase, avgPool2dCase.trial({ ...s.pool({ height: 13 }), countIncludePad: true }));
  s.add(
    'global average pooling',
    adaptiveAvgPool2dCase,
    adaptiveAvgPool2dCase.trial({ salt: s.salt(), batch: 2, channels: 64, height: 7, width: 6, outputSize: 1 }),
  );
  const linear = (lead: number, inFeatures: number, outFeatures: number) =>
    linearCase.trial({ salt: s.salt(), lead: [lead], inFeatures, outFeatures, bias: true });
  s.add("the chapter's last layer", linearCase, linear(8, 512, 10));
  s.add("ResNet-50's last layer", linearCase, linear(2, 2048, 1000));
  s.add('a matrix product', matmulCase, matmulCase.trial({ salt: s.salt(), a: [33, 257], b: [257, 40] }));
  s.add(
    'softmax over 1,000 classes',
    softmaxCase,
    softmaxCase.trial({ salt: s.salt(), shape: [4, 1000], dim: 1, range: 12 }),
  );
  s.add('log-softmax', logSoftmaxCase, logSoftmaxCase.trial({ salt: s.salt(), shape: [8, 10], dim: 1, range: 12 }));
  const loss = (rows: number, classes: number, labelSmoothing: number) =>
    crossEntropyCase.trial({ salt: s.salt(), rows, classes, labelSmoothing, range: 4 });
  s.add('the loss', crossEntropyCase, loss(32, 10, 0));
  s.add('the loss, smoothed, of 1,000 classes', crossEntropyCase, loss(4, 1000, 0.1));
  const reduced = { salt: s.salt(), from: map, keepdim: false };
  s.add('a sum by channel', sumCase, sumCase.trial({ ...reduced, dim: [0, 2, 3] }));
  s.add('the mean of all', meanCase, meanCase.trial({ ...reduced, salt: s.salt(), dim: null }));
  const size = 1003;
  const momentum = { first: false, lr: 0.05, momentum: 0.9, weightDecay: 1e-4 };
  s.add('sgd', sgdCase, sgdCase.trial({ salt: s.salt(), size, ...momentum, nesterov: false }));
  s.add(
    'sgd, the first step, Nesterov',
    sgdCase,
    sgdCase.trial({ salt: s.salt(), size, ...momentum, first: true, nesterov: true }),
  );
  const adam = { size, lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 3 };
  s.add('adam', adamCase, adamCase.trial({ salt: s.salt(), ...adam, weightDecay: 0, decoupled: false }));
  s.add('adamw', adamwCase, adamwCase.trial({ salt: s.salt(), ...adam, weightDecay: 0.01, decoupled: true }));
  s.add(
    'rmsprop',
    rmspropCase,
    rmspropCase.trial({ salt: s.salt(), size, ...momentum, lr: 1e-3, alpha: 0.99, eps: 1e-8 }),
  );
}

/** The same call on whole numbers from −4 to 4. */
function onWholeNumbers(trial: Trial): Trial {
  const whole = (x: Input): Input => ({ ...x, data: x.data.map((v) => Math.round(4 * v)) });
  return { ...trial, inputs: trial.inputs.map(whole) };
}

function addEdge(s: Suite): void {
  const whole = (title: string, row: OpCase, trial: Trial): void =>
    s.add(`${title}, whole numbers`, row, onWholeNumbers(trial));
  const conv = (o: Partial<ConvOptions>): Trial =>
    conv2dCase.trial({
      ...{ salt: s.salt(), batch: 2, inChannels: 4, outChannels: 6, height: 7, width: 10, kernel: [3, 2] as Axes },
      ...{ stride: 1, padding: 0, dilation: 1, groups: 1, bias: true, ...o },
    });
  whole('every extent different', conv2dCase, conv({ batch: 3, padding: [1, 0] }));
  whole('a stride a side', conv2dCase, conv({ stride: [2, 3], padding: 1 }));
  whole('a stride past the kernel', conv2dCase, conv({ stride: [4, 3] }));
  whole('a dilation a side', conv2dCase, conv({ dilation: [2, 3], padding: [2, 1] }));
  whole('groups', conv2dCase, conv({ groups: 2, padding: 1 }));
  whole('depthwise', conv2dCase, conv({ groups: 4, outChannels: 4, padding: 1 }));
  whole('depthwise, two outputs each', conv2dCase, conv({ groups: 4, outChannels: 8, padding: 1 }));
  whole('TensorFlow’s same', conv2dCase, conv({ stride: 2, padding: 'SAME', kernel: [3, 3], height: 8, width: 10 }));
  whole(
    'padding on one side',
    conv2dCase,
    conv({
      padding: [
        [0, 2],
        [1, 0],
      ],
    }),
  );
  whole('one pixel', conv2dCase, conv({ height: 1, width: 1, kernel: [1, 1], batch: 1 }));
  whole('one channel each', conv2dCase, conv({ inChannels: 1, outChannels: 1, padding: 1 }));
  whole('17 channels to 19', conv2dCase, conv({ inChannels: 17, outChannels: 19, kernel: [3, 3], padding: 1 }));
  whole(
    '3×3×512',
    conv2dCase,
    conv({ batch: 1, inChannels: 512, outChannels: 2, kernel: [3, 3], height: 4, width: 5, padding: 1 }),
  );
  s.conv('3×3×512', { inChannels: 512, outChannels: 2, height: 4, width: 5, bias: true });
  const product = (a: readonly number[], b: readonly number[]) => matmulCase.trial({ salt: s.salt(), a, b });
  whole('a product', matmulCase, product([5, 7], [7, 3]));
  whole('a batch of products', matmulCase, product([2, 3, 5], [5, 4]));
  whole('two vectors', matmulCase, product([301], [301]));
  whole(
    'a layer',
    linearCase,
    linearCase.trial({ salt: s.salt(), lead: [3], inFeatures: 129, outFeatures: 5, bias: true }),
  );
  whole('a sum', sumCase, sumCase.trial({ salt: s.salt(), from: [3, 5, 7], dim: [0, 2], keepdim: true }));
  whole(
    'an average of four',
    avgPool2dCase,
    avgPool2dCase.trial({ ...s.pool({ kernelSize: 2, padding: 0 }), countIncludePad: true }),
  );
  for (const kind of CONV_KINDS) {
    if (kind !== 'empty') s.add(`random, ${kind}`, conv2dCase, conv2dCase.trial(drawConv(seededDraw(s.salt()), kind)));
  }
  const pools = { batch: 2, channels: 3, height: 9, width: 12 };
  const windows: Partial<PoolOptions>[] = [
    { kernelSize: [3, 2], stride: [2, 3], padding: [1, 0] },
    { kernelSize: 2, stride: 3, padding: 0 },
    { kernelSize: 3, stride: 2, padding: 1, ceilMode: true },
    { kernelSize: 3, stride: 2, padding: 'SAME' },
  ];
  for (const o of windows) {
    const all = s.pool({ ...pools, ...o });
    s.add('below 0, beside padding', maxPool2dCase, below(maxPool2dCase.trial({ ...all, ties: false })));
    s.add('ties', maxPool2dCase, maxPool2dCase.trial({ ...all, ties: true }));
    for (const countIncludePad of [true, false]) {
      s.add('a window', avgPool2dCase, avgPool2dCase.trial({ ...all, countIncludePad }));
    }
  }
  const dilated = s.pool({ ...pools, kernelSize: 2, stride: 1, padding: 0, dilation: [2, 3] });
  s.add('dilated', maxPool2dCase, maxPool2dCase.trial({ ...dilated, ties: false }));
  s.add(
    'windows that overlap',
    adaptiveAvgPool2dCase,
    adaptiveAvgPool2dCase.trial({ salt: s.salt(), batch: 2, channels: 3, height: 7, width: 10, outputSize: [3, 4] }),
  );
  const fourEach = [2, 3, 2, 1];
  for (const row of [batchNormTrainCase, batchNormReluTrainCase]) {
    s.norm('four values a channel', row, { shape: fourEach, momentum: 0.25, eps: 1e-3 });
    s.norm('four values, the biased variance', row, { shape: fourEach, unbiased: false, momentum: 0.25 });
    s.norm('a large eps, far from 0', row, { shape: [3, 5, 2, 3], eps: 0.1, offset: 3 });
    s.norm('neither weight nor bias', row, { shape: [3, 5, 2, 3], weight: false, bias: false });
    s.norm('rows, no maps', row, { shape: [9, 7] });
  }
  s.norm('a large eps, given statistics', batchNormEvalCase, { shape: [3, 5, 2, 3], eps: 0.1, offset: 3 });
  s.norm('residual and relu', batchNormReluTrainCase, { shape: [3, 5, 2, 3], residual: true });
  for (const row of PUBLIC) {
    if (row.name !== 'conv2d') s.draw('random', row, 3);
  }
  const few = { salt: s.salt(), shape: [3, 7] };
  s.add('subnormal numbers', reluCase, subnormal(reluCase.trial(few)));
  const sum = addCase.trial({ salt: s.salt(), a: few.shape, b: few.shape, scalar: 0 });
  s.add('subnormal numbers', addCase, subnormal(sum));
  // Where E[x²] − mean² has no digit left.
  s.norm('very far from 0', batchNormTrainCase, { shape: [4, 3, 5, 4], offset: 200 });
}

/** What the inputs are: float32 numbers, or those among them that a narrower format has. */
export type Numbers = 'float32' | 'float16' | 'bfloat16';
export const NUMBERS: readonly Numbers[] = ['float32', 'float16', 'bfloat16'];

const [floatToHalf, floatToBfloat, bfloatToFloat] = [halfWriter(), bfloatWriter(), bfloatReader()];

/** Rounds to nearest, ties to even. */
export const roundTo: Readonly<Record<Numbers, (v: number) => number>> = {
  float32: (v) => v,
  float16: (v) => halfToFloat(floatToHalf(v)),
  bfloat16: (v) => bfloatToFloat(floatToBfloat(v)),
};

/** The same call on numbers that float32 holds with fewer digits, below its smallest normal one. */
function subnormal(trial: Trial): Trial {
  return { ...trial, inputs: trial.inputs.map((x) => ({ ...x, data: x.data.map((v) => v * 2 ** -128) })) };
}

/** The same call on numbers below 0 alone: padding with 0 would win. */
function below(trial: Trial): Trial {
  return { ...trial, inputs: trial.inputs.map((x) => ({ ...x, data: x.data.map((v) => v - 3) })) };
}

/** Calls of a suite. Those of nothing (an extent of 0) are left out: few formats carry them. */
export function suite(name: SuiteName, seed = 1, kind: Numbers = 'float32'): SuiteItem[] {
  if (!SUITES.includes(name))
    throw new ArgumentError(`suite: no suite is called ${name}; want one of ${SUITES.join(', ')}`);
  if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
    throw new ArgumentError(`suite: seed is ${seed}; want a whole number from 0 to 4294967295`);
  }
  const round = roundTo[kind];
  if (round === undefined) throw new ArgumentError(`suite: there are no numbers ${kind}; want ${NUMBERS.join(', ')}`);
  const s = new Suite(seed);
  if (name === 'smoke' || name === 'gradients' || name === 'full') addSmoke(s);
  if (name === 'resnet' || name === 'full') addResnet(s);
  if (name === 'edge' || name === 'gradients' || name === 'full') addEdge(s);
  if (name === 'full') for (const row of PUBLIC) s.draw('random', row, 20);
  const gradients = name === 'gradients' || name === 'full';
  const counts = new Map<string, number>();
  return s.drafts
    .filter(({ trial }) => [...trial.inputs.map((x) => x.shape), trial.shape].every((shape) => sizeOf(shape) > 0))
    .map((draft) => {
      const { trial } = draft;
      const number = (counts.get(draft.row.name) ?? 0) + 1;
      counts.set(draft.row.name, number);
      const inputs = trial.inputs.map((x) => ({ ...x, data: x.data.map(round) }));
      return {
        ...draft,
        trial: { ...trial, inputs },
        id: `${draft.row.name}-${String(number).padStart(2, '0')}`,
        gradients,
      };
    });
}
