import { flat, params, shader } from '../shader.js';

/** Elements that an invocation keeps in registers, so that it reads them once. */
const HELD = 8;
/** Invocations that gather what all have found, where there are more. */
const GATHERERS = 16;

const GEOMETRY = params({ batch: 'u32', channels: 'u32', spatial: 'u32' });

/** Where the k-th element of a channel lies. */
const PLACE = `
fn place(k: u32, channel: u32) -> u32 {
  return ((k / p.spatial) * p.channels + channel) * p.spatial + k % p.spatial;
}
`;

/** `all` of lane 0 becomes that of the whole workgroup; `join` adds `found[j]` to `all`. */
const gather = (group: number, join: string): string => `
  found[lane] = all;
  workgroupBarrier();
  ${
    group > GATHERERS * 4
      ? `
  if (lane < ${GATHERERS}u) {
    for (var j = lane + ${GATHERERS}u; j < ${group}u; j += ${GATHERERS}u) { ${join} }
  }
  workgroupBarrier();
  if (lane < ${GATHERERS}u) { found[lane] = all; }
  workgroupBarrier();
  if (lane == 0u) { for (var j = 1u; j < ${GATHERERS}u; j++) { ${join} } }`
      : `
  if (lane == 0u) { for (var j = 1u; j < ${group}u; j++) { ${join} } }`
  }`;

/**
 * Mean and variance of each channel, a workgroup a channel, each element read once and nothing cancelled: an invocation
 * takes the mean of the elements it holds, then their squared distances from it, and joins these with what it has.
 * @see Chan, Golub, LeVeque 1983, Algorithms for Computing the Sample Variance, eq. 1.5
 */
export const batchNormStatistics = shader({
  name: 'batchNormStatistics',
  buffers: { x: 'f32', saved: 'f32 out', runningMean: 'f32 out', runningVar: 'f32 out' },
  params: { ...GEOMETRY, momentum: 'f32', rest: 'f32', correction: 'f32', eps: 'f32' },
  code: ({ GROUP }) => `${PLACE}
/** So many numbers, their sum, the sum of their squared distances from its mean. */
struct Moments { count: f32, sum: f32, squares: f32 }

fn join(a: Moments, b: Moments) -> Moments {
  if (b.count == 0.0) { return a; }
  if (a.count == 0.0) { return b; }
  let count = a.count + b.count;
  let apart = b.sum / b.count - a.sum / a.count;
  return Moments(count, a.sum + b.sum, a.squares + b.squares + apart * apart * (a.count * (b.count / count)));
}

var<workgroup> found: array<Moments, ${GROUP}>;

@compute @workgroup_size(${GROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let channel = group.x;
  let count = p.batch * p.spatial;
  var all = Moments(0.0, 0.0, 0.0);
  for (var start = lane; start < count; start += ${HELD * Number(GROUP)}u) {
    var held: array<f32, ${HELD}>;
    var total = 0.0;
    var n = 0.0;
    for (var j = 0u; j < ${HELD}u; j++) {
      let k = start + j * ${GROUP}u;
      if (k < count) {
        held[j] = x[place(k, channel)];
        total += held[j];
        n += 1.0;
      }
    }
    let mean = total / n;
    var squares = 0.0;
    for (var j = 0u; j < ${HELD}u; j++) {
      if (start + j * ${GROUP}u < count) { squares += (held[j] - mean) * (held[j] - mean); }
    }
    all = join(all, Moments(n, total, squares));
  }
  ${gather(Number(GROUP), 'all = join(all, found[j]);')}
  if (lane == 0u) {
    let variance = all.squares / f32(count);
    let mean = all.sum / f32(count);
    saved[channel] = mean;
    saved[p.channels + channel] = 1.0 / sqrt(variance + p.eps);
    if (has_runningMean) { runningMean[channel] = p.rest * runningMean[channel] + p.momentum * mean; }
    if (has_runningVar) {
      runningVar[channel] = p.rest * runningVar[channel] + p.momentum * (variance * p.correction);
    }
  }
}`,
});

/** The end of both passes: + residual, relu. */
const FINISH = `
fn finish(value: f32, i: u32) {
  var v = value;
  if (has_residual) { v = v + residual[i]; }
  if (RELU) { v = select(0.0, v, v > 0.0 || isNan(v)); }
  out[i] = v;
}
`;

