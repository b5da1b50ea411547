/** Guesses about element-wise ops, reductions, softmax and the loss. */
import { broadcastAxes } from '../../shape.js';
import * as naive from '../naive.js';
import { type Hypothesis, type Prediction, reindexed, type WrongCall } from './hypothesis.js';

const guess = (ops: RegExp, name: string, predict: Hypothesis['predict']): Hypothesis => ({ name, ops, predict });

function axisOf({ attributes, shapes }: WrongCall, dim = attributes.dim as number): naive.NaiveAxis {
  const shape = shapes.x.length === 0 ? [1] : shapes.x;
  const size = (from: number, to: number): number => shape.slice(from, to).reduce((a, b) => a * b, 1);
  return { outer: size(0, dim), extent: shape[dim], inner: size(dim + 1, shape.length) };
}

const SOFTMAX = /^(softmax|logSoftmax)$/;

/** Softmax, or its logarithm, along an axis. */
function along(call: WrongCall, dim: number): Float64Array {
  const g = axisOf(call, dim);
  return call.op === 'softmax' ? naive.softmax(call.values.x, g) : naive.logSoftmax(call.values.x, g);
}

interface LossAttributes {
  readonly labels: readonly number[];
  readonly labelSmoothing: number;
}

/** The loss of each row for a target of one's own. */
function loss(
  call: WrongCall,
  target: (label: number, k: number, classes: number, s: number) => number,
  mean = true,
): Prediction {
  const { labels, labelSmoothing } = call.attributes as unknown as LossAttributes;
  const classes = call.shapes.logits[1];
  const y = naive.logSoftmax(call.values.logits, { outer: labels.length, extent: classes, inner: 1 });
  let total = 0;
  y.forEach((v, i) => {
    total -= target(labels[Math.floor(i / classes)], i % classes, classes, labelSmoothing) * v;
  });
  return { y: Float64Array.of(mean ? total / labels.length : total) };
}

const LOSS = /^crossEntropy$/;
const usual = (label: number, k: number, classes: number, s: number): number => (k === label ? 1 - s : 0) + s / classes;

