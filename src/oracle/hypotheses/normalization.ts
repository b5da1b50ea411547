/** Guesses about batch norm. */
import { channel } from '../formulas/normalization.js';
import * as naive from '../naive.js';
import type { Hypothesis, Prediction, WrongCall } from './hypothesis.js';

interface Norm {
  readonly g: naive.NaiveBatchNorm;
  readonly training: boolean;
  readonly momentum: number;
  readonly unbiased: boolean;
  readonly relu: boolean;
  readonly mean: Float64Array;
  /** Biased, or the given one. */
  readonly variance: Float64Array;
  readonly count: number;
}

function normOf({ op, attributes, values, shapes }: WrongCall): Norm {
  const { training, momentum, eps, unbiasedRunningVar } = attributes as Record<string, never>;
  const [batch, channels, ...rest] = shapes.x;
  const g = { batch, channels, spatial: rest.reduce((a, b) => a * b, 1), eps };
  const given = { mean: values.runningMean, variance: values.runningVar };
  return {
    ...{ g, training, momentum, unbiased: unbiasedRunningVar, relu: op.startsWith('batchNormRelu') },
    ...(training ? naive.channelStatistics(values.x, g) : given),
    count: batch * g.spatial,
  };
}

/** Everything behind the statistics, `scaleOf` being 1/√(variance + eps). */
function after(
  { values }: WrongCall,
  { g, relu, mean }: Norm,
  scaleOf: (c: number) => number,
  o: {
    weight?: boolean;
    bias?: boolean;
    residual?: boolean;
    relu?: boolean;
    reluFirst?: boolean;
    mean?: Float64Array;
  } = {},
): Float64Array {
  const centre = o.mean ?? mean;
  return values.x.map((v, i) => {
    const c = Math.floor(i / g.spatial) % g.channels;
    const weight = o.weight === false ? 1 : (values.weight?.[c] ?? 1);
    const bias = o.bias === false ? 0 : (values.bias?.[c] ?? 0);
    const y = (v - centre[c]) * scaleOf(c) * weight + bias;
    const residual = o.residual === false ? 0 : (values.residual?.[i] ?? 0);
    if (!relu || o.relu === false) return y + residual;
    return o.reluFirst ? Math.max(y, 0) + residual : Math.max(y + residual, 0);
  });
}

const invstd =
  ({ variance, g }: Norm) =>
  (c: number): number =>
    1 / Math.sqrt(variance[c] + g.eps);

const norm = (
  name: string,
  predict: (call: WrongCall, n: Norm) => Prediction | null,
  ops = /^batchNorm/,
): Hypothesis => ({
  name,
  ops,
  predict: (call) => predict(call, normOf(call)),
});

const running = (call: WrongCall, n: Norm, momentum: number, unbias: boolean): Prediction | null => {
  const { runningMean, runningVar } = call.values;
  if (!n.training || runningMean === undefined) return null;
  return {
    'new.runningMean': naive.runningStatistics(runningMean, n.mean, momentum, n.count, false),
    'new.runningVar': naive.runningStatistics(runningVar, n.variance, momentum, n.count, unbias),
  };
};

