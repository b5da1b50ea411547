/** Batch norm, softmax and cross-entropy on linear memory. */
import type { Kernels } from '../device.js';
import type { WasmContext } from './context.js';

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

  /** Writes the fields of BatchNorm (assembly/batchnorm.ts) in their order; the struct's address. */
  const batchNorm = (fields: number[]): number => {
    const lanes = w.scratch(128 + 64);
    w.writeInts(lanes + 128, [...fields, lanes]);
    return lanes + 128;
  };

  return {
    batchNormTrain(o) {
      const struct = batchNorm([
        ...[
          o.batch,
          o.channels,
          o.spatial,
          w.address(o.x, o.batch * o.channels * o.spatial),
          w.optional(o.weight, o.channels),
          w.optional(o.bias, o.channels),
        ],
        ...[
          w.optional(o.runningMean, o.channels),
          w.optional(o.runningVar, o.channels),
          w.address(o.saved, 2 * o.channels, 'float64'),
          w.address(o.out, o.batch * o.channels * o.spatial),
          0,
          0,
          0,
        ],
      ]);
      exports.batchNormTrain(struct, o.momentum, o.eps);
    },
    batchNormEval(o) {
      const struct = batchNorm([
        ...[
          o.batch,
          o.channels,
          o.spatial,
          w.address(o.x, o.batch * o.channels * o.spatial),
          w.optional(o.weight, o.channels),
          w.optional(o.bias, o.channels),
        ],
        ...[
          w.address(o.runningMean, o.channels),
          w.address(o.runningVar, o.channels),
          w.address(o.saved, 2 * o.channels, 'float64'),
          w.address(o.out, o.batch * o.channels * o.spatial),
          0,
          0,
          0,
        ],
      ]);
      exports.batchNormEval(struct, o.eps);
    },
    batchNormBackward(o) {
      const struct = batchNorm([
        ...[
          o.batch,
          o.channels,
          o.spatial,
          w.address(o.x, o.batch * o.channels * o.spatial),
          w.optional(o.weight, o.channels),
          0,
          0,
          0,
        ],
        ...[
          w.address(o.saved, 2 * o.channels, 'float64'),
          w.optional(o.dx, o.batch * o.channels * o.spatial),
          w.address(o.dy, o.batch * o.channels * o.spatial),
          w.optional(o.dweight, o.channels),
          w.optional(o.dbias, o.channels),
        ],
      ]);
      exports.batchNormBackward(struct, Number(o.training));
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
