/**
 * Convolution as a matrix product that never writes its column matrix down: forward and, a stride phase at a time, the
 * input gradient. A panel of 8 pixels × KC taps is packed, stays in the first-level cache and meets every row panel of
 * the weights. Blocking over k goes on from the stored sums, so every output is one sum in the order of the reference.
 */
import { halfTiles, TILE_BYTES, tileColumn, tilePackContinue, tilePackZero, wholeTiles } from './gemm';
import { normaliseRow } from './batchnorm';
import { addAndRelu, addValue } from './elementwise';
import { packFour, packPanel } from './im2col';
import { allFinite, packFilterRows, packRows } from './pack';

const BLOCK_PANELS: i32 = 64;
const BLOCK_PIXELS: i32 = 512;
/** Most taps of a block; fewer when the rows are many, so that a block of weights stays in the second-level cache. */
const KC: i32 = 576;
const CACHED_WEIGHTS: i32 = 131072;

/** Fields in the order in which `device/wasm/convProduct.ts` writes them; addresses and strides in bytes. */
@unmanaged
export class ImplicitGemm {
  /** Pixels of (image, row, column) from `from`, a multiple of 8, to `to`. */
  from: i32;
  to: i32;
  rows: i32;
  cols: i32;
  /** The padded input. */
  source: usize;
  sourceImage: usize;
  sourceRow: usize;
  /** tap[k], k of them. */
  taps: usize;
  k: i32;
  /** Rows of the product, and the weights they come from as the tensor holds them. */
  m: i32;
  weight: usize;
  /** For rows that are filters of 9 taps, four of them or a multiple: where each k is in the first of them. Or 0. */
  weightOffsets: usize;
  /** Row panels [k][4], how far apart they are, and whether they are packed or only room for a block of k. */
  packed: usize;
  packedStep: usize;
  isPacked: i32;
  /** m floats, or 0. */
  bias: usize;
  out: usize;
  outImage: usize;
  outPlane: usize;
  outRow: usize;
  outCol: usize;
  /** Scratch: `implicitGemmScratch` bytes for each thread. */
  scratch: usize;
  scratchStep: usize;
  /**
   * What follows, for results whose rows are dense: batch norm, three float64 a row, mean, scale, shift, or 0; the way from the
   * result to what is added to it, or 0; relu, if not 0.
   */
  norm: usize;
  residualFrom: usize;
  relu: i32;
}

/** Bytes of scratch for m rows: pixel tables, a panel of packed columns, tiles that cannot be stored straight. */
export function implicitGemmScratch(m: i32): f64 {
  return <f64>(BLOCK_PIXELS * 8 + KC * 32) + <f64>((m + 3) >> 2) * <f64>BLOCK_PANELS * <f64>TILE_BYTES;
}

