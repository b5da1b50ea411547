/**
 * Row panels of the left matrix: [panel][k][4], rows past the end are zeros.
 */

const EXPONENT: i32 = 0x7f800000;

/** Panels of `rows` rows of `k` floats, rows `rowBytes` apart, neighbours contiguous; panels `panelBytes` apart. */
export function packRows(a: usize, out: usize, panelBytes: usize, rows: i32, k: i32, rowBytes: usize): void {
  for (let r = 0; r < rows; r += 4) {
    const left = rows - r;
    let p0 = a;
    let p1 = a + rowBytes;
    let p2 = p1 + rowBytes;
    let p3 = p2 + rowBytes;
    let o = out;
    if (left >= 4) {
      let i = 0;
      for (; i + 4 <= k; i += 4) {
        transpose4(v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3), o, 16);
        p0 += 16;
        p1 += 16;
        p2 += 16;
        p3 += 16;
        o += 64;
      }
      for (; i < k; i++) {
        store<u32>(o, load<u32>(p0));
        store<u32>(o, load<u32>(p1), 4);
        store<u32>(o, load<u32>(p2), 8);
        store<u32>(o, load<u32>(p3), 12);
        p0 += 4;
        p1 += 4;
        p2 += 4;
        p3 += 4;
        o += 16;
      }
    } else {
      for (let i = 0; i < k; i++) {
        store<u32>(o, load<u32>(p0));
        store<u32>(o, left > 1 ? load<u32>(p1) : 0, 4);
        store<u32>(o, left > 2 ? load<u32>(p2) : 0, 8);
        store<u32>(o, 0, 12);
        p0 += 4;
        p1 += 4;
        p2 += 4;
        o += 16;
      }
    }
    a += rowBytes << 2;
    out += panelBytes;
  }
}

/** Stores the four columns of the 4×4 matrix with the given rows, `step` bytes apart. */
@inline
export function transpose4(r0: v128, r1: v128, r2: v128, r3: v128, out: usize, step: usize): void {
  const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  const t1 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  const t2 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  v128.store(out, v128.shuffle<f64>(t0, t1, 0, 2));
  v128.store(out + step, v128.shuffle<f64>(t0, t1, 1, 3));
  v128.store(out + 2 * step, v128.shuffle<f64>(t2, t3, 0, 2));
  v128.store(out + 3 * step, v128.shuffle<f64>(t2, t3, 1, 3));
}

/**
 * Panels for the input gradient: row = input channel, k = (output channel, tap), k0 … k0 + kb of them. `weight` is
 * [outChannels][channels][allTaps]; `tapIndex` lists the `taps` of this stride phase.
 */
export function packTransposed(
  weight: usize,
  out: usize,
  panelBytes: usize,
  channels: i32,
  k0: i32,
  kb: i32,
  allTaps: i32,
  tapIndex: usize,
  taps: i32,
): void {
  const step: usize = (<usize>allTaps) << 2;
  const filter: usize = step * <usize>channels;
  let w = weight + <usize>(k0 / taps) * filter;
  let t0 = k0 % taps;
  // Filters outside, channels inside: the weights are read in the order in which they lie.
  for (let i = 0; i < kb; ) {
    const t1 = min(taps, t0 + kb - i);
    // A 3×3 kernel at stride 1 has all taps in order: two transposes and a column.
    const whole = t1 - t0 === 9 && allTaps === 9;
    let p0 = w;
    let panel = out;
    for (let c = 0; c < channels; c += 4) {
      const left = channels - c;
      const p1 = p0 + step;
      const p2 = p1 + step;
      const p3 = p2 + step;
      if (left < 4) {
        let o = panel;
        for (let t = t0; t < t1; t++) {
          const tap = (<usize>load<i32>(tapIndex + ((<usize>t) << 2))) << 2;
          store<u32>(o, load<u32>(p0 + tap));
          store<u32>(o, left > 1 ? load<u32>(p1 + tap) : 0, 4);
          store<u32>(o, left > 2 ? load<u32>(p2 + tap) : 0, 8);
          store<u32>(o, 0, 12);
          o += 16;
        }
      } else if (whole) {
        transpose4(v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3), panel, 16);
        transpose4(v128.load(p0, 16), v128.load(p1, 16), v128.load(p2, 16), v128.load(p3, 16), panel + 64, 16);
        store<u32>(panel, load<u32>(p0, 32), 128);
        store<u32>(panel, load<u32>(p1, 32), 132);
        store<u32>(panel, load<u32>(p2, 32), 136);
        store<u32>(panel, load<u32>(p3, 32), 140);
      } else {
        let o = panel;
        for (let t = t0; t < t1; t++) {
          const tap = (<usize>load<i32>(tapIndex + ((<usize>t) << 2))) << 2;
          store<u32>(o, load<u32>(p0 + tap));
          store<u32>(o, load<u32>(p1 + tap), 4);
          store<u32>(o, load<u32>(p2 + tap), 8);
          store<u32>(o, load<u32>(p3 + tap), 12);
          o += 16;
        }
      }
      p0 = p3 + step;
      panel += panelBytes;
    }
    out += (<usize>(t1 - t0)) << 4;
    i += t1 - t0;
    t0 = 0;
    w += filter;
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
