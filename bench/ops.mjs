/**
 * Every row of the oracle's case table, at the size that the chapter's training step gives it (96×96, batch 32) where
 * it has one. The op is called as users call it: allocation and graph are part of the time. Bytes count each operand
 * and each result once.
 */

import { grad, noGrad, oracle, tensor } from './library.mjs';
import { measure } from './measure.mjs';

const salt = 5;
/** What the stem makes, and what the first stage works on. */
const STEM = [32, 64, 48, 48];
const STAGE = [32, 64, 24, 24];
/** Parameters of the largest convolution. */
const PARAMETERS = 512 * 512 * 9;

const elementwise = { salt, a: STAGE, b: STAGE, scalar: 1 };
const batchNorm = { salt, shape: STEM, weight: true, bias: true, running: true, momentum: 0.1, eps: 1e-5, offset: 0 };
const pool = { salt, batch: 32, channels: 64, height: 48, width: 48, kernelSize: 3, stride: 2, padding: 1 };
const window = { ...pool, dilation: 1, ceilMode: false };
const reduce = { salt, from: STAGE, dim: null, keepdim: false };
const adam = { salt, size: PARAMETERS, lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01, step: 3 };

/** Options of each row, by its name. A new row without an entry is drawn small, and marked so. */
const sizes = {
  add: elementwise,
  sub: elementwise,
  mul: elementwise,
  div: elementwise,
  relu: { salt, shape: STEM },
  reshape: { salt, from: STAGE, to: [32, 64 * 24 * 24], free: null },
  flatten: { salt, from: [32, 512, 1, 1], startDim: 1, endDim: 3 },
  sum: reduce,
  mean: reduce,
  matmul: { salt, a: [512, 512], b: [512, 512] },
  linear: { salt, lead: [32], inFeatures: 512, outFeatures: 10, bias: true },
  conv2d: {
    salt,
    ...{ batch: 32, inChannels: 64, outChannels: 64, height: 24, width: 24, kernel: [3, 3] },
    ...{ stride: 1, padding: 1, dilation: 1, groups: 1, bias: true },
  },
  maxPool2d: { ...window, ties: true },
  avgPool2d: { ...window, countIncludePad: true },
  adaptiveAvgPool2d: { salt, batch: 32, channels: 512, height: 3, width: 3, outputSize: [1, 1] },
  'batchNorm.train': batchNorm,
  'batchNorm.eval': batchNorm,
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

/** Ops whose two gradients are sums of as many products as the forward pass. */
const products = new Set(['matmul', 'linear', 'conv2d']);

const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);

/** Forward and gradient of each row whose name `wanted` accepts. */
export function* benchOps(device, wanted, context) {
  for (const row of oracle.cases) {
    const names = { forward: `op ${row.name} forward`, gradient: `op ${row.name} gradient` };
    if (!wanted(names.forward) && !wanted(names.gradient)) continue;
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
      const found = measure(names.forward, forward, { ...work, time: 200 }, context);
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
      const bytes = inBytes + outBytes + 4 * xs.reduce((sum, t) => sum + t.size, 0);
      const work = products.has(row.name) ? { bytes, flops: 2 * trial.flops } : { bytes };
      const found = measure(names.gradient, gradient, { ...work, beforeEach, time: 200 }, context);
      yield { ...found, section: 'op', shape, drawn };
      dispose();
      dy.dispose();
    }
    for (const t of tensors) t.dispose();
  }
}
