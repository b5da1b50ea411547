/** Batch norm in eval mode and softmax on linear memory. */
import type { Kernels } from '../device.js';
import type { WasmContext } from './context.js';

/** Place of `out` among the addresses. */
const OUT = 6;
/** Bytes of a thread's lanes. */
const LANES = 128;

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
  const parts = w.split(channels, batch * channels * spatial, 1, 4);
  const lanes = w.tables.take(w.threads * LANES);
  if (needsOut) addresses[OUT] = w.scratch(batch * channels * spatial * 4);
  w.parallel(
    kernel,
    parts.map(([from, to]) => [w.tables.write([batch, channels, spatial, ...addresses, lanes, from, to]), ...rest]),
  );
};

/** The addresses of a batch norm's forward pass, in the order of the struct's fields. */
export const forwardAddresses = (
  w: WasmContext,
  o: Parameters<Kernels['batchNormTrain' | 'batchNormEval']>[0],
): number[] => {
  const size = o.batch * o.channels * o.spatial;
  return [
    w.input(o.x, size),
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
    w.call('softmax', w.input(o.x, size), w.address(o.out, size), outer, extent, inner, logarithm);
  };
  return {
    batchNormEval(o) {
      batchNorm(w, 'batchNormEval', o, forwardAddresses(w, o), [o.eps]);
    },
    softmax: (o) => softmax(o, 0),
    logSoftmax: (o) => softmax(o, 1),
  };
}
