import { shader } from '../shader.js';

/** Invocations that share one sum. */
export const SUM_GROUP = 64;

/**
 * Sums over some axes, then the quotient. Of each result, part `part` of `parts` sums its share of the terms: every
 * invocation a strided run of them, then the workgroup its own. Kept axes place the first term, reduced ones the others.
 */
export const sum = shader({
  name: 'sum',
  buffers: { x: 'f32', out: 'f32 out' },
  params: {
    ...{ shapeLow: 'vec4u', shapeHigh: 'vec4u', keptLow: 'vec4u', keptHigh: 'vec4u' },
    ...{ reducedLow: 'vec4u', reducedHigh: 'vec4u', strideLow: 'vec4u', strideHigh: 'vec4u' },
    ...{ results: 'u32', terms: 'u32', parts: 'u32', divisor: 'f32' },
  },
  code: `
fn walk(i: u32, shapeLow: vec4u, shapeHigh: vec4u, low: vec4u, high: vec4u) -> u32 {
  var rest = i;
  var offset = 0u;
  for (var axis = 7i; axis >= 0; axis--) {
    let extent = select(shapeLow[u32(axis) & 3u], shapeHigh[u32(axis) & 3u], axis >= 4);
    if (extent == 1u) { continue; }
    offset += (rest % extent) * select(low[u32(axis) & 3u], high[u32(axis) & 3u], axis >= 4);
    rest = rest / extent;
  }
  return offset;
}

var<workgroup> shares: array<f32, ${SUM_GROUP}>;

@compute @workgroup_size(${SUM_GROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = group.y * groups.x + group.x;
  let result = index / p.parts;
  let part = index % p.parts;
  var total = 0.0;
  if (result < p.results) {
    let first = walk(result, p.shapeLow, p.shapeHigh, p.keptLow, p.keptHigh);
    for (var term = part * ${SUM_GROUP}u + lane; term < p.terms; term += p.parts * ${SUM_GROUP}u) {
      total += x[first + walk(term, p.reducedLow, p.reducedHigh, p.strideLow, p.strideHigh)];
    }
  }
  shares[lane] = total;
  workgroupBarrier();
  if (lane < 8u) {
    total = 0.0;
    for (var j = lane; j < ${SUM_GROUP}u; j += 8u) { total += shares[j]; }
  }
  workgroupBarrier();
  if (lane < 8u) { shares[lane] = total; }
  workgroupBarrier();
  if (lane == 0u && result < p.results) {
    for (var j = 1u; j < 8u; j++) { total += shares[j]; }
    out[index] = total / p.divisor;
  }
}`,
});
