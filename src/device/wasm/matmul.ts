/** Matrix products on linear memory. */
import type { Kernels } from '../device.js';
import type { WasmContext } from './context.js';
import { MOST_STEPS, type Step } from './team.js';

export function matmulKernels(w: WasmContext): Pick<Kernels, 'matmul'> {
  return {
    matmul({ a, b, bias, out, m, n, k, transposeA, transposeB, batch, aBatchStride, bBatchStride }) {
      if (out.size === 0) return;
      const addresses = [w.input(a), w.input(b), w.optional(bias, n), w.address(out, batch * m * n)];
      if (k === 0) {
        // An empty sum is +0; adding the bias as a product keeps one code path.
        w.call('fill', addresses[3], 0, out.size);
        if (bias === null) return;
        const one = w.scratch(w.sizes.matmulScratch() + 64);
        w.call('fill', one, 1, 1);
        for (let i = 0; i < batch; i++) {
          w.call('matmul', one, 0, 4, addresses[2], 0, 4, 0, addresses[3] + i * m * n * 4, m, n, 1, one + 64);
        }
        return;
      }
      const [aRow, aCol] = transposeA ? [4, m * 4] : [k * 4, 4];
      const [bRow, bCol] = transposeB ? [4, k * 4] : [n * 4, 4];
      // Products of a batch, rows of one, or columns of one row.
      const work = (batch * m * n * k) / 8;
      const products = w.split(batch, work);
      const rows = w.split(m, products.length > 1 ? 0 : work, 4);
      const columns = w.split(n, products.length > 1 || m > 1 ? 0 : work, 8);
      const scratchStep = Math.ceil(w.sizes.matmulScratch() / 64) * 64;
      const parts = products.flatMap((of) => rows.flatMap((from) => columns.map((at) => [of, from, at] as const)));
      const scratch = w.scratch(parts.length * scratchStep);
      const longest = Math.max(...products.map(([first, last]) => last - first));
      const most = Math.floor(MOST_STEPS / parts.length);
      for (let done = 0; done < longest; done += most) {
        w.run(
          parts.map(([[first, last], [row, rowEnd], [column, columnEnd]], part) => {
            const steps: Step[] = [];
            for (let i = first + done; i < Math.min(last, first + done + most); i++) {
              steps.push([
                'matmul',
                [
                  addresses[0] + i * aBatchStride * 4 + row * aRow,
                  aRow,
                  aCol,
                  addresses[1] + i * bBatchStride * 4 + column * bCol,
                  bRow,
                  bCol,
                  addresses[2] === 0 ? 0 : addresses[2] + column * 4,
                  addresses[3] + ((i * m + row) * n + column) * 4,
                  rowEnd - row,
                  columnEnd - column,
                  k,
                  scratch + part * scratchStep,
                ],
              ]);
            }
            return steps;
          }),
        );
      }
    },
  };
}
