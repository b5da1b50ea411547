/**
 * The weight gradient: the same register tile with output channels as rows and q = (image, row, column) as k. Its lanes
 * are eight neighbours of k = (channel, tap), packed for every block, or eight channels of one tap, which an interleaved
 * copy of the input holds side by side. Blocks of 512 q are summed in float32, the blocks in float64.
 */
import { TILE_BYTES, tileGatherZero, tileRowsZero } from './gemm';
import { transpose4 } from './pack';
import { high, low } from './reduce';

/** Terms of a float32 block: part of the numerics. */
const BLOCK: i32 = 512;

/** Fields in the order in which `device/wasm/conv2d.ts` writes them; addresses and strides in bytes. */
@unmanaged
export class WeightGemm {
  rows: i32;
  cols: i32;
  images: i32;
  /** Padded images, image i in slot i mod slots; interleaved ones when `kernel` is set. */
  source: usize;
  slots: i32;
  sourceImage: usize;
  sourceRow: usize;
  sourceCol: usize;
  /** tap[k] within a slot, k of them. */
  taps: usize;
  k: i32;
  /** Channels as lanes: taps of the kernel, their offsets, and the bytes of eight interleaved planes. Or 0. */
  kernel: i32;
  kernelTaps: usize;
  lanesBytes: usize;
  /** Gradient of the output at the group's first channel. */
  dy: usize;
  dyImage: usize;
  m: i32;
  /** float64 sums [k panel][m panel][4][8]; 0 when one block is all there is. */
  sums: usize;
  /** [m][k] */
  dweight: usize;
  /** Scratch: see `weightGemmScratch`. */
  scratch: usize;
}

/** Bytes of scratch for m rows: pixel table, a panel of taps, tiles, a block of the output gradient. */
export function weightGemmScratch(m: i32): f64 {
  return <f64>(16 + BLOCK * 4 + BLOCK * 32) + <f64>((m + 3) >> 2) * <f64>(<i32>TILE_BYTES + BLOCK * 16);
}

/**
 * Adds one block, q from q0, into the sums; the first block starts them, and the only one goes straight to dweight. Its
 * images are in their slots.
 */
export function weightGemmBlock(g: WeightGemm, q0: i32, count: i32): void {
  const panels = (g.m + 3) >> 2;
  const zeros: usize = g.scratch;
  v128.store(zeros, f32x4.splat(0));
  const bases: usize = zeros + 16;
  const columns: usize = bases + BLOCK * 4;
  const tiles: usize = columns + BLOCK * 32;
  const rows: usize = tiles + <usize>panels * TILE_BYTES;
  const plane = g.rows * g.cols;

  let image = q0 / plane;
  const at = q0 - image * plane;
  let row = at / g.cols;
  let col = at - row * g.cols;
  for (let i = 0; i < count; i++) {
    store<u32>(
      bases + ((<usize>i) << 2),
      g.source + <usize>(image % g.slots) * g.sourceImage + <usize>row * g.sourceRow + <usize>col * g.sourceCol,
    );
    if (++col === g.cols) {
      col = 0;
      if (++row === g.rows) {
        row = 0;
        image++;
      }
    }
  }
  packGradient(g, q0, count, rows);

  const k = g.k;
  const rowBytes: usize = (<usize>count) << 4;
  const columnsEnd: usize = columns + ((<usize>count) << 5);
  const outRow: usize = (<usize>k) << 2;
  const bytes = <usize>panels * TILE_BYTES;
  let sum: usize = g.sums;
  if (g.kernel > 0) {
    const basesEnd = bases + ((<usize>count) << 2);
    for (let c = 0; c < k; c += 8 * g.kernel) {
      const lanes: usize = <usize>(c / (8 * g.kernel)) * g.lanesBytes;
      for (let t = 0; t < g.kernel; t++) {
        const offset = lanes + <usize>load<i32>(g.kernelTaps + ((<usize>t) << 2));
        tileGatherZero(rows, rowBytes, bases, basesEnd, offset, tiles, panels);
        widen(tiles, bytes, sum, q0 === 0);
        sum += bytes << 1;
      }
    }
    return;
  }
  for (let t = 0; t < k; t += 8) {
    packTaps(bases, count, g.taps + ((<usize>t) << 2), min(8, k - t), columns);
    if (g.sums === 0) {
      // Whole tiles are stored straight; the rest waits in scratch.
      const straight = k - t >= 8 ? g.m >> 2 : 0;
      const a = rows + <usize>straight * rowBytes;
      const c = tiles + <usize>straight * TILE_BYTES;
      const out: usize = g.dweight + ((<usize>t) << 2);
      tileRowsZero(rows, rowBytes, columns, columnsEnd, out, outRow, outRow << 2, zeros, 0, straight);
      tileRowsZero(a, rowBytes, columns, columnsEnd, c, 32, TILE_BYTES, zeros, 0, panels - straight);
      storeTiles(g, tiles, t, straight);
    } else {
      tileRowsZero(rows, rowBytes, columns, columnsEnd, tiles, 32, TILE_BYTES, zeros, 0, panels);
      widen(tiles, bytes, sum, q0 === 0);
      sum += bytes << 1;
    }
  }
}

