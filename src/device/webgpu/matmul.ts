/** Matrix products with register tiles, lanes along the columns. */
import { ArgumentError } from '../../errors.js';
import type { Kernels } from '../device.js';
import { MOST_GROUPS, type WebgpuContext } from './context.js';
import { MATMUL_LANES, matmul } from './shaders/matmul.js';

export function matmulKernels(g: WebgpuContext): Pick<Kernels, 'matmul'> {
  return {
    matmul({ a, b, bias, out, m, n, k, transposeA, transposeB, batch, aBatchStride, bBatchStride }) {
      if (batch * m * n === 0) return;
      g.expect('matmul', 'a', a, (batch - 1) * aBatchStride + m * k);
      g.expect('matmul', 'b', b, (batch - 1) * bBatchStride + k * n);
      g.expect('matmul', 'bias', bias, n);
      g.expect('matmul', 'out', out, batch * m * n);
      if (batch > MOST_GROUPS) {
        throw new ArgumentError(`webgpu: matmul: a batch of ${batch} products; want at most ${MOST_GROUPS}`);
      }
      const ROWS = m >= 8 ? 8 : m >= 4 ? 4 : m >= 2 ? 2 : 1;
      const COLUMNS = n >= 4 * MATMUL_LANES ? 4 : n >= 2 * MATMUL_LANES ? 2 : 1;
      const params = {
        ...{ m, n, k, aRow: transposeA ? 1 : k, aStep: transposeA ? m : 1 },
        ...{ bColumn: transposeB ? k : 1, bStep: transposeB ? 1 : n, aBatch: aBatchStride, bBatch: bBatchStride },
      };
      const groups = [Math.ceil(n / (MATMUL_LANES * COLUMNS)), Math.ceil(m / ROWS), batch] as const;
      g.dispatch(matmul, { a, b, bias, out }, params, { groups }, { ROWS, COLUMNS });
    },
  };
}
