/**
 * The register tile that every sum of products goes through: 4 rows × 8 columns, k ascending, a rounded multiply then a
 * rounded add, lanes across columns. Its shape is what V8 compiles well: k not unrolled, an end pointer and no counter,
 * one function for "start at zero" and one for "go on", the loop over row panels inside the function (a call a tile costs
 * an eighth of the speed), nothing after the k loop but the stores, and no argument too many: on a core of six instructions a
 * cycle (Zen 4) those around the arithmetic are what bounds it, and a bias among the arguments cost 7 %.
 *
 * Hence, too, two `while`s around each loop that they leave after one turn: the more loops an innermost one lies in, the more often V8
 * unrolls it. Three times are 7 % faster than two, and shared memory makes its loop larger, so that one `while` gave it but two.
 */
import { transpose4 } from './pack';

/** c + a·b: two roundings, or one in the relaxed binary. */
@inline
export function madd(c: v128, a: v128, b: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(c, f32x4.mul(a, b));
}

/**
 * C = A·B over one k block for `panels` row panels. `a`: panels of [k][4], `aStep` bytes apart; `b`: one column panel [k][8]
 * up to `bEnd`; `c`: tiles `cStep` bytes apart, each 4 rows of 8 floats `ldc` bytes apart.
 */
export function tileRowsZero(a: usize, aStep: usize, b: usize, bEnd: usize, c: usize, ldc: usize, cStep: usize, panels: i32): void {
  while (panels > 0) while (panels > 0) for (; panels > 0; panels--) {
    let pa = a;
    let pb = b;
    let q = c;
    let c00 = f32x4.splat(0);
    let c01 = c00;
    let c10 = c00;
    let c11 = c00;
    let c20 = c00;
    let c21 = c00;
    let c30 = c00;
    let c31 = c00;
    do {
      const b0 = v128.load(pb);
      const b1 = v128.load(pb, 16);
      let s = v128.load32_splat(pa);
      c00 = madd(c00, s, b0);
      c01 = madd(c01, s, b1);
      s = v128.load32_splat(pa, 4);
      c10 = madd(c10, s, b0);
      c11 = madd(c11, s, b1);
      s = v128.load32_splat(pa, 8);
      c20 = madd(c20, s, b0);
      c21 = madd(c21, s, b1);
      s = v128.load32_splat(pa, 12);
      c30 = madd(c30, s, b0);
      c31 = madd(c31, s, b1);
      pa += 16;
      pb += 32;
    } while (pb < bEnd);
    v128.store(q, c00);
    v128.store(q, c01, 16);
    q += ldc;
    v128.store(q, c10);
    v128.store(q, c11, 16);
    q += ldc;
    v128.store(q, c20);
    v128.store(q, c21, 16);
    q += ldc;
    v128.store(q, c30);
    v128.store(q, c31, 16);
    a += aStep;
    c += cStep;
  }
}

/** The same, going on from what C holds: blocking over k keeps the order. */
export function tileRowsContinue(a: usize, aStep: usize, b: usize, bEnd: usize, c: usize, ldc: usize, cStep: usize, panels: i32): void {
  while (panels > 0) while (panels > 0) for (; panels > 0; panels--) {
    let pa = a;
    let pb = b;
    let q = c;
    let p = c;
    let c00 = v128.load(p);
    let c01 = v128.load(p, 16);
    p += ldc;
    let c10 = v128.load(p);
    let c11 = v128.load(p, 16);
    p += ldc;
    let c20 = v128.load(p);
    let c21 = v128.load(p, 16);
    p += ldc;
    let c30 = v128.load(p);
    let c31 = v128.load(p, 16);
    do {
      const b0 = v128.load(pb);
      const b1 = v128.load(pb, 16);
      let s = v128.load32_splat(pa);
      c00 = madd(c00, s, b0);
      c01 = madd(c01, s, b1);
      s = v128.load32_splat(pa, 4);
      c10 = madd(c10, s, b0);
      c11 = madd(c11, s, b1);
      s = v128.load32_splat(pa, 8);
      c20 = madd(c20, s, b0);
      c21 = madd(c21, s, b1);
      s = v128.load32_splat(pa, 12);
      c30 = madd(c30, s, b0);
      c31 = madd(c31, s, b1);
      pa += 16;
      pb += 32;
    } while (pb < bEnd);
    v128.store(q, c00);
    v128.store(q, c01, 16);
    q += ldc;
    v128.store(q, c10);
    v128.store(q, c11, 16);
    q += ldc;
    v128.store(q, c20);
    v128.store(q, c21, 16);
    q += ldc;
    v128.store(q, c30);
    v128.store(q, c31, 16);
    a += aStep;
    c += cStep;
  }
}

