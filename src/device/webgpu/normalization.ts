/** Batch norm, softmax and cross-entropy, in float32 throughout: WGSL has no float64. */
import { ArgumentError } from '../../errors.js';
import type { BatchNormGeometry, Buffer, Kernels } from '../device.js';
import { MOST_GROUPS, type WebgpuContext } from './context.js';
import {
  batchNormApply,
  batchNormBackward,
  batchNormEval,
  batchNormJoinMoments,
  batchNormJoinSums,
  batchNormMoments,
  batchNormPartialSums,
  batchNormStatistics,
  batchNormSums,
} from './shaders/batchNorm.js';
import { crossEntropy, crossEntropyBackward } from './shaders/crossEntropy.js';
import { softmax, softmaxBackward } from './shaders/softmax.js';

/** Invocations that share a channel of so many elements. */
function channelGroup(count: number): number {
  return count >= 4096 ? 256 : count >= 1024 ? 64 : 32;
}

/** Elements that a part of a channel should at least have, and how many parts at most. */
const LEAST_SHARE = 4096;
const MOST_PARTS = 64;
const PART_GROUP = 256;

/** Into how many parts a channel's sums are split, so that all channels' keep the GPU busy. */
function partsOf(g: WebgpuContext, { batch, channels, spatial }: BatchNormGeometry): { parts: number; share: number } {
  const count = batch * spatial;
  const wanted = Math.min(MOST_PARTS, Math.ceil(g.busyReducing / channels), Math.floor(count / LEAST_SHARE));
  const share = Math.ceil(count / Math.max(1, wanted));
  return { parts: Math.ceil(count / Math.max(1, share)), share };
}

export function normalizationKernels(
  g: WebgpuContext,
): Pick<
  Kernels,
  | 'batchNormTrain'
  | 'batchNormEval'
  | 'batchNormBackward'
  | 'softmax'
  | 'softmaxBackward'
  | 'logSoftmax'
  | 'logSoftmaxBackward'
  | 'crossEntropy'
  | 'crossEntropyBackward'
