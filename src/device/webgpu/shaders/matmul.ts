import { shader } from '../shader.js';
import { step, sums, times } from './tile.js';

/** Invocations of a workgroup, along the columns of the result. */
export const MATMUL_LANES = 64;

/**
 * out[b] = A[b]·B[b] (+ bias): a workgroup computes ROWS rows of COLUMNS·64 columns of one product, lanes along the columns.
 */
export const matmul = shader({
  name: 'matmul',
  buffers: { a: 'f32', b: 'f32', bias: 'f32', out: 'f32 out' },
  params: {
    ...{ m: 'u32', n: 'u32', k: 'u32', aRow: 'u32', aStep: 'u32', bColumn: 'u32', bStep: 'u32' },
    ...{ aBatch: 'u32', bBatch: 'u32' },
  },
  code({ ROWS, COLUMNS }) {
    const [rows, columns] = [Number(ROWS), Number(COLUMNS)];
    return `
@compute @workgroup_size(${MATMUL_LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.y * ${rows}u;
  let column = group.x * ${MATMUL_LANES * columns}u + lane;
  var aAt = group.z * p.aBatch + row * p.aRow;
  var bAt = group.z * p.bBatch + column * p.bColumn;
  ${sums(rows, columns)}
  for (var i = 0u; i < p.k; i++) {
    ${times(rows, (i) => `let a_${i} = a[aAt + ${i}u * p.aRow];`)}
    ${times(columns, (j) => `let b_${j} = b[bAt + ${j * MATMUL_LANES}u * p.bColumn];`)}
    ${step(rows, columns)}
    aAt += p.aStep;
    bAt += p.bStep;
  }
  ${times(
    columns,
    (j) => `
  let n_${j} = column + ${j * MATMUL_LANES}u;
  if (n_${j} < p.n) {
    let at = (group.z * p.m + row) * p.n + n_${j};
    var own = 0.0;
    if (has_bias) { own = bias[n_${j}]; }
    ${times(
      rows,
      (i) =>
        `if (row + ${i}u < p.m) { if (has_bias) { out[at + ${i}u * p.n] = sum_${i}_${j} + own; } else { out[at + ${i}u * p.n] = sum_${i}_${j}; } }`,
    )}
  }`,
  )}
}`;
  },
});
