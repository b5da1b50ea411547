/** Ops: broadcasting, torch.matmul's rules and gradients by finite differences; and what each refuses. */
import { afterAll, describe, expect, it } from 'vitest';
import {
  ArgumentError,
  adaptiveAvgPool2d,
  add,
  avgPool2d,
  batchNorm,
  conv2d,
  crossEntropy,
  DeviceError,
  div,
  flatten,
  grad,
  linear,
  logSoftmax,
  matmul,
  maxPool2d,
  mean,
  mul,
  noGrad,
  reference,
  relu,
  reshape,
  type Shape,
  softmax,
  sub,
  sum,
  type Tensor,
  tensor,
} from '../src/index.js';
import { sizeOf } from '../src/shape.js';
import { formula } from './goldens.js';

const device = reference({ dtype: 'float64' });
afterAll(() => device.dispose());
const of = (name: string, shape: Shape): Tensor => tensor(formula(name, shape), shape, { device, requiresGrad: true });

/** Gradients of ⟨f(xs), dy⟩ against central differences; float64, so 1e-6 leaves no room for a wrong term. */
function checkGradient(f: (...xs: Tensor[]) => Tensor, ...inputs: Tensor[]): void {
  const y = f(...inputs);
  const dy = formula('dy', y.shape);
  const grads = grad(y, inputs, tensor(dy, y.shape, { device }));
  const at = (): number =>
    device.scope(() => noGrad(() => f(...inputs).dataSync() as Float64Array)).reduce((s, v, i) => s + v * dy[i], 0);
  inputs.forEach((x, k) => {
    expect(grads[k].shape).toEqual(x.shape);
    const data = x.dataSync() as Float64Array;
    const found = grads[k].dataSync();
    for (let i = 0; i < data.length; i++) {
      const nudge = (by: number): number => {
        x.write(data.map((v, j) => (j === i ? v + by : v)));
        return at();
      };
      const want = (nudge(1e-4) - nudge(-1e-4)) / 2e-4;
      expect(Math.abs(Number(found[i]) - want), `input ${k}, element ${i}`).toBeLessThan(1e-6);
      x.write(data);
    }
  });
}

const shapes: [Shape, Shape][] = [
  [[3], [3]],
  [[2, 3], [3]],
  [[3], [2, 3]],
  [
    [2, 1, 3],
    [4, 1],
  ],
  [[], [2, 2]],
  [[1, 1], []],
];

describe('arithmetic', () => {
  it.each(shapes)('broadcasts %j with %j', (a, b) => {
    const away = (...[x, y]: Tensor[]): Tensor => div(x, add(y, 3));
    for (const f of [add, sub, mul] as ((...xs: Tensor[]) => Tensor)[]) checkGradient(f, of('a', a), of('b', b));
    checkGradient(away, of('a', a), of('b', b));
    const y = sub(of('a', a), of('b', b));
    const [x, z] = [of('a', a).dataSync(), of('b', b).dataSync()];
    if (a.length === 2 && b.length === 1) expect(y.dataSync()[4]).toBe(Number(x[4]) - Number(z[1]));
  });

  it('takes a number as second operand', () => {
    const x = of('x', [4]);
    const data = Array.from(x.dataSync(), Number);
    expect([...add(x, 2).dataSync()]).toEqual(data.map((v) => v + 2));
    expect([...sub(x, 2).dataSync()]).toEqual(data.map((v) => v - 2));
    expect([...mul(x, 2).dataSync()]).toEqual(data.map((v) => v * 2));
    expect([...div(x, 3).dataSync()]).toEqual(data.map((v) => v / 3));
    checkGradient((t) => div(mul(sub(add(t, 1), 2), 3), 4), x);
  });

  it('refuses shapes that do not broadcast, other devices and nothing at all', () => {
    expect(() => add(of('a', [2, 3]), of('b', [2]))).toThrow(/add: shapes \[2, 3\] and \[2\] do not broadcast/);
    expect(() => mul(of('a', [1]), undefined as unknown as Tensor)).toThrow(ArgumentError);
    const other = reference({ dtype: 'float64' });
    expect(() => add(of('a', [1]), tensor([1], { device: other }))).toThrow(DeviceError);
    other.dispose();
  });
});

