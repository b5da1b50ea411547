/** How long the ops of the case table, the chapter's convolutions and a training step take in this browser. */
import {
  crossEntropy,
  type Device,
  Generator,
  grad,
  keep,
  noGrad,
  sgd,
  type Tensor,
  tensor,
  type WebgpuDevice,
} from 'atalho';
import { makeModel } from 'atalho/cli/models.js';
import { cases, conv2dCase, numbers, type OpCase, seededDraw, type Trial } from 'atalho/oracle';
import { describeDevice, makeDevice } from './devices.js';
import type { LabTold, MeasureRequest, OpTime } from './messages.js';

const SALT = 5;
const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Sizes of the ops that a training step spends its time in; `n` images. Others are drawn small. */
function sizesOf(n: number, extent: number): Readonly<Record<string, object>> {
  const map = [n, 64, extent, extent];
  const elementwise = { a: map, b: map, scalar: 1 };
  const norm = { shape: map, weight: true, bias: true, running: true, momentum: 0.1, eps: 1e-5, offset: 0 };
  const window = { batch: n, channels: 64, height: extent, width: extent, kernelSize: 3, stride: 2, padding: 1 };
  const pool = { ...window, dilation: 1, ceilMode: false };
  const reduce = { from: map, dim: null, keepdim: false };
  const adam = { size: 64 * sizeOf(map.slice(2)) * 4, lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 3 };
  return {
    ...{ add: elementwise, sub: elementwise, mul: elementwise, div: elementwise, relu: { shape: map } },
    ...{ permute: { shape: map, dims: [0, 2, 3, 1] }, sum: reduce, mean: reduce },
    ...{ cat: { shapes: [map, map], dim: 1 }, pad: { shape: map, padding: [1, 1, 1, 1], value: 0 } },
    matmul: { a: [256, 256], b: [256, 256] },
    linear: { lead: [n], inFeatures: 512, outFeatures: 10, bias: true },
    ...{ maxPool2d: { ...pool, ties: true }, avgPool2d: { ...pool, countIncludePad: true } },
    adaptiveAvgPool2d: { batch: n, channels: 512, height: 3, width: 3, outputSize: [1, 1] },
    ...{ 'batchNorm.train': { ...norm, residual: false }, 'batchNorm.eval': { ...norm, residual: false } },
    ...{ 'batchNormRelu.train': { ...norm, residual: true }, 'batchNormRelu.eval': { ...norm, residual: true } },
    ...{ softmax: { shape: [n, 1000], dim: 1, range: 4 }, logSoftmax: { shape: [n, 1000], dim: 1, range: 4 } },
    crossEntropy: { rows: n, classes: 1000, labelSmoothing: 0, range: 4 },
    sgd: { size: adam.size, first: false, lr: 1e-3, momentum: 0.9, nesterov: false, weightDecay: 1e-4 },
    ...{ adam: { ...adam, weightDecay: 0, decoupled: false }, adamw: { ...adam, weightDecay: 0.01, decoupled: true } },
  };
}

/** The chapter's convolutions as its training step has them at 96×96. */
const CONVOLUTIONS = [
  ['7×7/2, 1 → 64', { inChannels: 1, outChannels: 64, extent: 96, kernel: 7, stride: 2, padding: 3 }],
  ['3×3, 64', { inChannels: 64, outChannels: 64, extent: 24, kernel: 3, stride: 1, padding: 1 }],
  ['3×3/2, 64 → 128', { inChannels: 64, outChannels: 128, extent: 24, kernel: 3, stride: 2, padding: 1 }],
  ['1×1/2, 64 → 128', { inChannels: 64, outChannels: 128, extent: 24, kernel: 1, stride: 2, padding: 0 }],
  ['3×3, 128', { inChannels: 128, outChannels: 128, extent: 12, kernel: 3, stride: 1, padding: 1 }],
  ['3×3, 256', { inChannels: 256, outChannels: 256, extent: 6, kernel: 3, stride: 1, padding: 1 }],
  ['3×3, 512', { inChannels: 512, outChannels: 512, extent: 3, kernel: 3, stride: 1, padding: 1 }],
] as const;

interface Task {
  readonly kind: OpTime['kind'];
  readonly name: string;
  readonly row: OpCase | null;
  /** Null for a training step. */
  readonly trial: (() => Trial) | null;
}

function tasks(size: MeasureRequest['size']): Task[] {
  const n = size === 'chapter' ? 8 : 1;
  const sizes = sizesOf(n, size === 'chapter' ? 24 : 8);
  const ops = cases
    .filter(({ name }) => name !== 'conv2d' && name !== 'prepareConv2d' && name !== 'accumulate')
    .map((row): Task => {
      const options = sizes[row.name];
      const trial = (): Trial =>
        options && 'trial' in row
          ? (row as OpCase & { trial(o: object): Trial }).trial({ salt: SALT, ...options })
          : row.draw(seededDraw(1, row.name));
      return { kind: 'op', name: row.name, row, trial };
    });
  const convolutions = CONVOLUTIONS.map(([name, { extent, kernel, ...o }]): Task => {
    const side = size === 'chapter' ? extent : Math.max(3, Math.round(extent / 3));
    const trial = (): Trial =>
      conv2dCase.trial({
        ...{ salt: SALT, batch: n, height: side, width: side, kernel: [kernel, kernel] },
        ...{ dilation: 1, groups: 1, bias: true, ...o },
      });
    return { kind: 'convolution', name, row: conv2dCase, trial };
  });
  const step: Task = {
    kind: 'step',
    name: size === 'chapter' ? 'd2l-resnet18' : 'd2l-resnet-tiny',
    row: null,
    trial: null,
  };
  return [...convolutions, step, ...ops];
}