/** The same from zero, whose sums are then added to what C holds: tiles of four rows of 8 floats, one after the other. */
export function tileRowsAdd(a: usize, aStep: usize, b: usize, bEnd: usize, c: usize, cStep: usize, panels: i32): void {
  while (panels > 0) while (panels > 0) for (; panels > 0; panels--) {
    let pa = a;
    let pb = b;
    let c00 = f32x4.splat(0);
    let c01 = c00;
    let c10 = c00;
    let c11 = c00;
    let c20 = c00;
    let c21 = c00;
    let c30 = c00;
    let c31 = c00;
    do {
      const b0 = v128.load(pb);
      const b1 = v128.load(pb, 16);
      let s = v128.load32_splat(pa);
      c00 = madd(c00, s, b0);
      c01 = madd(c01, s, b1);
      s = v128.load32_splat(pa, 4);
      c10 = madd(c10, s, b0);
      c11 = madd(c11, s, b1);
      s = v128.load32_splat(pa, 8);
      c20 = madd(c20, s, b0);
      c21 = madd(c21, s, b1);
      s = v128.load32_splat(pa, 12);
      c30 = madd(c30, s, b0);
      c31 = madd(c31, s, b1);
      pa += 16;
      pb += 32;
    } while (pb < bEnd);
    v128.store(c, f32x4.add(v128.load(c), c00));
    v128.store(c, f32x4.add(v128.load(c, 16), c01), 16);
    v128.store(c, f32x4.add(v128.load(c, 32), c10), 32);
    v128.store(c, f32x4.add(v128.load(c, 48), c11), 48);
    v128.store(c, f32x4.add(v128.load(c, 64), c20), 64);
    v128.store(c, f32x4.add(v128.load(c, 80), c21), 80);
    v128.store(c, f32x4.add(v128.load(c, 96), c30), 96);
    v128.store(c, f32x4.add(v128.load(c, 112), c31), 112);
    a += aStep;
    c += cStep;
  }
}

/**
 * The first row panel of a block, on columns that are not packed yet: reads pixel quads `left` and `right` tap by tap, and
 * leaves the packed panel at `b`. The stores of packing hide behind the arithmetic, which leaves those ports idle.
 */
export function tilePackZero(a: usize, left: usize, right: usize, taps: usize, b: usize, bEnd: usize, c: usize, ldc: usize): void {
  let c00 = f32x4.splat(0);
  let c01 = c00;
  let c10 = c00;
  let c11 = c00;
  let c20 = c00;
  let c21 = c00;
  let c30 = c00;
  let c31 = c00;
  while (b < bEnd) while (b < bEnd) do {
    const offset: usize = load<i32>(taps);
    const b0 = v128.load(left + offset);
    const b1 = v128.load(right + offset);
    v128.store(b, b0);
    v128.store(b, b1, 16);
    let s = v128.load32_splat(a);
    c00 = madd(c00, s, b0);
    c01 = madd(c01, s, b1);
    s = v128.load32_splat(a, 4);
    c10 = madd(c10, s, b0);
    c11 = madd(c11, s, b1);
    s = v128.load32_splat(a, 8);
    c20 = madd(c20, s, b0);
    c21 = madd(c21, s, b1);
    s = v128.load32_splat(a, 12);
    c30 = madd(c30, s, b0);
    c31 = madd(c31, s, b1);
    a += 16;
    taps += 4;
    b += 32;
  } while (b < bEnd);
  v128.store(c, c00);
  v128.store(c, c01, 16);
  c += ldc;
  v128.store(c, c10);
  v128.store(c, c11, 16);
  c += ldc;
  v128.store(c, c20);
  v128.store(c, c21, 16);
  c += ldc;
  v128.store(c, c30);
  v128.store(c, c31, 16);
}

