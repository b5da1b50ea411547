/** Elementwise kernels: one rounding an element, lanes across elements. */

export function fill(out: usize, value: f32, n: i32): void {
  const end = out + ((<usize>n) << 2);
  const v = f32x4.splat(value);
  for (; out + 16 <= end; out += 16) v128.store(out, v);
  for (; out < end; out += 4) store<f32>(out, value);
}

/** out = out + x. */
export function accumulate(x: usize, out: usize, n: i32): void {
  const end = out + ((<usize>n) << 2);
  for (; out + 16 <= end; out += 16) {
    v128.store(out, f32x4.add(v128.load(out), v128.load(x)));
    x += 16;
  }
  for (; out < end; out += 4) {
    store<f32>(out, load<f32>(out) + load<f32>(x));
    x += 4;
  }
}

/** x > 0 ? x : +0; NaN stays. Adding +0 turns the −0 that pmax lets through into +0. */
export function relu(x: usize, out: usize, n: i32): void {
  const end = out + ((<usize>n) << 2);
  const zero = f32x4.splat(0);
  for (; out + 16 <= end; out += 16) {
    v128.store(out, f32x4.add(f32x4.pmax(v128.load(x), zero), zero));
    x += 16;
  }
  for (; out < end; out += 4) {
    const v = load<f32>(x);
    store<f32>(out, v <= 0 ? 0 : v);
    x += 4;
  }
}

/** dx = y > 0 or NaN ? dy : +0. */
export function reluBackward(y: usize, dy: usize, dx: usize, n: i32): void {
  const end = dx + ((<usize>n) << 2);
  const zero = f32x4.splat(0);
  for (; dx + 16 <= end; dx += 16) {
    v128.store(dx, v128.andnot(v128.load(dy), f32x4.le(v128.load(y), zero)));
    y += 16;
    dy += 16;
  }
  for (; dx < end; dx += 4) {
    store<f32>(dx, load<f32>(y) <= 0 ? 0 : load<f32>(dy));
    y += 4;
    dy += 4;
  }
}

/** In place, for `n` neighbours: `value` is added. */
export function addValue(y: usize, n: i32, value: f32): void {
  const four = f32x4.splat(value);
  const end = y + ((<usize>n) << 2);
  for (; y + 16 <= end; y += 16) v128.store(y, f32x4.add(v128.load(y), four));
  for (; y < end; y += 4) store<f32>(y, load<f32>(y) + value);
}

/** In place, for `n` neighbours: what lies `residualFrom` from them is added, unless that is 0, and `relu` taken. */
export function addAndRelu(y: usize, n: i32, residualFrom: usize, relu: bool): void {
  const zero = f32x4.splat(0);
  const hasResidual = residualFrom !== 0;
  const end = y + ((<usize>n) << 2);
  for (; y + 16 <= end; y += 16) {
    let v = v128.load(y);
    if (hasResidual) v = f32x4.add(v, v128.load(y + residualFrom));
    if (relu) v = f32x4.add(f32x4.pmax(v, zero), zero);
    v128.store(y, v);
  }
  for (; y < end; y += 4) {
    let v = load<f32>(y);
    if (hasResidual) v = v + load<f32>(y + residualFrom);
    if (relu && v <= 0) v = 0;
    store<f32>(y, v);
  }
}

const ADD: i32 = 0;
const SUB: i32 = 1;
const MUL: i32 = 2;

@inline
function combine(operator: i32, a: f32, b: f32): f32 {
  if (operator === ADD) return a + b;
  if (operator === SUB) return a - b;
  if (operator === MUL) return a * b;
  return a / b;
}

@inline
function combine4(operator: i32, a: v128, b: v128): v128 {
  if (operator === ADD) return f32x4.add(a, b);
  if (operator === SUB) return f32x4.sub(a, b);
  if (operator === MUL) return f32x4.mul(a, b);
  return f32x4.div(a, b);
}

/**
 * out = a ⊙ b over `rank` axes. `table`: extents, then a's strides, then b's, in elements, then room for `rank` counters.
 * The innermost strides are 0 or 1.
 */
export function binary(operator: i32, a: usize, b: usize, out: usize, rank: i32, table: usize): void {
  const step: usize = (<usize>rank) << 2;
  const last: usize = step - 4;
  const aStrides = table + step;
  const bStrides = aStrides + step;
  const counters = bStrides + step;
  const inner = load<i32>(table + last);
  const aStep: usize = (<usize>load<i32>(aStrides + last)) << 2;
  const bStep: usize = (<usize>load<i32>(bStrides + last)) << 2;
  let rows = 1;
  for (let i: usize = 0; i < last; i += 4) {
    rows *= load<i32>(table + i);
    store<i32>(counters + i, 0);
  }
  for (let r = 0; r < rows; r++) {
    let pa = a;
    let pb = b;
    let i = 0;
    for (; i + 4 <= inner; i += 4) {
      const va = aStep === 0 ? v128.load32_splat(pa) : v128.load(pa);
      const vb = bStep === 0 ? v128.load32_splat(pb) : v128.load(pb);
      v128.store(out, combine4(operator, va, vb));
      pa += aStep << 2;
      pb += bStep << 2;
      out += 16;
    }
    for (; i < inner; i++) {
      store<f32>(out, combine(operator, load<f32>(pa), load<f32>(pb)));
      pa += aStep;
      pb += bStep;
      out += 4;
    }
    for (let axis: usize = last; axis > 0; ) {
      axis -= 4;
      const aStride: usize = (<usize>load<i32>(aStrides + axis)) << 2;
      const bStride: usize = (<usize>load<i32>(bStrides + axis)) << 2;
      const extent = load<i32>(table + axis);
      const at = load<i32>(counters + axis) + 1;
      a += aStride;
      b += bStride;
      if (at < extent) {
        store<i32>(counters + axis, at);
        break;
      }
      store<i32>(counters + axis, 0);
      a -= aStride * <usize>extent;
      b -= bStride * <usize>extent;
    }
  }
}
