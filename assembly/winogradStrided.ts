/**
 * The transforms of Winograd's convolution with 3×3 filters and stride 2, for m = 3 and 4. Along a line the filter's outer
 * taps meet every second input and its middle tap the others: F(m, 2) on the former, by the points of F(m − 1, 3), and
 * products as they are on the latter, so 2m + 1 products stand for 3m. The transformed middle tap is the same m times; filters
 * keep it once.
 *
 * A transform is compiled once, for lines in memory: these layers are few.
 */
import { transpose4 } from './pack';
import { TRAINS } from './trains';
import { CONSTANT_BYTES, input2, input3, times2Ninths, timesEighth, timesFour, timesFourNinths, timesHalf, timesNinth, timesQuarter } from './winogradLines';
import { storeFilters, storeSome } from './winogradTiles';

/** What a line is transformed for; the extents of a line before and after follow. */
export const INPUT: i32 = 0;
export const GRADIENT_INPUT: i32 = 1;
export const FILTER: i32 = 2;
export const OUTPUT: i32 = 3;
export const GRADIENT_OUTPUT: i32 = 4;
export const OUTPUT_GRADIENT: i32 = 5;
export const FILTER_GRADIENT: i32 = 6;

/** Where gathered tiles and lines lie behind the constants; tiles are up to nine rows of twelve vectors. */
const ROW: usize = 192;
const TILE_BYTES: usize = 9 * ROW;
export const STRIDED_SCRATCH: usize = CONSTANT_BYTES + TILE_BYTES + 9 * 9 * 16;

@inline
function before(kind: i32, m: i32): i32 {
  if (TRAINS && kind === GRADIENT_INPUT) return m + 1;
  if (kind === FILTER) return 3;
  if (TRAINS && kind === OUTPUT_GRADIENT) return m;
  return 2 * m + 1;
}

@inline
function after(kind: i32, m: i32): i32 {
  if (kind === FILTER) return m + 2;
  if (kind === OUTPUT) return m;
  if (TRAINS && kind === GRADIENT_OUTPUT) return 2 * m;
  if (TRAINS && kind === FILTER_GRADIENT) return 3;
  return 2 * m + 1;
}

/** `count` vectors, `step` apart, to where they lie `to` apart. */
function copy(s: usize, step: usize, o: usize, to: usize, count: i32): void {
  for (; count > 0; count--) {
    v128.store(o, v128.load(s));
    s += step;
    o += to;
  }
}

/** Aᵀ of F(m, 2) on m + 1 sums; each result and the middle tap's product that follows it, or only the former. */
function sums(m: i32, k: usize, s: usize, step: usize, o: usize, to: usize, adds: bool): void {
  const m0 = v128.load(s);
  const m1 = v128.load(s + step);
  const m2 = v128.load(s + 2 * step);
  const m3 = v128.load(s + 3 * step);
  let y0 = f32x4.add(f32x4.add(m0, m1), m2);
  let y1: v128;
  let y2: v128;
  let y3 = m0;
  let middle = s + 4 * step;
  if (m === 4) {
    const m4 = v128.load(middle);
    middle += step;
    y0 = f32x4.add(y0, m3);
    y1 = f32x4.sub(f32x4.sub(m1, timesHalf(k, m2)), f32x4.add(m3, m3));
    const four = timesFour(k, m3);
    y2 = f32x4.add(f32x4.add(m1, timesQuarter(k, m2)), four);
    y3 = f32x4.add(f32x4.sub(f32x4.sub(m1, timesEighth(k, m2)), f32x4.add(four, four)), m4);
  } else {
    y1 = f32x4.sub(m1, m2);
    y2 = f32x4.add(f32x4.add(m1, m2), m3);
  }
  if (adds) {
    y0 = f32x4.add(y0, v128.load(middle));
    y1 = f32x4.add(y1, v128.load(middle + step));
    y2 = f32x4.add(y2, v128.load(middle + 2 * step));
    if (m === 4) y3 = f32x4.add(y3, v128.load(middle + 3 * step));
  }
  v128.store(o, y0);
  v128.store(o + to, y1);
  v128.store(o + 2 * to, y2);
  if (m === 4) v128.store(o + 3 * to, y3);
}

