import { shader } from '../shader.js';
import { FINISH } from './conv2d.js';
import { times } from './tile.js';

export const FINISH_LANES = 64;
/** Parts that are read at once. */
const AT_ONCE = 4;

/**
 * Sums of `parts` arrays by fours in their order, and the end of a forward pass where there is one: of each `inner` elements all parts lie
 * side by side. One invocation an element.
 */
export const finishParts = shader({
  name: 'finishParts',
  buffers: { x: 'f32', bias: 'f32', residual: 'f32', out: 'f32 out' },
  params: { size: 'u32', parts: 'u32', inner: 'u32', plane: 'u32', channels: 'u32' },
  code: `${FINISH}
@compute @workgroup_size(${FINISH_LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * ${FINISH_LANES}u + lane;
  if (i >= p.size) { return; }
  let first = (i / p.inner) * p.inner * p.parts + i % p.inner;
  ${times(AT_ONCE, (j) => `var sum_${j} = 0.0;`)}
  let whole = p.parts / ${AT_ONCE}u * ${AT_ONCE}u;
  for (var part = 0u; part < whole; part += ${AT_ONCE}u) {
    ${times(AT_ONCE, (j) => `sum_${j} += x[first + (part + ${j}u) * p.inner];`)}
  }
  for (var part = whole; part < p.parts; part++) { sum_0 += x[first + part * p.inner]; }
  finish((sum_0 + sum_1) + (sum_2 + sum_3), (i / p.plane) % p.channels, i);
}`,
});