> {
  /** Checks buffers that hold an element for each of the input's, and those that hold one a channel. */
  const expect = (
    kernel: string,
    { batch, channels, spatial }: BatchNormGeometry,
    whole: Readonly<Record<string, Buffer | null>>,
    perChannel: Readonly<Record<string, Buffer | null>>,
    saved: Buffer,
  ): number => {
    const size = batch * channels * spatial;
    for (const name in whole) g.expect(kernel, name, whole[name], size);
    for (const name in perChannel) g.expect(kernel, name, perChannel[name], channels);
    g.expect(kernel, 'saved', saved, 2 * channels, 'float64');
    if (channels > MOST_GROUPS) {
      throw new ArgumentError(`webgpu: ${kernel}: ${channels} channels; want at most ${MOST_GROUPS}`);
    }
    return size;
  };

  const softmaxKernel = (name: string, x: Buffer, out: Buffer, o: { outer: number; extent: number; inner: number }) => {
    const size = o.outer * o.extent * o.inner;
    g.expect(name, 'x', x, size);
    g.expect(name, 'out', out, size);
    if (size === 0) return;
    g.dispatch(softmax, { x, out }, o, { elements: o.outer * o.inner }, { LOGARITHM: name === 'logSoftmax' });
  };
  const softmaxGradient = (
    name: string,
    { y, dy, dx, ...o }: { y: Buffer; dy: Buffer; dx: Buffer; outer: number; extent: number; inner: number },
  ) => {
    const size = o.outer * o.extent * o.inner;
    g.expect(name, 'y', y, size);
    g.expect(name, 'dy', dy, size);
    g.expect(name, 'dx', dx, size);
    const constants = { LOGARITHM: name === 'logSoftmaxBackward' };
    g.dispatch(softmaxBackward, { y, dy, dx }, o, { elements: o.outer * o.inner }, constants);
  };

  return {
    batchNormTrain({ x, weight, bias, residual, runningMean, runningVar, saved, out, ...o }) {
      const { batch, channels, spatial, momentum, correction, eps, relu } = o;
      const perChannel = { weight, bias, runningMean, runningVar };
      const size = expect('batchNormTrain', o, { x, residual, out }, perChannel, saved);
      const geometry = { batch, channels, spatial };
      const { parts, share } = partsOf(g, o);
      const rates = { momentum, rest: 1 - momentum, correction, eps };
      if (parts > 1) {
        g.withScratch((take) => {
          const moments = take(3 * channels * parts);
          const groups = [channels, parts, 1] as const;
          const constants = { GROUP: PART_GROUP };
          g.dispatch(batchNormMoments, { x, moments }, { ...geometry, parts, share }, { groups }, constants);
          const ends = { moments, saved, runningMean, runningVar };
          g.dispatch(batchNormJoinMoments, ends, { channels, parts, ...rates }, { elements: channels });
        });
      } else {
        const buffers = { x, saved, runningMean, runningVar };
        const constants = { GROUP: channelGroup(batch * spatial) };
        g.dispatch(batchNormStatistics, buffers, { ...geometry, ...rates }, { groups: [channels, 1, 1] }, constants);
      }
      const buffers = { x, weight, bias, residual, saved, out };
      g.dispatch(batchNormApply, buffers, { ...geometry, size }, { elements: size }, { RELU: relu });
    },
    batchNormEval({ x, weight, bias, residual, runningMean, runningVar, saved, out, ...o }) {
      const { batch, channels, spatial, eps, relu } = o;
      const perChannel = { weight, bias, runningMean, runningVar };
      const size = expect('batchNormEval', o, { x, residual, out }, perChannel, saved);
      g.dispatch(
        batchNormEval,
        { x, weight, bias, residual, runningMean, runningVar, saved, out },
        { batch, channels, spatial, size, eps },
        { elements: Math.max(size, channels) },
        { RELU: relu },
      );
    },
    batchNormBackward({ x, dy, y, dresidual, weight, saved, training, dx, dweight, dbias, ...o }) {
      const { batch, channels, spatial } = o;
      const size = expect('batchNormBackward', o, { x, dy, y, dresidual, dx }, { weight, dweight, dbias }, saved);
      const geometry = { batch, channels, spatial };
      // Where dy goes through relu, what passes lies in the residual's gradient, or waits in dx.
      const masked = y === null ? null : (dresidual ?? dx);
      g.withScratch((take) => {
        const sums = take(2 * channels);
        const { parts, share } = partsOf(g, o);
        if (parts > 1) {
          const partial = take(2 * channels * parts);
          const groups = [channels, parts, 1] as const;
          const buffers = { x, dy, y, saved, masked, partial };
          const constants = { GROUP: PART_GROUP };
          g.dispatch(batchNormPartialSums, buffers, { ...geometry, parts, share }, { groups }, constants);
          const ends = { partial, saved, sums, dweight, dbias };
          g.dispatch(batchNormJoinSums, ends, { channels, parts }, { elements: channels });
        } else {
          const buffers = { x, dy, y, saved, masked, sums, dweight, dbias };
          const constants = { GROUP: channelGroup(batch * spatial) };
          g.dispatch(batchNormSums, buffers, geometry, { groups: [channels, 1, 1] }, constants);
        }
        if (dx !== null) {
          const from = masked === null ? dy : masked === dx ? null : masked;
          const buffers = { x, dy: from, weight, saved, sums, dx };
          g.dispatch(batchNormBackward, buffers, { ...geometry, size }, { elements: size }, { TRAINING: training });
        }
      });
    },

    softmax({ x, out, outer, extent, inner }) {
      softmaxKernel('softmax', x, out, { outer, extent, inner });
    },
    softmaxBackward(o) {
      softmaxGradient('softmaxBackward', o);
    },
    logSoftmax({ x, out, outer, extent, inner }) {
      softmaxKernel('logSoftmax', x, out, { outer, extent, inner });
    },
    logSoftmaxBackward(o) {
      softmaxGradient('logSoftmaxBackward', o);
    },

    crossEntropy({ logits, labels, out, saved, rows, classes, labelSmoothing }) {
      g.expect('crossEntropy', 'logits', logits, rows * classes);
      g.expect('crossEntropy', 'labels', labels, rows, 'int32');
      g.expect('crossEntropy', 'saved', saved, rows, 'float64');
      g.expect('crossEntropy', 'out', out, 1);
      const params = { rows, classes, own: 1 - labelSmoothing, spread: labelSmoothing / classes };
      const constants = { SMOOTHED: labelSmoothing !== 0 };
      g.dispatch(crossEntropy, { logits, labels, out, saved }, params, { groups: [1, 1, 1] }, constants);
    },
    crossEntropyBackward({ logits, labels, saved, dy, dlogits, rows, classes, labelSmoothing }) {
      g.expect('crossEntropyBackward', 'logits', logits, rows * classes);
      g.expect('crossEntropyBackward', 'labels', labels, rows, 'int32');
      g.expect('crossEntropyBackward', 'saved', saved, rows, 'float64');
      g.expect('crossEntropyBackward', 'dy', dy, 1);
      g.expect('crossEntropyBackward', 'dlogits', dlogits, rows * classes);
      const params = { rows, classes, own: 1 - labelSmoothing, spread: labelSmoothing / classes };
      g.dispatch(crossEntropyBackward, { logits, labels, saved, dy, dlogits }, params, { elements: rows * classes });
    },
  };
}