export function implicitGemm(g: ImplicitGemm, thread: i32): void {
  const bases: usize = g.scratch + <usize>thread * g.scratchStep;
  const dsts: usize = bases + BLOCK_PIXELS * 4;
  const columns: usize = dsts + BLOCK_PIXELS * 4;
  const tiles: usize = columns + KC * 32;
  const k = g.k;
  const m = g.m;
  const most = max(min(KC, CACHED_WEIGHTS / m), KC / 3);
  const kBlocks = (k + most - 1) / most;
  const filters = g.weightOffsets !== 0;
  const even = (k + kBlocks - 1) / kBlocks;
  // Whole filters.
  const kc = filters ? ((even + 8) / 9) * 9 : even;
  const plane: usize = g.outPlane;
  const rowPanels = (m + 3) >> 2;
  const tileStep: usize = <usize>BLOCK_PANELS * TILE_BYTES;
  // Weights that are not packed are packed a k block at a time, into the cache, just before their use.
  const lazy = !g.isPacked;
  const rowBytes: usize = lazy ? (<usize>kc) << 4 : g.packedStep;
  const mapSize = g.rows * g.cols;
  let image = g.from / mapSize;
  let row = (g.from - image * mapSize) / g.cols;
  let col = (g.from - image * mapSize) % g.cols;
  for (let p0 = g.from; p0 < g.to; p0 += BLOCK_PIXELS) {
    const count = min(BLOCK_PIXELS, g.to - p0);
    const panels = (count + 7) >> 3;
    // Pixel tables. Lanes past the end repeat their panel's first pixel, so that they never look like a neighbour, and
    // are not stored.
    let base: usize = 0;
    let dst: usize = 0;
    for (let i = 0; i < panels << 3; i++) {
      if (i < count) {
        base = g.source + <usize>image * g.sourceImage + <usize>row * g.sourceRow + ((<usize>col) << 2);
        dst = g.out + <usize>image * g.outImage + <usize>row * g.outRow + <usize>col * g.outCol;
        if (++col === g.cols) {
          col = 0;
          if (++row === g.rows) {
            row = 0;
            image++;
          }
        }
      } else {
        base = load<u32>(bases + ((<usize>(i & ~7)) << 2));
        dst = load<u32>(dsts + ((<usize>(i & ~7)) << 2));
      }
      store<u32>(bases + ((<usize>i) << 2), base);
      store<u32>(dsts + ((<usize>i) << 2), dst);
    }

    for (let k0 = 0; k0 < k; k0 += kc) {
      const kb = min(kc, k - k0);
      const columnsEnd: usize = columns + ((<usize>kb) << 5);
      const taps: usize = g.taps + ((<usize>k0) << 2);
      let rows: usize = g.packed + ((<usize>k0) << 4);
      if (lazy) {
        rows = g.packed;
        if (filters) packFilterRows(g.weight, g.weightOffsets + ((<usize>k0) << 2), rows, rowBytes, m, kb);
        else packRows(g.weight + ((<usize>k0) << 2), rows, rowBytes, m, kb, (<usize>k) << 2);
      }
      for (let p = 0; p < panels; p++) {
        const pixel: usize = (<usize>p) << 5;
        const first: usize = load<u32>(dsts + pixel);
        const contiguous = <usize>load<u32>(dsts + pixel, 28) - first === 28;
        const tile: usize = tiles + <usize>p * TILE_BYTES;
        const goOn = k0 > 0;
        if (count - (p << 3) <= 4) {
          packFour(bases + pixel, taps, kb, columns, 16);
          const end: usize = columns + ((<usize>kb) << 4);
          if (isColumn(g, count - (p << 3))) tileColumn(goOn, rows, rowBytes, columns, end, tile, tileStep, rowPanels);
          else halfTiles(goOn, rows, rowBytes, rowBytes, 16, columns, end, tile, tileStep, rowPanels);
          continue;
        }
        // Row panels of neighbouring pixels are stored straight, the rest are tiles that wait in scratch, as are half panels'. Where
        // two loads make a column, the first row panel packs as it goes.
        const straight = contiguous ? m >> 2 : 0;
        let done = 0;
        if (isTwoQuads(bases + pixel)) {
          const left: usize = load<u32>(bases + pixel);
          const right: usize = load<u32>(bases + pixel, 16);
          const c = straight > 0 ? first : tile;
          const ldc = straight > 0 ? plane : 32;
          if (goOn) tilePackContinue(rows, left, right, taps, columns, columnsEnd, c, ldc);
          else tilePackZero(rows, left, right, taps, columns, columnsEnd, c, ldc);
          done = 1;
        } else packPanel(bases + pixel, taps, kb, columns);
        const a = rows + <usize>done * rowBytes;
        const c = first + <usize>done * (plane << 2);
        wholeTiles(goOn, a, rowBytes, columns, columnsEnd, c, plane, plane << 2, straight - done);
        done = max(done, straight);
        const rest: usize = rows + <usize>done * rowBytes;
        const restTile: usize = tile + <usize>done * tileStep;
        wholeTiles(goOn, rest, rowBytes, columns, columnsEnd, restTile, 32, tileStep, rowPanels - done);
      }
    }
    finishBlock(g, dsts, tiles, panels, count);
    if (g.bias !== 0 || g.norm !== 0 || g.residualFrom !== 0 || g.relu !== 0) epilogue(g, p0, count);
  }
}

/** Whether a panel of `lanes` pixels goes through `tileColumn`. */
@inline
function isColumn(g: ImplicitGemm, lanes: i32): bool {
  return lanes === 1 && !(g.m & 15);
}

