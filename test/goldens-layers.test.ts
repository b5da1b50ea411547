/**
 * Every layer case of the golden file on every device. Sums are held to the rigorous bound γ_n(u)·Σ|products| for the
 * device's unit roundoff u; the Σ|products| come from the float64 reference, run on absolute values.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  batchNorm,
  conv2d,
  crossEntropy,
  type Device,
  grad,
  maxPool2d,
  reference,
  type Shape,
  type Tensor,
  tensor,
} from '../src/index.js';
import { poolPlan } from '../src/ops/poolGeometry.js';
import { sizeOf } from '../src/shape.js';
import { devices } from './devices.js';
import { expectWithin, formula, type Golden, goldens, labelsFor, roundoff, sumBound } from './goldens.js';

const file = goldens('layers');
const casesOf = (prefix: string): [string, string][] =>
  Object.entries(file.metadata).filter(([name]) => name.startsWith(prefix));

interface ConvCase {
  x: number[];
  w: number[];
  bias: boolean;
  stride: [number, number];
  padding: [number, number];
  dilation: [number, number];
  groups: number;
}

interface PoolCase {
  x: number[];
  kernel: number;
  stride: number;
  padding: number;
  dilation: number;
  ceil_mode: boolean;
  rounded_to_halves: boolean;
}

interface BatchNormCase {
  x: number[];
  x_range: [number, number];
  w_range: [number, number];
  momentum: number;
  eps: number;
}

type Values = ArrayLike<number>;

async function read(t: Tensor): Promise<Float64Array> {
  return Float64Array.from(await t.data(), Number);
}

/** y, dx, dw and, with a bias, db of a convolution. */
async function convolve(device: Device, k: string, c: ConvCase, abs: boolean): Promise<Map<string, Float64Array>> {
  const input = (name: string, shape: Shape): Float32Array => {
    const values = formula(`${k}.${name}`, shape);
    return abs ? values.map(Math.abs) : values;
  };
  const leaf = (name: string, shape: Shape): Tensor =>
    tensor(input(name, shape), shape, { device, requiresGrad: true });
  const results = device.scope(() => {
    const [x, w] = [leaf('x', c.x), leaf('w', c.w)];
    const b = c.bias ? leaf('b', [c.w[0]]) : null;
    const y = conv2d(x, w, b, c);
    expect(y.shape).toEqual(file.get(`${k}.y`).shape);
    const dy = tensor(input('dy', y.shape), y.shape, { device });
    const grads = grad(y, b ? [x, w, b] : [x, w], dy);
    return { y, dx: grads[0], dw: grads[1], ...(b ? { db: grads[2] } : {}) };
  });
  const values = new Map<string, Float64Array>();
  for (const [name, t] of Object.entries(results)) {
    values.set(name, await read(t));
    t.dispose();
  }
  return values;
}

/** Mean, variance and 1/√(var + eps) of a channel's values. */
function statistics(x: Values, channels: number, spatial: number, eps: number): { mean: number; invstd: number }[] {
  return Array.from({ length: channels }, (_, c) => {
    const own = Array.from(x).filter((_, i) => Math.floor(i / spatial) % channels === c);
    const mean = own.reduce((a, b) => a + b, 0) / own.length;
    const variance = own.reduce((a, b) => a + (b - mean) ** 2, 0) / own.length;
    return { mean, invstd: 1 / Math.sqrt(variance + eps) };
  });
}

