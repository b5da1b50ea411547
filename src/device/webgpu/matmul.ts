/** Matrix products with register tiles. */
import { ArgumentError } from '../../errors.js';
import type { Kernels } from '../device.js';
import { MOST_GROUPS, type WebgpuContext } from './context.js';
import { matmul } from './shaders/matmul.js';
import { tileFor, workgroups } from './tiles.js';

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
      const tile = tileFor(m, n, batch, g.busy);
      const params = {
        ...{ m, n, k, aRow: transposeA ? 1 : k, aStep: transposeA ? m : 1 },
        ...{ bColumn: transposeB ? k : 1, bStep: transposeB ? 1 : n, aBatch: aBatchStride, bBatch: bBatchStride },
      };
      const groups = [...workgroups(m, n, tile), batch] as const;
      g.dispatch(matmul, { a, b, bias, out }, params, { groups }, { ...tile });
    },
  };
}
