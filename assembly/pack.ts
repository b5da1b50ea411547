/**
 * Row panels of the left matrix: [panel][k][4], rows past the end are zeros.
 */

const EXPONENT: i32 = 0x7f800000;

/** Panels of `rows` rows of `k` floats, `rowBytes` apart, neighbours contiguous. */
export function packRows(a: usize, out: usize, rows: i32, k: i32, rowBytes: usize): void {
  for (let r = 0; r < rows; r += 4) {
    const left = rows - r;
    let p0 = a;
    let p1 = a + rowBytes;
    let p2 = p1 + rowBytes;
    let p3 = p2 + rowBytes;
    if (left >= 4) {
      let i = 0;
      for (; i + 4 <= k; i += 4) {
        transpose4(v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3), out);
        p0 += 16;
        p1 += 16;
        p2 += 16;
        p3 += 16;
        out += 64;
      }
      for (; i < k; i++) {
        store<u32>(out, load<u32>(p0));
        store<u32>(out, load<u32>(p1), 4);
        store<u32>(out, load<u32>(p2), 8);
        store<u32>(out, load<u32>(p3), 12);
        p0 += 4;
        p1 += 4;
        p2 += 4;
        p3 += 4;
        out += 16;
      }
    } else {
      for (let i = 0; i < k; i++) {
        store<u32>(out, load<u32>(p0));
        store<u32>(out, left > 1 ? load<u32>(p1) : 0, 4);
        store<u32>(out, left > 2 ? load<u32>(p2) : 0, 8);
        store<u32>(out, 0, 12);
        p0 += 4;
        p1 += 4;
        p2 += 4;
        out += 16;
      }
    }
    a += rowBytes << 2;
  }
}

/** Stores the four columns of the 4×4 matrix with the given rows one after another. */
// @ts-ignore: decorator
@inline
export function transpose4(r0: v128, r1: v128, r2: v128, r3: v128, out: usize): void {
  const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  const t1 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  const t2 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  v128.store(out, v128.shuffle<f64>(t0, t1, 0, 2));
  v128.store(out, v128.shuffle<f64>(t0, t1, 1, 3), 16);
  v128.store(out, v128.shuffle<f64>(t2, t3, 0, 2), 32);
  v128.store(out, v128.shuffle<f64>(t2, t3, 1, 3), 48);
}

/**
 * Panels for the input gradient: row = input channel, k = (output channel, tap). `weight` is [outChannels][channels][all
 * taps]; `tapIndex` lists the taps of this stride phase.
 */
export function packTransposed(
  weight: usize,
  out: usize,
  outChannels: i32,
  channels: i32,
  allTaps: i32,
  tapIndex: usize,
  taps: i32,
): void {
  const step: usize = (<usize>allTaps) << 2;
  const filter: usize = step * <usize>channels;
  for (let c = 0; c < channels; c += 4) {
    const left = channels - c;
    let w = weight + <usize>c * step;
    for (let o = 0; o < outChannels; o++) {
      if (left >= 4) {
        for (let t = 0; t < taps; t++) {
          const p = w + ((<usize>load<i32>(tapIndex + ((<usize>t) << 2))) << 2);
          store<u32>(out, load<u32>(p));
          store<u32>(out, load<u32>(p + step), 4);
          store<u32>(out, load<u32>(p + 2 * step), 8);
          store<u32>(out, load<u32>(p + 3 * step), 12);
          out += 16;
        }
      } else {
        for (let t = 0; t < taps; t++) {
          const p = w + ((<usize>load<i32>(tapIndex + ((<usize>t) << 2))) << 2);
          store<u32>(out, load<u32>(p));
          store<u32>(out, left > 1 ? load<u32>(p + step) : 0, 4);
          store<u32>(out, left > 2 ? load<u32>(p + 2 * step) : 0, 8);
          store<u32>(out, 0, 12);
          out += 16;
        }
      }
      w += filter;
    }
  }
}

/**
 * 1 when all `n` floats are finite. Kernels whose order skips padding ask, since a zero times an infinity is not
 * nothing.
 */
export function allFinite(x: usize, n: i32): i32 {
  const end = x + ((<usize>n) << 2);
  const mask = i32x4.splat(EXPONENT);
  let bad = i32x4.splat(0);
  for (; x + 16 <= end; x += 16) bad = v128.or(bad, i32x4.eq(v128.and(v128.load(x), mask), mask));
  let found = v128.any_true(bad);
  for (; x < end; x += 4) found = found || (load<i32>(x) & EXPONENT) === EXPONENT;
  return found ? 0 : 1;
}
