/**
 * The weight gradient: the same register tile with taps as rows, output channels as lanes and q = (image, row, column)
 * as k. Blocks of 512 q are summed in float32, the blocks in float64.
 */
import { tileZero } from './gemm';
import { transpose4 } from './pack';

/** Terms of a float32 block: part of the numerics. */
const BLOCK: i32 = 512;

/** Fields in the order in which `device/wasm/conv2d.ts` writes them; addresses and strides in bytes. */
@unmanaged
export class WeightGemm {
  rows: i32;
  cols: i32;
  images: i32;
  /** Padded images, image i in slot i mod slots. */
  source: usize;
  slots: i32;
  sourceImage: usize;
  sourceRow: usize;
  sourceCol: usize;
  /** tap[k] within a slot, k of them. */
  taps: usize;
  k: i32;
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

export function weightGemmScratch(m: i32): i32 {
  return BLOCK * 4 + BLOCK * 16 + 128 + ((m + 7) >> 3) * BLOCK * 32;
}

/**
 * Adds one block, q from q0, into the sums; the first block starts them, and the only one goes straight to dweight. Its
 * images are in their slots.
 */
export function weightGemmBlock(g: WeightGemm, q0: i32, count: i32): void {
  const bases: usize = g.scratch;
  const tile: usize = bases + BLOCK * 4;
  const rowsPanel: usize = tile + 128;
  const columns: usize = rowsPanel + BLOCK * 16;
  const plane = g.rows * g.cols;

  let image = q0 / plane;
  let at = q0 - image * plane;
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
  packGradient(g, q0, count, columns);

  const k = g.k;
  const panels = (g.m + 7) >> 3;
  const panelBytes: usize = (<usize>count) << 5;
  let sum: usize = g.sums;
  for (let t = 0; t < k; t += 4) {
    packTaps(bases, count, g.taps + ((<usize>t) << 2), min(4, k - t), rowsPanel);
    let b = columns;
    for (let p = 0; p < panels; p++) {
      tileZero(rowsPanel, b, b + panelBytes, tile, 32);
      if (g.sums === 0) storeTile(g, tile, t, p << 3);
      else if (q0 === 0) storeWide(tile, sum);
      else addWide(tile, sum);
      b += panelBytes;
      sum += 256;
    }
  }
}

/** Output channels as lanes: [panel][q][8]; channels past the end are zeros. */
function packGradient(g: WeightGemm, q0: i32, count: i32, out: usize): void {
  const plane = g.rows * g.cols;
  const planeBytes: usize = (<usize>plane) << 2;
  for (let m0 = 0; m0 < g.m; m0 += 8) {
    const lanes: usize = min(8, g.m - m0);
    let image = q0 / plane;
    let at = q0 - image * plane;
    let left = count;
    while (left > 0) {
      const run = min(left, plane - at);
      let p: usize = g.dy + <usize>image * <usize>g.dyImage + <usize>m0 * planeBytes + ((<usize>at) << 2);
      let i = 0;
      if (lanes === 8) {
        for (; i + 4 <= run; i += 4) {
          transposeHalf(p, planeBytes, out);
          transposeHalf(p + (planeBytes << 2), planeBytes, out + 16);
          p += 16;
          out += 128;
        }
      }
      for (; i < run; i++) {
        for (let lane: usize = 0; lane < 8; lane++) {
          store<u32>(out + (lane << 2), lane < lanes ? load<u32>(p + lane * planeBytes) : 0);
        }
        p += 4;
        out += 32;
      }
      left -= run;
      at = 0;
      image++;
    }
  }
}

/** Four rows `stride` apart, transposed into vectors 32 bytes apart. */
@inline
function transposeHalf(p: usize, stride: usize, out: usize): void {
  const r0 = v128.load(p);
  const r1 = v128.load(p + stride);
  const r2 = v128.load(p + 2 * stride);
  const r3 = v128.load(p + 3 * stride);
  const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  const t1 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  const t2 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  v128.store(out, v128.shuffle<f64>(t0, t1, 0, 2));
  v128.store(out, v128.shuffle<f64>(t0, t1, 1, 3), 32);
  v128.store(out, v128.shuffle<f64>(t2, t3, 0, 2), 64);
  v128.store(out, v128.shuffle<f64>(t2, t3, 1, 3), 96);
}

/** Four taps as rows: [q][4]; taps past the end are zeros. */
function packTaps(bases: usize, count: i32, taps: usize, rows: i32, out: usize): void {
  const t0: usize = load<i32>(taps);
  let i = 0;
  if (rows === 4) {
    const t1: usize = load<i32>(taps, 4);
    const t2: usize = load<i32>(taps, 8);
    const t3: usize = load<i32>(taps, 12);
    for (; i + 4 <= count; i += 4) {
      const b: usize = load<u32>(bases);
      if (<usize>load<u32>(bases, 12) - b === 12) {
        transpose4(v128.load(b + t0), v128.load(b + t1), v128.load(b + t2), v128.load(b + t3), out);
      } else {
        for (let j: usize = 0; j < 4; j++) {
          const q: usize = load<u32>(bases + (j << 2));
          const o = out + (j << 4);
          store<u32>(o, load<u32>(q + t0));
          store<u32>(o, load<u32>(q + t1), 4);
          store<u32>(o, load<u32>(q + t2), 8);
          store<u32>(o, load<u32>(q + t3), 12);
        }
      }
      bases += 16;
      out += 64;
    }
  }
  for (; i < count; i++) {
    const b: usize = load<u32>(bases);
    for (let j: usize = 0; j < 4; j++) {
      store<u32>(out + (j << 2), j < <usize>rows ? load<u32>(b + <usize>load<i32>(taps + (j << 2))) : 0);
    }
    bases += 4;
    out += 16;
  }
}

function storeWide(tile: usize, sum: usize): void {
  for (let i: usize = 0; i < 8; i++) {
    const v = v128.load(tile);
    v128.store(sum, f64x2.promote_low_f32x4(v));
    v128.store(sum, f64x2.promote_low_f32x4(v128.shuffle<f64>(v, v, 1, 1)), 16);
    tile += 16;
    sum += 32;
  }
}

function addWide(tile: usize, sum: usize): void {
  for (let i: usize = 0; i < 8; i++) {
    const v = v128.load(tile);
    v128.store(sum, f64x2.add(v128.load(sum), f64x2.promote_low_f32x4(v)));
    v128.store(
      sum,
      f64x2.add(v128.load(sum, 16), f64x2.promote_low_f32x4(v128.shuffle<f64>(v, v, 1, 1))),
      16,
    );
    tile += 16;
    sum += 32;
  }
}

/** Rounds the sums once into dweight. `scratch` is as it was for the blocks. */
export function weightGemmFinish(g: WeightGemm): void {
  const tile: usize = g.scratch + BLOCK * 4;
  let sum: usize = g.sums;
  for (let t = 0; t < g.k; t += 4) {
    for (let m = 0; m < g.m; m += 8) {
      for (let i: usize = 0; i < 128; i += 16) {
        const a = f32x4.demote_f64x2_zero(v128.load(sum));
        const b = f32x4.demote_f64x2_zero(v128.load(sum, 16));
        v128.store(tile + i, v128.shuffle<f64>(a, b, 0, 2));
        sum += 32;
      }
      storeTile(g, tile, t, m);
    }
  }
}

/** A tile of 4 taps × 8 output channels into dweight. */
function storeTile(g: WeightGemm, tile: usize, t: i32, m: i32): void {
  const row: usize = (<usize>g.k) << 2;
  const out: usize = g.dweight + <usize>m * row + ((<usize>t) << 2);
  if (g.k - t >= 4 && g.m - m >= 8) {
    storeQuarter(tile, out, row);
    storeQuarter(tile + 16, out + (row << 2), row);
    return;
  }
  const rows = min(8, g.m - m);
  const cols = min(4, g.k - t);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      store<u32>(out + <usize>r * row + ((<usize>c) << 2), load<u32>(tile + ((<usize>((c << 3) + r)) << 2)));
    }
  }
}

@inline
function storeQuarter(tile: usize, out: usize, row: usize): void {
  const r0 = v128.load(tile);
  const r1 = v128.load(tile, 32);
  const r2 = v128.load(tile, 64);
  const r3 = v128.load(tile, 96);
  const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  const t1 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  const t2 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  v128.store(out, v128.shuffle<f64>(t0, t1, 0, 2));
  v128.store(out + row, v128.shuffle<f64>(t0, t1, 1, 3));
  v128.store(out + 2 * row, v128.shuffle<f64>(t2, t3, 0, 2));
  v128.store(out + 3 * row, v128.shuffle<f64>(t2, t3, 1, 3));
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
