/** Rows of add, sub, mul, div, relu, reshape, flatten, sum and mean. */
import { add, div, flatten, mean, mul, relu, reshape, sub, sum } from '../../ops/index.js';
import { broadcastShapes, type Shape, sizeOf } from '../../shape.js';
import { chosen, type Expected, exact, type Precision, quotient, rounded, sumOfProducts, wideSum } from '../bounds.js';
import type { Draw } from '../draw.js';
import * as naive from '../naive.js';
import { defineCase, drawSalt, drawShape, emptied, input, type OpCase, type TypedCase } from './case.js';

/** A call of elementwise arithmetic; `salt` decides the numbers. */
export interface ElementwiseOptions {
  readonly salt: number;
  readonly a: Shape;
  /** Null: the second operand is the number `scalar`. */
  readonly b: Shape | null;
  readonly scalar: number;
}

/** Two shapes that broadcast: leading axes left out of one, some axes of either with extent 1. */
function drawBroadcast(d: Draw): { a: Shape; b: Shape } {
  const shape = emptied(d, drawShape(d, d.int(0, 4), 2000));
  const narrow = (keep: boolean): number[] => shape.map((extent) => (keep || d.int(0, 3) > 0 ? extent : 1));
  const a = narrow(d.bool());
  const b = narrow(d.bool());
  const cut = d.int(0, b.length);
  const short = d.bool() ? b.slice(cut) : b;
  return d.bool() ? { a, b: short } : { a: short, b: a };
}

/**
 * Forward, one rounding or one quotient. A gradient is a sum of n products, n the number of positions that the
 * operand was repeated to; for ÷ each term passes through two quotients and a product more, hence the extra.
 */
function elementwiseCase(
  operator: naive.Elementwise,
  op: (a: Parameters<typeof add>[0], b: Parameters<typeof add>[1]) => ReturnType<typeof add>,
): TypedCase<ElementwiseOptions> {
  const extra = (p: Precision): number => (operator === 'div' ? 2 * p.quotient + 2 : 0);
  return defineCase<ElementwiseOptions>({
    name: operator,
    op: operator,
    options(d) {
      const { a, b } = drawBroadcast(d);
      return { salt: drawSalt(d), a, b: d.int(0, 4) === 0 ? null : b, scalar: d.pick([0.75, -1.5, 3]) };
    },
    trial({ salt, a, b, scalar }) {
      const bShape = b ?? [];
      const shape = broadcastShapes(operator, a, bShape);
      const range = operator === 'div' ? { low: 0.5, high: 2 } : {};
      const inputs = [input(salt, 'a', a)];
      if (b) inputs.push(input(salt, 'b', b, range));
      const second = (values: readonly Float64Array[]): ArrayLike<number> => (b ? values[1] : [scalar]);
      return {
        inputs,
        shape,
        smooth: true,
        attributes: b ? {} : { scalar },
        flops: sizeOf(shape),
        run: (t) => op(t[0], b ? t[1] : scalar),
        forward(v) {
          const y = naive.elementwise(operator, v[0], a, second(v), bShape, shape);
          return { y: operator === 'div' ? quotient(y) : rounded(y), changed: {} };
        },
        backward(v, dy) {
          const { da, db } = naive.elementwiseBackward(operator, v[0], a, second(v), bShape, shape, dy);
          const grads: Record<string, Expected> = { a: sumOfProducts(da, extra) };
          if (b) grads.b = sumOfProducts(db, extra);
          return grads;
        },
      };
    },
    badInput: [
      { why: 'shapes that do not broadcast', shapes: [[2, 3], [2]], call: ([a, b]) => op(a, b) },
      {
        why: 'an extent of 3 against 2 in the middle',
        shapes: [
          [2, 3, 4],
          [2, 2, 4],
        ],
        call: ([a, b]) => op(a, b),
      },
    ],
  });
}

