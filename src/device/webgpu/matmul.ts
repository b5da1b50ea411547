/** Matrix products, by blocks of workgroup memory or by tiles in registers. */
import { ArgumentError } from '../../errors.js';
import type { Buffer, Kernels } from '../device.js';
import { blockOf, MOST_GROUPS, type WebgpuContext } from './context.js';
import { isHalves } from './memory.js';
import { DEPTH } from './shaders/block.js';
import { matmul } from './shaders/matmul.js';
import { matmulBlock } from './shaders/matmulBlock.js';
import { tileFor, workgroups } from './tiles.js';

/** `batch` products of m × k by k × n: steps between rows, columns and terms, and between matrices. */
export interface ProductSizes extends Record<keyof typeof matmul.params, number> {
  readonly batch: number;
}

export function product(
  g: WebgpuContext,
  buffers: { readonly a: Buffer; readonly b: Buffer; readonly bias: Buffer | null; readonly out: Buffer },
  { batch, ...sizes }: ProductSizes,
): void {
  const { m, n, k, aRow, aStep, bColumn, bStep } = sizes;
  const shape = { rows: m, columns: n, terms: k, steps: Math.ceil(k / DEPTH), count: batch, most: 1 };
  const block = blockOf(g, shape);
  if (block !== null) {
    const { ROWS, COLUMNS } = block;
    const along = { A_ALONG_TERMS: aRow > aStep, B_ALONG_TERMS: bColumn > bStep };
    const groups = [Math.ceil(n / COLUMNS), Math.ceil(m / ROWS), batch] as const;
    g.dispatch(matmulBlock, buffers, sizes, { groups }, { ROWS, COLUMNS, ...along, RAGGED: k % DEPTH > 0 });
    return;
  }
  const tile = tileFor(sizes.m, sizes.n, batch, g.busy);
  const groups = [...workgroups(sizes.m, sizes.n, tile), batch] as const;
  // Rows of an invocation that lie side by side, the first at an even place.
  const adjacent = sizes.aRow === 1 && sizes.aStep % 2 === 0 && sizes.aBatch % 2 === 0;
  const PAIRS = isHalves(buffers.a) && adjacent && !tile.ALONG_ROWS && tile.ROWS % 2 === 0;
  g.dispatch(matmul, buffers, sizes, { groups }, { ...tile, TURNS: sizes.k % 2 === 0 ? 2 : 1, PAIRS });
}

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
      const steps = {
        ...{
          aRow: transposeA ? 1 : k,
          aStep: transposeA ? m : 1,
          bColumn: transposeB ? k : 1,
          bStep: transposeB ? 1 : n,
        },
        ...{ aBatch: aBatchStride, bBatch: bBatchStride, outBatch: m * n },
      };
      product(g, { a, b, bias, out }, { m, n, k, batch, ...steps });
    },
  };
}
