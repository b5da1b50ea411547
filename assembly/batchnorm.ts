/**
 * Batch norm, a channel at a time, so that its passes find the planes in the cache. Everything is float64 from the stored
 * float32 values and rounded once. Lanes: pixel k of every image goes to lane k mod 8.
 */
import { reluBackward } from './elementwise';
import { addToLanes, clearLanes, foldLanes, high, low } from './reduce';

/** Fields in the order in which `device/wasm/normalization.ts` writes them. Optional addresses may be 0. */
@unmanaged
export class BatchNorm {
  batch: i32;
  channels: i32;
  spatial: i32;
  x: usize;
  weight: usize;
  bias: usize;
  runningMean: usize;
  runningVar: usize;
  /** float64: mean, then invstd. */
  saved: usize;
  out: usize;
  /** Backward: gradient of the result, and what is asked for. */
  dy: usize;
  dweight: usize;
  dbias: usize;
  /** Added to the result and, backward, its gradient; 0 for none. */
  residual: usize;
  /** Forward: 1 for relu of the result. Backward: the result where it went through relu, or 0. */
  relu: usize;
  /** 128 bytes for each thread. */
  lanes: usize;
  /** The channels to do. */
  from: i32;
  to: i32;
}

export function batchNormTrain(g: BatchNorm, momentum: f64, correction: f64, eps: f64, thread: i32): void {
  const lanes: usize = g.lanes + ((<usize>thread) << 7);
  const plane: usize = (<usize>g.spatial) << 2;
  const imageBytes: usize = plane * <usize>g.channels;
  const count = <f64>g.batch * <f64>g.spatial;
  for (let c = g.from; c < g.to; c++) {
    const x = g.x + <usize>c * plane;
    clearLanes(lanes);
    for (let n = 0; n < g.batch; n++) addToLanes(lanes, x + <usize>n * imageBytes, g.spatial);
    const mean = foldLanes(lanes) / count;
    clearLanes(lanes);
    for (let n = 0; n < g.batch; n++) addSquares(lanes, x + <usize>n * imageBytes, g.spatial, mean);
    const variance = foldLanes(lanes) / count;
    const invstd: f64 = 1 / Math.sqrt(variance + eps);
    normalise(g, c, mean, invstd);
    if (g.runningMean !== 0) update(g.runningMean + ((<usize>c) << 2), mean, momentum);
    if (g.runningVar !== 0) update(g.runningVar + ((<usize>c) << 2), variance * correction, momentum);
  }
}

function update(running: usize, value: f64, momentum: f64): void {
  store<f32>(running, <f32>((1 - momentum) * <f64>load<f32>(running) + momentum * value));
}

export function batchNormEval(g: BatchNorm, eps: f64): void {
  for (let c = g.from; c < g.to; c++) {
    const at: usize = (<usize>c) << 2;
    const mean = <f64>load<f32>(g.runningMean + at);
    const invstd: f64 = 1 / Math.sqrt(<f64>load<f32>(g.runningVar + at) + eps);
    normalise(g, c, mean, invstd);
  }
}

/** Saves the statistics and writes out = (x − mean)·(weight·invstd) + bias. */
function normalise(g: BatchNorm, c: i32, mean: f64, invstd: f64): void {
  store<f64>(g.saved + ((<usize>c) << 3), mean);
  store<f64>(g.saved + ((<usize>(g.channels + c)) << 3), invstd);
  const at: usize = (<usize>c) << 2;
  const scale = g.weight !== 0 ? <f64>load<f32>(g.weight + at) * invstd : invstd;
  const shift: f64 = g.bias !== 0 ? <f64>load<f32>(g.bias + at) : 0;
  const plane: usize = (<usize>g.spatial) << 2;
  for (let n = 0; n < g.batch; n++) {
    const offset = <usize>(n * g.channels + c) * plane;
    const out = g.out + offset;
    const residualFrom = g.residual !== 0 ? g.residual + offset - out : 0;
    normaliseRow(g.x + offset, out, g.spatial, mean, scale, shift, residualFrom, g.relu !== 0);
  }
}

/**
 * out = (x − mean)·scale + shift for `n` neighbours, rounded once; then what lies `residualFrom` from the result is added,
 * unless that is 0, and `relu` taken. `out` may be `x`.
 */
