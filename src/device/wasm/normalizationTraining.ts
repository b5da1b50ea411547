/** What training has besides: batch norm over the batch, cross-entropy, and gradients, on linear memory. */
import type { Kernels } from '../device.js';
import type { WasmContext } from './context.js';
import { batchNorm, forwardAddresses } from './normalization.js';

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
  const softmaxBackward = (o: Parameters<Kernels['softmaxBackward']>[0], logarithm: 0 | 1): void => {
    const { outer, extent, inner } = o;
    const size = outer * extent * inner;
    const addresses = [w.input(o.y, size), w.input(o.dy, size), w.address(o.dx, size)] as const;
    w.call('softmaxBackward', ...addresses, outer, extent, inner, logarithm);
  };

  return {
    batchNormTrain(o) {
      batchNorm(w, 'batchNormTrain', o, forwardAddresses(w, o), [o.momentum, o.correction, o.eps]);
    },
    batchNormBackward(o) {
      const size = o.batch * o.channels * o.spatial;
      batchNorm(
        w,
        'batchNormBackward',
        o,
        [
          w.input(o.x, size),
          w.optional(o.weight, o.channels),
          0,
          0,
          0,
          w.address(o.saved, 2 * o.channels, 'float64'),
          w.optional(o.dx, size),
          w.input(o.dy, size),
          w.optional(o.dweight, o.channels),
          w.optional(o.dbias, o.channels),
          w.optional(o.dresidual, size),
          o.y === null ? 0 : w.input(o.y, size),
        ],
        [Number(o.training)],
        // The masked gradient must lie somewhere.
        o.y !== null && o.dx === null && o.dresidual === null,
      );
    },
    softmaxBackward: (o) => softmaxBackward(o, 0),
    logSoftmaxBackward: (o) => softmaxBackward(o, 1),
    crossEntropy({ logits, labels, out, saved, rows, classes, labelSmoothing }) {
      const addresses = [
        w.input(logits, rows * classes),
        w.input(labels, rows, 'int32'),
        w.address(out),
        w.address(saved, rows, 'float64'),
      ] as const;
      w.call('crossEntropy', ...addresses, rows, classes, labelSmoothing);
    },
    crossEntropyBackward({ logits, labels, saved, dy, dlogits, rows, classes, labelSmoothing }) {
      const addresses = [
        w.input(logits, rows * classes),
        w.input(labels, rows, 'int32'),
        w.input(saved, rows, 'float64'),
        w.input(dy),
        w.address(dlogits, rows * classes),
      ];
      w.call('crossEntropyBackward', ...addresses, rows, classes, labelSmoothing);
    },
  };
}
