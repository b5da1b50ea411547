/**
 * Every row of the oracle's case table, at the size that the chapter's training step gives it (96×96, batch 32) where
 * it has one. The op is called as users call it: allocation and graph are part of the time. Bytes count each operand
 * and each result once. FLOPs stand against the micro-kernel's peak, bytes against a copy of the same moment.
 */

import { grad, noGrad, oracle, tensor } from './library.mjs';
import { measure, median } from './measure.mjs';
import { CopyPeak } from './peak.mjs';

const salt = 5;
/** What the stem makes, and what the first stage works on. */
const STEM = [32, 64, 48, 48];
const STAGE = [32, 64, 24, 24];
/** Parameters of the largest convolution. */
const PARAMETERS = 512 * 512 * 9;

const elementwise = { salt, a: STAGE, b: STAGE, scalar: 1 };
const batchNorm = {
  salt,
  shape: STEM,
  weight: true,
  bias: true,
  running: true,
  momentum: 0.1,
  eps: 1e-5,
  offset: 0,
  residual: false,
};
const pool = { salt, batch: 32, channels: 64, height: 48, width: 48, kernelSize: 3, stride: 2, padding: 1 };
const window = { ...pool, dilation: 1, ceilMode: false };
const reduce = { salt, from: STAGE, dim: null, keepdim: false };
const adam = { salt, size: PARAMETERS, lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01, step: 3 };

const conv = {
  salt,
  ...{ batch: 32, inChannels: 64, outChannels: 64, height: 24, width: 24, kernel: [3, 3] },
  ...{ stride: 1, padding: 1, dilation: 1, groups: 1, bias: true },
};

/** Options of each row, by its name. A new row without an entry is drawn small, and marked so. */
export const sizes = {
  add: elementwise,
  sub: elementwise,
  mul: elementwise,
  div: elementwise,
  relu: { salt, shape: STEM },
  reshape: { salt, from: STAGE, to: [32, 64 * 24 * 24], free: null },
  flatten: { salt, from: [32, 512, 1, 1], startDim: 1, endDim: 3 },
  permute: { salt, shape: STAGE, dims: [0, 2, 3, 1] },
  slice: { salt, shape: STEM, dim: 3, step: 2 },
  pad: { salt, shape: STAGE, padding: [1, 1, 1, 1], value: 0 },
  cat: { salt, shapes: [STAGE, STAGE], dim: 1 },
  sum: reduce,
  mean: reduce,
  matmul: { salt, a: [512, 512], b: [512, 512] },
  linear: { salt, lead: [32], inFeatures: 512, outFeatures: 10, bias: true },
  conv2d: conv,
  // The weights are laid out anew in each call, as nobody would do it.
  prepareConv2d: { ...conv, norm: true, affine: true, residual: true, relu: true, eps: 1e-5 },
  maxPool2d: { ...window, ties: true },
  avgPool2d: { ...window, countIncludePad: true },
  adaptiveAvgPool2d: { salt, batch: 32, channels: 512, height: 3, width: 3, outputSize: [1, 1] },
  'batchNorm.train': batchNorm,
  'batchNorm.eval': batchNorm,
  'batchNormRelu.train': { ...batchNorm, residual: true },
  'batchNormRelu.eval': { ...batchNorm, residual: true },
  softmax: { salt, shape: [32, 1000], dim: 1, range: 4 },
  logSoftmax: { salt, shape: [32, 1000], dim: 1, range: 4 },
  crossEntropy: { salt, rows: 32, classes: 1000, labelSmoothing: 0, range: 4 },
  accumulate: { salt, size: PARAMETERS },
  sgd: { salt, size: PARAMETERS, first: false, lr: 1e-3, momentum: 0.9, nesterov: false, weightDecay: 1e-4 },
  adam: { ...adam, decoupled: false },
  adamw: { ...adam, decoupled: true },
  rmsprop: {
    ...{ salt, size: PARAMETERS, lr: 1e-3, alpha: 0.99, eps: 1e-8, weightDecay: 0, momentum: 0.9, first: false },
  },
};

/** Calls that share memory instead of moving it: they have a time but no rate. */
const moveNothing = new Set(['op reshape forward', 'op flatten forward']);

/**
 * What the gradients of a row take at the sizes above, by the contract's formulas (src/device/device.ts): `flops`, an
 * exponential or a division counted as one as in the forward pass, and `floats` read and written, values of a channel
 * or row left out. `x`: elements of the first input, `y`: of the result.
 */
