/** Guesses about pooling. */
import * as naive from '../naive.js';
import { type Hypothesis, type Prediction, reindexed, type WrongCall } from './hypothesis.js';

interface PoolAttributes {
  readonly kernelSize: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number, number, number];
  readonly dilation: readonly [number, number];
  readonly ceilMode: boolean;
  readonly countIncludePad?: boolean;
}

function poolOf({ shapes, attributes }: WrongCall): naive.NaivePool {
  const { kernelSize, stride, padding, dilation, ceilMode } = attributes as unknown as PoolAttributes;
  const [n, c, inHeight, inWidth] = shapes.x;
  return { planes: n * c, inHeight, inWidth, kernel: kernelSize, stride, padding, dilation, ceilMode };
}

const included = ({ attributes }: WrongCall): boolean =>
  (attributes as unknown as PoolAttributes).countIncludePad ?? true;

function pooled(call: WrongCall, g: naive.NaivePool, x = call.values.x): Prediction {
  const [n, c] = call.shapes.x;
  const data = call.op === 'maxPool2d' ? naive.maxPool2d(x, g).y : naive.avgPool2d(x, g, included(call)).value;
  return { y: { shape: [n, c, ...naive.poolOutput(g)], data } };
}

const swap = <T>([a, b]: readonly [T, T]): [T, T] => [b, a];
const differ = ([a, b]: readonly [unknown, unknown]): boolean => a !== b;

const geometry = (name: string, change: (g: naive.NaivePool) => Partial<naive.NaivePool> | null): Hypothesis => ({
  name,
  ops: /^(max|avg)Pool2d$/,
  predict(call) {
    const g = poolOf(call);
    const changed = change(g);
    return changed === null ? null : pooled(call, { ...g, ...changed });
  },
});

const max = (name: string, predict: Hypothesis['predict']): Hypothesis => ({ name, ops: /^maxPool2d$/, predict });
const average = (name: string, predict: Hypothesis['predict']): Hypothesis => ({ name, ops: /^avgPool2d$/, predict });

const moved = (name: string, rows: number, columns: number): Hypothesis =>
  geometry(name, ({ padding: [top, bottom, left, right] }) => ({
    padding: [top - rows, bottom + rows, left - columns, right + columns],
  }));

/** Which outputs a maximum came from: the gradient goes to each of them, `share` deciding how much. */
function tiesOf(call: WrongCall): { last: Float64Array; all: Float64Array; split: Float64Array } | null {
  const dy = call.values.dy;
  if (dy === undefined) return null;
  const g = poolOf(call);
  const { x } = call.values;
  const [outHeight, outWidth] = naive.poolOutput(g);
  const { y } = naive.maxPool2d(x, g);
  const [last, all, split] = [0, 1, 2].map(() => new Float64Array(x.length));
  for (let i = 0; i < y.length; i++) {
    const plane = Math.floor(i / (outHeight * outWidth));
    const [row, column] = [Math.floor(i / outWidth) % outHeight, i % outWidth];
    const winners: number[] = [];
    for (let p = 0; p < g.kernel[0]; p++)
      for (let q = 0; q < g.kernel[1]; q++) {
        const r = row * g.stride[0] + p * g.dilation[0] - g.padding[0];
        const c = column * g.stride[1] + q * g.dilation[1] - g.padding[2];
        if (r < 0 || r >= g.inHeight || c < 0 || c >= g.inWidth) continue;
        const at = (plane * g.inHeight + r) * g.inWidth + c;
        if (x[at] === y[i]) winners.push(at);
      }
    for (const at of winners) {
      all[at] += dy[i];
      split[at] += dy[i] / winners.length;
    }
    if (winners.length > 0) last[winners[winners.length - 1]] += dy[i];
  }
  return { last, all, split };
}

