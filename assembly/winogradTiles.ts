/**
 * The two-dimensional transforms of Winograd's convolutions: rows first, then columns, through a small buffer. Each works on
 * four tiles, or on one tile of four channels: a vector holds the same element of the four. ξ, the element's place in the
 * transformed tile, is the outermost axis of every result, `xi` bytes apart.
 *
 * `k` points to the constants and a buffer of 6 × 6 vectors: `TILE_SCRATCH` bytes.
 */
import { transpose4 } from './pack';
import {
  CONSTANT_BYTES,
  filter2,
  filter3,
  filter4,
  filterGradient2,
  filterGradient3,
  filterGradient4,
  input2,
  input3,
  input4,
  output2,
  output3,
  output4,
  outputGradient2,
  outputGradient3,
  outputGradient4,
} from './winogradLines';

/** Enough for strided tiles too: STRIDED_SCRATCH. */
export const TILE_SCRATCH: usize = 3136;

/** Elements of a transformed tile of F(m, 3). */
@inline
export function elements(m: i32): i32 {
  return (m + 2) * (m + 2);
}

/**
 * Bᵀ d B for windows of (m + 2)² at four pointers, rows `row` bytes apart; `count` times, `step` bytes on, results
 * `outStep` bytes on.
 */
export function inputTiles(m: i32, p0: usize, p1: usize, p2: usize, p3: usize, row: usize, step: usize, out: usize, outStep: usize, xi: usize, count: i32, k: usize): void {
  if (m === 4) inputTiles4(p0, p1, p2, p3, row, step, out, outStep, xi, count, k);
  else if (m === 3) inputTiles3(p0, p1, p2, p3, row, step, out, outStep, xi, count, k);
  else inputTiles2(p0, p1, p2, p3, row, step, out, outStep, xi, count, k);
}

function inputTiles4(p0: usize, p1: usize, p2: usize, p3: usize, row: usize, step: usize, out: usize, outStep: usize, xi: usize, count: i32, k: usize): void {
  const lines = k + CONSTANT_BYTES;
  const linesEnd = lines + 576;
  for (; count > 0; count--) {
    let q0 = p0;
    let q1 = p1;
    let q2 = p2;
    let q3 = p3;
    for (let at = lines; at < linesEnd; at += 96) {
      let a = v128.load(q0);
      let b = v128.load(q1);
      let c = v128.load(q2);
      let d = v128.load(q3);
      const low0 = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
      const low1 = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
      const high0 = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
      const high1 = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
      a = v128.load(q0, 8);
      b = v128.load(q1, 8);
      c = v128.load(q2, 8);
      d = v128.load(q3, 8);
      const last0 = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
      const last1 = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
      input4(
        k,
        v128.shuffle<f32>(low0, low1, 0, 1, 4, 5),
        v128.shuffle<f32>(low0, low1, 2, 3, 6, 7),
        v128.shuffle<f32>(high0, high1, 0, 1, 4, 5),
        v128.shuffle<f32>(high0, high1, 2, 3, 6, 7),
        v128.shuffle<f32>(last0, last1, 0, 1, 4, 5),
        v128.shuffle<f32>(last0, last1, 2, 3, 6, 7),
        at,
        16,
      );
      q0 += row;
      q1 += row;
      q2 += row;
      q3 += row;
    }
    let to = out;
    const columnsEnd = lines + 96;
    for (let at = lines; at < columnsEnd; at += 16) {
      input4(k, v128.load(at), v128.load(at, 96), v128.load(at, 192), v128.load(at, 288), v128.load(at, 384), v128.load(at, 480), to, 6 * xi);
      to += xi;
    }
    p0 += step;
    p1 += step;
    p2 += step;
    p3 += step;
    out += outStep;
  }
}