/** The same, going on from what C holds. */
export function tilePackContinue(a: usize, left: usize, right: usize, taps: usize, b: usize, bEnd: usize, c: usize, ldc: usize): void {
  let p = c;
  let c00 = v128.load(p);
  let c01 = v128.load(p, 16);
  p += ldc;
  let c10 = v128.load(p);
  let c11 = v128.load(p, 16);
  p += ldc;
  let c20 = v128.load(p);
  let c21 = v128.load(p, 16);
  p += ldc;
  let c30 = v128.load(p);
  let c31 = v128.load(p, 16);
  while (b < bEnd) while (b < bEnd) do {
    const offset: usize = load<i32>(taps);
    const b0 = v128.load(left + offset);
    const b1 = v128.load(right + offset);
    v128.store(b, b0);
    v128.store(b, b1, 16);
    let s = v128.load32_splat(a);
    c00 = madd(c00, s, b0);
    c01 = madd(c01, s, b1);
    s = v128.load32_splat(a, 4);
    c10 = madd(c10, s, b0);
    c11 = madd(c11, s, b1);
    s = v128.load32_splat(a, 8);
    c20 = madd(c20, s, b0);
    c21 = madd(c21, s, b1);
    s = v128.load32_splat(a, 12);
    c30 = madd(c30, s, b0);
    c31 = madd(c31, s, b1);
    a += 16;
    taps += 4;
    b += 32;
  } while (b < bEnd);
  v128.store(c, c00);
  v128.store(c, c01, 16);
  c += ldc;
  v128.store(c, c10);
  v128.store(c, c11, 16);
  c += ldc;
  v128.store(c, c20);
  v128.store(c, c21, 16);
  c += ldc;
  v128.store(c, c30);
  v128.store(c, c31, 16);
}

/**
 * The tile of the weight gradient: rows are four taps, `taps` their offsets from each of the addresses from `bases` to
 * `basesEnd`, read as they lie; columns are the eight output channels of panel `b`. `quads` of them, `cStep` bytes apart,
 * each stored by channel: eight rows of four floats, `ldc` bytes apart.
 */
export function tileTaps(taps: usize, quads: i32, bases: usize, basesEnd: usize, b: usize, c: usize, ldc: usize, cStep: usize): void {
  while (quads > 0) while (quads > 0) for (; quads > 0; quads--) {
    const t0: usize = load<i32>(taps);
    const t1: usize = load<i32>(taps, 4);
    const t2: usize = load<i32>(taps, 8);
    const t3: usize = load<i32>(taps, 12);
    let p = bases;
    let pb = b;
    let c00 = f32x4.splat(0);
    let c01 = c00;
    let c10 = c00;
    let c11 = c00;
    let c20 = c00;
    let c21 = c00;
    let c30 = c00;
    let c31 = c00;
    do {
      const x: usize = load<i32>(p);
      const b0 = v128.load(pb);
      const b1 = v128.load(pb, 16);
      let s = v128.load32_splat(x + t0);
      c00 = madd(c00, s, b0);
      c01 = madd(c01, s, b1);
      s = v128.load32_splat(x + t1);
      c10 = madd(c10, s, b0);
      c11 = madd(c11, s, b1);
      s = v128.load32_splat(x + t2);
      c20 = madd(c20, s, b0);
      c21 = madd(c21, s, b1);
      s = v128.load32_splat(x + t3);
      c30 = madd(c30, s, b0);
      c31 = madd(c31, s, b1);
      p += 4;
      pb += 32;
    } while (p < basesEnd);
    transpose4(c00, c10, c20, c30, c, ldc);
    transpose4(c01, c11, c21, c31, c + (ldc << 2), ldc);
    taps += 16;
    c += cStep;
  }
}