export function normaliseRow(x: usize, out: usize, n: i32, mean: f64, scale: f64, shift: f64, residualFrom: usize, relu: bool): void {
  const mean2 = f64x2.splat(mean);
  const scale2 = f64x2.splat(scale);
  const shift2 = f64x2.splat(shift);
  const zero = f32x4.splat(0);
  const hasResidual = residualFrom !== 0;
  const end = x + ((<usize>n) << 2);
  for (; x + 16 <= end; x += 16) {
    const v = v128.load(x);
    const a = f64x2.add(f64x2.mul(f64x2.sub(low(v), mean2), scale2), shift2);
    const b = f64x2.add(f64x2.mul(f64x2.sub(high(v), mean2), scale2), shift2);
    let y = v128.shuffle<f64>(f32x4.demote_f64x2_zero(a), f32x4.demote_f64x2_zero(b), 0, 2);
    if (hasResidual) y = f32x4.add(y, v128.load(out + residualFrom));
    // Keeps NaN, and makes −0 +0.
    if (relu) y = f32x4.add(f32x4.pmax(y, zero), zero);
    v128.store(out, y);
    out += 16;
  }
  for (; x < end; x += 4) {
    let y = <f32>((<f64>load<f32>(x) - mean) * scale + shift);
    if (hasResidual) y = y + load<f32>(out + residualFrom);
    if (relu && y <= 0) y = 0;
    store<f32>(out, y);
    out += 4;
  }
}

/** Adds (x − mean)² of `n` neighbours to the lanes. */
function addSquares(lanes: usize, x: usize, n: i32, mean: f64): void {
  let l0 = v128.load(lanes);
  let l1 = v128.load(lanes, 16);
  let l2 = v128.load(lanes, 32);
  let l3 = v128.load(lanes, 48);
  const mean2 = f64x2.splat(mean);
  const end = x + ((<usize>(n & ~7)) << 2);
  for (; x < end; x += 32) {
    const a = v128.load(x);
    const b = v128.load(x, 16);
    const d0 = f64x2.sub(low(a), mean2);
    const d1 = f64x2.sub(high(a), mean2);
    const d2 = f64x2.sub(low(b), mean2);
    const d3 = f64x2.sub(high(b), mean2);
    l0 = f64x2.add(l0, f64x2.mul(d0, d0));
    l1 = f64x2.add(l1, f64x2.mul(d1, d1));
    l2 = f64x2.add(l2, f64x2.mul(d2, d2));
    l3 = f64x2.add(l3, f64x2.mul(d3, d3));
  }
  v128.store(lanes, l0);
  v128.store(lanes, l1, 16);
  v128.store(lanes, l2, 32);
  v128.store(lanes, l3, 48);
  for (let i = 0; i < (n & 7); i++) {
    const d = <f64>load<f32>(x) - mean;
    store<f64>(lanes, load<f64>(lanes) + d * d);
    lanes += 8;
    x += 4;
  }
}

/** Adds dy·(x − mean) of `n` neighbours to the lanes. */
function addProducts(lanes: usize, dy: usize, x: usize, n: i32, mean: f64): void {
  let l0 = v128.load(lanes);
  let l1 = v128.load(lanes, 16);
  let l2 = v128.load(lanes, 32);
  let l3 = v128.load(lanes, 48);
  const mean2 = f64x2.splat(mean);
  const end = x + ((<usize>(n & ~7)) << 2);
  for (; x < end; x += 32) {
    const a = v128.load(x);
    const b = v128.load(x, 16);
    const g = v128.load(dy);
    const h = v128.load(dy, 16);
    l0 = f64x2.add(l0, f64x2.mul(low(g), f64x2.sub(low(a), mean2)));
    l1 = f64x2.add(l1, f64x2.mul(high(g), f64x2.sub(high(a), mean2)));
    l2 = f64x2.add(l2, f64x2.mul(low(h), f64x2.sub(low(b), mean2)));
    l3 = f64x2.add(l3, f64x2.mul(high(h), f64x2.sub(high(b), mean2)));
    dy += 32;
  }
  v128.store(lanes, l0);
  v128.store(lanes, l1, 16);
  v128.store(lanes, l2, 32);
  v128.store(lanes, l3, 48);
  for (let i = 0; i < (n & 7); i++) {
    store<f64>(lanes, load<f64>(lanes) + <f64>load<f32>(dy) * (<f64>load<f32>(x) - mean));
    lanes += 8;
    x += 4;
    dy += 4;
  }
}

