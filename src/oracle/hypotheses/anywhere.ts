/** Guesses about any op: numbers of lower precision, memory that is not what it should be, layouts mixed up. */
import type { Shape } from '../../shape.js';
import * as naive from '../naive.js';
import { roundTo } from '../suites.js';
import { type Hypothesis, type Prediction, reindexed, type WrongCall } from './hypothesis.js';

export const { float16: toHalf, bfloat16: toBfloat } = roundTo;

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

/** Ten bits behind the point, the rest cut off or rounded to nearest, ties to even, as tensor cores do. */
export function toTf32(v: number, rounds = true): number {
  float[0] = v;
  if (!Number.isFinite(v)) return v;
  const kept = bits[0] & ~0x1fff;
  const rest = bits[0] & 0x1fff;
  const up = rounds && (rest > 0x1000 || (rest === 0x1000 && (kept & 0x2000) !== 0));
  bits[0] = up ? kept + 0x2000 : kept;
  return float[0];
}

const FLOAT32_TINY = 2 ** -126;

/** The forward result of ops that are sums of products, and few others, for other operands. */
function again({ op, attributes, shapes, outputShapes }: WrongCall, v: WrongCall['values']): Float64Array | null {
  switch (op) {
    case 'conv2d': {
      const [batch, inChannels, inHeight, inWidth] = shapes.x;
      const [outChannels, , ...kernel] = shapes.weight as [number, number, number, number];
      const own = attributes as unknown as Pick<naive.NaiveConv, 'stride' | 'padding' | 'dilation' | 'groups'>;
      const { stride, padding, dilation, groups } = own;
      const g = { batch, inChannels, inHeight, inWidth, outChannels, kernel, stride, padding, dilation, groups };
      return naive.conv2d(v.x, v.weight, v.bias ?? null, g).value;
    }
    case 'linear': {
      const [outFeatures, inFeatures] = shapes.weight;
      const g = { rows: v.x.length / inFeatures, inFeatures, outFeatures };
      return naive.linear(v.x, v.weight, v.bias ?? null, g).value;
    }
    case 'matmul':
      if (shapes.a.length < 2 || shapes.b.length < 2) return null;
      return naive.matmul(v.a, shapes.a, v.b, shapes.b, outputShapes.y.slice(0, -2)).value;
    default:
      return null;
  }
}

const PRODUCTS = /^(conv2d|linear|matmul)$/;

/** The operands of products rounded, sums in full. */
const operands = (name: string, round: (v: number) => number): Hypothesis => ({
  name,
  ops: PRODUCTS,
  predict(call) {
    const values = Object.fromEntries(
      // The bias joins the sum.
      Object.entries(call.values).map(([key, data]) => [key, key === 'bias' ? data : data.map(round)]),
    );
    const y = again(call, values);
    return y && { y };
  },
});

const stored = (name: string, round: (v: number) => number): Hypothesis => ({
  name,
  ops: /./,
  strays: 0.02,
  predict: ({ truth }) => Object.fromEntries(Object.entries(truth).map(([key, data]) => [key, data.map(round)])),
});

const each = (call: WrongCall, of: (data: Float64Array, shape: Shape) => Float64Array | null): Prediction | null => {
  const found = Object.entries(call.truth).flatMap(([name, data]) => {
    const own = of(data, call.outputShapes[name]);
    return own ? [[name, own] as const] : [];
  });
  return found.length === 0 ? null : Object.fromEntries(found);
};

const anywhere = (name: string, predict: Hypothesis['predict']): Hypothesis => ({ name, ops: /./, predict });

export const commonHypotheses: readonly Hypothesis[] = [
  operands('operands are rounded to TF32', (v) => toTf32(v)),
  operands('operands are cut to TF32', (v) => toTf32(v, false)),
  operands('operands are rounded to float16', toHalf),
  operands('operands are rounded to bfloat16', toBfloat),
  anywhere('subnormal numbers are flushed to 0', (call) =>
    each(call, (data) => data.map((v) => (Math.abs(v) < FLOAT32_TINY ? 0 : v))),
  ),
  stored('results are rounded to float16', toHalf),
  stored('results are rounded to bfloat16', toBfloat),
  anywhere('nothing was written: all is 0', (call) => each(call, (data) => new Float64Array(data.length))),
  anywhere('the result in NHWC is read as NCHW', (call) =>
    each(call, (data, shape) => {
      if (shape.length !== 4) return null;
      const [n, c, h, w] = shape;
      const last = reindexed(data, shape, ([image, i, j, channel]) => [image, channel, i, j], [n, h, w, c]);
      return last;
    }),
  ),
  anywhere('rows and columns of the result are swapped', (call) =>
    each(call, (data, shape) => {
      const rank = shape.length;
      if (rank < 2) return null;
      const turned = [...shape.slice(0, -2), shape[rank - 1], shape[rank - 2]];
      return reindexed(data, shape, (index) => [...index.slice(0, -2), index[rank - 1], index[rank - 2]], turned);
    }),
  ),
  anywhere('the sign is wrong', (call) => each(call, (data) => data.map((v) => -v))),
  anywhere('the result is twice what it should be', (call) => each(call, (data) => data.map((v) => 2 * v))),
  anywhere('the result is half of what it should be', (call) => each(call, (data) => data.map((v) => v / 2))),
  ...[4, 8, 16].map((lanes) =>
    anywhere(`the last elements, beyond a multiple of ${lanes}, are not written`, (call) =>
      each(call, (data) => {
        const kept = data.length - (data.length % lanes);
        return kept === data.length ? null : data.map((v, i) => (i < kept ? v : 0));
      }),
    ),
  ),
  anywhere('the last element is not written', (call) =>
    each(call, (data) => data.map((v, i) => (i < data.length - 1 ? v : 0))),
  ),
  anywhere('elements are one place too far', (call) =>
    each(call, (data) => data.map((_, i) => data[Math.max(i - 1, 0)])),
  ),
];
