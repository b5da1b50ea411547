/**
 * The witness itself on trial: the naive functions against PyTorch's golden values, against numbers worked out by
 * hand, and each gradient against finite differences of its own forward pass. No device takes part.
 */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cases, drawFrom, naive, numbers, seededDraw } from '../src/oracle/index.js';
import { sizeOf } from '../src/shape.js';
import { expectWithin, formula, goldens, labelsFor } from './goldens.js';

const layers = goldens('layers');
const optimizers = goldens('optimizers');
const golden = (prefix: string): [string, Record<string, never>][] =>
  Object.entries(layers.metadata)
    .filter(([name]) => name.startsWith(prefix))
    .map(([name, json]) => [name, JSON.parse(json)]);
const want = (name: string): Float64Array => layers.get(name).data;

it('imports nothing', () => {
  const source = readFileSync(new URL('../src/oracle/naive.ts', import.meta.url), 'utf8');
  expect(source).not.toMatch(/^\s*import\b|\bfrom '|\bimport\(|\brequire\(/m);
});

describe('exp and log', () => {
  it.each([
    [naive.exp, Math.exp, -700, 700],
    [naive.exp, Math.exp, -1, 1],
    [naive.log, Math.log, 1e-300, 1e300],
    [naive.log, Math.log, 0.5, 2],
  ])('%o is as good as the engine’s, from %d to %d', (own, engine, min, max) => {
    fc.assert(
      fc.property(fc.double({ min, max, noNaN: true }), (x) => {
        expect(Math.abs(own(x) - engine(x))).toBeLessThanOrEqual(2 ** -50 * Math.abs(engine(x)));
      }),
      { numRuns: 2000 },
    );
  });

  it('keep the ends', () => {
    expect([naive.exp(0), naive.exp(-Infinity), naive.exp(Infinity), naive.exp(Number.NaN)]).toEqual([
      1,
      0,
      Infinity,
      Number.NaN,
    ]);
    expect([naive.log(1), naive.log(0), naive.log(Infinity), naive.log(-1)]).toEqual([
      0,
      -Infinity,
      Infinity,
      Number.NaN,
    ]);
  });
});

describe('against PyTorch', () => {
  it.each(golden('conv'))('%s', (k, c: { [key: string]: never }) => {
    const { x, w, bias, stride, padding, dilation, groups } = c as unknown as {
      x: number[];
      w: number[];
      bias: boolean;
      stride: [number, number];
      padding: [number, number];
      dilation: [number, number];
      groups: number;
    };
    const geometry: naive.NaiveConv = {
      batch: x[0],
      inChannels: x[1],
      inHeight: x[2],
      inWidth: x[3],
      outChannels: w[0],
      kernel: [w[2], w[3]],
      stride,
      dilation,
      padding: [padding[0], padding[0], padding[1], padding[1]],
      groups,
    };
    const [xs, ws] = [formula(`${k}.x`, x), formula(`${k}.w`, w)];
    const y = naive.conv2d(xs, ws, bias ? formula(`${k}.b`, [w[0]]) : null, geometry);
    expect(naive.convOutput(geometry)).toEqual(layers.get(`${k}.y`).shape.slice(2));
    expectWithin('y', y.value, want(`${k}.y`), (i) => 1e-14 * y.magnitude[i]);
    // Every tap counts, those in the padding too, and the bias is one more.
    expect(new Set(y.terms)).toEqual(new Set([sizeOf(w.slice(1)) + (bias ? 1 : 0)]));

    const grads = naive.conv2dBackward(xs, ws, geometry, formula(`${k}.dy`, layers.get(`${k}.y`).shape));
    expectWithin('dx', grads.dx.value, want(`${k}.dx`), (i) => 1e-14 * grads.dx.magnitude[i]);
    expectWithin('dw', grads.dweight.value, want(`${k}.dw`), (i) => 1e-14 * grads.dweight.magnitude[i]);
    if (bias) expectWithin('db', grads.dbias.value, want(`${k}.db`), (i) => 1e-14 * grads.dbias.magnitude[i]);
  });

  it.each(golden('maxpool'))('%s', (k, c) => {
    const o = c as unknown as {
      x: number[];
      kernel: number;
      stride: number;
      padding: number;
      dilation: number;
      ceil_mode: boolean;
      rounded_to_halves: boolean;
    };
    const halfEven = (v: number): number => {
      const low = Math.floor(2 * v);
      const rest = 2 * v - low;
      return (rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low) / 2;
    };
    const drawn = formula(`${k}.x`, o.x);
    const x = o.rounded_to_halves ? drawn.map(halfEven) : drawn;
    const geometry: naive.NaivePool = {
      planes: o.x[0] * o.x[1],
      inHeight: o.x[2],
      inWidth: o.x[3],
      kernel: [o.kernel, o.kernel],
      stride: [o.stride, o.stride],
      padding: [o.padding, o.padding, o.padding, o.padding],
      dilation: [o.dilation, o.dilation],
      ceilMode: o.ceil_mode,
    };
    expect(naive.poolOutput(geometry)).toEqual(layers.get(`${k}.y`).shape.slice(2));
    const { y, from } = naive.maxPool2d(x, geometry);
    expectWithin('y', y, want(`${k}.y`), 0);
    const plane = o.x[2] * o.x[3];
    expect(Array.from(from, (v) => v % plane)).toEqual(Array.from(want(`${k}.indices`)));
    const dy = formula(`${k}.dy`, layers.get(`${k}.y`).shape);
    expectWithin('dx', naive.maxPool2dBackward(x, geometry, dy).value, want(`${k}.dx`), 1e-14);
  });

  it.each(golden('batchnorm'))('%s', (k, c) => {
    const o = c as unknown as {
      x: number[];
      x_range: [number, number];
      w_range: [number, number];
      momentum: number;
      eps: number;
    };
    const [batch, channels] = o.x;
    const g: naive.NaiveBatchNorm = { batch, channels, spatial: sizeOf(o.x.slice(2)), eps: o.eps };
    const x = formula(`${k}.x`, o.x, ...o.x_range);
    const weight = formula(`${k}.w`, [channels], ...o.w_range);
    const bias = formula(`${k}.b`, [channels]);
    const running = {
      mean: formula(`${k}.running_mean`, [channels], -0.1, 0.1),
      variance: formula(`${k}.running_var`, [channels], 0.5, 1.5),
    };
    const batchStatistics = naive.channelStatistics(x, g);
    for (const mode of ['eval', 'train'] as const) {
      const { mean, variance } = mode === 'train' ? batchStatistics : running;
      const dy = formula(`${k}.dy`, o.x);
      const grads = naive.batchNormBackward(x, mean, variance, weight, g, mode === 'train', dy);
      // Two values a channel: dx is a difference of terms some 300 times larger.
      const scale = 1e-14 / Math.sqrt(Math.min(...Array.from(variance)) + o.eps);
      expectWithin('y', naive.batchNorm(x, mean, variance, weight, bias, g), want(`${k}.${mode}.y`), 40 * scale);
      expectWithin('dx', grads.dx, want(`${k}.${mode}.dx`), 40 * scale);
      expectWithin('dw', grads.dweight, want(`${k}.${mode}.dw`), 100 * scale * batch * g.spatial);
      expectWithin('db', grads.dbias, want(`${k}.${mode}.db`), 1e-14 * batch * g.spatial);
    }
    const count = batch * g.spatial;
    const mean = naive.runningStatistics(running.mean, batchStatistics.mean, o.momentum, count, false);
    const variance = naive.runningStatistics(running.variance, batchStatistics.variance, o.momentum, count, true);
    expectWithin('running_mean', mean, want(`${k}.train.running_mean`), 1e-14);
    expectWithin('running_var', variance, want(`${k}.train.running_var`), 1e-14);
  });

  it.each([
    ['mean', 0],
    ['smooth0.1', 0.1],
  ])('xent.%s', (name, smoothing) => {
    const x = formula('xent.x', [7, 10], -4, 4);
    const labels = labelsFor(7);
    const loss = naive.crossEntropy(x, labels, 10, smoothing);
    expectWithin('loss', [loss], want(`xent.${name}.loss`), 1e-14);
    expectWithin('dx', naive.crossEntropyBackward(x, labels, 10, smoothing, 1), want(`xent.${name}.dx`), 1e-15);
  });

  it.each(Object.entries(optimizers.metadata))('optimizer %s', (name, json) => {
    const options = JSON.parse(json) as Record<string, number | boolean | undefined>;
    const number = (key: string, fallback: number): number => Number(options[key] ?? fallback);
    const common = { lr: number('lr', Number.NaN), weightDecay: number('weight_decay', 0) };
    const momentum = number('momentum', 0);
    let w: Float64Array = Float64Array.from(formula('optim.w', [11]));
    let m: Float64Array = new Float64Array(11);
    let v: Float64Array = new Float64Array(11);
    let [power1, power2] = [1, 1];
    for (let step = 1; step <= 5; step++) {
      const aim = formula(`optim.target${step - 1}`, [11]);
      const grad = w.map((p, i) => p - aim[i]);
      if (name.startsWith('sgd')) {
        const o = { ...common, momentum, nesterov: options.nesterov === true, first: step === 1 };
        ({ param: w, velocity: v } = naive.sgd(w, grad, momentum > 0 ? v : null, o));
      } else if (name.startsWith('adam')) {
        power1 *= 0.9;
        power2 *= 0.999;
        const o = { ...common, beta1: 0.9, beta2: 0.999, eps: 1e-8, decoupled: name === 'adamw' };
        ({ param: w, m, v } = naive.adam(w, grad, m, v, { ...o, correction1: 1 - power1, correction2: 1 - power2 }));
      } else {
        const o = { ...common, alpha: 0.99, eps: 1e-8, momentum };
        ({ param: w, v, velocity: m } = naive.rmsprop(w, grad, v, momentum > 0 ? m : null, o));
      }
      expectWithin(`w${step}`, w, optimizers.get(`${name}.w${step}`).data, 1e-13);
    }
  });
});

describe('by hand', () => {
  const square = (side: number): Float64Array => Float64Array.from({ length: side * side }, (_, i) => i + 1);
  const pool = (o: Partial<naive.NaivePool>): naive.NaivePool => ({
    planes: 1,
    inHeight: 3,
    inWidth: 3,
    kernel: [2, 2],
    stride: [2, 2],
    padding: [0, 0, 0, 0],
    dilation: [1, 1],
    ceilMode: false,
    ...o,
  });

  it('avgPool2d counts padding or not, and never what lies beyond it', () => {
    // 1 2 3 / 4 5 6 / 7 8 9, windows of 2×2 from (−1, −1), step 2.
    const padded = pool({ padding: [1, 1, 1, 1] });
    expect([...naive.avgPool2d(square(3), padded, true).value]).toEqual([1 / 4, 5 / 4, 11 / 4, 28 / 4]);
    expect([...naive.avgPool2d(square(3), padded, false).value]).toEqual([1, 5 / 2, 11 / 2, 28 / 4]);
    const ceiled = pool({ ceilMode: true });
    expect([...naive.avgPool2d(square(3), ceiled, true).value]).toEqual([3, 4.5, 7.5, 9]);
  });

  it('ceilMode drops a window that would start in the padding behind', () => {
    // extent 3, padding 1, kernel 2, stride 2: the third window would start at 3.
    expect(naive.poolOutput(pool({ padding: [1, 1, 1, 1], ceilMode: true }))).toEqual([2, 2]);
    expect(naive.poolOutput(pool({ ceilMode: true }))).toEqual([2, 2]);
    expect(naive.poolOutput(pool({}))).toEqual([1, 1]);
  });

  it('adaptiveAvgPool2d overlaps where the sizes do not divide', () => {
    const g = { planes: 1, inHeight: 1, inWidth: 5, outHeight: 1, outWidth: 3 };
    expect([...naive.adaptiveAvgPool2d([1, 2, 3, 4, 5], g).value]).toEqual([1.5, 3, 4.5]);
  });

  it('relu and its gradient let NaN through, as PyTorch', () => {
    const x = [Number.NaN, -1, 0, 2];
    expect([...naive.relu(x)]).toEqual([Number.NaN, 0, 0, 2]);
    expect([...naive.reluBackward(x, [5, 6, 7, 8])]).toEqual([5, 0, 0, 8]);
  });

  it('in maxPool2d a NaN beats everything, a later NaN an earlier one, and of equals the first wins', () => {
    const row = (x: number[]) =>
      naive.maxPool2d(x, pool({ inHeight: 1, inWidth: x.length, kernel: [1, x.length], stride: [1, 1] }));
    const results = (x: number[]) => [row(x).y[0], row(x).from[0]];
    const { NaN: nan } = Number;
    expect(results([1, nan, 2])).toEqual([nan, 1]);
    expect(results([nan, 3, 1])).toEqual([nan, 0]);
    expect(results([nan, Infinity, nan, 2])).toEqual([nan, 2]);
    expect(results([2, 3, 3])).toEqual([3, 1]);
    expect(results([-Infinity, -Infinity])).toEqual([-Infinity, 0]);
    const geometry = pool({ inHeight: 1, inWidth: 3, kernel: [1, 3], stride: [1, 1] });
    expect([...naive.maxPool2dBackward([1, nan, 2], geometry, [7]).value]).toEqual([0, 7, 0]);
  });

  it('a class of target 0 may be −∞ in crossEntropy', () => {
    expect(naive.crossEntropy([0, -Infinity, 0], [0], 3, 0)).toBeCloseTo(Math.LN2, 14);
    expect(naive.crossEntropy([0, -Infinity, 0], [0], 3, 0.1)).toBe(Infinity);
  });

  it('matmul broadcasts batches', () => {
    const { value } = naive.matmul([1, 2, 3, 4], [2, 1, 2], [1, 0, 0, 1, 2, 3, 4, 5], [1, 2, 4], [2]);
    expect([...value]).toEqual([5, 6, 8, 11, 11, 12, 16, 23]);
  });

  it('softmax of equal numbers is even, and large ones do not overflow', () => {
    const g = { outer: 1, extent: 2, inner: 2 };
    expect([...naive.softmax([1000, 1, 1000, 1], g)]).toEqual([0.5, 0.5, 0.5, 0.5]);
    expectWithin('', naive.logSoftmax([1000, 1, 1000, 1], g), new Float64Array(4).fill(-Math.LN2), 1e-12);
  });
});

/** Numbers of the drawn salt; the shapes come from fast-check. */
describe.each(cases.filter((row) => row.op !== null))('the gradient of $name', (row) => {
  it('is the derivative of the forward pass', () => {
    fc.assert(
      fc.property(fc.gen(), (g) => {
        const trial = row.draw(drawFrom((min, max) => g(fc.integer, { min, max })));
        if (!trial.smooth || trial.flops > 50_000) return;
        const values = trial.inputs.map((x) => Float64Array.from(x.data));
        const { salt } = trial.options;
        const dy = Float64Array.from(numbers(salt, 'dy', sizeOf(trial.shape), -1, 1));
        const grads = trial.backward(values, dy);
        const along = (at: number, direction: Float64Array, h: number): number => {
          const moved = values.map((v, i) => (i === at ? v.map((x, j) => x + h * direction[j]) : v));
          return trial.forward(moved).y?.value.reduce((sum, v, i) => sum + v * dy[i], 0) ?? Number.NaN;
        };
        trial.inputs.forEach(({ name, differentiable }, at) => {
          if (!differentiable || values[at].length === 0) return;
          const h = 2 ** -13;
          const direction = Float64Array.from(numbers(salt, `direction of ${name}`, values[at].length, -0.5, 0.5));
          const narrow = (along(at, direction, h) - along(at, direction, -h)) / (2 * h);
          const broad = (along(at, direction, 2 * h) - along(at, direction, -2 * h)) / (4 * h);
          const slope = grads[name].value.reduce((sum, v, i) => sum + v * direction[i], 0);
          const size = grads[name].value.reduce((sum, v, i) => sum + Math.abs(v * direction[i]), 1);
          // The truncation error of `narrow` is a third of its distance to `broad`.
          expect(Math.abs(slope - narrow)).toBeLessThanOrEqual(Math.abs(narrow - broad) + 1e-9 * size);
        });
      }),
      { numRuns: 25 },
    );
  });
});

describe('draws', () => {
  it('follow from the seed alone', () => {
    for (const row of cases) {
      const [a, b] = [row.draw(seededDraw(7, row.name)), row.draw(seededDraw(7, row.name))];
      expect(a.options).toEqual(b.options);
      expect(a.inputs.map((x) => x.data)).toEqual(b.inputs.map((x) => x.data));
    }
  });

  it('`distinct` keeps every two numbers apart, `awayFromZero` keeps from the kink, `halves` makes ties', () => {
    const distinct = Array.from(numbers(3, 'x', 4410, -2, 2, 'distinct')).sort((a, b) => a - b);
    const gaps = distinct.slice(1).map((v, i) => v - distinct[i]);
    expect(Math.min(...gaps)).toBeGreaterThan(4 * 2 ** -13);
    expect(Math.min(...numbers(3, 'x', 1000, -1, 1, 'awayFromZero').map(Math.abs))).toBe(1 / 32);
    expect(new Set(numbers(3, 'x', 1000, -1, 1, 'halves')).size).toBeLessThanOrEqual(6);
  });
});
