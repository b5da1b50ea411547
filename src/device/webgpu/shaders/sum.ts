import { shader } from '../shader.js';
import { walk } from './strided.js';

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
  code: ({ KEPT_AXES, REDUCED_AXES }) => `
${walk('kept', 'p.shape', Number(KEPT_AXES))}${walk('reduced', 'p.reduced', Number(REDUCED_AXES))}
var<workgroup> shares: array<f32, ${SUM_GROUP}>;

@compute @workgroup_size(${SUM_GROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = group.y * groups.x + group.x;
  let result = index / p.parts;
  let part = index % p.parts;
  var total = 0.0;
  if (result < p.results) {
    let first = kept(result, p.keptLow, p.keptHigh);
    for (var term = part * ${SUM_GROUP}u + lane; term < p.terms; term += p.parts * ${SUM_GROUP}u) {
      total += x[first + reduced(term, p.strideLow, p.strideHigh)];
    }
  }
  shares[lane] = total;
  workgroupBarrier();
  if (lane == 0u && result < p.results) {
    for (var j = 1u; j < ${SUM_GROUP}u; j++) { total += shares[j]; }
    out[index] = total / p.divisor;
  }
}`,
});
