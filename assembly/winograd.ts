/**
 * 3×3 convolution by Winograd's F(m × m, 3 × 3), forward and input gradient: tiles of m × m outputs, of any image, are
 * transformed a block at a time; each of the (m + 2)² elements is then a matrix product over the channels, k ascending.
 *
 * Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, https://arxiv.org/abs/1509.09308
 */
import { TILE_BYTES, tileHalfContinue, tileHalfZero, tileRowsContinue, tileRowsZero } from './gemm';
import { writeConstants } from './winogradLines';
import { elements, filterTiles, inputTiles, outputTiles, TILE_SCRATCH } from './winogradTiles';

/** Channels of a block: its panel of columns stays in the first-level cache. */
const KC: i32 = 512;
/** Bytes of weights that meet several panels of columns; they should stay in the second-level cache. */
const CACHED_WEIGHTS: i32 = 131072;

/** Fields in the order in which `device/wasm/winograd.ts` writes them; addresses and strides in bytes. */
@unmanaged
export class WinogradConv {
  /** m of F(m, 3). */
  tile: i32;
  /** Tiles of (image, row, column) from `from` to `to`, at most `block`, a multiple of 8, at a time. */
  from: i32;
  to: i32;
  block: i32;
  tilesHigh: i32;
  tilesWide: i32;
  height: i32;
  width: i32;
  /** The input, padded to whole tiles. */
  source: usize;
  sourceImage: usize;
  sourcePlane: usize;
  sourceRow: usize;
  k: i32;
  /** Transformed filters, from the first of `m` rows: panels of four rows, and the bytes from one ξ to the next. */
  weight: usize;
  weightXi: usize;
  m: i32;
  /** m floats, or 0. */
  bias: usize;
  out: usize;
  outImage: usize;
  outPlane: usize;
  /** `winogradScratch` bytes for each thread. */
  scratch: usize;
  scratchStep: usize;
  /** The way from the result to what is added to it, or 0; then relu, if not 0. */
  residualFrom: usize;
  relu: i32;
}

/** Bytes from one element of the transformed tiles to the next: not a multiple of the cache's sets. */
@inline
function spread(bytes: usize): usize {
  return bytes + 64;
}

/** Bytes of scratch for blocks of `block` tiles. */
export function winogradScratch(tile: i32, block: i32, k: i32, m: i32): f64 {
  const panels: f64 = block >> 3;
  const columns = panels * <f64>(k << 5) + 64;
  const sums = panels * <f64>((m + 3) >> 2) * <f64>TILE_BYTES + 64;
  return <f64>(64 + TILE_SCRATCH) + <f64>(block << 4) + <f64>elements(tile) * (columns + sums);
}

/** Bytes of `rows` filters over k, transformed. */
export function winogradFilterBytes(tile: i32, rows: i32, k: i32): f64 {
  return <f64>elements(tile) * (<f64>((rows + 3) >> 2) * <f64>(k << 4) + 64);
}

/** Bytes from one element of such filters to the next. */
export function winogradFilterXi(rows: i32, k: i32): f64 {
  return <f64>((rows + 3) >> 2) * <f64>(k << 4) + 64;
}

/**
 * Filters from, of rows and k as the tensor holds them, `rowStep` and `step` bytes apart, into panels of `out`, whose
 * elements lie `xi` bytes apart.
 */
export function winogradFilters(tile: i32, weight: usize, rows: i32, k: i32, rowStep: usize, step: usize, flipped: i32, out: usize, xi: usize, scratch: usize, thread: i32): void {
  const constants: usize = scratch + <usize>thread * TILE_SCRATCH;
  writeConstants(constants);
  for (let r = 0; r < rows; r += 4) {
    filterTiles(tile, weight, rowStep, min(4, rows - r), step, flipped !== 0, out, xi, k, constants);
    weight += rowStep << 2;
    out += (<usize>k) << 4;
  }
}