/**
 * The same on taps that are packed: panels of [q][4], `aStep` bytes apart, against panel `b` up to `bEnd`. What a tile of taps as
 * they lie spends on addresses is an eighth of its time.
 */
export function tilePackedTaps(a: usize, aStep: usize, quads: i32, b: usize, bEnd: usize, c: usize, ldc: usize, cStep: usize): void {
  while (quads > 0) while (quads > 0) for (; quads > 0; quads--) {
    let pa = a;
    let pb = b;
    let c00 = f32x4.splat(0);
    let c01 = c00;
    let c10 = c00;
    let c11 = c00;
    let c20 = c00;
    let c21 = c00;
    let c30 = c00;
    let c31 = c00;
    do {
      const b0 = v128.load(pb);
      const b1 = v128.load(pb, 16);
      let s = v128.load32_splat(pa);
      c00 = madd(c00, s, b0);
      c01 = madd(c01, s, b1);
      s = v128.load32_splat(pa, 4);
      c10 = madd(c10, s, b0);
      c11 = madd(c11, s, b1);
      s = v128.load32_splat(pa, 8);
      c20 = madd(c20, s, b0);
      c21 = madd(c21, s, b1);
      s = v128.load32_splat(pa, 12);
      c30 = madd(c30, s, b0);
      c31 = madd(c31, s, b1);
      pa += 16;
      pb += 32;
    } while (pb < bEnd);
    transpose4(c00, c10, c20, c30, c, ldc);
    transpose4(c01, c11, c21, c31, c + (ldc << 2), ldc);
    a += aStep;
    c += cStep;
  }
}

/** Eight taps of a last panel of at most four channels, of which it reads the first half: four rows of eight floats. */
export function tileTapsHalf(taps: usize, bases: usize, basesEnd: usize, pb: usize, c: usize, ldc: usize): void {
  const t0: usize = load<i32>(taps);
  const t1: usize = load<i32>(taps, 4);
  const t2: usize = load<i32>(taps, 8);
  const t3: usize = load<i32>(taps, 12);
  const t4: usize = load<i32>(taps, 16);
  const t5: usize = load<i32>(taps, 20);
  const t6: usize = load<i32>(taps, 24);
  const t7: usize = load<i32>(taps, 28);
  let p = bases;
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  let s4 = s0;
  let s5 = s0;
  let s6 = s0;
  let s7 = s0;
  while (p < basesEnd) while (p < basesEnd) do {
    const x: usize = load<i32>(p);
    const b = v128.load(pb);
    s0 = madd(s0, v128.load32_splat(x + t0), b);
    s1 = madd(s1, v128.load32_splat(x + t1), b);
    s2 = madd(s2, v128.load32_splat(x + t2), b);
    s3 = madd(s3, v128.load32_splat(x + t3), b);
    s4 = madd(s4, v128.load32_splat(x + t4), b);
    s5 = madd(s5, v128.load32_splat(x + t5), b);
    s6 = madd(s6, v128.load32_splat(x + t6), b);
    s7 = madd(s7, v128.load32_splat(x + t7), b);
    p += 4;
    pb += 32;
  } while (p < basesEnd);
  transpose4(s0, s1, s2, s3, c, ldc);
  transpose4(s4, s5, s6, s7, c + 16, ldc);
}