export function batchNormBackward(g: BatchNorm, training: i32, thread: i32): void {
  const lanes: usize = g.lanes + ((<usize>thread) << 7);
  const plane: usize = (<usize>g.spatial) << 2;
  const imageBytes: usize = plane * <usize>g.channels;
  const count = <f64>g.batch * <f64>g.spatial;
  for (let c = g.from; c < g.to; c++) {
    const at: usize = (<usize>c) << 2;
    const mean = load<f64>(g.saved + ((<usize>c) << 3));
    const invstd = load<f64>(g.saved + ((<usize>(g.channels + c)) << 3));
    const scale = g.weight !== 0 ? <f64>load<f32>(g.weight + at) * invstd : invstd;
    const offset: usize = <usize>c * plane;
    let dy = g.dy;
    if (g.relu !== 0) {
      // What follows reads the masked gradient, from the cache.
      const masked = g.residual !== 0 ? g.residual : g.out;
      for (let n = 0; n < g.batch; n++) {
        const p = offset + <usize>n * imageBytes;
        reluBackward(g.relu + p, dy + p, masked + p, g.spatial);
      }
      dy = masked;
    }
    let sum: f64 = 0;
    let products: f64 = 0;
    if (training || g.dweight !== 0 || g.dbias !== 0) {
      clearLanes(lanes);
      clearLanes(lanes + 64);
      for (let n = 0; n < g.batch; n++) {
        const p = offset + <usize>n * imageBytes;
        addToLanes(lanes, dy + p, g.spatial);
        addProducts(lanes + 64, dy + p, g.x + p, g.spatial, mean);
      }
      sum = foldLanes(lanes);
      products = foldLanes(lanes + 64);
      if (g.dbias !== 0) store<f32>(g.dbias + at, <f32>sum);
      if (g.dweight !== 0) store<f32>(g.dweight + at, <f32>(products * invstd));
    }
    if (g.out === 0) continue;
    for (let n = 0; n < g.batch; n++) {
      const p = offset + <usize>n * imageBytes;
      if (training) {
        inputGradient(dy + p, g.x + p, g.out + p, plane, mean, scale, sum / count, (products * invstd * invstd) / count);
      } else scaled(dy + p, g.out + p, plane, scale);
    }
  }
}

/** dx = (dy − sum − (x − mean)·product)·scale */
function inputGradient(dy: usize, x: usize, dx: usize, bytes: usize, mean: f64, scale: f64, sum: f64, product: f64): void {
  const mean2 = f64x2.splat(mean);
  const scale2 = f64x2.splat(scale);
  const sum2 = f64x2.splat(sum);
  const product2 = f64x2.splat(product);
  const end = x + bytes;
  for (; x + 16 <= end; x += 16) {
    const v = v128.load(x);
    const g = v128.load(dy);
    const a = f64x2.mul(f64x2.sub(f64x2.sub(low(g), sum2), f64x2.mul(f64x2.sub(low(v), mean2), product2)), scale2);
    const b = f64x2.mul(f64x2.sub(f64x2.sub(high(g), sum2), f64x2.mul(f64x2.sub(high(v), mean2), product2)), scale2);
    v128.store(dx, v128.shuffle<f64>(f32x4.demote_f64x2_zero(a), f32x4.demote_f64x2_zero(b), 0, 2));
    dy += 16;
    dx += 16;
  }
  for (; x < end; x += 4) {
    store<f32>(dx, <f32>((<f64>load<f32>(dy) - sum - (<f64>load<f32>(x) - mean) * product) * scale));
    dy += 4;
    dx += 4;
  }
}

function scaled(dy: usize, dx: usize, bytes: usize, scale: f64): void {
  const end = dy + bytes;
  for (; dy < end; dy += 4) {
    store<f32>(dx, <f32>(<f64>load<f32>(dy) * scale));
    dx += 4;
  }
}