/** Output channels as rows: [panel][q][4]; channels past the end are zeros. */
function packGradient(g: WeightGemm, q0: i32, count: i32, out: usize): void {
  const plane = g.rows * g.cols;
  const planeBytes: usize = (<usize>plane) << 2;
  for (let m0 = 0; m0 < g.m; m0 += 4) {
    const lanes: usize = min(4, g.m - m0);
    let image = q0 / plane;
    let at = q0 - image * plane;
    let left = count;
    while (left > 0) {
      const run = min(left, plane - at);
      let p: usize = g.dy + <usize>image * g.dyImage + <usize>m0 * planeBytes + ((<usize>at) << 2);
      let i = 0;
      if (lanes === 4) {
        for (; i + 4 <= run; i += 4) {
          const r2 = p + (planeBytes << 1);
          transpose4(v128.load(p), v128.load(p + planeBytes), v128.load(r2), v128.load(r2 + planeBytes), out, 16);
          p += 16;
          out += 64;
        }
      }
      for (; i < run; i++) {
        for (let lane: usize = 0; lane < 4; lane++) {
          store<u32>(out + (lane << 2), lane < lanes ? load<u32>(p + lane * planeBytes) : 0);
        }
        p += 4;
        out += 16;
      }
      left -= run;
      at = 0;
      image++;
    }
  }
}

/** Eight taps as lanes: [q][8]; taps past the end are zeros. */
function packTaps(bases: usize, count: i32, taps: usize, lanes: i32, out: usize): void {
  packHalf(bases, count, taps, min(lanes, 4), out);
  packHalf(bases, count, taps + 16, max(lanes - 4, 0), out + 16);
}

function packHalf(bases: usize, count: i32, taps: usize, lanes: i32, out: usize): void {
  let i = 0;
  if (lanes === 4) {
    const t0: usize = load<i32>(taps);
    const t1: usize = load<i32>(taps, 4);
    const t2: usize = load<i32>(taps, 8);
    const t3: usize = load<i32>(taps, 12);
    for (; i + 4 <= count; i += 4) {
      const b: usize = load<u32>(bases);
      if (<usize>load<u32>(bases, 12) - b === 12) {
        transpose4(v128.load(b + t0), v128.load(b + t1), v128.load(b + t2), v128.load(b + t3), out, 32);
      } else {
        for (let j: usize = 0; j < 4; j++) {
          const q: usize = load<u32>(bases + (j << 2));
          const o = out + (j << 5);
          store<u32>(o, load<u32>(q + t0));
          store<u32>(o, load<u32>(q + t1), 4);
          store<u32>(o, load<u32>(q + t2), 8);
          store<u32>(o, load<u32>(q + t3), 12);
        }
      }
      bases += 16;
      out += 128;
    }
  }
  for (; i < count; i++) {
    const b: usize = load<u32>(bases);
    for (let j: usize = 0; j < 4; j++) {
      store<u32>(out + (j << 2), j < <usize>lanes ? load<u32>(b + <usize>load<i32>(taps + (j << 2))) : 0);
    }
    bases += 4;
    out += 32;
  }
}

