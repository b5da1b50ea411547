/**
 * The weight gradient: a register tile of four taps by eight output channels, with q = (image, row, column) as k. A block of
 * the output gradient is packed once for all taps; the input is packed a few taps at a time where these meet several panels of
 * channels, and otherwise read as it lies, tap by tap. Blocks of 512 q are summed in float32, the blocks in float64.
 */
import { TILE_BYTES, tilePackedTaps, tileTaps, tileTapsHalf } from './gemm';
import { padPlanes, subsamplePlanes } from './im2col';
import { allFinite, transpose4 } from './pack';
import { high, low } from './reduce';

/** Terms of a float32 block: part of the numerics. */
const BLOCK: i32 = 512;
/** Bytes of a packed panel of eight channels over a block. */
const PANEL_BYTES: usize = 16384;

/** Taps that meet a panel of channels, which stays in the first-level cache, before the next panel. */
const GROUP: i32 = 32;
/** Panels of channels from which on taps are packed, and bytes of four of them over a block. */
const PACK_FROM: i32 = 2;
const QUAD_BYTES: usize = 8192;

const COPY_PADDED: i32 = 1;

/** Fields in the order in which `device/wasm/conv2dBackward.ts` writes them; addresses and strides in bytes. */
@unmanaged
export class WeightGemm {
  rows: i32;
  cols: i32;
  images: i32;
  /** The input, and whether its images are copied before they are read: 0, COPY_PADDED or 2 for every stride-th pixel. */
  x: usize;
  xImage: usize;
  copy: i32;
  channels: i32;
  height: i32;
  width: i32;
  padTop: i32;
  padLeft: i32;
  paddedHeight: i32;
  phases: i32;
  phaseLength: i32;
  strideHeight: i32;
  strideWidth: i32;
  /** Where they are read: copies, image i in slot i mod slots, or the input. */
  source: usize;
  slots: i32;
  sourceImage: usize;
  sourceRow: usize;
  /** tap[k] within a slot, k of them and seven more that are read and not used. */
  taps: usize;
  k: i32;
  /** Gradient of the output at the group's first channel. */
  dy: usize;
  dyImage: usize;
  m: i32;
  /** float64 sums, a tile after the other; 0 when one block is all there is. */
  sums: usize;
  /** [m][k], and bytes from one row to the next. */
  dweight: usize;
  dweightRow: usize;
  /** Scratch: see `weightGemmScratch`. */
  scratch: usize;
}

/** Panels of eight channels. A last one of at most four is a half: its tiles are eight taps by four channels. */
@inline
function wholePanels(m: i32): i32 {
  return (m + 3) >> 3;
}

/** Tiles for the next group of the taps that are left. */
@inline
function quadsOf(left: i32): i32 {
  return (min(left, GROUP) + 3) >> 2;
}

@inline
function hasHalf(m: i32): bool {
  return (m & 7) > 0 && (m & 7) <= 4;
}

/** Bytes of scratch for m rows: pixel table, tiles, a block of the output gradient, a group of taps and what is written behind it. */
export function weightGemmScratch(m: i32): f64 {
  const packed = wholePanels(m) < PACK_FROM ? 0 : (GROUP >> 2) * <i32>QUAD_BYTES + 64;
  return <f64>(BLOCK * 4 + GROUP * 32 + packed) + <f64>((m + 7) >> 3) * <f64>(<i32>PANEL_BYTES);
}

/** Bytes of the float64 sums. */
export function weightGemmSums(m: i32, k: i32): f64 {
  const tiles = <f64>wholePanels(m) * <f64>((k + 3) >> 2) + (hasHalf(m) ? <f64>((k + 7) >> 3) : 0);
  return tiles * <f64>(<i32>TILE_BYTES * 2);
}

/** dweight for m output channels. */
export function weightGemm(g: WeightGemm): void {
  const plane = g.rows * g.cols;
  const total = g.images * plane;
  let copied = 0;
  for (let q = 0; q < total; q += BLOCK) {
    const count = min(BLOCK, total - q);
    for (; g.copy !== 0 && copied * plane < q + count; copied++) {
      const from = g.x + <usize>copied * g.xImage;
      const to = g.source + <usize>(copied % g.slots) * g.sourceImage;
      if (g.copy === COPY_PADDED) {
        padPlanes(from, to, g.channels, g.height, g.width, g.padTop, g.padLeft, g.paddedHeight, g.phases, g.phaseLength);
      } else subsamplePlanes(from, to, g.channels, g.height, g.width, g.rows, g.cols, g.strideHeight, g.strideWidth);
    }
    addBlock(g, q, count);
  }
}

/**
 * Adds one block, q from q0, into the sums; the first block starts them, the last one rounds them once into dweight, and the only one
 * goes straight there. Its images are in their slots.
 */