/** Least time of one sample, well above what a browser's clock tells apart. */
const SAMPLE_MS = 0.5;

/** Samples until so much time has passed, and at least so many; each of as many calls as make it long enough. Sorted, ms a call. */
async function timed(work: () => void, ready: () => Promise<unknown>, least = 3, ms = 120): Promise<number[]> {
  work();
  await ready();
  const from = performance.now();
  work();
  await ready();
  const once = performance.now() - from;
  const repeats = Math.max(1, Math.min(500, Math.ceil(SAMPLE_MS / Math.max(once, 0.001))));
  const found: number[] = [];
  const start = performance.now();
  while (found.length < least || (performance.now() - start < ms && found.length < 200)) {
    const from = performance.now();
    for (let i = 0; i < repeats; i++) work();
    await ready();
    found.push((performance.now() - from) / repeats);
    // One call of a slow device is enough.
    if (performance.now() - start > 8 * ms) break;
  }
  return found.sort((a, b) => a - b);
}

const median = (sorted: readonly number[]): number => sorted[sorted.length >> 1];

async function timeOp(device: Device, trial: Trial, inPlace: boolean, ready: () => Promise<unknown>) {
  const tensors = trial.inputs.map(({ data, shape, differentiable }) =>
    tensor(data, shape, { device, requiresGrad: differentiable }),
  );
  const run = (): void => {
    device.scope(() => noGrad(() => void trial.run(tensors)));
  };
  const forward = await timed(run, ready);
  const xs = tensors.filter((t) => t.requiresGrad);
  let both: number[] | null = null;
  if (xs.length > 0 && !inPlace) {
    const dy = tensor(numbers(SALT, 'dy', sizeOf(trial.shape), -1, 1), trial.shape, { device });
    both = await timed(() => device.scope(() => void grad(trial.run(tensors) as Tensor, xs, dy)), ready);
    dy.dispose();
  }
  for (const t of tensors) t.dispose();
  const shape = trial.inputs
    .slice(0, 2)
    .map((input) => input.shape.join('×') || '1')
    .join(' · ');
  return { forward, both, shape };
}

/** One step of training on made-up images: forward, loss, gradients, plain SGD. */
async function timeStep(device: Device, name: string, batch: number, side: number, ready: () => Promise<unknown>) {
  const net = makeModel(name, { device, generator: new Generator(0), inChannels: 1, numClasses: 10 }).train();
  const params = net.parameters();
  const optimizer = sgd(params, { lr: 0.01 });
  const shape = [batch, 1, side, side];
  const x = keep(tensor(numbers(SALT, 'images', sizeOf(shape), 0, 1), shape, { device }));
  const labels = Int32Array.from({ length: batch }, (_, i) => i % 10);
  const run = (): void => {
    device.scope(() => {
      optimizer.step(grad(crossEntropy(net.forward(x), labels), params));
    });
  };
  const found = await timed(run, ready, 3, 1500);
  x.dispose();
  net.dispose();
  return { found, shape: shape.join('×') };
}

export async function measureRun(
  request: MeasureRequest,
  told: LabTold<'measure'>,
  signal: AbortSignal,
): Promise<void> {
  const { device: name, threads, math, size } = request;
  const device = await makeDevice(name, threads, math, told.warning);
  told.device(describeDevice(device));
  const gpu = 'finished' in device ? (device as WebgpuDevice) : null;
  const ready = async (): Promise<void> => gpu?.finished();
  try {
    const all = tasks(size);
    for (const [at, { kind, name, row, trial }] of all.entries()) {
      if (signal.aborted) return;
      let time: OpTime;
      if (trial === null) {
        const [batch, side] = size === 'chapter' ? [8, 96] : [4, 28];
        const { found, shape } = await timeStep(device, name, batch, side, ready);
        const ms = median(found);
        time = {
          ...{ kind, name, shape, ms, best: found[0], calls: found.length, gradientMs: null, gflops: null },
          imagesPerSecond: (batch * 1000) / ms,
        };
      } else {
        const made = trial();
        const { forward, both, shape } = await timeOp(device, made, row?.op === null, ready);
        const ms = median(forward);
        time = {
          ...{ kind, name, shape, ms, best: forward[0], calls: forward.length },
          gradientMs: both === null ? null : Math.max(0, median(both) - ms),
          gflops: made.flops > 0 && kind === 'convolution' ? made.flops / ms / 1e6 : null,
          imagesPerSecond: null,
        };
      }
      told.row(time, at, all.length);
      await new Promise((resolve) => setTimeout(resolve));
    }
  } finally {
    device.dispose();
  }
}
