/**
 * 3×3 convolution by Winograd's F(m × m, 3 × 3), stride 1 or 2, forward and input gradient: tiles of m × m outputs, of any
 * image, are transformed a block at a time; each element of the transformed tiles is then a matrix product over the channels, k ascending.
 *
 * Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, https://arxiv.org/abs/1509.09308
 */
import { halfTiles, TILE_BYTES, wholeTiles } from './gemm';
import { TRAINS } from './trains';
import { writeConstants } from './winogradLines';
import { GRADIENT_INPUT, GRADIENT_OUTPUT, INPUT, OUTPUT, stridedFilters, stridedOutputs, stridedTiles } from './winogradStrided';
import { elements, filterTiles, inputTiles, outputTiles, TILE_SCRATCH } from './winogradTiles';

/** Channels of a block: its panel of columns stays in the first-level cache. */
const KC: i32 = 512;
/** Bytes that a thread needs to transform filters: constants, lines, and those that are fetched. */
export const FILTER_SCRATCH: usize = TILE_SCRATCH + 9216;
/** Bytes of weights that meet several panels of columns; they should stay in the second-level cache. */
const CACHED_WEIGHTS: i32 = 131072;

/** Fields in the order in which `device/wasm/winogradPlan.ts` writes them; addresses and strides in bytes. */
@unmanaged
export class WinogradConv {
  /** m of F(m, 3). */
  tile: i32;
  /** 1 or 2; and whether it is the input gradient of a stride of 2. */
  stride: i32;
  transposed: i32;
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
  /** Transformed filters, from the first of `m` rows: panels of four rows, the bytes from one ξ to the next, and from one k. */
  weight: usize;
  weightXi: usize;
  weightK: usize;
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
  /**
   * Where the transformed tiles of one block lie for all threads, or 0: each has its own. Then a call transforms those of channels
   * from `kFrom` to `kTo`, and multiplies if there are rows; all channels must have been transformed.
   */
  columns: usize;
  kFrom: i32;
  kTo: i32;
}

/** Bytes from one element of the transformed tiles to the next: not a multiple of the cache's sets. */
@inline
function spread(bytes: usize): usize {
  return bytes + 64;
}

/** Bytes of scratch for blocks of `block` tiles, their columns not counted. */
export function winogradScratch(tile: i32, stride: i32, block: i32, m: i32): f64 {
  const sums = <f64>(block >> 3) * <f64>((m + 3) >> 2) * <f64>TILE_BYTES + 64;
  return <f64>TILE_SCRATCH + <f64>(block << 4) + <f64>products(tile, stride) * sums;
}

/** Bytes of the transformed tiles of a block; they follow a thread's scratch, unless all threads share them. */
export function winogradColumns(tile: i32, stride: i32, block: i32, k: i32): f64 {
  return <f64>products(tile, stride) * (<f64>(block >> 3) * <f64>(k << 5) + 64);
}

/** Elements of a transformed tile. */
@inline
export function products(tile: i32, stride: i32): i32 {
  return stride === 2 ? (2 * tile + 1) * (2 * tile + 1) : elements(tile);
}

/** Bytes of `rows` filters over k, transformed; with a stride each of their elements once. */
export function winogradFilterBytes(tile: i32, rows: i32, k: i32): f64 {
  return <f64>elements(tile) * (<f64>((rows + 3) >> 2) * <f64>(k << 4) + 64);
}

/** Bytes from one element of such filters to the next. */
export function winogradFilterXi(rows: i32, k: i32): f64 {
  return <f64>((rows + 3) >> 2) * <f64>(k << 4) + 64;
}

/**
 * Filters from, of rows and k as the tensor holds them, `rowStep` and `step` bytes apart, into panels of `out`, whose
 * elements lie `xi` bytes apart: [k][4], or with 32 bytes from k to k two of them side by side, [k][8], which are read in one
 * stream where there is but half a panel of tiles.
 */
export function winogradFilters(tile: i32, stride: i32, weight: usize, rows: i32, k: i32, rowStep: usize, step: usize, flipped: i32, out: usize, xi: usize, kStep: usize, scratch: usize, thread: i32): void {
  const constants: usize = scratch + <usize>thread * FILTER_SCRATCH;
  writeConstants(constants);
  for (let r = 0; r < rows; r += 4) {
    const to = panelOfFilters(r, k, out, kStep);
    if (stride === 2) stridedFilters(tile, weight, rowStep, min(4, rows - r), step, flipped !== 0, to, kStep, xi, k, constants);
    else filterTiles(tile, weight, rowStep, min(4, rows - r), step, false, to, kStep, xi, k, constants);
    weight += rowStep << 2;
  }
}

/** Where the panel of rows from r on starts. */
@inline
export function panelOfFilters(r: i32, k: i32, out: usize, kStep: usize): usize {
  const panel = out + ((<usize>r * <usize>k) << 2);
  return kStep === 16 || (r & 4) === 0 ? panel : panel - ((<usize>k) << 4) + 16;
}