function addBlock(g: WeightGemm, q0: i32, count: i32): void {
  const bases: usize = g.scratch;
  const basesEnd = bases + ((<usize>count) << 2);
  const tiles: usize = bases + BLOCK * 4;
  const whole = wholePanels(g.m);
  const columns: usize = tiles + GROUP * 32;
  const plane = g.rows * g.cols;

  let image = q0 / plane;
  const at = q0 - image * plane;
  let row = at / g.cols;
  let col = at - row * g.cols;
  const firstRun = g.cols - col;
  for (let base = bases; base < basesEnd; base += 4) {
    store<u32>(
      base,
      g.source + <usize>(image % g.slots) * g.sourceImage + <usize>row * g.sourceRow + ((<usize>col) << 2),
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

  const outRow = g.dweightRow;
  const packed: usize = columns + <usize>((g.m + 7) >> 3) * PANEL_BYTES;
  const columnsEnd: usize = columns + ((<usize>count) << 5);
  const last = q0 + count === g.images * plane;
  let sum: usize = g.sums;
  for (let t = 0; t < g.k; t += GROUP) {
    const taps: usize = g.taps + ((<usize>t) << 2);
    const quads = quadsOf(g.k - t);
    const packs = whole >= PACK_FROM;
    if (packs) packTaps(taps, quads, bases, count, firstRun, g.cols, g.copy !== 0, packed);
    for (let p = 0; p < whole; p++) {
      const b = columns + <usize>p * PANEL_BYTES;
      // Whole tiles of the only block are stored straight; the rest waits in scratch.
      const straight = sum === 0 && (p << 3) + 8 <= g.m ? min(quads, (g.k - t) >> 2) : 0;
      const out = g.dweight + <usize>p * (outRow << 3) + ((<usize>t) << 2);
      const rest = quads - straight;
      const bEnd = columnsEnd + <usize>p * PANEL_BYTES;
      if (packs) tilePackedTaps(packed, QUAD_BYTES, straight, b, bEnd, out, outRow, 16);
      else tileTaps(taps, straight, bases, basesEnd, b, out, outRow, 16);
      if (rest === 0) continue;
      if (packs) tilePackedTaps(packed + <usize>straight * QUAD_BYTES, QUAD_BYTES, rest, b, bEnd, tiles, 16, TILE_BYTES);
      else tileTaps(taps + ((<usize>straight) << 4), rest, bases, basesEnd, b, tiles, 16, TILE_BYTES);
      if (sum === 0) {
        storeTiles(g, tiles, t + (straight << 2), rest, p);
        continue;
      }
      const bytes = <usize>quads * TILE_BYTES;
      if (last) {
        narrow(tiles, bytes, sum);
        storeTiles(g, tiles, t, quads, p);
      } else widen(tiles, bytes, sum, q0 === 0);
      sum += bytes << 1;
    }
  }
  if (!hasHalf(g.m)) return;
  const b = columns + <usize>whole * PANEL_BYTES;
  for (let t = 0; t < g.k; t += 8) {
    tileTapsHalf(g.taps + ((<usize>t) << 2), bases, basesEnd, b, tiles, 32);
    if (last) {
      if (sum !== 0) narrow(tiles, TILE_BYTES, sum);
      storeHalf(g, tiles, t);
    } else widen(tiles, TILE_BYTES, sum, q0 === 0);
    if (sum !== 0) sum += TILE_BYTES << 1;
  }
}

/**
 * Taps as rows: [quad][q][4], `QUAD_BYTES` from one quad to the next. `bases`: where `count` pixels are read, neighbours in runs of
 * `cols`, the first of which may be shorter. `more`: three floats past any run can be read.
 */
function packTaps(taps: usize, quads: i32, bases: usize, count: i32, first: i32, cols: i32, more: bool, out: usize): void {
  for (; quads > 0; quads--) {
    const t0: usize = load<i32>(taps);
    const t1: usize = load<i32>(taps, 4);
    const t2: usize = load<i32>(taps, 8);
    const t3: usize = load<i32>(taps, 12);
    let to = out;
    let run = first;
    for (let i = 0; i < count; ) {
      const n = min(run, count - i);
      let x: usize = load<u32>(bases + ((<usize>i) << 2));
      const end: usize = x + ((<usize>n) << 2);
      if (n >= 4 || more) {
        // Four at a time; the last four once more rather than what is left one by one, and what is behind a short run to be written over.
        for (; x + 16 < end; x += 16) {
          transpose4(v128.load(x + t0), v128.load(x + t1), v128.load(x + t2), v128.load(x + t3), to, 16);
          to += 64;
        }
        const next = to + ((end - x) << 2);
        if (n >= 4) {
          x = end - 16;
          to = next - 64;
        }
        transpose4(v128.load(x + t0), v128.load(x + t1), v128.load(x + t2), v128.load(x + t3), to, 16);
        to = next;
      } else {
        for (; x < end; x += 4) {
          store<u32>(to, load<u32>(x + t0));
          store<u32>(to, load<u32>(x + t1), 4);
          store<u32>(to, load<u32>(x + t2), 8);
          store<u32>(to, load<u32>(x + t3), 12);
          to += 16;
        }
      }
      i += n;
      run = cols;
    }
    taps += 16;
    out += QUAD_BYTES;
  }
}

/** Output channels as columns: [panel][q][8]; channels past the end are zeros. */
function packGradient(g: WeightGemm, q0: i32, count: i32, columns: usize): void {
  const plane = g.rows * g.cols;
  const planeBytes: usize = (<usize>plane) << 2;
  for (let m = 0; m < g.m; m += 4) {
    const lanes: usize = min(4, g.m - m);
    let out: usize = columns + <usize>(m >> 3) * PANEL_BYTES + <usize>(m & 4) * 4;
    let image = q0 / plane;
    let at = q0 - image * plane;
    let left = count;
    while (left > 0) {
      const run = min(left, plane - at);
      let p: usize = g.dy + <usize>image * g.dyImage + <usize>m * planeBytes + ((<usize>at) << 2);
      let i = 0;
      if (lanes === 4) {
        for (; i + 4 <= run; i += 4) {
          const r2 = p + (planeBytes << 1);
          transpose4(v128.load(p), v128.load(p + planeBytes), v128.load(r2), v128.load(r2 + planeBytes), out, 32);
          p += 16;
          out += 128;
        }
      }
      for (; i < run; i++) {
        for (let lane: usize = 0; lane < 4; lane++) {
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

/** float32(sums + tiles) in place of the tiles. */
function narrow(tile: usize, bytes: usize, sum: usize): void {
  for (const end = tile + bytes; tile < end; tile += 16) {
    const v = v128.load(tile);
    const a = f32x4.demote_f64x2_zero(f64x2.add(v128.load(sum), low(v)));
    const b = f32x4.demote_f64x2_zero(f64x2.add(v128.load(sum, 16), high(v)));
    v128.store(tile, v128.shuffle<f64>(a, b, 0, 2));
    sum += 32;
  }
}

/** `quads` tiles of four taps from t and panel p into dweight. */
function storeTiles(g: WeightGemm, tiles: usize, t: i32, quads: i32, p: i32): void {
  const end = min(g.m, (p << 3) + 8);
  for (let m = p << 3; m < end; m++) {
    let row = tiles + ((<usize>(m & 7)) << 4);
    for (let quad = 0; quad < quads; quad++) {
      const tap = t + (quad << 2);
      storeRow(row, g.dweight + <usize>m * g.dweightRow + ((<usize>tap) << 2), min(4, g.k - tap));
      row += TILE_BYTES;
    }
  }
}

/** The tile of 8 taps from t and the half panel. */
function storeHalf(g: WeightGemm, tile: usize, t: i32): void {
  const taps = min(8, g.k - t);
  for (let m = wholePanels(g.m) << 3; m < g.m; m++) {
    const row = tile + ((<usize>(m & 7)) << 5);
    const out: usize = g.dweight + <usize>m * g.dweightRow + ((<usize>t) << 2);
    storeRow(row, out, min(4, taps));
    storeRow(row + 16, out + 16, max(taps - 4, 0));
  }
}

@inline
function storeRow(row: usize, out: usize, taps: i32): void {
  if (taps === 4) v128.store(out, v128.load(row));
  else for (let i: usize = 0; i < (<usize>taps) << 2; i += 4) store<u32>(out + i, load<u32>(row + i));
}

/**
 * The same as the reference writes it, where gradients of the output are not finite: a padded zero times an infinity is not nothing. One
 * that is not finite meets every sum of its channel, and no sum gets finite again, so that the sums tell. `inputs` channels of the input.
 */
export function repairWeight(
  x: usize,
  dy: usize,
  dweight: usize,
  rowBytes: i32,
  batch: i32,
  xImage: i32,
  dyImage: i32,
  inputs: i32,
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
  const row = inputs * kernelHeight * kernelWidth;
  const gradients = outChannels * outHeight * outWidth;
  if (outChannels * row < batch * gradients && allFinite(dweight, rowBytes, outChannels, row)) return;
  if (allFinite(dy, dyImage, batch, gradients)) return;
  for (let o = 0; o < outChannels; o++) {
    let to = dweight + <usize>(o * rowBytes);
    for (let c = 0; c < inputs; c++) {
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
          store<f32>(to, <f32>(wide + <f64>sum));
          to += 4;
        }
      }
    }
  }
}
