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

const MOMENTS = `
/** So many numbers, their sum, the sum of their squared distances from its mean. */
struct Moments { count: f32, sum: f32, squares: f32 }

fn join(a: Moments, b: Moments) -> Moments {
  if (b.count == 0.0) { return a; }
  if (a.count == 0.0) { return b; }
  let count = a.count + b.count;
  let apart = b.sum / b.count - a.sum / a.count;
  return Moments(count, a.sum + b.sum, a.squares + b.squares + apart * apart * (a.count * (b.count / count)));
}
`;

/** `all` = the moments of elements `first` to `last` of `channel`; lane 0's at the end those of the workgroup. */
const momentsOf = (group: number): string => `
  var all = Moments(0.0, 0.0, 0.0);
  for (var start = first + lane; start < last; start += ${HELD * group}u) {
    var held: array<f32, ${HELD}>;
    var total = 0.0;
    var n = 0.0;
    for (var j = 0u; j < ${HELD}u; j++) {
      let k = start + j * ${group}u;
      if (k < last) {
        held[j] = x[place(k, channel)];
        total += held[j];
        n += 1.0;
      }
    }
    let mean = total / n;
    var squares = 0.0;
    for (var j = 0u; j < ${HELD}u; j++) {
      if (start + j * ${group}u < last) { squares += (held[j] - mean) * (held[j] - mean); }
    }
    all = join(all, Moments(n, total, squares));
  }
  ${gather(group, 'all = join(all, found[j]);')}`;

/** What `all` of a channel comes to. */
const SAVE = `
    let variance = all.squares / all.count;
    let mean = all.sum / all.count;
    saved[channel] = mean;
    saved[p.channels + channel] = 1.0 / sqrt(variance + p.eps);
    if (has_runningMean) { runningMean[channel] = p.rest * runningMean[channel] + p.momentum * mean; }
    if (has_runningVar) {
      runningVar[channel] = p.rest * runningVar[channel] + p.momentum * (variance * p.correction);
    }`;

/** The arguments of a shader whose workgroups share sums. */
const ARGUMENTS = '@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32';

/**
 * Mean and variance of each channel, a workgroup a channel, each element read once and nothing cancelled: an invocation
 * takes the mean of the elements it holds, then their squared distances from it, and joins these with what it has.
 * @see Chan, Golub, LeVeque 1983, Algorithms for Computing the Sample Variance, eq. 1.5
 */
export const batchNormStatistics = shader({
  name: 'batchNormStatistics',
  buffers: { x: 'f32', saved: 'f32 out', runningMean: 'f32 out', runningVar: 'f32 out' },
  params: { ...GEOMETRY, momentum: 'f32', rest: 'f32', correction: 'f32', eps: 'f32' },
  code: ({ GROUP }) => `${PLACE}${MOMENTS}
var<workgroup> found: array<Moments, ${GROUP}>;

@compute @workgroup_size(${GROUP})
fn main(${ARGUMENTS}) {
  let channel = group.x;
  let first = 0u;
  let last = p.batch * p.spatial;
  ${momentsOf(Number(GROUP))}
  if (lane == 0u) {${SAVE}
  }
}`,
});

/** The same in two passes, for many elements a channel: `share` of them a workgroup, group.y = part of `parts`. */
export const batchNormMoments = shader({
  name: 'batchNormMoments',
  buffers: { x: 'f32', moments: 'f32 out' },
  params: { ...GEOMETRY, parts: 'u32', share: 'u32' },
  code: ({ GROUP }) => `${PLACE}${MOMENTS}
var<workgroup> found: array<Moments, ${GROUP}>;

@compute @workgroup_size(${GROUP})
fn main(${ARGUMENTS}) {
  let channel = group.x;
  let first = group.y * p.share;
  let last = min(first + p.share, p.batch * p.spatial);
  ${momentsOf(Number(GROUP))}
  if (lane == 0u) {
    let at = 3u * (channel * p.parts + group.y);
    moments[at] = all.count;
    moments[at + 1u] = all.sum;
    moments[at + 2u] = all.squares;
  }
}`,
});

/** Joins the parts of each channel in their order. One invocation a channel. */
export const batchNormJoinMoments = shader({
  name: 'batchNormJoinMoments',
  buffers: { moments: 'f32', saved: 'f32 out', runningMean: 'f32 out', runningVar: 'f32 out' },
  params: { channels: 'u32', parts: 'u32', momentum: 'f32', rest: 'f32', correction: 'f32', eps: 'f32' },
  code: `${MOMENTS}${flat(`
  if (i >= p.channels) { return; }
  let channel = i;
  var all = Moments(0.0, 0.0, 0.0);
  for (var part = 0u; part < p.parts; part++) {
    let at = 3u * (channel * p.parts + part);
    all = join(all, Moments(moments[at], moments[at + 1u], moments[at + 2u]));
  }${SAVE}`)}`,
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

/** `all` = the sums of elements `first` to `last` of `channel`; lane 0's at the end those of the workgroup. */
const sumsOf = (group: number): string => `
  let mean = saved[channel];
  var all = vec2f(0.0);
  for (var k = first + lane; k < last; k += ${group}u) {
    let i = place(k, channel);
    var g = dy[i];
    if (has_y) {
      let v = y[i];
      g = select(0.0, g, v > 0.0 || isNan(v));
      if (has_masked) { masked[i] = g; }
    }
    all += vec2f(g, g * (x[i] - mean));
  }
  ${gather(group, 'all += found[j];')}`;

const SAVE_SUMS = `
    sums[channel] = all.x;
    sums[p.channels + channel] = all.y;
    if (has_dbias) { dbias[channel] = all.x; }
    if (has_dweight) { dweight[channel] = all.y * saved[p.channels + channel]; }`;

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
fn main(${ARGUMENTS}) {
  let channel = group.x;
  let first = 0u;
  let last = p.batch * p.spatial;
  ${sumsOf(Number(GROUP))}
  if (lane == 0u) {${SAVE_SUMS}
  }
}`,
});

/** The same in two passes, for many elements a channel: `share` of them a workgroup, group.y = part of `parts`. */
export const batchNormPartialSums = shader({
  name: 'batchNormPartialSums',
  buffers: { x: 'f32', dy: 'f32', y: 'f32', saved: 'f32', masked: 'f32 out', partial: 'f32 out' },
  params: { ...GEOMETRY, parts: 'u32', share: 'u32' },
  code: ({ GROUP }) => `${PLACE}
var<workgroup> found: array<vec2f, ${GROUP}>;

@compute @workgroup_size(${GROUP})
fn main(${ARGUMENTS}) {
  let channel = group.x;
  let first = group.y * p.share;
  let last = min(first + p.share, p.batch * p.spatial);
  ${sumsOf(Number(GROUP))}
  if (lane == 0u) {
    let at = 2u * (channel * p.parts + group.y);
    partial[at] = all.x;
    partial[at + 1u] = all.y;
  }
}`,
});

/** Adds the parts of each channel in their order. One invocation a channel. */
export const batchNormJoinSums = shader({
  name: 'batchNormJoinSums',
  buffers: { partial: 'f32', saved: 'f32', sums: 'f32 out', dweight: 'f32 out', dbias: 'f32 out' },
  params: { channels: 'u32', parts: 'u32' },
  code: flat(`
  if (i >= p.channels) { return; }
  let channel = i;
  var all = vec2f(0.0);
  for (var part = 0u; part < p.parts; part++) {
    let at = 2u * (channel * p.parts + part);
    all += vec2f(partial[at], partial[at + 1u]);
  }${SAVE_SUMS}`),
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