describe('matmul', () => {
  it.each<[Shape, Shape, Shape]>([
    [[3], [3], []],
    [
      [2, 3],
      [3, 4],
      [2, 4],
    ],
    [[3], [3, 4], [4]],
    [[2, 3], [3], [2]],
    [
      [5, 2, 3],
      [3, 4],
      [5, 2, 4],
    ],
    [
      [2, 3],
      [5, 3, 4],
      [5, 2, 4],
    ],
    [
      [5, 2, 3],
      [5, 3, 4],
      [5, 2, 4],
    ],
    [
      [2, 1, 2, 3],
      [4, 3, 2],
      [2, 4, 2, 2],
    ],
    [
      [2, 1, 2, 3],
      [1, 3, 3, 2],
      [2, 3, 2, 2],
    ],
    [[5, 2, 3], [3], [5, 2]],
    [[3], [5, 3, 2], [5, 2]],
  ])('%j · %j is %j', (a, b, shape) => {
    const [x, y] = [of('a', a), of('b', b)];
    const z = matmul(x, y);
    expect(z.shape).toEqual(shape);
    // As a broadcast product summed over the inner axis.
    const rows = a.length === 1 ? [1, ...a] : a;
    const columns = b.length === 1 ? [...b, 1] : b;
    const left = reshape(x, [...rows, 1]);
    const right = reshape(y, [...columns.slice(0, -2), 1, ...columns.slice(-2)]);
    const want = sum(mul(left, right), -2);
    Array.from(z.dataSync(), Number).forEach((v, i) => {
      expect(v).toBeCloseTo(Number(want.dataSync()[i]), 12);
    });
    checkGradient(matmul as (...xs: Tensor[]) => Tensor, x, y);
  });

  it('refuses inner extents that differ and scalars', () => {
    expect(() => matmul(of('a', [2, 3]), of('b', [4, 2]))).toThrow(
      /a \[2, 3\] has 3 columns but b \[4, 2\] has 4 rows/,
    );
    expect(() => matmul(of('a', []), of('b', [1]))).toThrow(ArgumentError);
    expect(() => matmul(of('a', [2, 2, 3]), of('b', [3, 3, 2]))).toThrow(/do not broadcast/);
  });
});

