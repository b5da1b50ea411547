/** What training has besides: batch norm over the batch, cross-entropy, and gradients, on linear memory. */
import type { Kernels } from '../device.js';
import type { WasmContext } from './context.js';
import { batchNorm } from './normalization.js';

export function normalizationTraining(
  w: WasmContext,
): Pick<
  Kernels,
  | 'batchNormTrain'
  | 'batchNormBackward'
  | 'softmaxBackward'
  | 'logSoftmaxBackward'
  | 'crossEntropy'
  | 'crossEntropyBackward'
> {
  return {
    batchNormTrain(o) {
      const size = o.batch * o.channels * o.spatial;
      batchNorm(
        w,
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
    batchNormBackward(o) {
      const size = o.batch * o.channels * o.spatial;
      batchNorm(
        w,
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
    softmaxBackward({ y, dy, dx, outer, extent, inner }) {
      w.exports.softmaxBackward(
        w.address(y, outer * extent * inner),
        w.address(dy, outer * extent * inner),
        w.address(dx, outer * extent * inner),
        outer,
        extent,
        inner,
        0,
      );
    },
    logSoftmaxBackward({ y, dy, dx, outer, extent, inner }) {
      w.exports.softmaxBackward(
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
      w.exports.crossEntropy(...addresses, rows, classes, labelSmoothing);
    },
    crossEntropyBackward({ logits, labels, saved, dy, dlogits, rows, classes, labelSmoothing }) {
      w.exports.crossEntropyBackward(
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