/** The row of add. */
export const addCase = elementwiseCase('add', add);
/** The row of sub. */
export const subCase = elementwiseCase('sub', sub);
/** The row of mul. */
export const mulCase = elementwiseCase('mul', mul);
/** The row of div. */
export const divCase = elementwiseCase('div', div);

/** A call on one tensor of this shape. */
export interface ShapeOptions {
  readonly salt: number;
  readonly shape: Shape;
}

/** Exact: it only chooses. Inputs keep away from the kink. */
export const reluCase = defineCase<ShapeOptions>({
  name: 'relu',
  op: 'relu',
  options: (d) => ({ shape: emptied(d, drawShape(d, d.int(0, 4), 2000)), salt: drawSalt(d) }),
  trial: ({ salt, shape }) => ({
    inputs: [input(salt, 'x', shape, { fill: 'awayFromZero' })],
    shape,
    smooth: true,
    attributes: {},
    flops: sizeOf(shape),
    run: ([x]) => relu(x),
    forward: ([x]) => ({ y: chosen(naive.relu(x), x, x), changed: {} }),
    backward: ([x], dy) => ({ x: chosen(naive.reluBackward(x, dy), x, dy) }),
  }),
});

/** A call of reshape. */
export interface ReshapeOptions {
  readonly salt: number;
  readonly from: Shape;
  readonly to: Shape;
  /** The axis of `to` that is passed as −1, or null. */
  readonly free: number | null;
}

/** Exact: the same elements under another shape. */
export const reshapeCase = defineCase<ReshapeOptions>({
  name: 'reshape',
  op: 'reshape',
  options(d) {
    const from = emptied(d, drawShape(d, d.int(0, 4), 1000));
    const parts = [...from, ...(d.bool() ? [1] : [])].reverse();
    // Neighbouring axes are merged or not.
    const to: number[] = [];
    for (const extent of parts) {
      if (to.length > 0 && d.bool()) to[to.length - 1] *= extent;
      else to.push(extent);
    }
    // An empty tensor leaves a free axis without an answer.
    const freed = to.length > 0 && sizeOf(from) > 0 && d.bool();
    return { salt: drawSalt(d), from, to, free: freed ? d.int(0, to.length - 1) : null };
  },
  trial: ({ salt, from, to, free }) => ({
    inputs: [input(salt, 'x', from)],
    shape: to,
    smooth: true,
    attributes: { shape: to },
    flops: 0,
    run: ([x]) =>
      reshape(
        x,
        to.map((extent, i) => (i === free ? -1 : extent)),
      ),
    forward: ([x]) => ({ y: exact(Float64Array.from(x)), changed: {} }),
    backward: (_, dy) => ({ x: exact(Float64Array.from(dy)) }),
  }),
  badInput: [
    { why: 'another number of elements', shapes: [[2, 3]], call: ([x]) => reshape(x, [4, 2]) },
    { why: 'two free axes', shapes: [[2, 3]], call: ([x]) => reshape(x, [-1, -1]) },
    { why: 'a free axis that has no answer', shapes: [[2, 3]], call: ([x]) => reshape(x, [4, -1]) },
    { why: 'a broken extent', shapes: [[2, 3]], call: ([x]) => reshape(x, [1.5, 4]) },
  ],
});

/** A call of flatten. */
export interface FlattenOptions {
  readonly salt: number;
  readonly from: Shape;
  readonly startDim: number;
  readonly endDim: number;
}