describe('gradients by finite differences', () => {
  it('linear, of any rank', () => {
    for (const lead of [[], [2], [2, 3]]) {
      checkGradient((x, w, b) => linear(x, w, b), of('x', [...lead, 3]), of('w', [4, 3]), of('b', [4]));
    }
  });
  it('sum and mean over axes', () => {
    const x = of('x', [2, 3, 4]);
    for (const dim of [undefined, 0, -1, [0, 2], [1, -1]]) {
      for (const keepdim of [false, true]) {
        checkGradient((t) => sum(t, dim, { keepdim }), x);
        checkGradient((t) => mean(t, dim, { keepdim }), x);
      }
    }
    expect(mean(x, [0, 2], { keepdim: true }).shape).toEqual([1, 3, 1]);
    expect(sum(x, -1).shape).toEqual([2, 3]);
    expect(mean(x, 1).dataSync()[0]).toBeCloseTo(
      [0, 4, 8].reduce((s, i) => s + Number(x.dataSync()[i]) / 3, 0),
      14,
    );
  });
  it('softmax and logSoftmax along any axis', () => {
    const x = of('x', [2, 3, 4]);
    for (const dim of [0, 1, -1]) {
      checkGradient((t) => softmax(t, dim), x);
      checkGradient((t) => logSoftmax(t, dim), x);
    }
    expect(softmax(x, 1).shape).toEqual([2, 3, 4]);
    expect(Number(sum(softmax(x, 1)).item())).toBeCloseTo(8, 12);
  });
  it('conv2d with groups, dilation and the two named paddings', () => {
    const [x, w, b] = [of('x', [2, 4, 5, 6]), of('w', [6, 2, 2, 3]), of('b', [6])];
    const run = (o: Parameters<typeof conv2d>[3]) => (t: Tensor, v: Tensor, c: Tensor) => conv2d(t, v, c, o);
    checkGradient(run({ groups: 2, dilation: [1, 2], stride: [2, 1], padding: [1, 0] }), x, w, b);
    checkGradient(run({ groups: 2, padding: 'same' }), x, w, b);
    expect(conv2d(x, w, b, { groups: 2, padding: 'same', dilation: 2 }).shape).toEqual([2, 6, 5, 6]);
    expect(conv2d(x, w, b, { groups: 2, padding: 'valid' }).shape).toEqual([2, 6, 4, 4]);
  });
  it("puts the odd zero of 'same' after the input", () => {
    const x = tensor([1, 2, 3], [1, 1, 1, 3], { device });
    const w = tensor([1, 10], [1, 1, 1, 2], { device });
    expect([...conv2d(x, w, null, { padding: 'same' }).dataSync()]).toEqual([21, 32, 3]);
  });
  it('pooling', () => {
    const x = of('x', [2, 2, 5, 6]);
    checkGradient((t) => maxPool2d(t, [2, 3], { stride: [2, 1], padding: [1, 1], ceilMode: true }), x);
    for (const countIncludePad of [true, false]) {
      checkGradient((t) => avgPool2d(t, 3, { stride: 2, padding: 1, ceilMode: true, countIncludePad }), x);
    }
    checkGradient((t) => adaptiveAvgPool2d(t, [2, null]), x);
    expect(adaptiveAvgPool2d(x, [2, null]).shape).toEqual([2, 2, 2, 6]);
  });
  it('batchNorm, with and without scale, in both modes and for rank 2', () => {
    const stats = { runningMean: tensor([0.1, -0.2], { device }), runningVar: tensor([0.5, 1.5], { device }) };
    const x = of('x', [3, 2, 2, 2]);
    for (const training of [true, false]) {
      const momentum = 0;
      checkGradient(
        (t, w, b) => batchNorm(t, { ...stats, weight: w, bias: b, training, momentum }),
        x,
        of('w', [2]),
        of('b', [2]),
      );
    }
    checkGradient((t) => batchNorm(t, { training: true }), of('x', [4, 2]));
  });
  it('crossEntropy with label smoothing', () => {
    checkGradient((t) => crossEntropy(t, [2, 0, 1], { labelSmoothing: 0.1 }), of('x', [3, 4]));
  });
});

describe('shapes', () => {
  it('flatten and reshape as PyTorch', () => {
    const x = of('x', [2, 3, 4]);
    expect(flatten(x).shape).toEqual([24]);
    expect(flatten(x, 1).shape).toEqual([2, 12]);
    expect(flatten(x, 0, 1).shape).toEqual([6, 4]);
    expect(flatten(of('x', [])).shape).toEqual([1]);
    expect(reshape(x, [4, -1]).shape).toEqual([4, 6]);
    checkGradient((t) => mul(reshape(t, [4, 6]), 2), x);
  });
});