/**
 * For a last column panel with at most four columns, [k][4]: two row panels at a time against it, 8 rows × 4 columns, lanes across
 * rows. A pair's second panel lies `apart` bytes from the first, a pair takes 2 · `aStep` bytes, from k to k there are `kStep`. `c`:
 * tiles `cStep` bytes apart, rows 32 bytes apart, of which the second halves stay as they are. The two panels may be one, its tile too.
 */
export function tileHalfZero(a: usize, aStep: usize, apart: usize, kStep: usize, b: usize, bEnd: usize, c: usize, cStep: usize, pairs: i32): void {
  while (pairs > 0) while (pairs > 0) for (; pairs > 0; pairs--) {
    let pa = a;
    let pb = b;
    let c00 = f32x4.splat(0);
    let c01 = c00;
    let c10 = c00;
    let c11 = c00;
    let c20 = c00;
    let c21 = c00;
    let c30 = c00;
    let c31 = c00;
    do {
      const a0 = v128.load(pa);
      const a1 = v128.load(pa + apart);
      let s = v128.load32_splat(pb);
      c00 = madd(c00, a0, s);
      c01 = madd(c01, a1, s);
      s = v128.load32_splat(pb, 4);
      c10 = madd(c10, a0, s);
      c11 = madd(c11, a1, s);
      s = v128.load32_splat(pb, 8);
      c20 = madd(c20, a0, s);
      c21 = madd(c21, a1, s);
      s = v128.load32_splat(pb, 12);
      c30 = madd(c30, a0, s);
      c31 = madd(c31, a1, s);
      pa += kStep;
      pb += 16;
    } while (pb < bEnd);
    transpose4(c00, c10, c20, c30, c, 32);
    transpose4(c01, c11, c21, c31, c + cStep, 32);
    a += aStep << 1;
    c += cStep << 1;
  }
}

/** The same, going on from what C holds. */
export function tileHalfContinue(a: usize, aStep: usize, apart: usize, kStep: usize, b: usize, bEnd: usize, c: usize, cStep: usize, pairs: i32): void {
  while (pairs > 0) while (pairs > 0) for (; pairs > 0; pairs--) {
    let pa = a;
    let pb = b;
    // Rows turned into columns.
    const c4 = c + cStep;
    let r0 = v128.load(c);
    let r1 = v128.load(c, 32);
    let r2 = v128.load(c, 64);
    let r3 = v128.load(c, 96);
    let t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
    let t1 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
    let t2 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
    let t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
    let c00 = v128.shuffle<f64>(t0, t1, 0, 2);
    let c10 = v128.shuffle<f64>(t0, t1, 1, 3);
    let c20 = v128.shuffle<f64>(t2, t3, 0, 2);
    let c30 = v128.shuffle<f64>(t2, t3, 1, 3);
    r0 = v128.load(c4);
    r1 = v128.load(c4, 32);
    r2 = v128.load(c4, 64);
    r3 = v128.load(c4, 96);
    t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
    t1 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
    t2 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
    t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
    let c01 = v128.shuffle<f64>(t0, t1, 0, 2);
    let c11 = v128.shuffle<f64>(t0, t1, 1, 3);
    let c21 = v128.shuffle<f64>(t2, t3, 0, 2);
    let c31 = v128.shuffle<f64>(t2, t3, 1, 3);
    do {
      const a0 = v128.load(pa);
      const a1 = v128.load(pa + apart);
      let s = v128.load32_splat(pb);
      c00 = madd(c00, a0, s);
      c01 = madd(c01, a1, s);
      s = v128.load32_splat(pb, 4);
      c10 = madd(c10, a0, s);
      c11 = madd(c11, a1, s);
      s = v128.load32_splat(pb, 8);
      c20 = madd(c20, a0, s);
      c21 = madd(c21, a1, s);
      s = v128.load32_splat(pb, 12);
      c30 = madd(c30, a0, s);
      c31 = madd(c31, a1, s);
      pa += kStep;
      pb += 16;
    } while (pb < bEnd);
    transpose4(c00, c10, c20, c30, c, 32);
    transpose4(c01, c11, c21, c31, c4, 32);
    a += aStep << 1;
    c += cStep << 1;
  }
}

