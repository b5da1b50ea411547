/** Batch norm in eval mode and softmax on linear memory. */
import type { Kernels } from '../device.js';
import type { WasmContext } from './context.js';

/** Place of `out` among the addresses. */
const OUT = 6;

/**
 * Runs a batch norm kernel by ranges of channels: a struct for each, with the fields of BatchNorm in their order. Without an
 * address for `out` it gets scratch where `needsOut`.
 */
export const batchNorm = (
  w: WasmContext,
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

/** The addresses of a batch norm's forward pass, in the order of the struct's fields. */
export const forwardAddresses = (
  w: WasmContext,
  o: Parameters<Kernels['batchNormTrain' | 'batchNormEval']>[0],
): number[] => {
  const size = o.batch * o.channels * o.spatial;
  return [
    w.address(o.x, size),
    w.optional(o.weight, o.channels),
    w.optional(o.bias, o.channels),
    w.optional(o.runningMean, o.channels),
    w.optional(o.runningVar, o.channels),
    w.address(o.saved, 2 * o.channels, 'float64'),
    w.address(o.out, size),
    0,
    0,
    0,
    w.optional(o.residual, size),
    Number(o.relu),
  ];
};

export function normalizationKernels(w: WasmContext): Pick<Kernels, 'batchNormEval' | 'softmax' | 'logSoftmax'> {
  const softmax = (o: Parameters<Kernels['softmax']>[0], logarithm: 0 | 1): void => {
    const { outer, extent, inner } = o;
    const size = outer * extent * inner;
    w.exports.softmax(w.address(o.x, size), w.address(o.out, size), outer, extent, inner, logarithm);
  };
  return {
    batchNormEval(o) {
      batchNorm(w, 'batchNormEval', o, forwardAddresses(w, o), [o.eps]);
    },
    softmax: (o) => softmax(o, 0),
    logSoftmax: (o) => softmax(o, 1),
  };
}