export const poolingHypotheses: readonly Hypothesis[] = [
  max('padding takes part as 0, not as −∞', (call) => {
    const g = poolOf(call);
    const [top, bottom, left, right] = g.padding;
    if (top + bottom + left + right === 0) return null;
    const [n, c, height, width] = call.shapes.x;
    const shape = [n, c, height + top + bottom, width + left + right];
    const x = reindexed(
      call.values.x,
      call.shapes.x,
      ([image, channel, i, j]) => {
        const [row, column] = [i - top, j - left];
        return row < 0 || row >= height || column < 0 || column >= width ? null : [image, channel, row, column];
      },
      shape,
    );
    return pooled(call, { ...g, inHeight: shape[2], inWidth: shape[3], padding: [0, 0, 0, 0] }, x);
  }),
  max('a mean instead of a maximum', (call) => {
    const g = poolOf(call);
    return g.dilation.some((d) => d > 1) ? null : { y: naive.avgPool2d(call.values.x, g, true).value };
  }),
  max('a minimum instead of a maximum', (call) => {
    const found = naive.maxPool2d(
      call.values.x.map((v) => -v),
      poolOf(call),
    ).y;
    return { y: found.map((v) => -v) };
  }),
  max('the maximum starts at 0', ({ truth }) => ({ y: truth.y.map((v) => Math.max(v, 0)) })),
  max('among equals the gradient goes to the last', (call) => {
    const ties = tiesOf(call);
    return ties && { 'grad.x': ties.last };
  }),
  max('among equals the gradient goes to all', (call) => {
    const ties = tiesOf(call);
    return ties && { 'grad.x': ties.all };
  }),
  max('among equals the gradient is split', (call) => {
    const ties = tiesOf(call);
    return ties && { 'grad.x': ties.split };
  }),
  geometry('the window’s rows and columns are swapped', (g) => (differ(g.kernel) ? { kernel: swap(g.kernel) } : null)),
  geometry('the strides of rows and columns are swapped', (g) =>
    differ(g.stride) ? { stride: swap(g.stride) } : null,
  ),
  geometry('the padding of rows and columns is swapped', ({ padding: [top, bottom, left, right] }) =>
    top === left && bottom === right ? null : { padding: [left, right, top, bottom] },
  ),
  geometry('the odd zero of the padding is on the wrong side', ({ padding: [top, bottom, left, right] }) =>
    top === bottom && left === right ? null : { padding: [bottom, top, right, left] },
  ),
  geometry('the padding is ignored', (g) => (g.padding.every((p) => p === 0) ? null : { padding: [0, 0, 0, 0] })),
  geometry('the stride is the window', (g) => (g.stride.join() === g.kernel.join() ? null : { stride: g.kernel })),
  geometry('the stride is ignored', (g) => (g.stride.every((s) => s === 1) ? null : { stride: [1, 1] })),
  geometry('the dilation is ignored', (g) => (g.dilation.every((d) => d === 1) ? null : { dilation: [1, 1] })),
  {
    name: 'the dilation is ignored, the size is right',
    ops: /^maxPool2d$/,
    predict(call) {
      const g = poolOf(call);
      if (g.dilation.every((d) => d === 1)) return null;
      const dense = { ...g, dilation: [1, 1] as const };
      const [n, c] = call.shapes.x;
      const shape = [n, c, ...naive.poolOutput(dense)];
      return { y: reindexed(naive.maxPool2d(call.values.x, dense).y, shape, (index) => index, call.outputShapes.y) };
    },
  },
  geometry('extents are rounded down, not up', (g) => (g.ceilMode ? { ceilMode: false } : null)),
  geometry('extents are rounded up, not down', (g) => (g.ceilMode ? null : { ceilMode: true })),
  moved('the window starts a row too low', 1, 0),
  moved('the window starts a row too high', -1, 0),
  moved('the window starts a column too far right', 0, 1),
  moved('the window starts a column too far left', 0, -1),
  average('the divisor counts the padding', (call) =>
    included(call) ? null : { y: naive.avgPool2d(call.values.x, poolOf(call), true).value },
  ),
  average('the divisor leaves the padding out', (call) =>
    included(call) ? { y: naive.avgPool2d(call.values.x, poolOf(call), false).value } : null,
  ),
  average('a sum instead of a mean', (call) => {
    const g = poolOf(call);
    // The mean of x and of 1 have the same divisor, so their quotient with the padding left out is the sum by the count.
    const kernel = g.kernel[0] * g.kernel[1];
    const counted = naive.avgPool2d(new Float64Array(call.values.x.length).fill(1), g, true).value;
    return included(call) ? { y: call.truth.y.map((v, i) => (counted[i] === 0 ? v : v * kernel)) } : null;
  }),
  average('the divisor is the whole window even where it hangs over', (call) => {
    const g = poolOf(call);
    const [, bottom, , right] = g.padding;
    if (!g.ceilMode) return null;
    const more = { ...g, padding: [g.padding[0], bottom + g.kernel[0], g.padding[2], right + g.kernel[1]] as const };
    const [height, width] = naive.poolOutput(more);
    const [n, c] = call.shapes.x;
    const wide = naive.avgPool2d(call.values.x, more, true).value;
    return { y: reindexed(wide, [n, c, height, width], (index) => index, call.outputShapes.y) };
  }),
  {
    name: 'a sum instead of a mean',
    ops: /^adaptiveAvgPool2d$/,
    predict({ shapes, attributes, truth }) {
      const [outHeight, outWidth] = attributes.outputSize as [number, number];
      const [, , inHeight, inWidth] = shapes.x;
      const sizeOf = (i: number, extent: number, out: number): number =>
        Math.ceil(((i + 1) * extent) / out) - Math.floor((i * extent) / out);
      return {
        y: truth.y.map((v, at) => {
          const [i, j] = [Math.floor(at / outWidth) % outHeight, at % outWidth];
          return v * sizeOf(i, inHeight, outHeight) * sizeOf(j, inWidth, outWidth);
        }),
      };
    },
  },
  ...(['down', 'up'] as const).map(
    (way): Hypothesis => ({
      name: `windows end where the next begins, rounded ${way}`,
      ops: /^adaptiveAvgPool2d$/,
      predict({ values, shapes, attributes, outputShapes }) {
        const [outHeight, outWidth] = attributes.outputSize as [number, number];
        const [, , inHeight, inWidth] = shapes.x;
        const round = way === 'down' ? Math.floor : Math.ceil;
        const y = new Float64Array(outputShapes.y.reduce((a, b) => a * b, 1));
        for (let at = 0; at < y.length; at++) {
          const plane = Math.floor(at / (outHeight * outWidth));
          const [i, j] = [Math.floor(at / outWidth) % outHeight, at % outWidth];
          const [top, bottom] = [round((i * inHeight) / outHeight), round(((i + 1) * inHeight) / outHeight)];
          const [left, right] = [round((j * inWidth) / outWidth), round(((j + 1) * inWidth) / outWidth)];
          for (let r = top; r < bottom; r++)
            for (let s = left; s < right; s++)
              y[at] += values.x[(plane * inHeight + r) * inWidth + s] / ((bottom - top) * (right - left));
        }
        return { y };
      },
    }),
  ),
];