const gradientWork = {
  // A gradient that is dy itself: the caller holds dy, so `grad` hands out a copy.
  reshape: ({ x }) => ({ flops: 0, floats: 2 * x }),
  flatten: ({ x }) => ({ flops: 0, floats: 2 * x }),
  permute: ({ x }) => ({ flops: 0, floats: 2 * x }),
  slice: ({ x, y }) => ({ flops: 0, floats: x + 2 * y }),
  pad: ({ x }) => ({ flops: 0, floats: 3 * x }),
  cat: ({ y }) => ({ flops: 0, floats: 2 * y }),
  add: ({ y }) => ({ flops: 0, floats: 3 * y }),
  // db = −dy.
  sub: ({ y }) => ({ flops: y, floats: 3 * y }),
  // dy·b, dy·a.
  mul: ({ y }) => ({ flops: 2 * y, floats: 5 * y }),
  // dy/b, −dy·((a/b)/b), which takes a/b from the result.
  div: ({ y }) => ({ flops: 4 * y, floats: 5 * y }),
  // The mask comes from the result.
  relu: ({ y }) => ({ flops: y, floats: 3 * y }),
  // dy repeated; the mean's is divided once.
  sum: ({ x }) => ({ flops: 0, floats: x }),
  mean: ({ x }) => ({ flops: x, floats: x }),
  // One addition a window, where its index says.
  maxPool2d: ({ x, y }) => ({ flops: y, floats: x + 2 * y }),
  // One addition an element of a window.
  avgPool2d: ({ x, y }) => ({ flops: 9 * y, floats: x + y }),
  adaptiveAvgPool2d: ({ x, y }) => ({ flops: x, floats: x + y }),
  // Σdy (1), Σdy·(x − mean) (3); dx: 5, and with the running statistics 1.
  'batchNorm.train': ({ x }) => ({ flops: 9 * x, floats: 3 * x }),
  'batchNorm.eval': ({ x }) => ({ flops: 5 * x, floats: 3 * x }),
  'batchNormRelu.train': ({ x }) => ({ flops: 11 * x, floats: 4 * x }),
  'batchNormRelu.eval': ({ x }) => ({ flops: 7 * x, floats: 4 * x }),
  // y·(dy − Σdy·y); dy − exp(y)·Σdy; (exp(x − lse) − [label])·(dy/rows).
  softmax: ({ x }) => ({ flops: 4 * x, floats: 3 * x }),
  logSoftmax: ({ x }) => ({ flops: 4 * x, floats: 3 * x }),
  crossEntropy: ({ x }) => ({ flops: 4 * x, floats: 2 * x }),
};

/** Ops whose two gradients are sums of as many products as the forward pass. */
const products = new Set(['matmul', 'linear', 'conv2d']);

const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);

/** `measure` with a copy timed before and after: `copyShare` compares the bytes with it, both by the median. */
function measureOp(name, fn, { flops, ...work }, copy, context) {
  const copies = [copy.sample()];
  // Without arithmetic there is no rate to give.
  const found = measure(name, fn, flops > 0 ? { ...work, flops } : work, context);
  copies.push(copy.sample());
  const copyGbytesPerSecond = median(copies);
  const { gbytesPerSecond } = found;
  return gbytesPerSecond === undefined
    ? found
    : { ...found, copyGbytesPerSecond, copyShare: gbytesPerSecond.median / copyGbytesPerSecond };
}

/** Forward and gradient of each row whose name `wanted` accepts. */
export function* benchOps(device, wanted, context) {
  let copy = null;
  for (const row of oracle.cases) {
    const names = { forward: `op ${row.name} forward`, gradient: `op ${row.name} gradient` };
    if (!wanted(names.forward) && !wanted(names.gradient)) continue;
    copy ??= new CopyPeak();
    const options = sizes[row.name];
    const trial = options ? row.trial(options) : row.draw(oracle.seededDraw(1, row.name));
    const drawn = options === undefined;
    const tensors = trial.inputs.map(({ data, shape, differentiable }) =>
      tensor(data, shape, { device, requiresGrad: differentiable }),
    );
    const shape = trial.inputs.map((input) => `[${input.shape.join(', ')}]`).join(' ');
    const inBytes = 4 * tensors.reduce((sum, t) => sum + t.size, 0);
    const outBytes = 4 * sizeOf(trial.shape);
    const inPlace = row.op === null;

    if (wanted(names.forward)) {
      const forward = () =>
        device.scope(() => {
          noGrad(() => trial.run(tensors));
        });
      // In place: every operand but the gradient is written back.
      const bytes = inPlace ? 2 * inBytes - 4 * tensors[0].size : inBytes + outBytes;
      const work = moveNothing.has(names.forward) ? {} : { flops: trial.flops, bytes };
      const found = measureOp(names.forward, forward, { ...work, time: 200 }, copy, context);
      yield { ...found, section: 'op', shape, drawn };
    }
    const xs = tensors.filter((t) => t.requiresGrad);
    if (wanted(names.gradient) && !inPlace && xs.length > 0) {
      const dy = tensor(oracle.numbers(salt, 'dy', sizeOf(trial.shape), -1, 1), trial.shape, { device });
      let y = null;
      const spent = [];
      const dispose = () => {
        for (const t of spent.splice(0)) t.dispose();
      };
      const beforeEach = () => {
        dispose();
        y = trial.run(tensors);
        spent.push(y);
      };
      const gradient = () => {
        spent.push(...grad(y, xs, dy));
      };
      const allBytes = inBytes + outBytes + 4 * xs.reduce((sum, t) => sum + t.size, 0);
      let work = { bytes: allBytes };
      if (products.has(row.name)) work.flops = 2 * trial.flops;
      else if (!drawn && gradientWork[row.name]) {
        const { flops, floats } = gradientWork[row.name]({ x: tensors[0].size, y: sizeOf(trial.shape) });
        work = { flops, bytes: 4 * floats };
      }
      const found = measureOp(names.gradient, gradient, { ...work, beforeEach, time: 200 }, copy, context);
      yield { ...found, section: 'op', shape, drawn };
      dispose();
      dy.dispose();
    }
    for (const t of tensors) t.dispose();
  }
}