export const pointwiseHypotheses: readonly Hypothesis[] = [
  guess(/^(sub|div)$/, 'the operands are swapped', ({ op, values, attributes, shapes, outputShapes }) => {
    const scalar = attributes.scalar as number | undefined;
    const [b, bShape] = scalar === undefined ? [values.b, shapes.b] : [[scalar], []];
    return { y: naive.elementwise(op as 'sub', b, bShape, values.a, shapes.a, outputShapes.y) };
  }),
  guess(
    /^(add|sub|mul|div)$/,
    'the second operand is taken by position, without broadcasting',
    ({ op, values, shapes, outputShapes }) => {
      if (
        values.b === undefined ||
        (broadcastAxes(shapes.b, outputShapes.y).length === 0 && shapes.b.length === outputShapes.y.length)
      )
        return null;
      if (values.a.length !== outputShapes.y.reduce((x, y) => x * y, 1)) return null;
      const b = values.a.map((_, i) => values.b[i % values.b.length]);
      return { y: naive.elementwise(op as 'add', values.a, outputShapes.y, b, outputShapes.y, outputShapes.y) };
    },
  ),
  ...(['add', 'sub', 'mul', 'div'] as const).map((other) =>
    guess(/^(add|sub|mul|div)$/, `it is ${other}`, ({ op, values, attributes, shapes, outputShapes }) => {
      if (op === other) return null;
      const scalar = attributes.scalar as number | undefined;
      const [b, bShape] = scalar === undefined ? [values.b, shapes.b] : [[scalar], []];
      return { y: naive.elementwise(other, values.a, shapes.a, b, bShape, outputShapes.y) };
    }),
  ),
  guess(/^relu$/, 'negative numbers keep a hundredth: a leaky relu', ({ values }) => ({
    y: values.x.map((v) => (v < 0 ? 0.01 * v : v)),
  })),
  guess(/^relu$/, 'it is the absolute value', ({ values }) => ({ y: values.x.map(Math.abs) })),
  guess(/^relu$/, 'it stops at 6', ({ values }) => ({ y: values.x.map((v) => Math.min(Math.max(v, 0), 6)) })),
  guess(/^relu$/, 'the gradient is not masked', ({ values }) => (values.dy ? { 'grad.x': values.dy } : null)),
  guess(/^(sum|mean)$/, 'a mean instead of a sum, or a sum instead of a mean', ({ op, values, shapes, attributes }) => {
    const dim = attributes.dim as number[];
    const count = dim.reduce((n, axis) => n * shapes.x[axis], 1);
    if (count === 1) return null;
    return { y: naive.sum(values.x, shapes.x, dim, op === 'sum' ? count : 1).value };
  }),
  guess(/^mean$/, 'the mean divides by one less', ({ values, shapes, attributes }) => {
    const dim = attributes.dim as number[];
    const count = dim.reduce((n, axis) => n * shapes.x[axis], 1);
    return count < 2 ? null : { y: naive.sum(values.x, shapes.x, dim, count - 1).value };
  }),
  ...[4, 8].map((lanes) =>
    guess(
      /^(sum|mean)$/,
      `the last terms, beyond a multiple of ${lanes}, dropped`,
      ({ op, values, shapes, attributes }) => {
        const dim = attributes.dim as number[];
        const count = dim.reduce((n, axis) => n * shapes.x[axis], 1);
        const kept = count - (count % lanes);
        if (kept === count || dim.length !== shapes.x.length) return null;
        const x = values.x.map((v, i) => (i < kept ? v : 0));
        return { y: naive.sum(x, shapes.x, dim, op === 'sum' ? 1 : count).value };
      },
    ),
  ),
  guess(SOFTMAX, 'it runs along the first axis', (call) => (call.attributes.dim === 0 ? null : { y: along(call, 0) })),
  guess(SOFTMAX, 'it runs along the last axis', (call) => {
    const last = call.shapes.x.length - 1;
    return call.attributes.dim === last || last < 0 ? null : { y: along(call, last) };
  }),
  guess(SOFTMAX, 'it runs over all elements', (call) => {
    const g = { outer: 1, extent: call.values.x.length, inner: 1 };
    return { y: call.op === 'softmax' ? naive.softmax(call.values.x, g) : naive.logSoftmax(call.values.x, g) };
  }),
  guess(SOFTMAX, 'its base is 2', (call) => {
    const x = call.values.x.map((v) => v * Math.LN2);
    const own = { ...call, values: { ...call.values, x } };
    const y = along(own, call.attributes.dim as number);
    return { y: call.op === 'softmax' ? y : y.map((v) => v / Math.LN2) };
  }),
  guess(/^logSoftmax$/, 'the logarithm is missing', (call) => ({ y: naive.softmax(call.values.x, axisOf(call)) })),
  guess(/^softmax$/, 'it is not divided by the sum', (call) => {
    const g = axisOf(call);
    const log = naive.logSoftmax(call.values.x, g);
    const y = new Float64Array(log.length);
    for (let o = 0; o < g.outer; o++)
      for (let i = 0; i < g.inner; i++) {
        const at = Array.from({ length: g.extent }, (_, k) => (o * g.extent + k) * g.inner + i);
        const most = Math.max(...at.map((k) => call.values.x[k]));
        for (const k of at) y[k] = naive.exp(call.values.x[k] - most);
      }
    return { y };
  }),
  guess(LOSS, 'a sum over the rows instead of their mean', (call) =>
    call.shapes.logits[0] === 1 ? null : loss(call, usual, false),
  ),
  guess(LOSS, 'the mean is over all logits', (call) => {
    const { y } = loss(call, usual) as { y: Float64Array };
    return call.shapes.logits[1] === 1 ? null : { y: y.map((v) => v / call.shapes.logits[1]) };
  }),
  guess(LOSS, 'label smoothing is ignored', (call) =>
    call.attributes.labelSmoothing === 0 ? null : loss(call, (label, k) => (k === label ? 1 : 0)),
  ),
  guess(LOSS, 'label smoothing leaves the label’s own class out', (call) => {
    if (call.attributes.labelSmoothing === 0 || call.shapes.logits[1] === 1) return null;
    return loss(call, (label, k, classes, s) => (k === label ? 1 - s : s / (classes - 1)));
  }),
  guess(LOSS, 'labels are counted from 1', (call) =>
    loss(call, (label, k, classes, s) => usual((label + classes - 1) % classes, k, classes, s)),
  ),
  guess(LOSS, 'the logits are taken for probabilities’ logarithms', ({ values, attributes, shapes }) => {
    const { labels } = attributes as unknown as LossAttributes;
    const classes = shapes.logits[1];
    return {
      y: Float64Array.of(labels.reduce((sum, label, r) => sum - values.logits[r * classes + label], 0) / labels.length),
    };
  }),
  guess(LOSS, 'the gradient is not divided by the rows', ({ truth, shapes }) =>
    truth['grad.logits'] && shapes.logits[0] > 1
      ? { 'grad.logits': truth['grad.logits'].map((v) => v * shapes.logits[0]) }
      : null,
  ),
  guess(/^permute$/, 'the axes are permuted the other way', ({ values, shapes, attributes }) => {
    const dims = attributes.dims as number[];
    const inverse = dims.map((_, i) => dims.indexOf(i));
    if (inverse.join() === dims.join()) return null;
    const shape = inverse.map((axis) => shapes.x[axis]);
    return { y: { shape, data: reindexed(values.x, shapes.x, (index) => dims.map((axis) => index[axis]), shape) } };
  }),
];