function inputTiles3(p0: usize, p1: usize, p2: usize, p3: usize, row: usize, step: usize, out: usize, outStep: usize, xi: usize, count: i32, k: usize): void {
  const lines = k + CONSTANT_BYTES;
  const linesEnd = lines + 400;
  for (; count > 0; count--) {
    let q0 = p0;
    let q1 = p1;
    let q2 = p2;
    let q3 = p3;
    for (let at = lines; at < linesEnd; at += 80) {
      const a = v128.load(q0);
      const b = v128.load(q1);
      const c = v128.load(q2);
      const d = v128.load(q3);
      const low0 = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
      const low1 = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
      const high0 = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
      const high1 = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
      const last0 = v128.load32_lane(q1, v128.load32_zero(q0, 16), 1, 16);
      const last1 = v128.load32_lane(q3, v128.load32_zero(q2, 16), 1, 16);
      input3(
        k,
        v128.shuffle<f32>(low0, low1, 0, 1, 4, 5),
        v128.shuffle<f32>(low0, low1, 2, 3, 6, 7),
        v128.shuffle<f32>(high0, high1, 0, 1, 4, 5),
        v128.shuffle<f32>(high0, high1, 2, 3, 6, 7),
        v128.shuffle<f32>(last0, last1, 0, 1, 4, 5),
        at,
        16,
      );
      q0 += row;
      q1 += row;
      q2 += row;
      q3 += row;
    }
    let to = out;
    const columnsEnd = lines + 80;
    for (let at = lines; at < columnsEnd; at += 16) {
      input3(k, v128.load(at), v128.load(at, 80), v128.load(at, 160), v128.load(at, 240), v128.load(at, 320), to, 5 * xi);
      to += xi;
    }
    p0 += step;
    p1 += step;
    p2 += step;
    p3 += step;
    out += outStep;
  }
}

function inputTiles2(p0: usize, p1: usize, p2: usize, p3: usize, row: usize, step: usize, out: usize, outStep: usize, xi: usize, count: i32, k: usize): void {
  const lines = k + CONSTANT_BYTES;
  const linesEnd = lines + 256;
  for (; count > 0; count--) {
    let q0 = p0;
    let q1 = p1;
    let q2 = p2;
    let q3 = p3;
    for (let at = lines; at < linesEnd; at += 64) {
      const a = v128.load(q0);
      const b = v128.load(q1);
      const c = v128.load(q2);
      const d = v128.load(q3);
      const low0 = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
      const low1 = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
      const high0 = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
      const high1 = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
      input2(
        k,
        v128.shuffle<f32>(low0, low1, 0, 1, 4, 5),
        v128.shuffle<f32>(low0, low1, 2, 3, 6, 7),
        v128.shuffle<f32>(high0, high1, 0, 1, 4, 5),
        v128.shuffle<f32>(high0, high1, 2, 3, 6, 7),
        at,
        16,
      );
      q0 += row;
      q1 += row;
      q2 += row;
      q3 += row;
    }
    let to = out;
    const columnsEnd = lines + 64;
    for (let at = lines; at < columnsEnd; at += 16) {
      input2(k, v128.load(at), v128.load(at, 64), v128.load(at, 128), v128.load(at, 192), to, 4 * xi);
      to += xi;
    }
    p0 += step;
    p1 += step;
    p2 += step;
    p3 += step;
    out += outStep;
  }
}

/** A y Aᵀ for tiles of m² at four pointers; else as `inputTiles`. Reads four floats of each row. */
export function outputGradientTiles(m: i32, p0: usize, p1: usize, p2: usize, p3: usize, row: usize, step: usize, out: usize, outStep: usize, xi: usize, count: i32, k: usize): void {
  const lines = k + CONSTANT_BYTES;
  const n: usize = m + 2;
  const line: usize = n << 4;
  for (; count > 0; count--) {
    let q0 = p0;
    let q1 = p1;
    let q2 = p2;
    let q3 = p3;
    const linesEnd = lines + <usize>m * line;
    for (let at = lines; at < linesEnd; at += line) {
      const a = v128.load(q0);
      const b = v128.load(q1);
      const c = v128.load(q2);
      const d = v128.load(q3);
      const low0 = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
      const low1 = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
      const high0 = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
      const high1 = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
      const y0 = v128.shuffle<f32>(low0, low1, 0, 1, 4, 5);
      const y1 = v128.shuffle<f32>(low0, low1, 2, 3, 6, 7);
      const y2 = v128.shuffle<f32>(high0, high1, 0, 1, 4, 5);
      if (m === 4) outputGradient4(k, y0, y1, y2, v128.shuffle<f32>(high0, high1, 2, 3, 6, 7), at, 16);
      else if (m === 3) outputGradient3(k, y0, y1, y2, at, 16);
      else outputGradient2(k, y0, y1, at, 16);
      q0 += row;
      q1 += row;
      q2 += row;
      q3 += row;
    }
    let to = out;
    const columnsEnd = lines + line;
    for (let at = lines; at < columnsEnd; at += 16) {
      if (m === 4) outputGradient4(k, v128.load(at), v128.load(at, 96), v128.load(at, 192), v128.load(at, 288), to, 6 * xi);
      else if (m === 3) outputGradient3(k, v128.load(at), v128.load(at, 80), v128.load(at, 160), to, 5 * xi);
      else outputGradient2(k, v128.load(at), v128.load(at, 64), to, 4 * xi);
      to += xi;
    }
    p0 += step;
    p1 += step;
    p2 += step;
    p3 += step;
    out += outStep;
  }
}