export function winogradConv(g: WinogradConv, thread: i32): void {
  const constants: usize = g.scratch + <usize>thread * g.scratchStep;
  const sources: usize = constants + TILE_SCRATCH;
  // Four outputs and their extents, as outputTiles wants them.
  const outputs: usize = sources + ((<usize>g.block) << 2);
  const sums: usize = outputs + ((<usize>g.block) << 3) + ((<usize>g.block) << 2);
  const m = g.tile;
  const k = g.k;
  const strided = g.stride === 2;
  const side = strided ? 2 * m + 1 : m + 2;
  const xis = side * side;
  const rowPanels = (g.m + 3) >> 2;
  const panelBytes: usize = (<usize>k) << 5;
  const rowBytes: usize = (<usize>k) << 4;
  const outRow: usize = (<usize>g.width) << 2;
  const channels = g.kTo - g.kFrom;
  const skipped: usize = <usize>g.kFrom * g.sourcePlane;
  /** Extents of a tile, in the source and in the result. */
  const from = strided && !g.transposed ? 2 * m : m;
  const wide = strided && g.transposed ? 2 * m : m;
  writeConstants(constants);
  const tilesOfImage = g.tilesHigh * g.tilesWide;
  let image = g.from / tilesOfImage;
  let row = (g.from - image * tilesOfImage) / g.tilesWide;
  let col = (g.from - image * tilesOfImage) % g.tilesWide;
  for (let t0 = g.from; t0 < g.to; t0 += g.block) {
    const count = min(g.block, g.to - t0);
    const panels = (count + 7) >> 3;
    const columnXi: usize = spread(<usize>panels * panelBytes);
    const tileStep: usize = <usize>panels * TILE_BYTES;
    const sumXi: usize = spread(<usize>rowPanels * tileStep);
    const columns = g.columns !== 0 ? g.columns : sums + <usize>xis * sumXi;
    for (let i = 0; i < panels << 3; i++) {
      const quad: usize = outputs + ((<usize>(i >> 2)) << 5) + ((<usize>(i & 3)) << 2);
      if (i < count) {
        store<u32>(
          sources + ((<usize>i) << 2),
          g.source + <usize>image * g.sourceImage + <usize>(row * from) * g.sourceRow + ((<usize>(col * from)) << 2),
        );
        store<u32>(quad, g.out + <usize>image * g.outImage + <usize>(row * wide) * outRow + ((<usize>(col * wide)) << 2));
        store<u32>(quad, (min(wide, g.height - row * wide) << 16) | min(wide, g.width - col * wide), 16);
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
    for (let i = 0; i < count && channels > 0; i += 4) {
      const four: usize = sources + ((<usize>i) << 2);
      // The last panel may be half of one.
      const kBytes: usize = (i & 4) === 0 && count - i <= 4 ? 16 : 32;
      const to = columns + <usize>(i >> 3) * panelBytes + ((<usize>(i & 4)) << 2) + <usize>g.kFrom * kBytes;
      const p0: usize = <usize>load<u32>(four) + skipped;
      const p1: usize = <usize>load<u32>(four, 4) + skipped;
      const p2: usize = <usize>load<u32>(four, 8) + skipped;
      const p3: usize = <usize>load<u32>(four, 12) + skipped;
      if (strided) {
        const kind = TRAINS && g.transposed ? GRADIENT_INPUT : INPUT;
        stridedTiles(kind, m, p0, p1, p2, p3, g.sourceRow, g.sourcePlane, to, kBytes, columnXi, channels, constants);
      } else inputTiles(m, p0, p1, p2, p3, g.sourceRow, g.sourcePlane, to, kBytes, columnXi, channels, constants);
    }
    if (g.m === 0) continue;
    for (let e = 0; e < xis; e++) {
      multiply(g.weight + <usize>filterElement(e, m, side) * g.weightXi, rowBytes, g.weightK, columns + <usize>e * columnXi, panelBytes, sums + <usize>e * sumXi, k, rowPanels, count);
    }
    for (let i = 0; i < count; i += 4) {
      const sum = sums + <usize>(i >> 3) * TILE_BYTES + ((<usize>(i & 4)) << 2);
      const quad = outputs + ((<usize>(i >> 2)) << 5);
      const relu = g.relu !== 0;
      if (strided) {
        const kind = TRAINS && g.transposed ? GRADIENT_OUTPUT : OUTPUT;
        stridedOutputs(kind, m, sum, sumXi, tileStep, g.m, g.bias, quad, outRow, g.outPlane, g.residualFrom, relu, constants);
      } else outputTiles(m, sum, sumXi, tileStep, g.m, g.bias, quad, outRow, g.outPlane, g.residualFrom, relu, constants);
    }
  }
}

/** Which element of the filters meets element e of tiles with `side` elements a side: with a stride the last are one. */
@inline
function filterElement(e: i32, m: i32, side: i32): i32 {
  return min(e / side, m + 1) * (m + 2) + min(e % side, m + 1);
}

/**
 * `count` columns in panels [k][8], the last [k][4] if at most four are left, against row panels, `kStep` bytes from k to k: more than 16
 * only for at most four columns. Tiles of sums lie [row panel][column panel].
 */
function multiply(a: usize, rowBytes: usize, kStep: usize, b: usize, panelBytes: usize, c: usize, k: i32, rowPanels: i32, count: i32): void {
  const panels = (count + 7) >> 3;
  const tileStep: usize = <usize>panels * TILE_BYTES;
  const apart: usize = kStep === 16 ? rowBytes : 16;
  for (let k0 = 0; k0 < k; k0 += KC) {
    const kb = min(KC, k - k0);
    const most = max(2, (CACHED_WEIGHTS / (kb << 4)) & ~1);
    for (let r = 0; r < rowPanels; r += most) {
      const rows = min(most, rowPanels - r);
      const ra = a + <usize>r * rowBytes + <usize>k0 * kStep;
      for (let p = 0; p < panels; p++) {
        const half = count - (p << 3) <= 4;
        const shift: usize = half ? 4 : 5;
        const column = b + <usize>p * panelBytes + ((<usize>k0) << shift);
        const columnEnd = column + ((<usize>kb) << shift);
        const tile = c + <usize>r * tileStep + <usize>p * TILE_BYTES;
        if (half) halfTiles(k0 > 0, ra, rowBytes, apart, kStep, column, columnEnd, tile, tileStep, rows);
        else wholeTiles(k0 > 0, ra, rowBytes, column, columnEnd, tile, 32, tileStep, rows);
      }
    }
  }
}