/** Exact: the same elements under another shape. */
export const flattenCase = defineCase<FlattenOptions>({
  name: 'flatten',
  op: 'flatten',
  options(d) {
    const from = emptied(d, drawShape(d, d.int(1, 4), 1000));
    const startDim = d.int(0, from.length - 1);
    const endDim = d.int(startDim, from.length - 1);
    const negative = d.bool();
    return { salt: drawSalt(d), from, startDim, endDim: negative ? endDim - from.length : endDim };
  },
  trial({ salt, from, startDim, endDim }) {
    const end = endDim < 0 ? endDim + from.length : endDim;
    return {
      inputs: [input(salt, 'x', from)],
      shape: [...from.slice(0, startDim), sizeOf(from.slice(startDim, end + 1)), ...from.slice(end + 1)],
      smooth: true,
      attributes: { startDim, endDim: end },
      flops: 0,
      run: ([x]) => flatten(x, startDim, endDim),
      forward: ([x]) => ({ y: exact(Float64Array.from(x)), changed: {} }),
      backward: (_, dy) => ({ x: exact(Float64Array.from(dy)) }),
    };
  },
  badInput: [
    { why: 'an axis out of range', shapes: [[2, 3]], call: ([x]) => flatten(x, 2) },
    { why: 'a start behind the end', shapes: [[2, 3, 4]], call: ([x]) => flatten(x, 2, 1) },
  ],
});

/** A call of a sum or a mean. */
export interface ReduceOptions {
  readonly salt: number;
  readonly from: Shape;
  /** Null: over all axes, none named. */
  readonly dim: number | readonly number[] | null;
  readonly keepdim: boolean;
}

/**
 * A wide sum of n terms; the mean divides it, or them. The gradient repeats dy, or dy / n: one quotient.
 */
function reduceCase(name: 'sum' | 'mean', op: typeof sum): TypedCase<ReduceOptions> {
  return defineCase<ReduceOptions>({
    name,
    op: name,
    options(d) {
      const drawn = d.int(0, 5) === 0 ? [d.int(900, 2500)] : drawShape(d, d.int(0, 4), 2000);
      const chosen = drawn.map((_, i) => i).filter(() => d.bool());
      // The mean of nothing is NaN, which has no bound.
      const kept = chosen.length === 0 ? [] : drawn.map((_, i) => i).filter((i) => !chosen.includes(i));
      const from = emptied(d, drawn, name === 'sum' ? undefined : kept);
      const signed = chosen.map((i) => (d.bool() ? i - from.length : i));
      const dim = signed.length === 0 ? null : signed.length === 1 && d.bool() ? signed[0] : signed;
      return { salt: drawSalt(d), from, dim, keepdim: d.bool() };
    },
    trial({ salt, from, dim, keepdim }) {
      const named = dim === null ? from.map((_, i) => i) : typeof dim === 'number' ? [dim] : dim;
      const axes = named.map((i) => (i < 0 ? i + from.length : i));
      const kept = from.map((extent, i) => (axes.includes(i) ? 1 : extent));
      const divisor = name === 'mean' ? sizeOf(axes.map((i) => from[i])) : 1;
      return {
        inputs: [input(salt, 'x', from)],
        shape: keepdim ? kept : kept.filter((_, i) => !axes.includes(i)),
        smooth: true,
        attributes: { dim: axes, keepdim },
        flops: sizeOf(from),
        run: ([x]) => op(x, dim ?? undefined, { keepdim }),
        forward: ([x]) => ({ y: wideSum(naive.sum(x, from, axes, divisor)), changed: {} }),
        backward(_, dy) {
          const dx = naive.sumBackward(dy, from, axes, divisor);
          return { x: name === 'mean' ? quotient(dx) : exact(dx) };
        },
      };
    },
    badInput: [
      { why: 'an axis out of range', shapes: [[2, 3]], call: ([x]) => op(x, 2) },
      { why: 'an axis named twice', shapes: [[2, 3]], call: ([x]) => op(x, [1, -1]) },
      { why: 'half an axis', shapes: [[2, 3]], call: ([x]) => op(x, 0.5) },
    ],
  });
}

/** The row of sum. */
export const sumCase = reduceCase('sum', sum);
/** The row of mean. */
export const meanCase = reduceCase('mean', mean);

/** All rows of this file. */
export const elementwiseCases: readonly OpCase[] = [
  addCase,
  subCase,
  mulCase,
  divCase,
  reluCase,
  reshapeCase,
  flattenCase,
  sumCase,
  meanCase,
];