/** Tiles into the float64 sums, which the first block starts. */
function widen(tile: usize, bytes: usize, sum: usize, start: bool): void {
  const end = tile + bytes;
  if (start) {
    for (; tile < end; tile += 16) {
      const v = v128.load(tile);
      v128.store(sum, low(v));
      v128.store(sum, high(v), 16);
      sum += 32;
    }
    return;
  }
  for (; tile < end; tile += 16) {
    const v = v128.load(tile);
    v128.store(sum, f64x2.add(v128.load(sum), low(v)));
    v128.store(sum, f64x2.add(v128.load(sum, 16), high(v)), 16);
    sum += 32;
  }
}

/** Rounds the sums once into dweight. Scratch is as it was for the blocks. */
export function weightGemmFinish(g: WeightGemm): void {
  const tiles: usize = g.scratch + 16 + BLOCK * 4 + BLOCK * 32;
  const bytes: usize = <usize>((g.m + 3) >> 2) * TILE_BYTES;
  let sum: usize = g.sums;
  for (let t = 0; t < g.k; t += 8) {
    for (let i: usize = 0; i < bytes; i += 16) {
      const a = f32x4.demote_f64x2_zero(v128.load(sum));
      const b = f32x4.demote_f64x2_zero(v128.load(sum, 16));
      v128.store(tiles + i, v128.shuffle<f64>(a, b, 0, 2));
      sum += 32;
    }
    if (g.kernel > 0) storeLanes(g, tiles, t / (8 * g.kernel), (t >> 3) % g.kernel);
    else storeTiles(g, tiles, t, 0);
  }
}

/** The tiles of one tap of eight channels, the `lanes`-th eight, into dweight. */
function storeLanes(g: WeightGemm, tiles: usize, lanes: i32, tap: i32): void {
  const step: usize = (<usize>g.kernel) << 2;
  for (let m = 0; m < g.m; m++) {
    const tile = tiles + ((<usize>m) << 5);
    let out: usize = g.dweight + ((<usize>(m * g.k + lanes * 8 * g.kernel + tap)) << 2);
    for (let i: usize = 0; i < 32; i += 4) {
      store<u32>(out, load<u32>(tile + i));
      out += step;
    }
  }
}

/** The tiles of 8 taps from t, row panels from `first` on, into dweight. */
function storeTiles(g: WeightGemm, tiles: usize, t: i32, first: i32): void {
  const lanes = min(8, g.k - t);
  for (let m = first << 2; m < g.m; m++) {
    const tile = tiles + ((<usize>m) << 5);
    const out: usize = g.dweight + ((<usize>(m * g.k + t)) << 2);
    if (lanes === 8) {
      v128.store(out, v128.load(tile));
      v128.store(out, v128.load(tile, 16), 16);
    } else {
      for (let i: usize = 0; i < (<usize>lanes) << 2; i += 4) store<u32>(out + i, load<u32>(tile + i));
    }
  }
}

/** The weight gradient as the reference writes it, for output gradients that are not finite. One group. */
export function backwardWeightPlain(
  x: usize,
  dy: usize,
  dweight: usize,
  batch: i32,
  xImage: i32,
  dyImage: i32,
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
  for (let o = 0; o < outChannels; o++) {
    for (let c = 0; c < channels; c++) {
      for (let kh = 0; kh < kernelHeight; kh++) {
        for (let kw = 0; kw < kernelWidth; kw++) {
          let wide: f64 = 0;
          let sum: f32 = 0;
          let q = 0;
          for (let n = 0; n < batch; n++) {
            for (let oh = 0; oh < outHeight; oh++) {
              const ih = oh * strideHeight - padTop + kh * dilationHeight;
              for (let ow = 0; ow < outWidth; ow++) {
                const iw = ow * strideWidth - padLeft + kw * dilationWidth;
                if (ih >= 0 && ih < height && iw >= 0 && iw < width) {
                  const g = load<f32>(dy + <usize>(n * dyImage) + ((<usize>((o * outHeight + oh) * outWidth + ow)) << 2));
                  const v = load<f32>(x + <usize>(n * xImage) + ((<usize>((c * height + ih) * width + iw)) << 2));
                  sum = sum + g * v;
                }
                if ((++q & (BLOCK - 1)) === 0) {
                  wide += <f64>sum;
                  sum = 0;
                }
              }
            }
          }
          store<f32>(dweight, <f32>(wide + <f64>sum));
          dweight += 4;
        }
      }
    }
  }
}