export function winogradConv(g: WinogradConv, thread: i32): void {
  const zeros: usize = g.scratch + <usize>thread * g.scratchStep;
  const constants: usize = zeros + 64;
  const sources: usize = constants + TILE_SCRATCH;
  // Four outputs and their extents, as outputTiles wants them.
  const outputs: usize = sources + ((<usize>g.block) << 2);
  const columns: usize = outputs + ((<usize>g.block) << 3) + ((<usize>g.block) << 2);
  const m = g.tile;
  const k = g.k;
  const xis = elements(m);
  const rowPanels = (g.m + 3) >> 2;
  const panelBytes: usize = (<usize>k) << 5;
  const rowBytes: usize = (<usize>k) << 4;
  const outRow: usize = (<usize>g.width) << 2;
  const step: usize = (<usize>m) << 2;
  v128.store(zeros, f32x4.splat(0));
  writeConstants(constants);
  const tilesOfImage = g.tilesHigh * g.tilesWide;
  let image = g.from / tilesOfImage;
  let row = (g.from - image * tilesOfImage) / g.tilesWide;
  let col = (g.from - image * tilesOfImage) % g.tilesWide;
  for (let t0 = g.from; t0 < g.to; t0 += g.block) {
    const count = min(g.block, g.to - t0);
    const panels = (count + 7) >> 3;
    const columnXi: usize = spread(<usize>panels * panelBytes);
    const sums = columns + <usize>xis * columnXi;
    const tileStep: usize = <usize>panels * TILE_BYTES;
    const sumXi: usize = spread(<usize>rowPanels * tileStep);
    for (let i = 0; i < panels << 3; i++) {
      const quad: usize = outputs + ((<usize>(i >> 2)) << 5) + ((<usize>(i & 3)) << 2);
      if (i < count) {
        store<u32>(
          sources + ((<usize>i) << 2),
          g.source + <usize>image * g.sourceImage + <usize>(row * m) * g.sourceRow + <usize>col * step,
        );
        store<u32>(quad, g.out + <usize>image * g.outImage + <usize>(row * m) * outRow + <usize>col * step);
        store<u32>(quad, (min(m, g.height - row * m) << 16) | min(m, g.width - col * m), 16);
        if (++col === g.tilesWide) {
          col = 0;
          if (++row === g.tilesHigh) {
            row = 0;
            image++;
          }
        }
      } else {
        // Past the end: computed like the first, and not stored.
        store<u32>(sources + ((<usize>i) << 2), load<u32>(sources));
        store<u32>(quad, g.out);
        store<u32>(quad, 0, 16);
      }
    }
    for (let i = 0; i < count; i += 4) {
      const four: usize = sources + ((<usize>i) << 2);
      const to = columns + <usize>(i >> 3) * panelBytes + ((<usize>(i & 4)) << 2);
      inputTiles(m, load<u32>(four), load<u32>(four, 4), load<u32>(four, 8), load<u32>(four, 12), g.sourceRow, g.sourcePlane, to, 32, columnXi, k, constants);
    }
    for (let e = 0; e < xis; e++) {
      products(g.weight + <usize>e * g.weightXi, rowBytes, columns + <usize>e * columnXi, panelBytes, sums + <usize>e * sumXi, k, rowPanels, count, zeros);
    }
    for (let i = 0; i < count; i += 4) {
      const from = sums + <usize>(i >> 3) * TILE_BYTES + ((<usize>(i & 4)) << 2);
      outputTiles(m, from, sumXi, tileStep, g.m, g.bias, outputs + ((<usize>(i >> 2)) << 5), outRow, g.outPlane, g.residualFrom, g.relu !== 0, constants);
    }
  }
}

/** `count` columns in panels [k][8] against row panels [k][4]; tiles of sums lie [row panel][column panel]. */
function products(a: usize, rowBytes: usize, b: usize, panelBytes: usize, c: usize, k: i32, rowPanels: i32, count: i32, zeros: usize): void {
  const panels = (count + 7) >> 3;
  const tileStep: usize = <usize>panels * TILE_BYTES;
  for (let k0 = 0; k0 < k; k0 += KC) {
    const kb = min(KC, k - k0);
    const most = max(2, (CACHED_WEIGHTS / (kb << 4)) & ~1);
    for (let r = 0; r < rowPanels; r += most) {
      const rows = min(most, rowPanels - r);
      const ra = a + <usize>r * rowBytes + ((<usize>k0) << 4);
      for (let p = 0; p < panels; p++) {
        const column = b + <usize>p * panelBytes + ((<usize>k0) << 5);
        const columnEnd = column + ((<usize>kb) << 5);
        const tile = c + <usize>r * tileStep + <usize>p * TILE_BYTES;
        // Half a panel of columns goes against pairs of row panels.
        const paired = count - (p << 3) <= 4 ? rows & ~1 : 0;
        const rest = ra + <usize>paired * rowBytes;
        const restTile = tile + <usize>paired * tileStep;
        if (k0 === 0) {
          if (paired > 0) tileHalfZero(ra, rowBytes, column, columnEnd, tile, tileStep, paired >> 1);
          tileRowsZero(rest, rowBytes, column, columnEnd, restTile, 32, tileStep, zeros, 0, rows - paired);
        } else {
          if (paired > 0) tileHalfContinue(ra, rowBytes, column, columnEnd, tile, tileStep, paired >> 1);
          tileRowsContinue(rest, rowBytes, column, columnEnd, restTile, 32, tileStep, zeros, 0, rows - paired);
        }
      }
    }
  }
}
