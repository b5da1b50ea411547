/** Softmax, log-softmax and cross-entropy: float64 in order, the project's own exp and log, rounded once. */
import { exp, log } from '../src/math';

@inline
function at(p: usize, i: i32, step: usize): f64 {
  return <f64>load<f32>(p + <usize>i * step);
}

/** The largest of `n` values `step` bytes apart; −∞ where there is none. NaN never wins, and shows in the sum. */
function maximum(x: usize, n: i32, step: usize): f64 {
  let best: f64 = -Infinity;
  for (let i = 0; i < n; i++) {
    const v = at(x, i, step);
    if (v > best) best = v;
  }
  return best;
}

function sumExp(x: usize, n: i32, step: usize, max: f64): f64 {
  let sum: f64 = 0;
  for (let i = 0; i < n; i++) sum += exp(at(x, i, step) - max);
  return sum;
}

export function softmax(x: usize, out: usize, outer: i32, n: i32, inner: i32, logarithm: i32): void {
  const step: usize = (<usize>inner) << 2;
  for (let o = 0; o < outer; o++) {
    for (let j = 0; j < inner; j++) {
      const offset = (<usize>(o * n * inner + j)) << 2;
      const p = x + offset;
      const max = maximum(p, n, step);
      const sum = sumExp(p, n, step, max);
      const logSum: f64 = logarithm ? log(sum) : 0;
      for (let i = 0; i < n; i++) {
        const v = at(p, i, step) - max;
        store<f32>(out + offset + <usize>i * step, <f32>(logarithm ? v - logSum : exp(v) / sum));
      }
    }
  }
}

export function softmaxBackward(y: usize, dy: usize, dx: usize, outer: i32, n: i32, inner: i32, logarithm: i32): void {
  const step: usize = (<usize>inner) << 2;
  for (let o = 0; o < outer; o++) {
    for (let j = 0; j < inner; j++) {
      const offset = (<usize>(o * n * inner + j)) << 2;
      let sum: f64 = 0;
      for (let i = 0; i < n; i++) {
        const g = at(dy + offset, i, step);
        sum += logarithm ? g : g * at(y + offset, i, step);
      }
      for (let i = 0; i < n; i++) {
        const g = at(dy + offset, i, step);
        const v = at(y + offset, i, step);
        store<f32>(dx + offset + <usize>i * step, <f32>(logarithm ? g - exp(v) * sum : v * (g - sum)));
      }
    }
  }
}

export function crossEntropy(
  logits: usize,
  labels: usize,
  out: usize,
  saved: usize,
  rows: i32,
  classes: i32,
  smoothing: f64,
): void {
  let total: f64 = 0;
  for (let r = 0; r < rows; r++) {
    const max = maximum(logits, classes, 4);
    const lse = max + log(sumExp(logits, classes, 4, max));
    store<f64>(saved + ((<usize>r) << 3), lse);
    const label = load<i32>(labels + ((<usize>r) << 2));
    let loss = (1 - smoothing) * (lse - at(logits, label, 4));
    // Without smoothing an infinite logit of another class must not count.
    if (smoothing > 0) {
      let rest: f64 = 0;
      for (let c = 0; c < classes; c++) rest += lse - at(logits, c, 4);
      loss += (smoothing / <f64>classes) * rest;
    }
    total += loss;
    logits += (<usize>classes) << 2;
  }
  store<f32>(out, <f32>(total / <f64>rows));
}

export function crossEntropyBackward(
  logits: usize,
  labels: usize,
  saved: usize,
  dy: usize,
  dlogits: usize,
  rows: i32,
  classes: i32,
  smoothing: f64,
): void {
  const share = <f64>load<f32>(dy) / <f64>rows;
  for (let r = 0; r < rows; r++) {
    const lse = load<f64>(saved + ((<usize>r) << 3));
    const label = load<i32>(labels + ((<usize>r) << 2));
    for (let c = 0; c < classes; c++) {
      const hit: f64 = c === label ? 1 : 0;
      const p = exp(at(logits, c, 4) - lse);
      store<f32>(dlogits, <f32>((p - (1 - smoothing) * hit - smoothing / <f64>classes) * share));
      dlogits += 4;
    }
    logits += (<usize>classes) << 2;
  }
}
