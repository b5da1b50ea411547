/** Matrix product through the register tile; either operand may be stored transposed (strides in bytes). */
import { TILE_BYTES, tileRowsContinue, tileRowsZero } from './gemm';
import { packRows, transpose4 } from './pack';

const BLOCK_ROWS: i32 = 512;
const BLOCK_PANELS: i32 = 32;
const BLOCK_COLUMNS: i32 = 256;
const KC: i32 = 288;

/** Bytes of scratch: zeros, a block of rows, a block of columns, their tiles. */
export function matmulScratch(): i32 {
  return 16 + (BLOCK_ROWS + BLOCK_COLUMNS) * KC * 4 + BLOCK_ROWS * BLOCK_COLUMNS * 4;
}

/** out (dense, m × n) = A·B (+ bias of the column). */
export function matmul(
  a: usize,
  aRow: usize,
  aCol: usize,
  b: usize,
  bRow: usize,
  bCol: usize,
  bias: usize,
  out: usize,
  m: i32,
  n: i32,
  k: i32,
  scratch: usize,
): void {
  const zeros = scratch;
  v128.store(zeros, f32x4.splat(0));
  const rows: usize = zeros + 16;
  const columns: usize = rows + BLOCK_ROWS * KC * 4;
  const tiles: usize = columns + BLOCK_COLUMNS * KC * 4;
  const kBlocks = (k + KC - 1) / KC;
  const kc = (k + kBlocks - 1) / kBlocks;
  const outRow: usize = (<usize>n) << 2;
  const tileStep: usize = <usize>BLOCK_PANELS * TILE_BYTES;

  for (let m0 = 0; m0 < m; m0 += BLOCK_ROWS) {
    const mb = min(BLOCK_ROWS, m - m0);
    const rowPanels = (mb + 3) >> 2;
    for (let n0 = 0; n0 < n; n0 += BLOCK_COLUMNS) {
      const nb = min(BLOCK_COLUMNS, n - n0);
      const panels = (nb + 7) >> 3;
      for (let k0 = 0; k0 < k; k0 += kc) {
        const kb = min(kc, k - k0);
        const rowBytes: usize = (<usize>kb) << 4;
        const panelBytes: usize = (<usize>kb) << 5;
        const from = a + <usize>m0 * aRow + <usize>k0 * aCol;
        if (aCol === 4) packRows(from, rows, rowBytes, mb, kb, aRow);
        else packStrided(from, aRow, aCol, rows, mb, kb, 4);
        packStrided(b + <usize>k0 * bRow + <usize>n0 * bCol, bCol, bRow, columns, nb, kb, 8);
        let pb = columns;
        let tile = tiles;
        for (let p = 0; p < panels; p++) {
          if (k0 === 0) tileRowsZero(rows, rowBytes, pb, pb + panelBytes, tile, 32, tileStep, zeros, 0, rowPanels);
          else tileRowsContinue(rows, rowBytes, pb, pb + panelBytes, tile, 32, tileStep, zeros, 0, rowPanels);
          pb += panelBytes;
          tile += TILE_BYTES;
        }
      }
      for (let r = 0; r < mb; r++) {
        const o = out + <usize>(m0 + r) * outRow + ((<usize>n0) << 2);
        const row: usize = tiles + <usize>(r >> 2) * tileStep + ((<usize>(r & 3)) << 5);
        for (let c = 0; c < nb; c++) {
          const sum = load<f32>(row + <usize>(c >> 3) * TILE_BYTES + ((<usize>(c & 7)) << 2));
          store<f32>(o + ((<usize>c) << 2), bias !== 0 ? sum + load<f32>(bias + ((<usize>(n0 + c)) << 2)) : sum);
        }
      }
    }
  }
}

/** Panels [panel][k][width] of `lanes` lanes of `k` floats; lanes past the end are zeros. */
function packStrided(x: usize, laneStep: usize, kStep: usize, out: usize, lanes: i32, k: i32, width: i32): void {
  const step: usize = (<usize>width) << 2;
  for (let l = 0; l < lanes; l += width) {
    const left = min(width, lanes - l);
    let p = x + <usize>l * laneStep;
    let i = 0;
    if (kStep === 4 && left === width) {
      for (; i + 4 <= k; i += 4) {
        for (let j: usize = 0; j < step; j += 16) {
          const r0 = p + (j >> 2) * laneStep;
          const r2 = r0 + 2 * laneStep;
          transpose4(v128.load(r0), v128.load(r0 + laneStep), v128.load(r2), v128.load(r2 + laneStep), out + j, step);
        }
        p += 16;
        out += step << 2;
      }
    }
    for (; i < k; i++) {
      if (laneStep === 4 && left === width) {
        v128.store(out, v128.load(p));
        if (width === 8) v128.store(out, v128.load(p, 16), 16);
      } else {
        for (let j = 0; j < width; j++) {
          store<u32>(out + ((<usize>j) << 2), j < left ? load<u32>(p + <usize>j * laneStep) : 0);
        }
      }
      p += kStep;
      out += step;
    }
  }
}
