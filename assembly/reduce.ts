/**
 * Lane sums: the k-th term goes to float64 lane k mod 8. Lanes live in memory (64 bytes) between runs of terms.
 */

export function clearLanes(lanes: usize): void {
  const zero = f64x2.splat(0);
  v128.store(lanes, zero);
  v128.store(lanes, zero, 16);
  v128.store(lanes, zero, 32);
  v128.store(lanes, zero, 48);
}

/** ((l0+l1)+(l2+l3))+((l4+l5)+(l6+l7)) */
export function foldLanes(lanes: usize): f64 {
  return (
    load<f64>(lanes) +
    load<f64>(lanes, 8) +
    (load<f64>(lanes, 16) + load<f64>(lanes, 24)) +
    (load<f64>(lanes, 32) + load<f64>(lanes, 40) + (load<f64>(lanes, 48) + load<f64>(lanes, 56)))
  );
}

@inline
export function low(v: v128): v128 {
  return f64x2.promote_low_f32x4(v);
}

@inline
export function high(v: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<f64>(v, v, 1, 1));
}

/** Adds `n` neighbours to the lanes, the first to lane 0. */
export function addToLanes(lanes: usize, x: usize, n: i32): void {
  let l0 = v128.load(lanes);
  let l1 = v128.load(lanes, 16);
  let l2 = v128.load(lanes, 32);
  let l3 = v128.load(lanes, 48);
  const end = x + ((<usize>(n & ~7)) << 2);
  for (; x < end; x += 32) {
    const a = v128.load(x);
    const b = v128.load(x, 16);
    l0 = f64x2.add(l0, low(a));
    l1 = f64x2.add(l1, high(a));
    l2 = f64x2.add(l2, low(b));
    l3 = f64x2.add(l3, high(b));
  }
  v128.store(lanes, l0);
  v128.store(lanes, l1, 16);
  v128.store(lanes, l2, 32);
  v128.store(lanes, l3, 48);
  for (let i = 0; i < (n & 7); i++) {
    store<f64>(lanes, load<f64>(lanes) + <f64>load<f32>(x));
    lanes += 8;
    x += 4;
  }
}

/** The same from any lane: runs that do not start at a multiple of 8. */
function addToLanesFrom(lanes: usize, first: i32, x: usize, n: i32): void {
  for (let i = 0; i < n; i++) {
    const lane = lanes + ((<usize>((first + i) & 7)) << 3);
    store<f64>(lane, load<f64>(lane) + <f64>load<f32>(x));
    x += 4;
  }
}

/**
 * Sums over the reduced axes. `table`: kept extents, their strides, reduced extents, their strides (elements), then room
 * for as many counters; `kept` and `reduced` say how many of each. When the innermost axis is reduced, its stride is 1.
 */
export function sum(x: usize, out: usize, kept: i32, reduced: i32, table: usize, divisor: f64, lanes: usize): void {
  const keptStrides = table + ((<usize>kept) << 2);
  const extents = keptStrides + ((<usize>kept) << 2);
  const strides = extents + ((<usize>reduced) << 2);
  const keptCounters = strides + ((<usize>reduced) << 2);
  const counters = keptCounters + ((<usize>kept) << 2);

  let outputs = 1;
  for (let i = 0; i < kept; i++) outputs *= load<i32>(table + ((<usize>i) << 2));
  const last: usize = (<usize>(reduced - 1)) << 2;
  const inner = load<i32>(extents + last);
  const innerStep: usize = (<usize>load<i32>(strides + last)) << 2;
  let runs = 1;
  for (let i: usize = 0; i < last; i += 4) runs *= load<i32>(extents + i);
  for (let i: usize = 0; i < (<usize>kept) << 2; i += 4) store<i32>(keptCounters + i, 0);
  for (let i: usize = 0; i < (<usize>reduced) << 2; i += 4) store<i32>(counters + i, 0);

  for (let o = 0; o < outputs; o++) {
    clearLanes(lanes);
    let p = x;
    let term = 0;
    for (let r = 0; r < runs; r++) {
      if (innerStep === 4 && (term & 7) === 0) addToLanes(lanes, p, inner);
      else if (innerStep === 4) addToLanesFrom(lanes, term & 7, p, inner);
      else {
        let q = p;
        for (let i = 0; i < inner; i++) {
          addToLanesFrom(lanes, term + i, q, 1);
          q += innerStep;
        }
      }
      term += inner;
      p = advance(p, extents, strides, counters, last);
    }
    store<f32>(out, <f32>(foldLanes(lanes) / divisor));
    out += 4;
    x = advance(x, table, keptStrides, keptCounters, (<usize>kept) << 2);
  }
}

/** Moves an address on by one position of a row-major odometer over the axes in the first `bytes` of the table. */
export function advance(p: usize, extents: usize, strides: usize, counters: usize, bytes: usize): usize {
  for (let axis = bytes; axis > 0; ) {
    axis -= 4;
    const stride: usize = (<usize>load<i32>(strides + axis)) << 2;
    const extent = load<i32>(extents + axis);
    const at = load<i32>(counters + axis) + 1;
    p += stride;
    if (at < extent) {
      store<i32>(counters + axis, at);
      return p;
    }
    store<i32>(counters + axis, 0);
    p -= stride * <usize>extent;
  }
  return p;
}

/** out[i] = x[broadcast index of i] / divisor. `table`: extents, strides, room for counters. */
export function expand(x: usize, out: usize, rank: i32, table: usize, divisor: f64): void {
  const bytes: usize = (<usize>rank) << 2;
  const strides = table + bytes;
  const counters = strides + bytes;
  let n = 1;
  for (let i: usize = 0; i < bytes; i += 4) {
    n *= load<i32>(table + i);
    store<i32>(counters + i, 0);
  }
  const inner = load<i32>(table + bytes - 4);
  const step: usize = (<usize>load<i32>(strides + bytes - 4)) << 2;
  const rows = inner === 0 ? 0 : n / inner;
  for (let r = 0; r < rows; r++) {
    let p = x;
    if (step === 0) {
      const v = <f32>(<f64>load<f32>(p) / divisor);
      for (let i = 0; i < inner; i++) {
        store<f32>(out, v);
        out += 4;
      }
    } else {
      let i = 0;
      if (step === 4 && divisor === 1) {
        for (; i + 4 <= inner; i += 4) {
          v128.store(out, v128.load(p));
          p += 16;
          out += 16;
        }
      }
      for (; i < inner; i++) {
        store<f32>(out, <f32>(<f64>load<f32>(p) / divisor));
        p += step;
        out += 4;
      }
    }
    x = advance(x, table, strides, counters, bytes - 4);
  }
}
