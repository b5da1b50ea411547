/**
 * The weight gradient of a 3×3 convolution by Winograd's F(m × m, 3 × 3): Gᵀ [Σ over tiles (Bᵀ d B) ⊙ (A dy Aᵀ)] G. Each of the
 * (m + 2)² elements is a matrix product over the tiles; a block of them is summed from zero, blocks are added in order.
 *
 * Lavin, Gray, https://arxiv.org/abs/1509.09308, section 4
 */
import { TILE_BYTES, tileRowsAdd, tileRowsZero } from './gemm';
import { padPlanes } from './im2col';
import { products } from './winograd';
import { writeConstants } from './winogradLines';
import { INPUT, OUTPUT_GRADIENT, stridedFilterGradient, stridedTiles } from './winogradStrided';
import { filterGradientTile, inputTiles, outputGradientTiles, TILE_SCRATCH } from './winogradTiles';

/** Fields in the order in which `device/wasm/winogradBackward.ts` writes them; addresses and strides in bytes. */
@unmanaged
export class WinogradWeight {
  /** m of F(m, 3), and the stride, 1 or 2. */
  tile: i32;
  stride: i32;
  images: i32;
  tilesHigh: i32;
  tilesWide: i32;
  /** Most tiles of a block, at least a row of them: part of the numerics. */
  block: i32;
  /** The input, from the first of `channels`. */
  x: usize;
  xImage: usize;
  channels: i32;
  inHeight: i32;
  inWidth: i32;
  padTop: i32;
  padLeft: i32;
  /** The output's gradient, from the first of `m` channels. */
  dy: usize;
  dyImage: usize;
  m: i32;
  outHeight: i32;
  outWidth: i32;
  /** Filters of nine floats; `outRow` bytes from those of one output channel to the next's. */
  out: usize;
  outRow: usize;
  /** `winogradWeightScratch` bytes. */
  scratch: usize;
}

/** Bytes from one column panel [tile][8] to the next, and from one row panel [tile][4]. */
@inline
function columnPanel(block: i32): usize {
  return ((<usize>block) << 5) + 64;
}

@inline
function rowPanel(block: i32): usize {
  return ((<usize>block) << 4) + 64;
}

@inline
function sourcePlane(step: i32, tilesHigh: i32, tilesWide: i32, overlap: i32): usize {
  return (<usize>((tilesHigh * step + overlap) * (tilesWide * step + overlap))) << 2;
}

/** What a window of the input reaches past the step to the next: 3 − stride. */
@inline
function inputPlane(m: i32, stride: i32, tilesHigh: i32, tilesWide: i32): usize {
  return sourcePlane(m * stride, tilesHigh, tilesWide, 3 - stride);
}

/** Bytes of transformed rows that meet all columns while they stay in the second-level cache. */
const CACHED_ROWS: f64 = 262144;

/** Panels of rows that meet all columns before the next do: all of them, but where all tiles are one block. */
@inline
function rowBlock(single: bool, rowPanels: i32, block: i32, xis: i32): i32 {
  return single ? min(rowPanels, max(4, <i32>(CACHED_ROWS / (<f64>xis * <f64>rowPanel(block))))) : rowPanels;
}

/** True where all tiles are one block. */
@inline
function isSingle(images: i32, tilesHigh: i32, tilesWide: i32, block: i32): bool {
  return <f64>images * <f64>tilesHigh * <f64>tilesWide <= <f64>block;
}

/** Bytes of scratch; the arguments are those of the struct. */
export function winogradWeightScratch(tile: i32, stride: i32, images: i32, tilesHigh: i32, tilesWide: i32, block: i32, channels: i32, m: i32): f64 {
  const panels: f64 = (channels + 7) >> 3;
  const rowPanels: f64 = (m + 3) >> 2;
  const copies =
    panels * 8 * <f64>inputPlane(tile, stride, tilesHigh, tilesWide) + rowPanels * 4 * <f64>sourcePlane(tile, tilesHigh, tilesWide, 0);
  const transformed = panels * <f64>columnPanel(block) + rowPanels * <f64>rowPanel(block) + 128;
  const single = isSingle(images, tilesHigh, tilesWide, block);
  const xis = products(tile, stride);
  const sums = (single ? 1 : panels) * <f64>rowBlock(single, (m + 3) >> 2, block, xis) * <f64>TILE_BYTES + 64;
  return <f64>(TILE_SCRATCH + 64) + copies + <f64>xis * (transformed + sums);
}

