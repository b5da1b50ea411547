/** Batch normalisation: statistics in float64 lanes, one rounding when a result is stored. */
import type { BatchNormGeometry, Buffer, Kernels } from '../device.js';
import { type Floats, type Host, Lanes } from './host.js';

/** The elements of one channel in the order (image, pixel). */
function forChannel(g: BatchNormGeometry, channel: number, visit: (at: number, pixel: number) => void): void {
  for (let image = 0; image < g.batch; image++) {
    const first = (image * g.channels + channel) * g.spatial;
    for (let pixel = 0; pixel < g.spatial; pixel++) visit(first + pixel, pixel);
  }
}

/** Lane sum over a channel: the k-th pixel of every image goes to lane k mod 8. */
function channelSum(g: BatchNormGeometry, channel: number, term: (at: number) => number): number {
  const lanes = new Lanes();
  forChannel(g, channel, (at, pixel) => lanes.add(pixel, term(at)));
  return lanes.total();
}

export function norm(host: Host): Pick<Kernels, 'batchNormTrain' | 'batchNormEval' | 'batchNormBackward'> {
  function optional(op: string, argument: string, buffer: Buffer | null, size: number): Floats | null {
    return buffer && host.floats(op, argument, buffer, size);
  }

  /** What a forward pass reads and writes besides its statistics. */
  function operands(
    op: string,
    o: BatchNormGeometry &
      Pick<Parameters<Kernels['batchNormEval']>[0], 'x' | 'out' | 'weight' | 'bias' | 'residual' | 'relu'>,
  ) {
    const { channels } = o;
    const size = o.batch * channels * o.spatial;
    return {
      x: host.floats(op, 'x', o.x, size),
      out: host.floats(op, 'out', o.out, size),
      weight: optional(op, 'weight', o.weight, channels),
      bias: optional(op, 'bias', o.bias, channels),
      residual: optional(op, 'residual', o.residual, size),
      relu: o.relu,
    };
  }

  /** out = (x − mean)·(weight·invstd) + bias; a missing weight is 1 and a missing bias +0. Then + residual, then relu. */
  function normalise(
    g: BatchNormGeometry,
    channel: number,
    t: ReturnType<typeof operands>,
    mean: number,
    invstd: number,
  ): void {
    const scale = (t.weight ? t.weight[channel] : 1) * invstd;
    const shift = t.bias ? t.bias[channel] : 0;
    forChannel(g, channel, (at) => {
      t.out[at] = (t.x[at] - mean) * scale + shift;
      if (t.residual) t.out[at] += t.residual[at];
      if (t.relu && t.out[at] <= 0) t.out[at] = 0;
    });
  }

  return {
    batchNormTrain(o) {
      const { batch, channels, spatial, momentum, correction, eps } = o;
      const t = operands('batchNormTrain', o);
      const { x } = t;
      const runningMean = optional('batchNormTrain', 'runningMean', o.runningMean, channels);
      const runningVar = optional('batchNormTrain', 'runningVar', o.runningVar, channels);
      const saved = host.wide('batchNormTrain', 'saved', o.saved, 2 * channels);
      const count = batch * spatial;
      for (let channel = 0; channel < channels; channel++) {
        const mean = channelSum(o, channel, (at) => x[at]) / count;
        const variance = channelSum(o, channel, (at) => (x[at] - mean) * (x[at] - mean)) / count;
        const invstd = 1 / Math.sqrt(variance + eps);
        saved[channel] = mean;
        saved[channels + channel] = invstd;
        normalise(o, channel, t, mean, invstd);
        if (runningMean) runningMean[channel] = (1 - momentum) * runningMean[channel] + momentum * mean;
        if (runningVar) runningVar[channel] = (1 - momentum) * runningVar[channel] + momentum * (variance * correction);
      }
    },

    batchNormEval(o) {
      const { channels, eps } = o;
      const t = operands('batchNormEval', o);
      const runningMean = host.floats('batchNormEval', 'runningMean', o.runningMean, channels);
      const runningVar = host.floats('batchNormEval', 'runningVar', o.runningVar, channels);
      const saved = host.wide('batchNormEval', 'saved', o.saved, 2 * channels);
      for (let channel = 0; channel < channels; channel++) {
        const mean = runningMean[channel];
        const invstd = 1 / Math.sqrt(runningVar[channel] + eps);
        saved[channel] = mean;
        saved[channels + channel] = invstd;
        normalise(o, channel, t, mean, invstd);
      }
    },

    batchNormBackward(o) {
      const { batch, channels, spatial, training } = o;
      const size = batch * channels * spatial;
      const x = host.floats('batchNormBackward', 'x', o.x, size);
      const given = host.floats('batchNormBackward', 'dy', o.dy, size);
      const y = optional('batchNormBackward', 'y', o.y, size);
      const dy = y ? given.map((g, at) => (y[at] <= 0 ? 0 : g)) : given;
      const dresidual = optional('batchNormBackward', 'dresidual', o.dresidual, size);
      if (dresidual) dresidual.set(dy.subarray(0, size));
      const weight = optional('batchNormBackward', 'weight', o.weight, channels);
      const saved = host.wide('batchNormBackward', 'saved', o.saved, 2 * channels);
      const dx = optional('batchNormBackward', 'dx', o.dx, size);
      const dweight = optional('batchNormBackward', 'dweight', o.dweight, channels);
      const dbias = optional('batchNormBackward', 'dbias', o.dbias, channels);
      const count = batch * spatial;
      for (let channel = 0; channel < channels; channel++) {
        const mean = saved[channel];
        const invstd = saved[channels + channel];
        const sumDy = channelSum(o, channel, (at) => dy[at]);
        const sumDyX = channelSum(o, channel, (at) => dy[at] * (x[at] - mean));
        if (dbias) dbias[channel] = sumDy;
        if (dweight) dweight[channel] = sumDyX * invstd;
        if (!dx) continue;
        const scale = (weight ? weight[channel] : 1) * invstd;
        const meanDy = sumDy / count;
        const slope = (sumDyX * invstd * invstd) / count;
        forChannel(o, channel, (at) => {
          dx[at] = training ? (dy[at] - meanDy - (x[at] - mean) * slope) * scale : dy[at] * scale;
        });
      }
    },
  };
}