/**
 * Aᵀ M A for four tiles, `rows` of them in panels of four rows of 8 floats, panels `panelStep` bytes apart. `tiles` holds
 * four addresses of outputs, then four extents, height << 16 | width: what lies past it is not stored. Rows of an output
 * are `row` bytes apart, planes `plane`. `bias`: a float for each row, or 0. Then what lies `residualFrom` from the result is
 * added, unless that is 0, and `relu` taken.
 */
export function outputTiles(m: i32, source: usize, xi: usize, panelStep: usize, rows: i32, bias: usize, tiles: usize, row: usize, plane: usize, residualFrom: usize, relu: bool, k: usize): void {
  const lines = k + CONSTANT_BYTES;
  const zero = f32x4.splat(0);
  let c0: usize = load<u32>(tiles);
  let c1: usize = load<u32>(tiles, 4);
  let c2: usize = load<u32>(tiles, 8);
  let c3: usize = load<u32>(tiles, 12);
  const e0: u32 = load<u32>(tiles, 16);
  const e1: u32 = load<u32>(tiles, 20);
  const e2: u32 = load<u32>(tiles, 24);
  const e3: u32 = load<u32>(tiles, 28);
  const full: u32 = (m << 16) | m;
  const whole = m === 4 && e0 === full && e1 === full && e2 === full && e3 === full;
  const rowXi: usize = <usize>(m + 2) * xi;
  for (let r = 0; r < rows; r++) {
    let from = source + <usize>(r >> 2) * panelStep + ((<usize>(r & 3)) << 5);
    const linesEnd = lines + ((<usize>(m + 2)) << 6);
    for (let at = lines; at < linesEnd; at += 64) {
      let p = from;
      const m0 = v128.load(p);
      p += xi;
      const m1 = v128.load(p);
      p += xi;
      const m2 = v128.load(p);
      p += xi;
      const m3 = v128.load(p);
      p += xi;
      if (m === 2) output2(k, m0, m1, m2, m3, at, 16);
      else {
        const m4 = v128.load(p);
        if (m === 3) output3(k, m0, m1, m2, m3, m4, at, 16);
        else output4(k, m0, m1, m2, m3, m4, v128.load(p + xi), at, 16);
      }
      from += rowXi;
    }
    const back = lines + 384;
    for (let j: usize = 0; j < <usize>m; j++) {
      const at = lines + (j << 4);
      const to = back + (j << 4);
      if (m === 2) output2(k, v128.load(at), v128.load(at, 64), v128.load(at, 128), v128.load(at, 192), to, 64);
      else if (m === 3) output3(k, v128.load(at), v128.load(at, 64), v128.load(at, 128), v128.load(at, 192), v128.load(at, 256), to, 64);
      else output4(k, v128.load(at), v128.load(at, 64), v128.load(at, 128), v128.load(at, 192), v128.load(at, 256), v128.load(at, 320), to, 64);
    }
    const hasBias = bias !== 0;
    const value = hasBias ? v128.load32_splat(bias + ((<usize>r) << 2)) : f32x4.splat(0);
    let offset: usize = 0;
    for (let i: u32 = 0; i < <u32>m; i++) {
      const at = back + ((<usize>i) << 6);
      let y0 = v128.load(at);
      let y1 = v128.load(at, 16);
      let y2 = v128.load(at, 32);
      let y3 = v128.load(at, 48);
      if (hasBias) {
        y0 = f32x4.add(y0, value);
        y1 = f32x4.add(y1, value);
        y2 = f32x4.add(y2, value);
        y3 = f32x4.add(y3, value);
      }
      const low0 = v128.shuffle<f32>(y0, y1, 0, 4, 1, 5);
      const low1 = v128.shuffle<f32>(y2, y3, 0, 4, 1, 5);
      const high0 = v128.shuffle<f32>(y0, y1, 2, 6, 3, 7);
      const high1 = v128.shuffle<f32>(y2, y3, 2, 6, 3, 7);
      let t0 = v128.shuffle<f32>(low0, low1, 0, 1, 4, 5);
      let t1 = v128.shuffle<f32>(low0, low1, 2, 3, 6, 7);
      let t2 = v128.shuffle<f32>(high0, high1, 0, 1, 4, 5);
      let t3 = v128.shuffle<f32>(high0, high1, 2, 3, 6, 7);
      if (residualFrom !== 0) {
        // Rows past the end of a tile may lie past the end of memory.
        if (i < e0 >> 16) t0 = f32x4.add(t0, v128.load(c0 + offset + residualFrom));
        if (i < e1 >> 16) t1 = f32x4.add(t1, v128.load(c1 + offset + residualFrom));
        if (i < e2 >> 16) t2 = f32x4.add(t2, v128.load(c2 + offset + residualFrom));
        if (i < e3 >> 16) t3 = f32x4.add(t3, v128.load(c3 + offset + residualFrom));
      }
      if (relu) {
        // Keeps NaN, and makes −0 +0.
        t0 = f32x4.add(f32x4.pmax(t0, zero), zero);
        t1 = f32x4.add(f32x4.pmax(t1, zero), zero);
        t2 = f32x4.add(f32x4.pmax(t2, zero), zero);
        t3 = f32x4.add(f32x4.pmax(t3, zero), zero);
      }
      if (whole) {
        v128.store(c0 + offset, t0);
        v128.store(c1 + offset, t1);
        v128.store(c2 + offset, t2);
        v128.store(c3 + offset, t3);
      } else {
        storeRow(c0 + offset, t0, e0, i);
        storeRow(c1 + offset, t1, e1, i);
        storeRow(c2 + offset, t2, e2, i);
        storeRow(c3 + offset, t3, e3, i);
      }
      offset += row;
    }
    c0 += plane;
    c1 += plane;
    c2 += plane;
    c3 += plane;
  }
}

