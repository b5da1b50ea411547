/** Rows of softmax, logSoftmax and crossEntropy, with the bounds that exp and log need. */
import { crossEntropy, logSoftmax, softmax } from '../../ops/index.js';
import { type Shape, sizeOf } from '../../shape.js';
import { type Ball, type Balls, wide } from '../bounds.js';
import { type Draw, labelsOf } from '../draw.js';
import { alongLines, expOf, logSoftmaxLine, logSumExp, softmaxLine } from '../formulas/softmax.js';
import * as naive from '../naive.js';
import { defineCase, drawSalt, drawShape, emptied, input, LANES, type OpCase } from './case.js';

/** A call of softmax or logSoftmax. */
export interface SoftmaxOptions {
  readonly salt: number;
  readonly shape: Shape;
  readonly dim: number;
  /** x is drawn from [−range, range]. */
  readonly range: number;
}

function drawSoftmax(d: Draw): SoftmaxOptions {
  const drawn = d.int(0, 6) === 0 ? [d.int(1, 3), d.int(100, 260)] : drawShape(d, d.int(0, 4), 1000);
  const rank = Math.max(drawn.length, 1);
  const dim = d.int(-rank, rank - 1);
  const others = drawn.map((_, i) => i).filter((i) => i !== (dim < 0 ? dim + rank : dim));
  return { salt: drawSalt(d), shape: emptied(d, drawn, others), dim, range: d.pick([1, 4, 12]) };
}

function geometryOf(shape: Shape, dim: number): naive.NaiveAxis {
  const own = shape.length === 0 ? [1] : shape;
  const at = dim < 0 ? dim + own.length : dim;
  return { outer: sizeOf(own.slice(0, at)), extent: own[at], inner: sizeOf(own.slice(at + 1)) };
}

const softmaxBadInput = (op: typeof softmax) => [
  { why: 'an axis out of range', shapes: [[2, 3]], call: ([x]: readonly Parameters<typeof op>[0][]) => op(x, 2) },
  { why: 'half an axis', shapes: [[2, 3]], call: ([x]: readonly Parameters<typeof op>[0][]) => op(x, 0.5) },
];

/**
 * exp(x − max) / Σ: in balls, so that an exponent's error, times e to it, reaches numerator and sum. Assumes that
 * the maximum is taken off first and an exp as good as WGSL's. The gradient y·(dy − Σdy·y) starts from the stored y.
 */
export const softmaxCase = defineCase<SoftmaxOptions>({
  name: 'softmax',
  op: 'softmax',
  options: drawSoftmax,
  trial({ salt, shape, dim, range }) {
    const g = geometryOf(shape, dim);
    return {
      inputs: [input(salt, 'x', shape, { low: -range, high: range })],
      shape,
      smooth: true,
      attributes: { dim: dim < 0 ? dim + Math.max(shape.length, 1) : dim },
      flops: 3 * sizeOf(shape),
      run: ([x]) => softmax(x, dim),
      forward: ([x]) => ({
        y: wide(naive.softmax(x, g), (balls) =>
          alongLines(g, (at) =>
            softmaxLine(
              balls,
              at.map((i) => x[i]),
            ),
          ),
        ),
        changed: {},
      }),
      backward: ([x], dy) => ({
        x: wide(naive.softmaxBackward(x, g, dy), (balls) =>
          alongLines(g, (at) => {
            const line = at.map((i) => x[i]);
            const y = softmaxLine(balls, line).map((ball) => balls.store(ball));
            const dot = balls.sum(at.map((i, k) => balls.mul(balls.exact(dy[i]), y[k])));
            return at.map((i, k) => balls.mul(y[k], balls.sub(balls.exact(dy[i]), dot)));
          }),
        ),
      }),
    };
  },
  badInput: softmaxBadInput(softmax),
});

/**
 * (x − max) − log Σ: in balls. The gradient dy − exp(y)·Σdy starts from the stored y, whose error the exp turns into
 * a relative one.
 */
export const logSoftmaxCase = defineCase<SoftmaxOptions>({
  name: 'logSoftmax',
  op: 'logSoftmax',
  options: drawSoftmax,
  trial({ salt, shape, dim, range }) {
    const g = geometryOf(shape, dim);
    return {
      inputs: [input(salt, 'x', shape, { low: -range, high: range })],
      shape,
      smooth: true,
      attributes: { dim: dim < 0 ? dim + Math.max(shape.length, 1) : dim },
      flops: 3 * sizeOf(shape),
      run: ([x]) => logSoftmax(x, dim),
      forward: ([x]) => ({
        y: wide(naive.logSoftmax(x, g), (balls) =>
          alongLines(g, (at) =>
            logSoftmaxLine(
              balls,
              at.map((i) => x[i]),
            ),
          ),
        ),
        changed: {},
      }),
      backward: ([x], dy) => ({
        x: wide(naive.logSoftmaxBackward(x, g, dy), (balls) =>
          alongLines(g, (at) => {
            const line = at.map((i) => x[i]);
            const y = logSoftmaxLine(balls, line).map((ball) => balls.store(ball));
            const total = balls.sum(at.map((i) => balls.exact(dy[i])));
            return at.map((i, k) => balls.sub(balls.exact(dy[i]), balls.mul(expOf(balls, y[k]), total)));
          }),
        ),
      }),
    };
  },
  badInput: softmaxBadInput(logSoftmax),
});