/** One line: vectors `step` apart from `s`, results `to` apart from `o`. */
function line(kind: i32, m: i32, k: usize, s: usize, step: usize, o: usize, to: usize): void {
  const half = <usize>(m + 1) * to;
  if (kind === INPUT || (TRAINS && kind === GRADIENT_INPUT)) {
    // Every second one of 2m + 1 inputs, or all of m + 1.
    const every: usize = !TRAINS || kind === INPUT ? 2 * step : step;
    const d0 = v128.load(s);
    const d1 = v128.load(s + every);
    const d2 = v128.load(s + 2 * every);
    const d3 = v128.load(s + 3 * every);
    if (m === 4) input3(k, d0, d1, d2, d3, v128.load(s + 4 * every), o, to);
    else input2(k, d0, d1, d2, d3, o, to);
    copy(!TRAINS || kind === INPUT ? s + step : s, every, o + half, to, m);
  } else if (kind === FILTER) {
    const a = v128.load(s);
    const b = v128.load(s + 2 * step);
    v128.store(o, a);
    v128.store(o + half, v128.load(s + step));
    o += to;
    if (m === 4) {
      const twice = f32x4.add(b, b);
      v128.store(o, times2Ninths(k, f32x4.add(a, b)));
      o += to;
      v128.store(o, times2Ninths(k, f32x4.sub(timesFour(k, a), twice)));
      o += to;
      v128.store(o, timesNinth(k, f32x4.sub(twice, a)));
    } else {
      v128.store(o, timesHalf(k, f32x4.add(a, b)));
      o += to;
      v128.store(o, timesHalf(k, f32x4.sub(a, b)));
    }
    v128.store(o + to, b);
  } else if (kind === OUTPUT) sums(m, k, s, step, o, to, true);
  else if (TRAINS && kind === GRADIENT_OUTPUT) {
    // Even places are the middle tap's, odd ones the outer taps'.
    sums(m, k, s, step, o + to, 2 * to, false);
    copy(s + <usize>(m + 1) * step, step, o, 2 * to, m);
  } else if (TRAINS && kind === OUTPUT_GRADIENT) {
    const y0 = v128.load(s);
    const y1 = v128.load(s + step);
    const y2 = v128.load(s + 2 * step);
    copy(s, step, o + half, to, m);
    v128.store(o, y0);
    o += to;
    if (m === 4) {
      const y3 = v128.load(s + 3 * step);
      const four = timesFour(k, y2);
      const eight = timesFour(k, f32x4.add(y3, y3));
      v128.store(o, f32x4.add(f32x4.add(f32x4.add(y0, y1), y2), y3));
      o += to;
      v128.store(o, f32x4.sub(f32x4.add(f32x4.sub(y0, timesHalf(k, y1)), timesQuarter(k, y2)), timesEighth(k, y3)));
      o += to;
      v128.store(o, f32x4.sub(f32x4.add(f32x4.sub(y0, f32x4.add(y1, y1)), four), eight));
      v128.store(o + to, y3);
    } else {
      v128.store(o, f32x4.add(f32x4.add(y0, y1), y2));
      o += to;
      v128.store(o, f32x4.add(f32x4.sub(y0, y1), y2));
      v128.store(o + to, y2);
    }
  } else if (TRAINS) {
    const m0 = v128.load(s);
    const m1 = v128.load(s + step);
    const m2 = v128.load(s + 2 * step);
    const m3 = v128.load(s + 3 * step);
    let middle = s + 4 * step;
    if (m === 4) {
      const m4 = v128.load(middle);
      middle += step;
      v128.store(o, f32x4.add(m0, f32x4.sub(times2Ninths(k, f32x4.add(m1, timesFour(k, m2))), timesNinth(k, m3))));
      v128.store(o + 2 * to, f32x4.add(f32x4.sub(times2Ninths(k, f32x4.add(m1, m3)), timesFourNinths(k, m2)), m4));
    } else {
      v128.store(o, f32x4.add(m0, timesHalf(k, f32x4.add(m1, m2))));
      v128.store(o + 2 * to, f32x4.add(timesHalf(k, f32x4.sub(m1, m2)), m3));
    }
    let sum = f32x4.add(f32x4.add(v128.load(middle), v128.load(middle + step)), v128.load(middle + 2 * step));
    if (m === 4) sum = f32x4.add(sum, v128.load(middle + 3 * step));
    v128.store(o + to, sum);
  }
}

/** The transform of a square: its rows, `row` bytes apart, then the columns of that; results `to` and `toRow` apart. */
function square(kind: i32, m: i32, k: usize, s: usize, row: usize, step: usize, o: usize, toRow: usize, to: usize): void {
  const lines = k + CONSTANT_BYTES + TILE_BYTES;
  const count = after(kind, m);
  const pitch = (<usize>count) << 4;
  for (let i: usize = 0; i < <usize>before(kind, m); i++) line(kind, m, k, s + i * row, step, lines + i * pitch, 16);
  for (let j: usize = 0; j < <usize>count; j++) line(kind, m, k, lines + (j << 4), pitch, o + j * to, toRow);
}

