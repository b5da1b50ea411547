import { shader } from '../shader.js';
import { place, step, sums, times } from './tile.js';

/** out[b] = A[b]·B[b] (+ bias): a workgroup computes a tile of one product. */
export const matmul = shader({
  name: 'matmul',
  buffers: { a: 'f32', b: 'f32', bias: 'f32', out: 'f32 out' },
  params: {
    ...{ m: 'u32', n: 'u32', k: 'u32', aRow: 'u32', aStep: 'u32', bColumn: 'u32', bStep: 'u32' },
    ...{ aBatch: 'u32', bBatch: 'u32' },
  },
  code({ ROWS, COLUMNS, LANES, ALONG_ROWS }) {
    const [rows, columns, lanes] = [Number(ROWS), Number(COLUMNS), Number(LANES)];
    return `
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let aStep = p.aStep;
  let bStep = p.bStep;
  let terms = p.k;
  ${place(rows, columns, lanes, ALONG_ROWS === true)}
  ${times(rows, (i) => `let row_${i} = group.z * p.aBatch + (row + ${i}u * row_step) * p.aRow;`)}
  ${times(columns, (j) => `let column_${j} = group.z * p.bBatch + n_${j} * p.bColumn;`)}
  ${sums(rows, columns)}
  for (var i = 0u; i < terms; i++) {
    let down = i * aStep;
    let across = i * bStep;
    ${times(rows, (i) => `let a_${i} = a[row_${i} + down];`)}
    ${times(columns, (j) => `let b_${j} = b[column_${j} + across];`)}
    ${step(rows, columns)}
  }
  ${times(
    columns,
    (j) => `
  if (n_${j} < p.n) {
    let at = (group.z * p.m + row) * p.n + n_${j};
    ${times(
      rows,
      (i) => `
    if (row + ${i}u * row_step < p.m) {
      var v = sum_${i}_${j};
      if (has_bias) { v = v + bias[n_${j}]; }
      out[at + ${i}u * row_step * p.n] = v;
    }`,
    )}
  }`,
  )}
}`;
  },
});