describe.each(devices)('layers against PyTorch on $name', ({ make }) => {
  let device: Device;
  let exact: Device;
  beforeAll(async () => {
    device = await make();
    exact = reference({ dtype: 'float64' });
  });
  afterAll(() => {
    device.dispose();
    exact.dispose();
  });

  it.each(casesOf('conv'))('%s', async (k, json) => {
    const c = JSON.parse(json) as ConvCase;
    const [got, terms] = [await convolve(device, k, c, false), await convolve(exact, k, c, true)];
    const [batch, , height, width] = file.get(`${k}.y`).shape;
    const n: Record<string, number> = {
      y: sizeOf(c.w.slice(1)) + 1,
      dx: (c.w[0] / c.groups) * c.w[2] * c.w[3],
      dw: batch * height * width,
      db: batch * height * width,
    };
    expect([...got.keys()]).toEqual(c.bias ? ['y', 'dx', 'dw', 'db'] : ['y', 'dx', 'dw']);
    for (const [name, values] of got) {
      const size = terms.get(name) as Float64Array;
      const bound = (i: number): number => sumBound(n[name], size[i], roundoff(device));
      expectWithin(`${k}.${name}`, values, file.get(`${k}.${name}`).data, bound);
    }
  });

  it.each(casesOf('maxpool'))('%s', async (k, json) => {
    const c = JSON.parse(json) as PoolCase;
    const halves = (v: number): number => {
      const low = Math.floor(v * 2);
      const up = v * 2 - low > 0.5 || (v * 2 - low === 0.5 && low % 2 !== 0);
      return (up ? low + 1 : low) / 2;
    };
    const drawn = formula(`${k}.x`, c.x);
    const values = c.rounded_to_halves ? drawn.map(halves) : drawn;
    const o = { stride: c.stride, padding: c.padding, dilation: c.dilation, ceilMode: c.ceil_mode };
    const golden = (name: string): Golden => file.get(`${k}.${name}`);
    const [y, dx] = device.scope(() => {
      const x = tensor(values, c.x, { device, requiresGrad: true });
      const y = maxPool2d(x, c.kernel, o);
      const dy = tensor(formula(`${k}.dy`, y.shape), y.shape, { device });
      return [y, ...grad(y, [x], dy)];
    });
    expect(y.shape).toEqual(golden('y').shape);
    expectWithin(`${k}.y`, await read(y), golden('y').data, 0);
    // At most kernel² windows share a pixel; each gives at most 1.
    const bound = sumBound(c.kernel ** 2, c.kernel ** 2, roundoff(device));
    expectWithin(`${k}.dx`, await read(dx), golden('dx').data, bound);

    const { geometry } = poolPlan('maxPool2d', c.x, { ...o, kernelSize: c.kernel });
    const [x, out] = [device.alloc(values.length), device.alloc(y.size)];
    const indices = device.alloc(y.size, 'int32');
    device.write(x, values);
    device.kernels.maxPool2d({ ...geometry, x, out, indices });
    expectWithin(`${k}.indices`, Float64Array.from(await device.read(indices), Number), golden('indices').data, 0);
    for (const buffer of [x, out, indices]) buffer.release();
    y.dispose();
    dx.dispose();
  });

  // The kernels work in float64 and round once, so a float32 result is off by half an ulp of itself, and by the
  // float64 noise of the terms that it is the difference of.
  it.each(
    casesOf('batchnorm').flatMap(([k, json]) => [
      [k, 'eval', json],
      [k, 'train', json],
    ]),
  )('%s %s', async (k, mode, json) => {
    const c = JSON.parse(json) as BatchNormCase;
    const [batch, channels] = c.x;
    const spatial = sizeOf(c.x.slice(2));
    const perChannel = [channels];
    const training = mode === 'train';
    const xs = formula(`${k}.x`, c.x, ...c.x_range);
    const ws = formula(`${k}.w`, perChannel, ...c.w_range);
    const running = {
      mean: formula(`${k}.running_mean`, perChannel, -0.1, 0.1),
      var: formula(`${k}.running_var`, perChannel, 0.5, 1.5),
    };
    const results = device.scope(() => {
      const leaf = (values: Float32Array, shape: Shape): Tensor =>
        tensor(values, shape, { device, requiresGrad: true });
      const [x, weight, bias] = [leaf(xs, c.x), leaf(ws, perChannel), leaf(formula(`${k}.b`, perChannel), perChannel)];
      const runningMean = tensor(running.mean, { device });
      const runningVar = tensor(running.var, { device });
      const { momentum, eps } = c;
      const y = batchNorm(x, { runningMean, runningVar, weight, bias, training, momentum, eps });
      const dy = tensor(formula(`${k}.dy`, c.x), c.x, { device });
      const [dx, dw, db] = grad(y, [x, weight, bias], dy);
      return { y, dx, dw, db, running_mean: runningMean, running_var: runningVar };
    });
    const stats = training
      ? statistics(xs, channels, spatial, c.eps)
      : Array.from(running.mean, (mean, i) => ({ mean, invstd: 1 / Math.sqrt(running.var[i] + c.eps) }));
    const count = batch * spatial;
    const channelOf = (i: number): number => Math.floor(i / spatial) % channels;
    const reach = Math.max(...c.x_range.map(Math.abs)) + 1;
    const terms: Record<string, (i: number) => number> = {
      y: (i) => reach * ws[channelOf(i)] * stats[channelOf(i)].invstd + 1,
      dx: (i) => 4 * ws[channelOf(i)] * stats[channelOf(i)].invstd,
      dw: (i) => count * reach * stats[i].invstd,
      db: () => count,
      running_mean: () => reach,
      running_var: () => reach ** 2,
    };
    for (const [name, t] of Object.entries(results)) {
      const stored = await read(t);
      t.dispose();
      if (!training && name.startsWith('running')) {
        expectWithin(`${k} ${name}, untouched`, stored, name === 'running_mean' ? running.mean : running.var, 0);
        continue;
      }
      const want = file.get(`${k}.${mode}.${name}`).data;
      const own = roundoff(device) === 2 ** -53 ? 0 : roundoff(device);
      expectWithin(
        `${k}.${mode}.${name}`,
        stored,
        want,
        (i) => own * 1.01 * Math.abs(want[i]) + 1e-13 * terms[name](i),
      );
    }
  });

  it.each([
    ['mean', 0],
    ['smooth0.1', 0.1],
  ])('xent.%s', async (name, labelSmoothing) => {
    const c = JSON.parse(file.metadata.xent) as { x: number[]; x_range: [number, number] };
    const [loss, dx] = device.scope(() => {
      const x = tensor(formula('xent.x', c.x, ...c.x_range), c.x, { device, requiresGrad: true });
      const loss = crossEntropy(x, labelsFor(c.x[0]), { labelSmoothing });
      return [loss, ...grad(loss, [x])];
    });
    expect(loss.shape).toEqual([]);
    const own = device.dtype === 'float32' ? 2 ** -24 : 0;
    for (const [what, t, size] of [['loss', loss, 8] as const, ['dx', dx, 1] as const]) {
      const want = file.get(`xent.${name}.${what}`).data;
      expectWithin(`xent.${name}.${what}`, await read(t), want, (i) => own * 1.01 * Math.abs(want[i]) + 1e-14 * size);
      t.dispose();
    }
  });

  it('leaves nothing behind', () => {
    expect(device.memory().used).toBe(0);
  });
});
