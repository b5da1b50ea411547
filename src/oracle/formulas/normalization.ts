/** Batch norm in balls: its statistics, its result and its gradients, each written as the contract writes it. */
import type { Ball, Balls } from '../bounds.js';

/** How the channels of an [N, C, ...] array lie. */
export interface Channels {
  readonly batch: number;
  readonly channels: number;
  /** Height × width. */
  readonly spatial: number;
}

/** Elements of channel c, in order. */
export function channel<T>(values: ArrayLike<T>, c: number, { batch, channels, spatial }: Channels): T[] {
  const out: T[] = [];
  for (let n = 0; n < batch; n++) for (let i = 0; i < spatial; i++) out.push(values[(n * channels + c) * spatial + i]);
  return out;
}

/** Puts balls of one channel back where the channel's elements lie. */
export function spread(all: Ball[], balls: readonly Ball[], c: number, { channels, spatial }: Channels): void {
  balls.forEach((ball, k) => {
    all[(Math.floor(k / spatial) * channels + c) * spatial + (k % spatial)] = ball;
  });
}

export interface Statistics {
  readonly mean: Ball;
  readonly variance: Ball;
  readonly invstd: Ball;
  readonly deviations: readonly Ball[];
}

function invstdOf(balls: Balls, variance: Ball, eps: number): Ball {
  return balls.div(balls.exact(1), balls.sqrt(balls.add(variance, balls.scalar(eps))));
}

/**
 * Statistics of one channel, two passes: mean = Σx / n, then variance = Σ(x − mean)² / n. The sums may be added in
 * any order. A device that takes E[x²] − mean² instead cancels, and is rightly found out when it computes in
 * float32, unless its precision says so.
 */
export function statistics(balls: Balls, x: readonly number[], eps: number): Statistics {
  const count = balls.exact(x.length);
  const mean = balls.div(balls.sum(x.map((v) => balls.exact(v))), count);
  const deviations = x.map((v) => balls.sub(balls.exact(v), mean));
  const variance = balls.onePass
    ? balls.sub(
        balls.div(balls.sum(x.map((v) => balls.mul(balls.exact(v), balls.exact(v)))), count),
        balls.mul(mean, mean),
      )
    : balls.div(balls.sum(deviations.map((v) => balls.mul(v, v))), count);
  return { mean, variance, invstd: invstdOf(balls, variance, eps), deviations };
}

/** The same where mean and variance are given numbers. */
export function givenStatistics(
  balls: Balls,
  x: readonly number[],
  meanValue: number,
  varianceValue: number,
  eps: number,
): Statistics {
  const mean = balls.exact(meanValue);
  const variance = balls.exact(varianceValue);
  const deviations = x.map((v) => balls.sub(balls.exact(v), mean));
  return { mean, variance, invstd: invstdOf(balls, variance, eps), deviations };
}

/**
 * (x − mean)·(weight·invstd) + bias. A device may fold this into x·scale + (bias − mean·scale): the roundings
 * then are of |x·scale| and |mean·scale|, three each, which is added.
 */
export function normalised(balls: Balls, s: Statistics, x: readonly number[], weight: number, bias: number): Ball[] {
  const scale = balls.mul(balls.exact(weight), s.invstd);
  return s.deviations.map((deviation, i) => {
    const y = balls.add(balls.mul(deviation, scale), balls.exact(bias));
    const folded = (Math.abs(x[i]) + Math.abs(s.mean.value)) * Math.abs(scale.value) + Math.abs(bias);
    return { value: y.value, error: y.error + 3 * balls.unit * folded };
  });
}

/** (1 − momentum)·running + momentum·batch. */
export function mixed(balls: Balls, running: number, batch: Ball, momentum: number): Ball {
  const share = balls.scalar(momentum);
  return balls.add(balls.mul(balls.sub(balls.exact(1), share), balls.exact(running)), balls.mul(share, batch));
}

/**
 * dbias = Σdy, dweight = Σdy·(x − mean)·invstd, and dx = (dy − dbias/n − x̂·dweight/n)·(weight·invstd), without the
 * middle terms when the statistics were given. Evaluated as the contract writes it; x̂·dweight = (x − mean)·S2·invstd².
 */
export function gradients(
  balls: Balls,
  s: Statistics,
  dy: readonly Ball[],
  weight: number,
  training: boolean,
): { dx: Ball[]; dweight: Ball; dbias: Ball } {
  const count = balls.exact(dy.length);
  const dbias = balls.sum(dy);
  const s2 = balls.sum(s.deviations.map((deviation, i) => balls.mul(dy[i], deviation)));
  const dweight = balls.mul(s2, s.invstd);
  const scale = balls.mul(balls.exact(weight), s.invstd);
  const shift = balls.div(dbias, count);
  const slope = balls.div(balls.mul(dweight, s.invstd), count);
  const dx = s.deviations.map((deviation, i) => {
    const g = dy[i];
    if (!training) return balls.mul(g, scale);
    return balls.mul(balls.sub(balls.sub(g, shift), balls.mul(deviation, slope)), scale);
  });
  return { dx, dweight, dbias };
}
