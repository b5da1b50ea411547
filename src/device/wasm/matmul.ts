/** Matrix products on linear memory. */
import type { Kernels } from '../device.js';
import type { WasmContext } from './context.js';

export function matmulKernels(w: WasmContext): Pick<Kernels, 'matmul'> {
  const { exports } = w;
  return {
    matmul({ a, b, bias, out, m, n, k, transposeA, transposeB, batch, aBatchStride, bBatchStride }) {
      if (out.size === 0) return;
      const addresses = [w.address(a), w.address(b), w.optional(bias, n), w.address(out, batch * m * n)];
      const scratch = w.scratch(exports.matmulScratch() + 64);
      if (k === 0) {
        // An empty sum is +0; adding the bias as a product keeps one code path.
        exports.fill(addresses[3], 0, out.size);
        if (bias === null) return;
        exports.fill(scratch, 1, 1);
        for (let i = 0; i < batch; i++) {
          exports.matmul(scratch, 0, 4, addresses[2], 0, 4, 0, addresses[3] + i * m * n * 4, m, n, 1, scratch + 64);
        }
        return;
      }
      const [aRow, aCol] = transposeA ? [4, m * 4] : [k * 4, 4];
      const [bRow, bCol] = transposeB ? [4, k * 4] : [n * 4, 4];
      for (let i = 0; i < batch; i++) {
        exports.matmul(
          ...([addresses[0] + i * aBatchStride * 4, aRow, aCol] as const),
          ...([addresses[1] + i * bBatchStride * 4, bRow, bCol] as const),
          ...([addresses[2], addresses[3] + i * m * n * 4, m, n, k, scratch] as const),
        );
      }
    },
  };
}
