/** Rows of batchNorm, training and evaluating, with the bounds that its statistics need. */
import { batchNorm, batchNormRelu } from '../../ops/index.js';
import { type Shape, sizeOf } from '../../shape.js';
import { type Ball, type Balls, type Expected, wide } from '../bounds.js';
import type { Draw } from '../draw.js';
import {
  channel,
  givenStatistics,
  gradients,
  mixed,
  normalised,
  type Statistics,
  spread,
  statistics,
} from '../formulas/normalization.js';
import * as naive from '../naive.js';
import {
  defineCase,
  drawSalt,
  drawShape,
  emptied,
  type Input,
  input,
  LANES,
  type OpCase,
  type TypedCase,
} from './case.js';

/** A call of a batch norm, with or without weight and bias. */
export interface BatchNormCaseOptions {
  readonly salt: number;
  /** [N, C, ...] */
  readonly shape: Shape;
  readonly weight: boolean;
  readonly bias: boolean;
  readonly running: boolean;
  readonly momentum: number;
  readonly unbiased: boolean;
  readonly eps: number;
  /** x is drawn from [offset − 1, offset + 1]. */
  readonly offset: number;
  /** Only with relu. */
  readonly residual: boolean;
}

function drawOptions(d: Draw, training: boolean, relu: boolean): BatchNormCaseOptions {
  const shape =
    d.int(0, 5) === 0
      ? [d.int(2, 3), d.int(1, 2), d.int(17, 21), d.int(17, 21)]
      : [d.int(1, 4), d.pick(LANES), ...drawShape(d, d.int(0, 3), 80)];
  const count = shape[0] * sizeOf(shape.slice(2));
  if (training && count < 2) shape[0] = 2;
  return {
    salt: drawSalt(d),
    // Statistics of nothing have no bound; given ones do with an empty batch.
    shape: training ? shape : emptied(d, shape, [0]),
    weight: d.bool(),
    bias: d.bool(),
    running: !training || d.bool(),
    momentum: d.pick([0.1, 0.1, 0, 1, 0.25]),
    unbiased: d.int(0, 2) > 0,
    eps: d.pick([1e-5, 1e-5, 1e-3, 0.1]),
    offset: d.pick([0, 0, 3]),
    residual: relu && d.bool(),
  };
}

/**
 * Bounds: the formulas above in balls, rounded once to the stored dtype. Assumes two-pass statistics, and on a
 * float32 device that computes them in float64 (WIDE) or in float32 (NARROW); nothing of the order of sums. With `relu`
 * the result is stored, a residual added, and the positive part taken; backwards, a gradient is let through or not where the
 * result may be on either side of 0.
 */
