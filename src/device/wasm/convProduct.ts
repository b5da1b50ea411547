/** The product that a direct convolution is: packed rows of weights times an implicit column matrix, and its division. */
import type { WasmContext } from './context.js';
import { BLOCK_PIXELS, NORM_BYTES, type Work } from './convWork.js';
import type { Tables } from './tables.js';
import { MOST_STEPS, type Step } from './team.js';

/** From one packed panel of four rows to the next; not a multiple of the cache's sets, since packing writes to many. */
export const panelStep = (k: number): number => 16 * k + 64;
export const panelBytes = (rows: number, k: number): number => Math.ceil(rows / 4) * panelStep(k);

/** A matrix product over an implicit column matrix; assembly/conv2d.ts tells what each is. */
export interface Product {
  images: number;
  rows: number;
  cols: number;
  source: number;
  sourceImage: number;
  sourceRow: number;
  /** Written for each job. */
  taps: () => number;
  k: number;
  m: number;
  weight: number;
  /** Bytes from one row's weights to the next's. */
  weightRow: number;
  /** Written for each job; null where the rows are packed. */
  weightOffsets: (() => number) | null;
  packed: number;
  isPacked: boolean;
  bias: number;
  out: number;
  outImage: number;
  outPlane: number;
  outRow: number;
  outCol: number;
  scratch: number;
  scratchStep: number;
  /** An epilogue, as Epilogue has it; the residual as the way there from the result. */
  norm?: number;
  residualFrom?: number;
  relu?: boolean;
}

/** The ranges of pixels and of rows that are a part each: blocks of pixels or, where these are few, rows. */
export function divideProduct(
  w: WasmContext,
  { pixels, m, k }: { pixels: number; m: number; k: number },
  divide = true,
): { blocks: [number, number][]; panels: [number, number][] } {
  const work = divide ? (pixels * m * k) / 16 : 0;
  // Blocks of whole panels, as even as they come; every thread gets some.
  const most = Math.min(Math.ceil(pixels / BLOCK_PIXELS / w.threads), Math.floor(MOST_STEPS / w.threads));
  const blocks = w.split(pixels, pixels <= BLOCK_PIXELS ? 0 : work, 8, most);
  // Sixteen rows suit all tiles.
  return { blocks, panels: w.split(m, blocks.length > 1 ? 0 : work, m % (16 * w.threads) === 0 ? 16 : 4) };
}

/** A product, divided. */
export const productWork =
  (w: WasmContext, o: Product, tables: Tables): Work =>
  (divide) => {
    const pixels = o.images * o.rows * o.cols;
    if (pixels === 0 || o.m === 0) return [];
    const { blocks, panels } = divideProduct(w, { pixels, m: o.m, k: o.k }, divide);
    return blocks.flatMap(([from, to]) =>
      panels.map(([first, last]): Step[] => {
        // The order of fields of ImplicitGemm.
        const struct = tables.write(
          [from, to, o.rows, o.cols, o.source, o.sourceImage, o.sourceRow, o.taps(), o.k, last - first],
          [o.weight + first * o.weightRow, o.weightOffsets?.() ?? 0],
          [o.packed + (first / 4) * panelStep(o.k), panelStep(o.k), Number(o.isPacked)],
          [o.bias === 0 ? 0 : o.bias + 4 * first, o.out + first * o.outPlane],
          [o.outImage, o.outPlane, o.outRow, o.outCol, o.scratch, o.scratchStep],
          [o.norm ? o.norm + first * NORM_BYTES : 0, o.residualFrom ?? 0, Number(o.relu ?? false)],
        );
        return [['implicitGemm', [struct]]];
      }),
    );
  };