export const normalizationHypotheses: readonly Hypothesis[] = [
  norm('it normalises by the unbiased variance', (call, n) =>
    n.training
      ? { y: after(call, n, (c) => 1 / Math.sqrt((n.variance[c] * n.count) / (n.count - 1) + n.g.eps)) }
      : null,
  ),
  norm('the running variance is the biased one', (call, n) =>
    n.unbiased ? running(call, n, n.momentum, false) : null,
  ),
  norm('the running variance is the unbiased one', (call, n) =>
    n.unbiased ? null : running(call, n, n.momentum, true),
  ),
  norm('momentum weighs the old statistics, not the new', (call, n) => running(call, n, 1 - n.momentum, n.unbiased)),
  norm('the running statistics are not updated', (call, n) =>
    n.training && call.values.runningMean
      ? { 'new.runningMean': call.values.runningMean, 'new.runningVar': call.values.runningVar }
      : null,
  ),
  norm('the running statistics are replaced by the batch’s', (call, n) => running(call, n, 1, n.unbiased)),
  norm('eps is outside the square root', (call, n) => ({
    y: after(call, n, (c) => 1 / (Math.sqrt(n.variance[c]) + n.g.eps)),
  })),
  norm('eps is left out', (call, n) => ({ y: after(call, n, (c) => 1 / Math.sqrt(n.variance[c])) })),
  norm('eps is squared', (call, n) => ({ y: after(call, n, (c) => 1 / Math.sqrt(n.variance[c] + n.g.eps ** 2)) })),
  norm('training uses the running statistics', (call, n) => {
    const { runningMean, runningVar } = call.values;
    if (!n.training || runningMean === undefined) return null;
    const own = { ...n, mean: runningMean, variance: runningVar };
    return { y: after(call, own, invstd(own)) };
  }),
  norm('evaluation uses the batch’s statistics', (call, n) => {
    if (n.training || n.count < 2) return null;
    const own = { ...n, ...naive.channelStatistics(call.values.x, n.g) };
    return { y: after(call, own, invstd(own)) };
  }),
  norm('it is normalised by an image and channel, not by a channel', (call, n) => {
    const { batch, channels, spatial } = n.g;
    if (!n.training || batch === 1 || spatial === 1) return null;
    const g = { ...n.g, batch: 1, channels: batch * channels };
    const { mean, variance } = naive.channelStatistics(call.values.x, g);
    const plain = naive.batchNorm(call.values.x, mean, variance, null, null, g);
    const still = { ...n, mean: new Float64Array(channels) };
    return { y: after({ ...call, values: { ...call.values, x: plain } }, still, () => 1) };
  }),
  norm('it is divided by the variance, not its root', (call, n) => ({
    y: after(call, n, (c) => 1 / (n.variance[c] + n.g.eps)),
  })),
  norm('the mean is not subtracted', (call, n) => ({
    y: after(call, n, invstd(n), { mean: new Float64Array(n.g.channels) }),
  })),
  norm('the variance is the mean of squares', (call, n) =>
    n.training ? { y: after(call, n, (c) => 1 / Math.sqrt(n.variance[c] + n.mean[c] ** 2 + n.g.eps)) } : null,
  ),
  norm('the weight is missing', (call, n) =>
    call.values.weight ? { y: after(call, n, invstd(n), { weight: false }) } : null,
  ),
  norm('the bias is missing', (call, n) =>
    call.values.bias ? { y: after(call, n, invstd(n), { bias: false }) } : null,
  ),
  norm('the relu is missing', (call, n) => (n.relu ? { y: after(call, n, invstd(n), { relu: false }) } : null)),
  norm('relu comes before the addition, not after', (call, n) =>
    n.relu && call.values.residual ? { y: after(call, n, invstd(n), { reluFirst: true }) } : null,
  ),
  norm('the residual is missing', (call, n) =>
    call.values.residual ? { y: after(call, n, invstd(n), { residual: false }) } : null,
  ),
  norm('the variance cancels: E[x²] − mean² in float32', (call, n) => {
    if (!n.training) return null;
    const [mean, variance] = [new Float64Array(n.g.channels), new Float64Array(n.g.channels)];
    for (let c = 0; c < n.g.channels; c++) {
      const x = channel(call.values.x, c, n.g);
      const average = (of: (v: number) => number): number =>
        Math.fround(x.reduce((sum, v) => Math.fround(sum + of(v)), 0) / x.length);
      mean[c] = average((v) => v);
      variance[c] = Math.fround(average((v) => Math.fround(v * v)) - Math.fround(mean[c] * mean[c]));
    }
    const own = { ...n, mean, variance };
    return { y: after(call, own, invstd(own)) };
  }),
  norm('gradients take the statistics for given', (call, n) => {
    const { dy, weight } = call.values;
    if (!n.training || dy === undefined) return null;
    const direction = n.relu ? naive.reluBackward(call.truth.y, dy) : dy;
    return {
      'grad.x': naive.batchNormBackward(call.values.x, n.mean, n.variance, weight ?? null, n.g, false, direction).dx,
    };
  }),
  norm('the gradient is not masked by relu', (call, n) => {
    const { dy, weight } = call.values;
    if (!n.relu || dy === undefined) return null;
    const { dx, dweight, dbias } = naive.batchNormBackward(
      call.values.x,
      n.mean,
      n.variance,
      weight ?? null,
      n.g,
      n.training,
      dy,
    );
    return { 'grad.x': dx, 'grad.weight': dweight, 'grad.bias': dbias };
  }),
  norm('channels are the last axis', (call, n) => {
    const { channels, spatial } = n.g;
    if (!n.training || spatial === 1) return null;
    // Element i belongs to channel i mod channels.
    const x = new Array<number>(call.values.x.length);
    const place = (i: number): number => {
      const [pixel, c] = [Math.floor(i / channels), i % channels];
      return (Math.floor(pixel / spatial) * channels + c) * spatial + (pixel % spatial);
    };
    call.values.x.forEach((v, i) => {
      x[place(i)] = v;
    });
    const turned = Float64Array.from(x);
    const { mean, variance } = naive.channelStatistics(turned, n.g);
    const y = naive.batchNorm(turned, mean, variance, call.values.weight ?? null, call.values.bias ?? null, n.g);
    if (n.relu) return null;
    return { y: y.map((_, i) => y[place(i)]) };
  }),
];