function batchNormCase(training: boolean, relu: boolean): TypedCase<BatchNormCaseOptions> {
  const op = relu ? 'batchNormRelu' : 'batchNorm';
  const call = relu ? batchNormRelu : batchNorm;
  return defineCase<BatchNormCaseOptions>({
    name: `${op}.${training ? 'train' : 'eval'}`,
    op,
    options: (d) => drawOptions(d, training, relu),
    trial(o) {
      const { salt, shape, momentum, eps, offset } = o;
      const [batch, channels] = shape;
      const spatial = sizeOf(shape.slice(2));
      const g: naive.NaiveBatchNorm = { batch, channels, spatial, eps };
      const inputs: Input[] = [input(salt, 'x', shape, { low: offset - 1, high: offset + 1 })];
      const place = (given: boolean, made: Input): number => (given ? inputs.push(made) - 1 : -1);
      const weightAt = place(o.weight, input(salt, 'weight', [channels], { low: -1.5, high: 1.5 }));
      const biasAt = place(o.bias, input(salt, 'bias', [channels]));
      const statistic = { differentiable: false };
      const meanAt = place(
        o.running,
        input(salt, 'runningMean', [channels], { low: offset - 0.1, high: offset + 0.1, ...statistic }),
      );
      const varAt = place(o.running, input(salt, 'runningVar', [channels], { low: 0.5, high: 1.5, ...statistic }));
      const residualAt = place(o.residual, input(salt, 'residual', shape));
      const pick = (v: readonly Float64Array[], at: number): Float64Array | null => (at < 0 ? null : v[at]);

      const statisticsOf = (v: readonly Float64Array[]) =>
        training ? naive.channelStatistics(v[0], g) : { mean: v[meanAt], variance: v[varAt] };
      /** Statistics of channel c in balls. */
      const inBalls = (balls: Balls, v: readonly Float64Array[], c: number): Statistics => {
        const x = channel(v[0], c, g);
        return training ? statistics(balls, x, eps) : givenStatistics(balls, x, v[meanAt][c], v[varAt][c], eps);
      };
      const perChannel = (of: (c: number) => Ball): Ball[] => Array.from({ length: channels }, (_, c) => of(c));
      /** What relu gets: normalised, stored, the residual added. */
      const before = (v: readonly Float64Array[]): Float64Array => {
        const { mean, variance } = statisticsOf(v);
        const y = naive.batchNorm(v[0], mean, variance, pick(v, weightAt), pick(v, biasAt), g);
        const residual = pick(v, residualAt);
        return residual ? y.map((value, i) => value + residual[i]) : y;
      };
      const beforeInBalls = (balls: Balls, v: readonly Float64Array[]): Ball[] => {
        const all = new Array<Ball>(v[0].length);
        for (let c = 0; c < channels; c++) {
          const [weight, bias] = [pick(v, weightAt)?.[c] ?? 1, pick(v, biasAt)?.[c] ?? 0];
          spread(all, normalised(balls, inBalls(balls, v, c), channel(v[0], c, g), weight, bias), c, g);
        }
        const residual = pick(v, residualAt);
        return residual ? all.map((y, i) => balls.add(balls.store(y), balls.exact(residual[i]))) : all;
      };
      /** dy behind relu: nothing where the result is not positive, either where that is not certain. */
      const masked = (balls: Balls, v: readonly Float64Array[], dy: Float64Array): Ball[] => {
        if (!relu) return Array.from(dy, (d) => balls.exact(d));
        return beforeInBalls(balls, v).map((z, i) => {
          const { value, error } = balls.store(z);
          return { value: value <= 0 ? 0 : dy[i], error: Math.abs(value) <= error ? Math.abs(dy[i]) : 0 };
        });
      };

      return {
        inputs,
        shape,
        // The kinks of relu are anywhere.
        smooth: !relu,
        attributes: { training, momentum, eps, unbiasedRunningVar: o.unbiased },
        flops: (training ? 7 : 2) * sizeOf(shape),
        run: (t) =>
          call(t[0], {
            weight: weightAt < 0 ? null : t[weightAt],
            bias: biasAt < 0 ? null : t[biasAt],
            runningMean: meanAt < 0 ? null : t[meanAt],
            runningVar: varAt < 0 ? null : t[varAt],
            training,
            momentum,
            eps,
            ...(o.unbiased ? {} : { unbiasedRunningVar: false }),
            ...(residualAt < 0 ? {} : { residual: t[residualAt] }),
          }),
        forward(v) {
          const { mean, variance } = statisticsOf(v);
          const sums = before(v);
          // |relu(a) − relu(b)| ≤ |a − b|.
          const y = wide(relu ? naive.relu(sums) : sums, (balls) =>
            beforeInBalls(balls, v).map((z) => (relu && z.value <= 0 ? { value: 0, error: z.error } : z)),
          );
          const changed: Record<string, Expected> = {};
          if (o.running && training) {
            const count = batch * spatial;
            changed.runningMean = wide(naive.runningStatistics(v[meanAt], mean, momentum, count, false), (balls) =>
              perChannel((c) => mixed(balls, v[meanAt][c], inBalls(balls, v, c).mean, momentum)),
            );
            changed.runningVar = wide(
              naive.runningStatistics(v[varAt], variance, momentum, count, o.unbiased),
              (balls) =>
                perChannel((c) => {
                  const { variance } = inBalls(balls, v, c);
                  const unbias = balls.div(balls.exact(count), balls.exact(count - 1));
                  return mixed(balls, v[varAt][c], o.unbiased ? balls.mul(variance, unbias) : variance, momentum);
                }),
            );
          }
          return { y, changed };
        },
        backward(v, dy) {
          const { mean, variance } = statisticsOf(v);
          const weight = pick(v, weightAt);
          const direction = relu ? naive.reluBackward(before(v), dy) : dy;
          const found = naive.batchNormBackward(v[0], mean, variance, weight, g, training, direction);
          const inChannel = (balls: Balls, c: number) =>
            gradients(balls, inBalls(balls, v, c), channel(masked(balls, v, dy), c, g), weight?.[c] ?? 1, training);
          const grads: Record<string, Expected> = {
            x: wide(found.dx, (balls) => {
              const all = new Array<Ball>(v[0].length);
              for (let c = 0; c < channels; c++) spread(all, inChannel(balls, c).dx, c, g);
              return all;
            }),
          };
          if (o.weight) grads.weight = wide(found.dweight, (balls) => perChannel((c) => inChannel(balls, c).dweight));
          if (o.bias) grads.bias = wide(found.dbias, (balls) => perChannel((c) => inChannel(balls, c).dbias));
          if (o.residual) grads.residual = wide(direction, (balls) => masked(balls, v, dy));
          return grads;
        },
      };
    },
    badInput: training
      ? [
          { why: 'one value per channel', shapes: [[1, 3, 1, 1]], call: ([x]) => call(x, { training }) },
          { why: 'an x of one axis', shapes: [[4]], call: ([x]) => call(x, { training }) },
          {
            why: 'a weight of another length',
            shapes: [[2, 3, 2, 2], [2]],
            call: ([x, weight]) => call(x, { training, weight }),
          },
          {
            why: 'a running mean alone',
            shapes: [[2, 3, 2, 2], [3]],
            call: ([x, runningMean]) => call(x, { training, runningMean }),
          },
          {
            why: 'momentum above 1',
            shapes: [[2, 3, 2, 2]],
            call: ([x]) => call(x, { training, momentum: 1.5 }),
          },
          { why: 'negative eps', shapes: [[2, 3, 2, 2]], call: ([x]) => call(x, { training, eps: -1 }) },
        ]
      : [
          { why: 'no running statistics', shapes: [[2, 3, 2, 2]], call: ([x]) => call(x) },
          {
            why: 'running statistics of another length',
            shapes: [[2, 3, 2, 2], [2], [2]],
            call: ([x, runningMean, runningVar]) => call(x, { runningMean, runningVar }),
          },
        ],
  });
}

/** The row of batch norm by the batch's statistics. */
export const batchNormTrainCase = batchNormCase(true, false);
/** The row of batch norm by running statistics. */
export const batchNormEvalCase = batchNormCase(false, false);
/** The row of batchNormRelu by the batch's statistics. */
export const batchNormReluTrainCase = batchNormCase(true, true);
/** The row of batchNormRelu by running statistics. */
export const batchNormReluEvalCase = batchNormCase(false, true);

/** All rows of this file. */
export const normalizationCases: readonly OpCase[] = [
  batchNormTrainCase,
  batchNormEvalCase,
  batchNormReluTrainCase,
  batchNormReluEvalCase,
];