/** Row i of a tile, as far as the tile goes. */
@inline
function storeRow(to: usize, value: v128, extent: u32, i: u32): void {
  if (i < extent >> 16) storeSome(to, value, extent & 0xffff);
}

/** The first `width` floats, at most four. */
@inline
export function storeSome(to: usize, value: v128, width: u32): void {
  if (width >= 4) v128.store(to, value);
  else {
    if (width & 2) v128.store64_lane(to, value, 0);
    if (width === 3) v128.store32_lane(to, value, 2, 8);
    if (width === 1) v128.store32_lane(to, value, 0);
  }
}

/**
 * G g Gᵀ of 3×3 filters, as row panels [k][4], `outStep` bytes from k to k: `count` of the k axis from `w`, `step` bytes apart, for four rows `rowStep`
 * bytes apart, the last of `rows` again where there are fewer. `flipped`: turned by half a turn, for the input gradient.
 */
export function filterTiles(m: i32, w: usize, rowStep: usize, rows: i32, step: usize, flipped: bool, out: usize, outStep: usize, xi: usize, count: i32, k: usize): void {
  const lines = k + CONSTANT_BYTES;
  const n: usize = m + 2;
  let p0 = w;
  let p1 = w + (rows > 1 ? rowStep : 0);
  let p2 = rows > 2 ? p1 + rowStep : p1;
  let p3 = rows > 3 ? p2 + rowStep : p2;
  for (; count > 0; count--) {
    let a = v128.load(p0);
    let b = v128.load(p1);
    let c = v128.load(p2);
    let d = v128.load(p3);
    let low0 = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
    let low1 = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
    let high0 = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
    let high1 = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
    let g0 = v128.shuffle<f32>(low0, low1, 0, 1, 4, 5);
    let g1 = v128.shuffle<f32>(low0, low1, 2, 3, 6, 7);
    let g2 = v128.shuffle<f32>(high0, high1, 0, 1, 4, 5);
    let g3 = v128.shuffle<f32>(high0, high1, 2, 3, 6, 7);
    a = v128.load(p0, 16);
    b = v128.load(p1, 16);
    c = v128.load(p2, 16);
    d = v128.load(p3, 16);
    low0 = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
    low1 = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
    high0 = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
    high1 = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
    const g4 = v128.shuffle<f32>(low0, low1, 0, 1, 4, 5);
    let g5 = v128.shuffle<f32>(low0, low1, 2, 3, 6, 7);
    let g6 = v128.shuffle<f32>(high0, high1, 0, 1, 4, 5);
    let g7 = v128.shuffle<f32>(high0, high1, 2, 3, 6, 7);
    const last0 = v128.load32_lane(p1, v128.load32_zero(p0, 32), 1, 32);
    const last1 = v128.load32_lane(p3, v128.load32_zero(p2, 32), 1, 32);
    let g8 = v128.shuffle<f32>(last0, last1, 0, 1, 4, 5);
    if (flipped) {
      let g = g0;
      g0 = g8;
      g8 = g;
      g = g1;
      g1 = g7;
      g7 = g;
      g = g2;
      g2 = g6;
      g6 = g;
      g = g3;
      g3 = g5;
      g5 = g;
    }
    // Three lines of n.
    const line: usize = n << 4;
    if (m === 4) {
      filter4(k, g0, g1, g2, lines, 16);
      filter4(k, g3, g4, g5, lines + 96, 16);
      filter4(k, g6, g7, g8, lines + 192, 16);
    } else if (m === 3) {
      filter3(k, g0, g1, g2, lines, 16);
      filter3(k, g3, g4, g5, lines + 80, 16);
      filter3(k, g6, g7, g8, lines + 160, 16);
    } else {
      filter2(k, g0, g1, g2, lines, 16);
      filter2(k, g3, g4, g5, lines + 64, 16);
      filter2(k, g6, g7, g8, lines + 128, 16);
    }
    let to = out;
    const linesEnd = lines + line;
    for (let at = lines; at < linesEnd; at += 16) {
      if (m === 4) filter4(k, v128.load(at), v128.load(at, 96), v128.load(at, 192), to, 6 * xi);
      else if (m === 3) filter3(k, v128.load(at), v128.load(at, 80), v128.load(at, 160), to, 5 * xi);
      else filter2(k, v128.load(at), v128.load(at, 64), v128.load(at, 128), to, 4 * xi);
      to += xi;
    }
    p0 += step;
    p1 += step;
    p2 += step;
    p3 += step;
    out += outStep;
  }
}

