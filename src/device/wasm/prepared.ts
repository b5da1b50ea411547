/** Convolutions with weights that stay, on linear memory: what the weights and batch norm come to is laid out once. */
import { convSizes } from '../../shape.js';
import type { Buffer, Kernels, Prepared } from '../device.js';
import { foldNorm, type NormValues, normFactors } from '../foldNorm.js';
import type { WasmContext } from './context.js';
import { NORM_BYTES, type PlanConv, PreparedConv } from './convWork.js';

/** `folds`: batch norm goes into the weights, as fast modes have it; else it is computed after the sums. */
export function preparedKernels(w: WasmContext, planConv: PlanConv, folds: boolean): Pick<Kernels, 'prepareConv2d'> {
  const values = (buffer: Buffer, size: number): ArrayLike<number> => {
    w.address(buffer, size);
    return (w.view(buffer) as Float32Array).subarray(0, size);
  };

  return {
    prepareConv2d(o) {
      const { outChannels } = o;
      const [inSize, outSize, weightSize] = convSizes(o);
      const lasting: number[] = [];
      const passing: number[] = [];
      const release = (list: number[]): void => {
        while (list.length > 0) w.release(list.pop() as number);
      };
      const take = (list: number[], data: Float32Array | Float64Array): number => {
        const address = w.take(Math.max(64, data.byteLength), 'a prepared convolution');
        list.push(address);
        // It may be the memory of a buffer that kernels still read.
        w.settle();
        const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
        new Uint8Array(w.heap.memory.buffer, address, data.byteLength).set(bytes);
        return address;
      };
      try {
        let weight = w.address(o.weight, weightSize);
        let bias = o.bias === null ? 0 : take(lasting, Float32Array.from(values(o.bias, outChannels)));
        let norm = 0;
        if (o.norm) {
          const given: NormValues = {
            mean: values(o.norm.mean, outChannels),
            variance: values(o.norm.variance, outChannels),
            weight: o.norm.weight && values(o.norm.weight, outChannels),
            bias: o.norm.bias && values(o.norm.bias, outChannels),
            eps: o.norm.eps,
          };
          if (folds) {
            const filters = values(o.weight, weightSize);
            const folded = foldNorm(filters, weightSize / outChannels, o.bias && values(o.bias, outChannels), given);
            weight = take(passing, Float32Array.from(folded.filters));
            bias = take(lasting, Float32Array.from(folded.bias));
          } else {
            const { scale, shift } = normFactors(given);
            const triples = new Float64Array((outChannels * NORM_BYTES) / 8);
            for (let c = 0; c < outChannels; c++) triples.set([given.mean[c], scale[c], shift[c]], 3 * c);
            norm = take(lasting, triples);
          }
        }
        const addresses = { x: w.address(o.x, inSize), weight, bias, out: w.address(o.out, outSize) };
        const epilogue = { norm, residual: w.optional(o.residual, outSize), relu: o.relu };
        const { since = [] } = o;
        const own = (one: Prepared): one is PreparedConv => one instanceof PreparedConv && one.w === w;
        const known = since.every(own) ? since : [];
        return new PreparedConv(w, planConv(o, addresses, epilogue, true), o, addresses, known, lasting);
      } catch (error) {
        release(lasting);
        throw error;
      } finally {
        release(passing);
      }
    },
  };
}