describe('bad input', () => {
  const x = of('x', [2, 4, 5, 6]);
  const w = of('w', [6, 4, 3, 3]);
  it.each<[string, () => unknown, RegExp]>([
    ['conv2d rank', () => conv2d(of('x', [4, 5, 6]), w), /conv2d: x has shape \[4, 5, 6\]; want 4 axes/],
    ['conv2d channels', () => conv2d(of('x', [2, 3, 5, 6]), w), /has 3 channels.*wants 4/],
    ['conv2d groups', () => conv2d(x, w, null, { groups: 4 }), /groups is 4.*divides the 6 output channels/],
    ['conv2d bias', () => conv2d(x, w, of('b', [5])), /bias has shape \[5\]; want \[6\]/],
    ['conv2d stride', () => conv2d(x, w, null, { stride: 0 }), /stride is 0; want a whole number of at least 1/],
    ['conv2d padding', () => conv2d(x, w, null, { padding: -1 }), /padding is -1/],
    ['conv2d padding name', () => conv2d(x, w, null, { padding: 'full' as 'same' }), /padding is 'full'/],
    ['conv2d same, stride 2', () => conv2d(x, w, null, { padding: 'same', stride: 2 }), /'same' with stride \[2, 2\]/],
    ['conv2d extent', () => conv2d(x, w, null, { dilation: 3 }), /padded to 5×6 is smaller than the kernel.*7×7/],
    [
      'maxPool2d padding',
      () => maxPool2d(x, 3, { padding: 2 }),
      /padding \[2, 2\] with kernelSize \[3, 3\]; want at most half/,
    ],
    ['maxPool2d extent', () => maxPool2d(x, 7), /gives a 0×0 output/],
    [
      'maxPool2d only padding',
      () => maxPool2d(of('x', [1, 1, 2, 2]), 2, { padding: 1, dilation: 3 }),
      /nothing but padding/,
    ],
    ['avgPool2d padding', () => avgPool2d(x, 2, { padding: [2, 0] }), /avgPool2d: padding \[2, 0\]/],
    ['adaptiveAvgPool2d size', () => adaptiveAvgPool2d(x, 0), /outputSize is \[0, 0\]/],
    ['linear', () => linear(of('x', [2, 3]), of('w', [4, 5])), /linear: x has shape \[2, 3\]; want \[..., 5\]/],
    [
      'batchNorm single value',
      () => batchNorm(of('x', [1, 3, 1, 1]), { training: true }),
      /1 value per channel; training wants more/,
    ],
    ['batchNorm no statistics', () => batchNorm(x), /training is false and there is no runningMean/],
    [
      'batchNorm weight',
      () => batchNorm(x, { training: true, weight: of('w', [3]) }),
      /weight has shape \[3\]; want \[4\]/,
    ],
    ['crossEntropy count', () => crossEntropy(of('x', [3, 4]), [1, 2]), /got 2 labels for logits \[3, 4\]; want 3/],
    [
      'crossEntropy range',
      () => crossEntropy(of('x', [2, 4]), [1, 4]),
      /labels\[1\] is 4; want a whole number from 0 to 3/,
    ],
    ['crossEntropy fraction', () => crossEntropy(of('x', [2, 4]), [1, 0.5]), /labels\[1\] is 0.5/],
    ['crossEntropy smoothing', () => crossEntropy(of('x', [1, 4]), [1], { labelSmoothing: 2 }), /labelSmoothing is 2/],
    ['reshape', () => reshape(x, [7, -1]), /240 elements do not divide by 7/],
    ['reshape two', () => reshape(x, [-1, -1]), /-1 at most once/],
    ['flatten', () => flatten(x, 2, 1), /startDim 2 comes after endDim 1/],
    ['sum twice', () => sum(x, [1, -3]), /names axis 1 twice/],
    ['mean range', () => mean(x, 4), /dim is 4; want a whole number from -4 to 3/],
    ['softmax range', () => softmax(x, -5), /softmax: dim is -5/],
  ])('%s', (_, run, message) => {
    const used = device.memory().used;
    expect(run).toThrow(ArgumentError);
    expect(run).toThrow(message);
    expect(device.memory().used).toBeLessThanOrEqual(used + 8 * 4 * sizeOf(w.shape));
  });
  it('keeps NaN and drops the sign of zero in relu', () => {
    const y = relu(tensor([Number.NaN, -0, -1, 2], { device })).dataSync();
    expect([Number.isNaN(y[0]), Object.is(y[1], 0), y[2], y[3]]).toEqual([true, true, 0, 2]);
  });
});
