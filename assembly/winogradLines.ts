/**
 * The one-dimensional transforms of Winograd's convolutions F(m, 3), four at a time: a vector holds the same element of four
 * lines. Each writes its results `step` bytes apart. docs/NUMERICS.md states these formulas; src/device/reference/winograd.ts
 * is the same in plain TypeScript, operation by operation.
 *
 * F(2, 3) takes the points 0, 1, −1, ∞; F(3, 3) 0, 1, −1/2, −2, ∞; F(4, 3) 0, ±√½, ±√2, ∞.
 */

/** Where `writeConstants` puts each constant; an engine rebuilds a literal at each use, but loads one from memory for free. */
const HALF: usize = 0;
const QUARTER: usize = 4;
const ONE_HALF: usize = 8;
const TWO_HALF: usize = 12;
const ROOT: usize = 16;
const HALF_ROOT: usize = 20;
const THIRD: usize = 24;
const TWO_THIRDS: usize = 28;
const SIXTH: usize = 32;
const ROOT_THIRD: usize = 36;
const NINTH: usize = 40;
const TWO_NINTHS: usize = 44;
const FOUR_NINTHS: usize = 48;
const FOUR: usize = 52;
const EIGHTH: usize = 56;
export const CONSTANT_BYTES: usize = 64;

const SQRT2: f64 = 1.4142135623730951;

export function writeConstants(p: usize): void {
  store<f32>(p + HALF, 0.5);
  store<f32>(p + QUARTER, 0.25);
  store<f32>(p + ONE_HALF, 1.5);
  store<f32>(p + TWO_HALF, 2.5);
  store<f32>(p + ROOT, <f32>SQRT2);
  store<f32>(p + HALF_ROOT, <f32>(SQRT2 / 2));
  store<f32>(p + THIRD, <f32>(1.0 / 3));
  store<f32>(p + TWO_THIRDS, <f32>(2.0 / 3));
  store<f32>(p + SIXTH, <f32>(1.0 / 6));
  store<f32>(p + ROOT_THIRD, <f32>(SQRT2 / 3));
  store<f32>(p + NINTH, <f32>(1.0 / 9));
  store<f32>(p + TWO_NINTHS, <f32>(2.0 / 9));
  store<f32>(p + FOUR_NINTHS, <f32>(4.0 / 9));
  store<f32>(p + FOUR, 4);
  store<f32>(p + EIGHTH, 0.125);
}

@inline
function add(a: v128, b: v128): v128 {
  return f32x4.add(a, b);
}

@inline
function sub(a: v128, b: v128): v128 {
  return f32x4.sub(a, b);
}

/** The constant at `k + at`, times a. */
@inline
function times(k: usize, at: usize, a: v128): v128 {
  return f32x4.mul(v128.load32_splat(k + at), a);
}

@inline
export function timesHalf(k: usize, a: v128): v128 {
  return times(k, HALF, a);
}

@inline
export function timesQuarter(k: usize, a: v128): v128 {
  return times(k, QUARTER, a);
}

@inline
export function timesEighth(k: usize, a: v128): v128 {
  return times(k, EIGHTH, a);
}

@inline
export function timesFour(k: usize, a: v128): v128 {
  return times(k, FOUR, a);
}

@inline
export function timesNinth(k: usize, a: v128): v128 {
  return times(k, NINTH, a);
}

@inline
export function times2Ninths(k: usize, a: v128): v128 {
  return times(k, TWO_NINTHS, a);
}

@inline
export function timesFourNinths(k: usize, a: v128): v128 {
  return times(k, FOUR_NINTHS, a);
}

/** Bᵀ of F(2, 3). */
@inline
export function input2(k: usize, d0: v128, d1: v128, d2: v128, d3: v128, out: usize, step: usize): void {
  v128.store(out, sub(d0, d2));
  out += step;
  v128.store(out, add(d1, d2));
  out += step;
  v128.store(out, sub(d2, d1));
  out += step;
  v128.store(out, sub(d3, d1));
}