export function winogradWeight(g: WinogradWeight, thread: i32): void {
  const m = g.tile;
  const constants: usize = g.scratch;
  const panels = (g.channels + 7) >> 3;
  const rowPanels = (g.m + 3) >> 2;
  const strided = g.stride === 2;
  const from = m * g.stride;
  const overlap = 3 - g.stride;
  const xRow: usize = (<usize>(g.tilesWide * from + overlap)) << 2;
  const xPlane: usize = inputPlane(m, g.stride, g.tilesHigh, g.tilesWide);
  const dyCopied = g.outHeight !== g.tilesHigh * m || g.outWidth !== g.tilesWide * m || (g.m & 3) !== 0;
  const dyRow: usize = (<usize>(g.tilesWide * m)) << 2;
  const dyPlane: usize = sourcePlane(m, g.tilesHigh, g.tilesWide, 0);
  const xCopy: usize = constants + TILE_SCRATCH;
  const dyCopy: usize = xCopy + ((<usize>panels) << 3) * xPlane;
  const columnStep: usize = columnPanel(g.block);
  const rowStep: usize = rowPanel(g.block);
  const columnXi: usize = <usize>panels * columnStep + 64;
  const rowXi: usize = <usize>rowPanels * rowStep + 64;
  const xis = products(m, g.stride);
  // 64 bytes past the copies: rows are read four floats at a time.
  const columns: usize = dyCopy + ((<usize>rowPanels) << 2) * dyPlane + 64;
  const rows: usize = columns + <usize>xis * columnXi;
  const sums: usize = rows + <usize>xis * rowXi;
  const single = isSingle(g.images, g.tilesHigh, g.tilesWide, g.block);
  const most = rowBlock(single, rowPanels, g.block, xis);
  const tileStep: usize = <usize>most * TILE_BYTES;
  const sumXi: usize = (single ? 1 : <usize>panels) * tileStep + 64;
  const step: usize = (<usize>m) << 2;
  const xStep: usize = (<usize>from) << 2;
  writeConstants(constants);

  let count = 0;
  let started = false;
  for (let n = 0; n < g.images; n++) {
    padPlanes(g.x + <usize>n * g.xImage, xCopy, g.channels, g.inHeight, g.inWidth, g.padTop, g.padLeft, g.tilesHigh * from + overlap, 1, g.tilesWide * from + overlap);
    let dy = g.dy + <usize>n * g.dyImage;
    if (dyCopied) {
      padPlanes(dy, dyCopy, g.m, g.outHeight, g.outWidth, 0, 0, g.tilesHigh * m, 1, g.tilesWide * m);
      dy = dyCopy;
    }
    for (let row = 0; row < g.tilesHigh; row++) {
      let x = xCopy + <usize>(row * from) * xRow;
      let to = columns + ((<usize>count) << 5);
      for (let p = 0; p < panels; p++) {
        for (let half: usize = 0; half < 32; half += 16) {
          const x1 = x + xPlane;
          const x2 = x1 + xPlane;
          const x3 = x2 + xPlane;
          if (strided) stridedTiles(INPUT, m, x, x1, x2, x3, xRow, xStep, to + half, 32, columnXi, g.tilesWide, constants);
          else inputTiles(m, x, x1, x2, x3, xRow, xStep, to + half, 32, columnXi, g.tilesWide, constants);
          x += xPlane << 2;
        }
        to += columnStep;
      }
      let y = dy + <usize>(row * m) * dyRow;
      to = rows + ((<usize>count) << 4);
      for (let p = 0; p < rowPanels; p++) {
        const y1 = y + dyPlane;
        const y2 = y1 + dyPlane;
        const y3 = y2 + dyPlane;
        if (strided) stridedTiles(OUTPUT_GRADIENT, m, y, y1, y2, y3, dyRow, step, to, 16, rowXi, g.tilesWide, constants);
        else outputGradientTiles(m, y, y1, y2, y3, dyRow, step, to, 16, rowXi, g.tilesWide, constants);
        y += dyPlane << 2;
        to += rowStep;
      }
      count += g.tilesWide;
      // A block ends where the next row, or after an image's last the next image, does not fit in whole.
      const last = row + 1 === g.tilesHigh;
      const next = last ? (n + 1 === g.images ? g.block : g.tilesHigh * g.tilesWide) : g.tilesWide;
      if (!single && count + next > g.block) {
        addBlock(columns, columnStep, columnXi, rows, rowStep, rowXi, sums, sumXi, panels, rowPanels, count, xis, started);
        started = true;
        count = 0;
      }
    }
  }

  for (let r = 0; r < rowPanels; r += most) {
    const some = min(most, rowPanels - r);
    const first = r << 2;
    const end = min(g.m, first + (some << 2));
    for (let p = 0; p < panels; p++) {
      // Of a single block the sums of some rows and one panel of channels are there at a time, in the cache.
      if (single) {
        const b = columns + <usize>p * columnStep;
        addBlock(b, columnStep, columnXi, rows + <usize>r * rowStep, rowStep, rowXi, sums, sumXi, 1, some, count, xis, false);
      }
      const group = sums + (single ? 0 : <usize>p * tileStep);
      for (let o = first; o < end; o++) {
        const sum = group + <usize>((o - first) >> 2) * TILE_BYTES + ((<usize>(o & 3)) << 5);
        for (let c = p << 3; c < min(g.channels, (p + 1) << 3); c += 4) {
          const at = sum + ((<usize>(c & 4)) << 2);
          const filters = g.out + <usize>o * g.outRow + <usize>c * 36;
          if (strided) stridedFilterGradient(m, at, sumXi, min(4, g.channels - c), filters, constants);
          else filterGradientTile(m, at, sumXi, min(4, g.channels - c), filters, constants);
        }
      }
    }
  }
}

/** Adds a block of `count` tiles to the sums, which it begins where `started` is false. */
function addBlock(columns: usize, columnStep: usize, columnXi: usize, rows: usize, rowStep: usize, rowXi: usize, sums: usize, sumXi: usize, panels: i32, rowPanels: i32, count: i32, xis: i32, started: bool): void {
  const tileStep: usize = <usize>rowPanels * TILE_BYTES;
  for (let e = 0; e < xis; e++) {
    let b = columns + <usize>e * columnXi;
    let c = sums + <usize>e * sumXi;
    const a = rows + <usize>e * rowXi;
    for (let p = 0; p < panels; p++) {
      const bEnd = b + ((<usize>count) << 5);
      if (started) tileRowsAdd(a, rowStep, b, bEnd, c, TILE_BYTES, rowPanels);
      else tileRowsZero(a, rowStep, b, bEnd, c, 32, TILE_BYTES, rowPanels);
      b += columnStep;
      c += tileStep;
    }
  }
}