/** Gᵀ P G for four channels: writes `channels` ≤ 4 filters of nine floats one after the other. `from`: element (0, 0). */
export function filterGradientTile(m: i32, from: usize, xi: usize, channels: i32, out: usize, k: usize): void {
  const lines = k + CONSTANT_BYTES;
  const back = lines + 384;
  const rowXi: usize = <usize>(m + 2) * xi;
  const linesEnd = lines + <usize>(m + 2) * 48;
  for (let at = lines; at < linesEnd; at += 48) {
    let p = from;
    const m0 = v128.load(p);
    p += xi;
    const m1 = v128.load(p);
    p += xi;
    const m2 = v128.load(p);
    p += xi;
    const m3 = v128.load(p);
    p += xi;
    if (m === 2) filterGradient2(k, m0, m1, m2, m3, at, 16);
    else {
      const m4 = v128.load(p);
      if (m === 3) filterGradient3(k, m0, m1, m2, m3, m4, at, 16);
      else filterGradient4(k, m0, m1, m2, m3, m4, v128.load(p + xi), at, 16);
    }
    from += rowXi;
  }
  for (let j: usize = 0; j < 48; j += 16) {
    const at = lines + j;
    const to = back + j;
    if (m === 2) filterGradient2(k, v128.load(at), v128.load(at, 48), v128.load(at, 96), v128.load(at, 144), to, 48);
    else if (m === 3) filterGradient3(k, v128.load(at), v128.load(at, 48), v128.load(at, 96), v128.load(at, 144), v128.load(at, 192), to, 48);
    else filterGradient4(k, v128.load(at), v128.load(at, 48), v128.load(at, 96), v128.load(at, 144), v128.load(at, 192), v128.load(at, 240), to, 48);
  }
  storeFilters(back, 48, channels, out);
}

/** Filters of 3 × 3 vectors, whose lanes are channels, rows `row` bytes apart: `channels` of them, nine floats each. */
export function storeFilters(taps: usize, row: usize, channels: i32, out: usize): void {
  const second = taps + row;
  const third = second + row;
  if (channels === 4) {
    transpose4(v128.load(taps), v128.load(taps, 16), v128.load(taps, 32), v128.load(second), out, 36);
    transpose4(v128.load(second, 16), v128.load(second, 32), v128.load(third), v128.load(third, 16), out + 16, 36);
    const last = v128.load(third, 32);
    v128.store32_lane(out, last, 0, 32);
    v128.store32_lane(out, last, 1, 68);
    v128.store32_lane(out, last, 2, 104);
    v128.store32_lane(out, last, 3, 140);
    return;
  }
  for (let c: usize = 0; c < <usize>channels; c++) {
    for (let line = taps; line <= third; line += row) {
      store<u32>(out, load<u32>(line + (c << 2)));
      store<u32>(out, load<u32>(line + (c << 2), 16), 4);
      store<u32>(out, load<u32>(line + (c << 2), 32), 8);
      out += 12;
    }
  }
}