/** Bᵀ of F(3, 3). */
@inline
export function input3(k: usize, d0: v128, d1: v128, d2: v128, d3: v128, d4: v128, out: usize, step: usize): void {
  v128.store(out, add(sub(d0, d3), times(k, ONE_HALF, sub(d1, d2))));
  out += step;
  v128.store(out, add(add(d1, d3), times(k, TWO_HALF, d2)));
  out += step;
  v128.store(out, sub(add(d2, d3), add(d1, d1)));
  out += step;
  v128.store(out, sub(d3, times(k, HALF, add(d1, d2))));
  out += step;
  v128.store(out, add(sub(d4, d1), times(k, ONE_HALF, sub(d3, d2))));
}

/** Bᵀ of F(4, 3). */
@inline
export function input4(k: usize, d0: v128, d1: v128, d2: v128, d3: v128, d4: v128, d5: v128, out: usize, step: usize): void {
  v128.store(out, add(sub(d0, times(k, TWO_HALF, d2)), d4));
  out += step;
  let a = sub(add(d2, d2), d4);
  let b = times(k, HALF_ROOT, sub(add(d1, d1), d3));
  v128.store(out, add(a, b));
  out += step;
  v128.store(out, sub(a, b));
  out += step;
  a = sub(d4, times(k, HALF, d2));
  b = times(k, ROOT, sub(d3, times(k, HALF, d1)));
  v128.store(out, add(a, b));
  out += step;
  v128.store(out, sub(a, b));
  out += step;
  v128.store(out, add(sub(d1, times(k, TWO_HALF, d3)), d5));
}

/** G of F(2, 3). */
@inline
export function filter2(k: usize, g0: v128, g1: v128, g2: v128, out: usize, step: usize): void {
  v128.store(out, g0);
  out += step;
  const e = times(k, HALF, add(g0, g2));
  const o = times(k, HALF, g1);
  v128.store(out, add(e, o));
  out += step;
  v128.store(out, sub(e, o));
  out += step;
  v128.store(out, g2);
}

/** G of F(3, 3). */
@inline
export function filter3(k: usize, g0: v128, g1: v128, g2: v128, out: usize, step: usize): void {
  v128.store(out, g0);
  out += step;
  v128.store(out, times(k, TWO_NINTHS, add(add(g0, g1), g2)));
  out += step;
  const twice = add(g1, g1);
  v128.store(out, times(k, TWO_NINTHS, sub(add(times(k, FOUR, g0), g2), twice)));
  out += step;
  v128.store(out, times(k, NINTH, sub(twice, add(g0, times(k, FOUR, g2)))));
  out += step;
  v128.store(out, g2);
}

/** G of F(4, 3). */
@inline
export function filter4(k: usize, g0: v128, g1: v128, g2: v128, out: usize, step: usize): void {
  v128.store(out, g0);
  out += step;
  const third = times(k, THIRD, g2);
  let e = add(times(k, TWO_THIRDS, g0), third);
  let o = times(k, ROOT_THIRD, g1);
  v128.store(out, add(e, o));
  out += step;
  v128.store(out, sub(e, o));
  out += step;
  e = add(times(k, SIXTH, g0), third);
  o = times(k, HALF, o);
  v128.store(out, add(e, o));
  out += step;
  v128.store(out, sub(e, o));
  out += step;
  v128.store(out, g2);
}

/** Gᵀ of F(2, 3). */
@inline
export function filterGradient2(k: usize, m0: v128, m1: v128, m2: v128, m3: v128, out: usize, step: usize): void {
  const p = times(k, HALF, add(m1, m2));
  v128.store(out, add(m0, p));
  out += step;
  v128.store(out, times(k, HALF, sub(m1, m2)));
  out += step;
  v128.store(out, add(p, m3));
}

/** Gᵀ of F(3, 3). */
@inline
export function filterGradient3(k: usize, m0: v128, m1: v128, m2: v128, m3: v128, m4: v128, out: usize, step: usize): void {
  v128.store(out, add(m0, sub(times(k, TWO_NINTHS, add(m1, times(k, FOUR, m2))), times(k, NINTH, m3))));
  out += step;
  v128.store(out, times(k, TWO_NINTHS, add(sub(m1, add(m2, m2)), m3)));
  out += step;
  v128.store(out, add(sub(times(k, TWO_NINTHS, add(m1, m2)), times(k, FOUR_NINTHS, m3)), m4));
}

