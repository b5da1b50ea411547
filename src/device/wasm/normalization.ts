/** Batch norm, softmax and cross-entropy on linear memory. */
import type { Kernels } from '../device.js';
import type { WasmContext } from './context.js';

/** Place of `out` among the addresses. */
const OUT = 6;

export function normalizationKernels(
  w: WasmContext,
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
  const { exports } = w;

  /**
   * Runs a batch norm kernel by ranges of channels: a struct for each, with the fields of BatchNorm in their order. Without an
   * address for `out` it gets scratch where `needsOut`.
   */
  const batchNorm = (
    kernel: 'batchNormTrain' | 'batchNormEval' | 'batchNormBackward',
    { batch, channels, spatial }: { batch: number; channels: number; spatial: number },
    addresses: number[],
    rest: number[],
    needsOut = false,
  ): void => {
    const parts = w.split(channels, batch * channels * spatial);
    const structs = (w.threads + parts.length) * 128;
    const lanes = w.scratch(structs + (needsOut ? batch * channels * spatial * 4 : 0));
    if (needsOut) addresses[OUT] = lanes + structs;
    w.parallel(
      kernel,
      parts.map(([from, to], i) => {
        const struct = lanes + (w.threads + i) * 128;
        w.writeInts(struct, [batch, channels, spatial, ...addresses, lanes, from, to]);
        return [struct, ...rest];
      }),
    );
  };

  return {
    batchNormTrain(o) {
      const size = o.batch * o.channels * o.spatial;
      batchNorm(
        'batchNormTrain',
        o,
        [
          w.address(o.x, size),
          w.optional(o.weight, o.channels),
          w.optional(o.bias, o.channels),
          w.optional(o.runningMean, o.channels),
          w.optional(o.runningVar, o.channels),
          w.address(o.saved, 2 * o.channels, 'float64'),
          w.address(o.out, size),
          ...[0, 0, 0, w.optional(o.residual, size), Number(o.relu)],
        ],
        [o.momentum, o.correction, o.eps],
      );
    },
    batchNormEval(o) {
      const size = o.batch * o.channels * o.spatial;
      batchNorm(
        'batchNormEval',
        o,
        [
          w.address(o.x, size),
          w.optional(o.weight, o.channels),
          w.optional(o.bias, o.channels),
          w.address(o.runningMean, o.channels),
          w.address(o.runningVar, o.channels),
          w.address(o.saved, 2 * o.channels, 'float64'),
          w.address(o.out, size),
          ...[0, 0, 0, w.optional(o.residual, size), Number(o.relu)],
        ],
        [o.eps],
      );
    },
    batchNormBackward(o) {
      const size = o.batch * o.channels * o.spatial;
      batchNorm(
        'batchNormBackward',
        o,
        [
          w.address(o.x, size),
          w.optional(o.weight, o.channels),
          0,
          0,
          0,
          w.address(o.saved, 2 * o.channels, 'float64'),
          w.optional(o.dx, size),
          w.address(o.dy, size),
          w.optional(o.dweight, o.channels),
          w.optional(o.dbias, o.channels),
          ...[w.optional(o.dresidual, size), w.optional(o.y, size)],
        ],
        [Number(o.training)],
        // The masked gradient must lie somewhere.
        o.y !== null && o.dx === null && o.dresidual === null,
      );
    },

    softmax({ x, out, outer, extent, inner }) {
      exports.softmax(
        w.address(x, outer * extent * inner),
        w.address(out, outer * extent * inner),
        outer,
        extent,
        inner,
        0,
      );
    },
    softmaxBackward({ y, dy, dx, outer, extent, inner }) {
      exports.softmaxBackward(
        w.address(y, outer * extent * inner),
        w.address(dy, outer * extent * inner),
        w.address(dx, outer * extent * inner),
        outer,
        extent,
        inner,
        0,
      );
    },
    logSoftmax({ x, out, outer, extent, inner }) {
      exports.softmax(
        w.address(x, outer * extent * inner),
        w.address(out, outer * extent * inner),
        outer,
        extent,
        inner,
        1,
      );
    },
    logSoftmaxBackward({ y, dy, dx, outer, extent, inner }) {
      exports.softmaxBackward(
        w.address(y, outer * extent * inner),
        w.address(dy, outer * extent * inner),
        w.address(dx, outer * extent * inner),
        outer,
        extent,
        inner,
        1,
      );
    },

    crossEntropy({ logits, labels, out, saved, rows, classes, labelSmoothing }) {
      const addresses = [
        w.address(logits, rows * classes),
        w.address(labels, rows, 'int32'),
        w.address(out),
        w.address(saved, rows, 'float64'),
      ] as const;
      exports.crossEntropy(...addresses, rows, classes, labelSmoothing);
    },
    crossEntropyBackward({ logits, labels, saved, dy, dlogits, rows, classes, labelSmoothing }) {
      exports.crossEntropyBackward(
        ...([
          w.address(logits, rows * classes),
          w.address(labels, rows, 'int32'),
          w.address(saved, rows, 'float64'),
          w.address(dy),
          w.address(dlogits, rows * classes),
        ] as const),
        ...([rows, classes, labelSmoothing] as const),
      );
    },
  };
}
