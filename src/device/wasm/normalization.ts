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
        ...[o.batch, o.channels, o.spatial, w.address(o.x), w.optional(o.weight), w.optional(o.bias)],
        ...[w.optional(o.runningMean), w.optional(o.runningVar), w.address(o.saved), w.address(o.out), 0, 0, 0],
      ]);
      exports.batchNormTrain(struct, o.momentum, o.eps);
    },
    batchNormEval(o) {
      const struct = batchNorm([
        ...[o.batch, o.channels, o.spatial, w.address(o.x), w.optional(o.weight), w.optional(o.bias)],
        ...[w.address(o.runningMean), w.address(o.runningVar), w.address(o.saved), w.address(o.out), 0, 0, 0],
      ]);
      exports.batchNormEval(struct, o.eps);
    },
    batchNormBackward(o) {
      const struct = batchNorm([
        ...[o.batch, o.channels, o.spatial, w.address(o.x), w.optional(o.weight), 0, 0, 0],
        ...[w.address(o.saved), w.optional(o.dx), w.address(o.dy), w.optional(o.dweight), w.optional(o.dbias)],
      ]);
      exports.batchNormBackward(struct, Number(o.training));
    },

    softmax({ x, out, outer, extent, inner }) {
      exports.softmax(w.address(x), w.address(out), outer, extent, inner, 0);
    },
    softmaxBackward({ y, dy, dx, outer, extent, inner }) {
      exports.softmaxBackward(w.address(y), w.address(dy), w.address(dx), outer, extent, inner, 0);
    },
    logSoftmax({ x, out, outer, extent, inner }) {
      exports.softmax(w.address(x), w.address(out), outer, extent, inner, 1);
    },
    logSoftmaxBackward({ y, dy, dx, outer, extent, inner }) {
      exports.softmaxBackward(w.address(y), w.address(dy), w.address(dx), outer, extent, inner, 1);
    },

    crossEntropy({ logits, labels, out, saved, rows, classes, labelSmoothing }) {
      const addresses = [w.address(logits), w.address(labels), w.address(out), w.address(saved)] as const;
      exports.crossEntropy(...addresses, rows, classes, labelSmoothing);
    },
    crossEntropyBackward({ logits, labels, saved, dy, dlogits, rows, classes, labelSmoothing }) {
      exports.crossEntropyBackward(
        ...([w.address(logits), w.address(labels), w.address(saved), w.address(dy), w.address(dlogits)] as const),
        ...([rows, classes, labelSmoothing] as const),
      );
    },
  };
}