/** Stores the tiles that were kept aside: half panels, rows past a multiple of 4, split pixels. */
function finishBlock(g: ImplicitGemm, dsts: usize, tiles: usize, panels: i32, count: i32): void {
  const m = g.m;
  const plane: usize = g.outPlane;
  for (let p = 0; p < panels; p++) {
    const d = dsts + ((<usize>p) << 5);
    const contiguous = <usize>load<u32>(d, 28) - <usize>load<u32>(d) === 28;
    const lanes = min(8, count - (p << 3));
    const rowShift: usize = isColumn(g, lanes) ? 2 : 5;
    for (let r = contiguous ? m & ~3 : 0; r < m; r++) {
      const tile: usize = tiles + <usize>((r >> 2) * BLOCK_PANELS + p) * TILE_BYTES + ((<usize>(r & 3)) << rowShift);
      const rowOffset: usize = <usize>r * plane;
      for (let lane: usize = 0; lane < <usize>lanes; lane++) {
        store<f32>(<usize>load<u32>(d + (lane << 2)) + rowOffset, load<f32>(tile + (lane << 2)));
      }
    }
  }
}

/** The epilogue on `count` pixels from p0, image by image. */
function epilogue(g: ImplicitGemm, p0: i32, count: i32): void {
  const mapSize = g.rows * g.cols;
  const end = p0 + count;
  for (let p = p0; p < end; ) {
    const image = p / mapSize;
    const first = p - image * mapSize;
    const n = min(mapSize - first, end - p);
    let out = g.out + <usize>image * g.outImage + ((<usize>first) << 2);
    for (let r: usize = 0; r < <usize>g.m; r++) {
      if (g.bias !== 0) addValue(out, n, load<f32>(g.bias + (r << 2)));
      if (g.norm !== 0) {
        const norm = g.norm + r * 24;
        normaliseRow(out, out, n, load<f64>(norm), load<f64>(norm, 8), load<f64>(norm, 16), g.residualFrom, g.relu !== 0);
      } else if (g.residualFrom !== 0 || g.relu !== 0) addAndRelu(out, n, g.residualFrom, g.relu !== 0);
      out += g.outPlane;
    }
    p += n;
  }
}

/** True when eight addresses are two times four neighbours. */
@inline
function isTwoQuads(b: usize): bool {
  return load<u32>(b, 12) - load<u32>(b) === 12 && load<u32>(b, 28) - load<u32>(b, 16) === 12;
}

/**
 * The input gradient as the reference writes it, where weights are not finite: a padded zero times an infinity is not
 * nothing. A weight that is not finite meets every sum of its channel, and no sum gets finite again, so that the sums tell.
 */
export function repairInput(
  dy: usize,
  weight: usize,
  dx: usize,
  images: i32,
  groups: i32,
  channels: i32,
  height: i32,
  width: i32,
  outChannels: i32,
  outHeight: i32,
  outWidth: i32,
  kernelHeight: i32,
  kernelWidth: i32,
  strideHeight: i32,
  strideWidth: i32,
  padTop: i32,
  padLeft: i32,
  dilationHeight: i32,
  dilationWidth: i32,
): void {
  const taps = kernelHeight * kernelWidth;
  const plane = height * width;
  const weights = groups * outChannels * channels * taps;
  const sums = images * groups * channels * plane;
  if (sums < weights && allFinite(dx, 0, 1, sums)) return;
  if (allFinite(weight, 0, 1, weights)) return;
  for (let i = 0; i < images * groups; i++) {
    const filters = weight + ((<usize>((i % groups) * outChannels * channels * taps)) << 2);
    for (let c = 0; c < channels; c++) {
      for (let ih = 0; ih < height; ih++) {
        for (let iw = 0; iw < width; iw++) {
          let sum: f32 = 0;
          for (let o = 0; o < outChannels; o++) {
            for (let kh = 0; kh < kernelHeight; kh++) {
              const y = ih + padTop - kh * dilationHeight;
              if (y < 0 || y % strideHeight !== 0 || y / strideHeight >= outHeight) continue;
              for (let kw = 0; kw < kernelWidth; kw++) {
                const x = iw + padLeft - kw * dilationWidth;
                if (x < 0 || x % strideWidth !== 0 || x / strideWidth >= outWidth) continue;
                const at = (o * outHeight + y / strideHeight) * outWidth + x / strideWidth;
                const w = load<f32>(filters + ((<usize>((o * channels + c) * taps + kh * kernelWidth + kw)) << 2));
                sum = sum + load<f32>(dy + ((<usize>at) << 2)) * w;
              }
            }
          }
          store<f32>(dx + ((<usize>(c * plane + ih * width + iw)) << 2), sum);
        }
      }
    }
    dy += (<usize>(outChannels * outHeight * outWidth)) << 2;
    dx += (<usize>(channels * plane)) << 2;
  }
}
