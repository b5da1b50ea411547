/** Convolutions with weights that stay: nothing is laid out here, the kernels run one after the other. */
import type { Buffer, ChannelNorm, Kernels } from '../device.js';
import { foldNorm } from '../foldNorm.js';
import type { Host } from './host.js';

type Used = Pick<Kernels, 'conv2d' | 'batchNormEval'>;

export function prepared(host: Host, kernels: Used, folds: boolean): Pick<Kernels, 'prepareConv2d'> {
  return {
    prepareConv2d(o) {
      const { norm, residual, relu, ...conv } = o;
      const { batch, outChannels } = o;
      const spatial = o.outHeight * o.outWidth;
      const size = batch * outChannels * spatial;
      const own: Buffer[] = [];
      const take = (count: number, values?: ArrayLike<number>): Buffer => {
        const buffer = host.alloc(count, host.dtype);
        own.push(buffer);
        if (values) host.floats('prepareConv2d', 'own', buffer, count).set(values);
        return buffer;
      };
      const channels = (argument: string, buffer: Buffer) =>
        host.floats('prepareConv2d', argument, buffer, outChannels).subarray(0, outChannels);
      const filterSize = (o.inChannels / o.groups) * o.kernelHeight * o.kernelWidth;
      const filters = host.floats('prepareConv2d', 'weight', conv.weight, outChannels * filterSize);
      const values = {
        weight: filters.subarray(0, outChannels * filterSize),
        bias: conv.bias && channels('bias', conv.bias),
      };
      let normed: ChannelNorm | null = null;
      let folded: { filters: ArrayLike<number>; bias: ArrayLike<number> | null } = {
        filters: values.weight,
        bias: values.bias,
      };
      if (norm && folds) {
        folded = foldNorm(values.weight, filterSize, values.bias, {
          mean: channels('norm.mean', norm.mean),
          variance: channels('norm.variance', norm.variance),
          weight: norm.weight && channels('norm.weight', norm.weight),
          bias: norm.bias && channels('norm.bias', norm.bias),
          eps: norm.eps,
        });
      } else if (norm) {
        normed = {
          mean: take(outChannels, channels('norm.mean', norm.mean)),
          variance: take(outChannels, channels('norm.variance', norm.variance)),
          weight: norm.weight && take(outChannels, channels('norm.weight', norm.weight)),
          bias: norm.bias && take(outChannels, channels('norm.bias', norm.bias)),
          eps: norm.eps,
        };
      }
      const weight = take(outChannels * filterSize, folded.filters);
      const bias = folded.bias && take(outChannels, folded.bias);
      const saved = normed && host.alloc(2 * outChannels, 'float64');
      if (saved) own.push(saved);
      return {
        run() {
          kernels.conv2d({ ...conv, weight, bias });
          if (normed && saved) {
            kernels.batchNormEval({
              ...{ batch, channels: outChannels, spatial, x: conv.out, out: conv.out, saved, residual, relu },
              ...{ runningMean: normed.mean, runningVar: normed.variance, weight: normed.weight, bias: normed.bias },
              eps: normed.eps,
            });
            return;
          }
          const out = host.floats('prepareConv2d', 'out', conv.out, size);
          const added = residual && host.floats('prepareConv2d', 'residual', residual, size);
          for (let i = 0; i < size; i++) {
            if (added) out[i] += added[i];
            if (relu && out[i] <= 0) out[i] = 0;
          }
        },
        release() {
          for (const buffer of own) buffer.release();
        },
      };
    },
  };
}
