/** Products of matrices: one accumulator an output, k ascending. */
import type { Kernels } from '../device.js';
import { addProduct, type Host } from './host.js';

export function matmul(host: Host): Pick<Kernels, 'matmul'> {
  const { single } = host;
  return {
    matmul({ m, n, k, transposeA, transposeB, batch, aBatchStride, bBatchStride, ...o }) {
      const elements = (stride: number, matrix: number) => (batch === 0 ? 0 : (batch - 1) * stride + matrix);
      const a = host.floats('matmul', 'a', o.a, elements(aBatchStride, m * k));
      const b = host.floats('matmul', 'b', o.b, elements(bBatchStride, k * n));
      const bias = o.bias && host.floats('matmul', 'bias', o.bias, n);
      const out = host.floats('matmul', 'out', o.out, batch * m * n);
      // Distance from one row, and from one column, to the next.
      const [aRow, aColumn] = transposeA ? [1, m] : [k, 1];
      const [bRow, bColumn] = transposeB ? [1, k] : [n, 1];

      for (let matrix = 0; matrix < batch; matrix++) {
        for (let row = 0; row < m; row++) {
          for (let column = 0; column < n; column++) {
            let atA = matrix * aBatchStride + row * aRow;
            let atB = matrix * bBatchStride + column * bColumn;
            let sum = 0;
            for (let i = 0; i < k; i++) {
              sum = addProduct(sum, a[atA], b[atB], single);
              atA += aColumn;
              atB += bRow;
            }
            out[(matrix * m + row) * n + column] = bias ? sum + bias[column] : sum;
          }
        }
      }
    },
  };
}