/** Gᵀ of F(4, 3). */
@inline
export function filterGradient4(k: usize, m0: v128, m1: v128, m2: v128, m3: v128, m4: v128, m5: v128, out: usize, step: usize): void {
  const p = add(m1, m2);
  const q = sub(m1, m2);
  const u = add(m3, m4);
  const v = sub(m3, m4);
  v128.store(out, add(add(m0, times(k, TWO_THIRDS, p)), times(k, SIXTH, u)));
  out += step;
  v128.store(out, times(k, ROOT_THIRD, add(q, times(k, HALF, v))));
  out += step;
  v128.store(out, add(times(k, THIRD, add(p, u)), m5));
}

/** Aᵀ of F(2, 3). */
@inline
export function output2(k: usize, m0: v128, m1: v128, m2: v128, m3: v128, out: usize, step: usize): void {
  v128.store(out, add(add(m0, m1), m2));
  out += step;
  v128.store(out, add(sub(m1, m2), m3));
}

/** Aᵀ of F(3, 3). */
@inline
export function output3(k: usize, m0: v128, m1: v128, m2: v128, m3: v128, m4: v128, out: usize, step: usize): void {
  v128.store(out, add(add(add(m0, m1), m2), m3));
  out += step;
  v128.store(out, sub(sub(m1, times(k, HALF, m2)), add(m3, m3)));
  out += step;
  v128.store(out, add(add(add(m1, times(k, QUARTER, m2)), times(k, FOUR, m3)), m4));
}

/** Aᵀ of F(4, 3). */
@inline
export function output4(k: usize, m0: v128, m1: v128, m2: v128, m3: v128, m4: v128, m5: v128, out: usize, step: usize): void {
  const p = add(m1, m2);
  const q = sub(m1, m2);
  const u = add(m3, m4);
  const v = sub(m3, m4);
  v128.store(out, add(add(m0, p), u));
  out += step;
  v128.store(out, times(k, ROOT, add(times(k, HALF, q), v)));
  out += step;
  v128.store(out, add(times(k, HALF, p), add(u, u)));
  out += step;
  v128.store(out, add(times(k, ROOT, add(times(k, QUARTER, q), add(v, v))), m5));
}

/** A of F(2, 3). */
@inline
export function outputGradient2(k: usize, y0: v128, y1: v128, out: usize, step: usize): void {
  v128.store(out, y0);
  out += step;
  v128.store(out, add(y0, y1));
  out += step;
  v128.store(out, sub(y0, y1));
  out += step;
  v128.store(out, y1);
}

/** A of F(3, 3). */
@inline
export function outputGradient3(k: usize, y0: v128, y1: v128, y2: v128, out: usize, step: usize): void {
  v128.store(out, y0);
  out += step;
  v128.store(out, add(add(y0, y1), y2));
  out += step;
  v128.store(out, add(sub(y0, times(k, HALF, y1)), times(k, QUARTER, y2)));
  out += step;
  v128.store(out, add(sub(y0, add(y1, y1)), times(k, FOUR, y2)));
  out += step;
  v128.store(out, y2);
}

/** A of F(4, 3). */
@inline
export function outputGradient4(k: usize, y0: v128, y1: v128, y2: v128, y3: v128, out: usize, step: usize): void {
  v128.store(out, y0);
  out += step;
  let e = add(y0, times(k, HALF, y2));
  let o = times(k, ROOT, add(times(k, HALF, y1), times(k, QUARTER, y3)));
  v128.store(out, add(e, o));
  out += step;
  v128.store(out, sub(e, o));
  out += step;
  e = add(y0, add(y2, y2));
  o = times(k, ROOT, add(y1, add(y3, y3)));
  v128.store(out, add(e, o));
  out += step;
  v128.store(out, sub(e, o));
  out += step;
  v128.store(out, y3);
}
