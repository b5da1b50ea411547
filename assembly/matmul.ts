/** Matrix product through the register tile; either operand may be stored transposed (strides in bytes). */
import { madd, TILE_BYTES, tileRowsContinue, tileRowsZero } from './gemm';
import { packRows, transpose4 } from './pack';

const BLOCK_ROWS: i32 = 512;
const BLOCK_PANELS: i32 = 32;
const BLOCK_COLUMNS: i32 = 256;
const KC: i32 = 288;

/** Bytes of scratch: a block of rows, a block of columns, their tiles. */
export function matmulScratch(): i32 {
  return (BLOCK_ROWS + BLOCK_COLUMNS) * KC * 4 + BLOCK_ROWS * BLOCK_COLUMNS * 4;
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
  // Packing would take longer than the products.
  if (m === 1 && bRow === 4) {
    oneRow(a, aCol, b, bCol, bias, out, n, k, scratch);
    return;
  }
  const rows = scratch;
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
          if (k0 === 0) tileRowsZero(rows, rowBytes, pb, pb + panelBytes, tile, 32, tileStep, rowPanels);
          else tileRowsContinue(rows, rowBytes, pb, pb + panelBytes, tile, 32, tileStep, rowPanels);
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

/** A row, dense or not, times columns that lie dense `bStep` bytes apart: eight at a time, k ascending. `sums`: 32 bytes. */
function oneRow(a: usize, aStep: usize, b: usize, bStep: usize, bias: usize, out: usize, n: i32, k: i32, sums: usize): void {
  const whole = aStep === 4 ? k & ~3 : 0;
  const last = b + <usize>(n - 1) * bStep;
  for (let c = 0; c < n; c += 8) {
    // Columns past the end are the last once more, and not stored.
    const p0 = b + <usize>c * bStep;
    const p1 = min(p0 + bStep, last);
    const p2 = min(p1 + bStep, last);
    const p3 = min(p2 + bStep, last);
    const p4 = min(p3 + bStep, last);
    const p5 = min(p4 + bStep, last);
    const p6 = min(p5 + bStep, last);
    const p7 = min(p6 + bStep, last);
    let left = f32x4.splat(0);
    let right = left;
    for (let i: usize = 0, end = (<usize>whole) << 2; i < end; i += 16) {
      left = fourTerms(left, a + i, p0 + i, p1 + i, p2 + i, p3 + i);
      right = fourTerms(right, a + i, p4 + i, p5 + i, p6 + i, p7 + i);
    }
    v128.store(sums, left);
    v128.store(sums, right, 16);
    const lanes = min(8, n - c);
    for (let j = 0; j < lanes; j++) {
      const p = p0 + <usize>j * bStep;
      let sum = load<f32>(sums + ((<usize>j) << 2));
      for (let i = whole; i < k; i++) sum = sum + load<f32>(a + <usize>i * aStep) * load<f32>(p + ((<usize>i) << 2));
      const at: usize = (<usize>(c + j)) << 2;
      store<f32>(out + at, bias !== 0 ? sum + load<f32>(bias + at) : sum);
    }
  }
}

/** Goes on with four sums, each of a column at p0 … p3, by four terms. */
@inline
function fourTerms(sum: v128, a: usize, p0: usize, p1: usize, p2: usize, p3: usize): v128 {
  const r0 = v128.load(p0);
  const r1 = v128.load(p1);
  const r2 = v128.load(p2);
  const r3 = v128.load(p3);
  const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  const t1 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  const t2 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  sum = madd(sum, v128.load32_splat(a), v128.shuffle<f64>(t0, t1, 0, 2));
  sum = madd(sum, v128.load32_splat(a, 4), v128.shuffle<f64>(t0, t1, 1, 3));
  sum = madd(sum, v128.load32_splat(a, 8), v128.shuffle<f64>(t2, t3, 0, 2));
  return madd(sum, v128.load32_splat(a, 12), v128.shuffle<f64>(t2, t3, 1, 3));
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