/** n × n floats at four pointers as vectors, ROW bytes a row: a vector holds the same element of the four. Reads by fours. */
function gather(p0: usize, p1: usize, p2: usize, p3: usize, row: usize, n: i32, out: usize): void {
  const width = (<usize>n) << 2;
  for (; n > 0; n--) {
    let o = out;
    for (let x: usize = 0; x < width; x += 16) {
      transpose4(v128.load(p0 + x), v128.load(p1 + x), v128.load(p2 + x), v128.load(p3 + x), o, 16);
      o += 64;
    }
    p0 += row;
    p1 += row;
    p2 += row;
    p3 += row;
    out += ROW;
  }
}

/** Squares at four pointers, `count` times, `step` bytes on; results `outStep` bytes on, elements `xi` apart. */
export function stridedTiles(kind: i32, m: i32, p0: usize, p1: usize, p2: usize, p3: usize, row: usize, step: usize, out: usize, outStep: usize, xi: usize, count: i32, k: usize): void {
  const tile = k + CONSTANT_BYTES;
  const n = before(kind, m);
  const rowXi = <usize>after(kind, m) * xi;
  for (; count > 0; count--) {
    gather(p0, p1, p2, p3, row, n, tile);
    square(kind, m, k, tile, ROW, 16, out, rowXi, xi);
    p0 += step;
    p1 += step;
    p2 += step;
    p3 += step;
    out += outStep;
  }
}

/** As `filterTiles`. */
export function stridedFilters(m: i32, w: usize, rowStep: usize, rows: i32, step: usize, flipped: bool, out: usize, outStep: usize, xi: usize, count: i32, k: usize): void {
  const tile = k + CONSTANT_BYTES;
  const rowXi = <usize>(m + 2) * xi;
  const p1 = w + (rows > 1 ? rowStep : 0);
  const p2 = rows > 2 ? p1 + rowStep : p1;
  const p3 = rows > 3 ? p2 + rowStep : p2;
  for (let at: usize = 0; count > 0; count--) {
    gather(w + at, p1 + at, p2 + at, p3 + at, 12, 3, tile);
    if (TRAINS && flipped) square(FILTER, m, k, tile + 2 * ROW + 32, 0 - ROW, <usize>-16, out, rowXi, xi);
    else square(FILTER, m, k, tile, ROW, 16, out, rowXi, xi);
    at += step;
    out += outStep;
  }
}

/** As `outputTiles`, for the forward pass or, `kind` GRADIENT_OUTPUT, the input gradient, whose tiles are 2m × 2m. */
export function stridedOutputs(kind: i32, m: i32, source: usize, xi: usize, panelStep: usize, rows: i32, bias: usize, tiles: usize, row: usize, plane: usize, residualFrom: usize, relu: bool, k: usize): void {
  const tile = k + CONSTANT_BYTES;
  const n = <usize>after(kind, m);
  const rowXi = <usize>(2 * m + 1) * xi;
  const zero = f32x4.splat(0);
  for (let r = 0; r < rows; r++) {
    const from = source + <usize>(r >> 2) * panelStep + ((<usize>(r & 3)) << 5);
    square(kind, m, k, from, rowXi, xi, tile, ROW, 16);
    const value = bias !== 0 ? v128.load32_splat(bias + ((<usize>r) << 2)) : zero;
    // The lines are free again: a row of four tiles, each four floats.
    const four = tile + TILE_BYTES;
    for (let i: usize = 0; i < n; i++) {
      for (let x: usize = 0; x < n; x += 4) {
        const at = tile + i * ROW + (x << 4);
        let y0 = v128.load(at);
        let y1 = v128.load(at, 16);
        let y2 = v128.load(at, 32);
        let y3 = v128.load(at, 48);
        if (bias !== 0) {
          y0 = f32x4.add(y0, value);
          y1 = f32x4.add(y1, value);
          y2 = f32x4.add(y2, value);
          y3 = f32x4.add(y3, value);
        }
        transpose4(y0, y1, y2, y3, four, 16);
        for (let t: usize = 0; t < 4; t++) {
          const extent: usize = load<u32>(tiles + (t << 2), 16);
          const width = extent & 0xffff;
          if (i >= extent >> 16 || x >= width) continue;
          const to: usize = <usize>load<u32>(tiles + (t << 2)) + <usize>r * plane + i * row + (x << 2);
          let y = v128.load(four + (t << 4));
          if (residualFrom !== 0) y = f32x4.add(y, v128.load(to + residualFrom));
          // Keeps NaN, and makes −0 +0.
          if (relu) y = f32x4.add(f32x4.pmax(y, zero), zero);
          storeSome(to, y, <u32>(width - x));
        }
      }
    }
  }
}

/** As `filterGradientTile`. */
export function stridedFilterGradient(m: i32, from: usize, xi: usize, channels: i32, out: usize, k: usize): void {
  const tile = k + CONSTANT_BYTES;
  square(FILTER_GRADIENT, m, k, from, <usize>(2 * m + 1) * xi, xi, tile, ROW, 16);
  storeFilters(tile, ROW, channels, out);
}