/**
 * For a last column panel of one column, [k][4] with the same value in all four: four row panels at a time, lanes across rows. `c`: tiles
 * `cStep` bytes apart, the four rows of each side by side.
 */
export function tileColumn(goOn: bool, a: usize, aStep: usize, b: usize, bEnd: usize, c: usize, cStep: usize, panels: i32): void {
  while (panels > 0) while (panels > 0) for (; panels > 0; panels -= 4) {
    let p0 = a;
    let p1 = p0 + aStep;
    let p2 = p1 + aStep;
    let p3 = p2 + aStep;
    const q1 = c + cStep;
    const q2 = q1 + cStep;
    const q3 = q2 + cStep;
    let pb = b;
    let c0 = f32x4.splat(0);
    let c1 = c0;
    let c2 = c0;
    let c3 = c0;
    if (goOn) {
      c0 = v128.load(c);
      c1 = v128.load(q1);
      c2 = v128.load(q2);
      c3 = v128.load(q3);
    }
    do {
      const s = v128.load(pb);
      c0 = madd(c0, v128.load(p0), s);
      c1 = madd(c1, v128.load(p1), s);
      c2 = madd(c2, v128.load(p2), s);
      c3 = madd(c3, v128.load(p3), s);
      p0 += 16;
      p1 += 16;
      p2 += 16;
      p3 += 16;
      pb += 16;
    } while (pb < bEnd);
    v128.store(c, c0);
    v128.store(q1, c1);
    v128.store(q2, c2);
    v128.store(q3, c3);
    a += aStep << 2;
    c = q3 + cStep;
  }
}

/** `panels` row panels against a whole column panel: from zero, or going on. */
@inline
export function wholeTiles(goOn: bool, a: usize, aStep: usize, b: usize, bEnd: usize, c: usize, ldc: usize, cStep: usize, panels: i32): void {
  if (goOn) tileRowsContinue(a, aStep, b, bEnd, c, ldc, cStep, panels);
  else tileRowsZero(a, aStep, b, bEnd, c, ldc, cStep, panels);
}

/** The same against half a column panel: in pairs, and a last one twice. */
export function halfTiles(goOn: bool, a: usize, aStep: usize, apart: usize, kStep: usize, b: usize, bEnd: usize, c: usize, cStep: usize, panels: i32): void {
  const pairs = panels >> 1;
  const last = a + <usize>(pairs << 1) * aStep;
  const lastTile = c + <usize>(pairs << 1) * cStep;
  const odd = panels & 1;
  if (goOn) {
    tileHalfContinue(a, aStep, apart, kStep, b, bEnd, c, cStep, pairs);
    tileHalfContinue(last, 0, 0, kStep, b, bEnd, lastTile, 0, odd);
  } else {
    tileHalfZero(a, aStep, apart, kStep, b, bEnd, c, cStep, pairs);
    tileHalfZero(last, 0, 0, kStep, b, bEnd, lastTile, 0, odd);
  }
}

/**
 * The tile over `panels` row panels of k terms, `repeats` times, everything in the first-level cache: the peak that the
 * bench measures everything against. `a` holds panels · k · 4 floats, `b` k · 8, `c` panels · 32.
 */
export function tilePeak(a: usize, b: usize, k: i32, panels: i32, repeats: i32, c: usize): void {
  const bytes: usize = (<usize>k) << 4;
  for (let r = 0; r < repeats; r++) tileRowsZero(a, bytes, b, b + (bytes << 1), c, 32, 128, panels);
}

/** Byte size of a C tile in scratch: 4 rows × 8 columns. */
export const TILE_BYTES: usize = 128;