/** out = (x − mean)·(weight·invstd) + bias by the statistics in `saved`. One invocation an element. */
export const batchNormApply = shader({
  name: 'batchNormApply',
  buffers: { x: 'f32', weight: 'f32', bias: 'f32', residual: 'f32', saved: 'f32', out: 'f32 out' },
  params: { ...GEOMETRY, size: 'u32' },
  code: `${FINISH}${flat(`
  if (i >= p.size) { return; }
  let channel = (i / p.spatial) % p.channels;
  var scale = saved[p.channels + channel];
  if (has_weight) { scale = weight[channel] * scale; }
  var value = (x[i] - saved[channel]) * scale;
  if (has_bias) { value = value + bias[channel]; }
  finish(value, i);`)}`,
});

/** The same by running statistics, which `saved` receives. */
export const batchNormEval = shader({
  name: 'batchNormEval',
  buffers: {
    ...{ x: 'f32', weight: 'f32', bias: 'f32', residual: 'f32', runningMean: 'f32', runningVar: 'f32' },
    ...{ saved: 'f32 out', out: 'f32 out' },
  },
  params: { ...GEOMETRY, size: 'u32', eps: 'f32' },
  code: `${FINISH}${flat(`
  if (i < p.channels) {
    saved[i] = runningMean[i];
    saved[p.channels + i] = 1.0 / sqrt(runningVar[i] + p.eps);
  }
  if (i >= p.size) { return; }
  let channel = (i / p.spatial) % p.channels;
  var scale = 1.0 / sqrt(runningVar[channel] + p.eps);
  if (has_weight) { scale = weight[channel] * scale; }
  var value = (x[i] - runningMean[channel]) * scale;
  if (has_bias) { value = value + bias[channel]; }
  finish(value, i);`)}`,
});

/**
 * S1 = Σ dy and S2 = Σ dy·(x − mean) of each channel, a workgroup a channel, into `sums`, and the gradients of bias and
 * weight. Where the result went through relu, dy is masked by it first, and `masked` receives that.
 */
export const batchNormSums = shader({
  name: 'batchNormSums',
  buffers: {
    ...{ x: 'f32', dy: 'f32', y: 'f32', saved: 'f32' },
    ...{ masked: 'f32 out', sums: 'f32 out', dweight: 'f32 out', dbias: 'f32 out' },
  },
  params: GEOMETRY,
  code: ({ GROUP }) => `${PLACE}
var<workgroup> found: array<vec2f, ${GROUP}>;

@compute @workgroup_size(${GROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let channel = group.x;
  let count = p.batch * p.spatial;
  let mean = saved[channel];
  var all = vec2f(0.0);
  for (var k = lane; k < count; k += ${GROUP}u) {
    let i = place(k, channel);
    var g = dy[i];
    if (has_y) {
      let v = y[i];
      g = select(0.0, g, v > 0.0 || isNan(v));
      if (has_masked) { masked[i] = g; }
    }
    all += vec2f(g, g * (x[i] - mean));
  }
  ${gather(Number(GROUP), 'all += found[j];')}
  if (lane == 0u) {
    sums[channel] = all.x;
    sums[p.channels + channel] = all.y;
    if (has_dbias) { dbias[channel] = all.x; }
    if (has_dweight) { dweight[channel] = all.y * saved[p.channels + channel]; }
  }
}`,
});

/** dx by the sums; where dy is missing, dx holds it and is changed in place. One invocation an element. */
export const batchNormBackward = shader({
  name: 'batchNormBackward',
  buffers: { x: 'f32', dy: 'f32', weight: 'f32', saved: 'f32', sums: 'f32', dx: 'f32 out' },
  params: { ...GEOMETRY, size: 'u32' },
  code: flat(`
  if (i >= p.size) { return; }
  let channel = (i / p.spatial) % p.channels;
  let invstd = saved[p.channels + channel];
  var scale = invstd;
  if (has_weight) { scale = weight[channel] * invstd; }
  var g: f32;
  if (has_dy) { g = dy[i]; } else { g = dx[i]; }
  if (TRAINING) {
    let count = f32(p.batch * p.spatial);
    g = g - sums[channel] / count - (x[i] - saved[channel]) * (sums[p.channels + channel] * invstd * invstd / count);
  }
  dx[i] = g * scale;`),
});