/** A call of crossEntropy. */
export interface CrossEntropyOptions {
  readonly salt: number;
  readonly rows: number;
  readonly classes: number;
  readonly labelSmoothing: number;
  readonly range: number;
}

/**
 * Mean over rows of (1 − s)·(lse − x[label]) + (s/classes)·Σ(lse − x), in balls, rows and classes summed in any
 * order. Assumes the differences lse − x, as log-softmax gives them. The gradient is
 * (exp(x − lse) − (1 − s)·[label] − s/classes)·(dy/rows).
 */
export const crossEntropyCase = defineCase<CrossEntropyOptions>({
  name: 'crossEntropy',
  op: 'crossEntropy',
  options: (d) => ({
    salt: drawSalt(d),
    rows: d.pick(LANES),
    classes: d.int(0, 5) === 0 ? d.int(100, 260) : d.pick([...LANES, 10]),
    labelSmoothing: d.pick([0, 0, 0.1, 0.5, 1]),
    range: d.pick([1, 4, 12]),
  }),
  trial({ salt, rows, classes, labelSmoothing: s, range }) {
    const labels = labelsOf(salt, rows, classes);
    const row = (x: Float64Array, r: number): number[] => Array.from(x.subarray(r * classes, (r + 1) * classes));
    const rest = (balls: Balls): Ball => balls.sub(balls.exact(1), balls.scalar(s));
    const share = (balls: Balls): Ball => balls.div(balls.scalar(s), balls.exact(classes));
    return {
      inputs: [input(salt, 'logits', [rows, classes], { low: -range, high: range })],
      shape: [],
      smooth: true,
      attributes: { labels: Array.from(labels), labelSmoothing: s },
      flops: 4 * rows * classes,
      run: ([logits]) => crossEntropy(logits, labels, { labelSmoothing: s }),
      forward: ([x]) => ({
        y: wide(Float64Array.of(naive.crossEntropy(x, labels, classes, s)), (balls) => {
          const losses: Ball[] = [];
          for (let r = 0; r < rows; r++) {
            const lse = logSumExp(balls, row(x, r));
            const below = row(x, r).map((v) => balls.sub(lse, balls.exact(v)));
            const own = balls.mul(rest(balls), below[labels[r]]);
            losses.push(s > 0 ? balls.add(own, balls.mul(share(balls), balls.sum(below))) : own);
          }
          return [balls.div(balls.sum(losses), balls.exact(rows))];
        }),
        changed: {},
      }),
      backward: ([x], dy) => ({
        logits: wide(naive.crossEntropyBackward(x, labels, classes, s, dy[0]), (balls) => {
          const all: Ball[] = [];
          const scale = balls.div(balls.exact(dy[0]), balls.exact(rows));
          for (let r = 0; r < rows; r++) {
            const lse = logSumExp(balls, row(x, r));
            row(x, r).forEach((v, k) => {
              const p = expOf(balls, balls.sub(balls.exact(v), lse));
              const own = k === labels[r] ? rest(balls) : balls.exact(0);
              all.push(balls.mul(balls.sub(balls.sub(p, own), share(balls)), scale));
            });
          }
          return all;
        }),
      }),
    };
  },
  badInput: [
    { why: 'logits of one axis', shapes: [[3]], call: ([x]) => crossEntropy(x, [0, 1, 2]) },
    { why: 'too few labels', shapes: [[3, 4]], call: ([x]) => crossEntropy(x, [0, 1]) },
    { why: 'a label past the classes', shapes: [[2, 4]], call: ([x]) => crossEntropy(x, [0, 4]) },
    { why: 'a negative label', shapes: [[2, 4]], call: ([x]) => crossEntropy(x, Int32Array.of(-1, 0)) },
    { why: 'half a label', shapes: [[2, 4]], call: ([x]) => crossEntropy(x, [0, 1.5]) },
    { why: 'smoothing above 1', shapes: [[1, 4]], call: ([x]) => crossEntropy(x, [0], { labelSmoothing: 1.5 }) },
    { why: 'no rows', shapes: [[0, 4]], call: ([x]) => crossEntropy(x, []) },
  ],
});

/** All rows of this file. */
export const softmaxCases: readonly OpCase[] = [softmaxCase, logSoftmaxCase, crossEntropyCase];
