import { shader } from '../shader.js';
import { place, sums, times } from './tile.js';

/**
 * out[b] = A[b]·B[b] (+ bias): a workgroup computes a tile of one product. A turn takes TURNS terms, in their order. PAIRS reads two rows at
 * once, which halves have in one word.
 */
export const matmul = shader({
  name: 'matmul',
  buffers: { a: 'f32/f16', b: 'f32', bias: 'f32', out: 'f32 out' },
  params: {
    ...{ m: 'u32', n: 'u32', k: 'u32', aRow: 'u32', aStep: 'u32', bColumn: 'u32', bStep: 'u32' },
    ...{ aBatch: 'u32', bBatch: 'u32', outBatch: 'u32' },
  },
  code({ ROWS, COLUMNS, LANES, ALONG_ROWS, TURNS, PAIRS, has_bias }) {
    const [rows, columns, lanes, turns] = [Number(ROWS), Number(COLUMNS), Number(LANES), Number(TURNS)];
    const load = (i: number, t: number): string => {
      const at = `row_${i} + down_${t}`;
      if (PAIRS !== true) return `let a_${t}_${i} = a_at(${at});`;
      return i % 2 === 1
        ? ''
        : `let pair_${t}_${i} = a_pair(${at});\nlet a_${t}_${i} = pair_${t}_${i}.x;\nlet a_${t}_${i + 1} = pair_${t}_${i}.y;`;
    };
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
  for (var i = 0u; i < terms; i += ${turns}u) {
    let down_0 = i * aStep;
    let across_0 = i * bStep;
    ${times(turns - 1, (t) => `let down_${t + 1} = down_${t} + aStep;\nlet across_${t + 1} = across_${t} + bStep;`)}
    ${times(turns, (t) => times(rows, (i) => load(i, t)))}
    ${times(turns, (t) => times(columns, (j) => `let b_${t}_${j} = b[column_${j} + across_${t}];`))}
    ${times(rows, (i) => times(columns, (j) => `sum_${i}_${j} = sum_${i}_${j} ${Array.from({ length: turns }, (_, t) => `+ a_${t}_${i} * b_${t}_${j}`).join(' ')};`))}
  }
  ${times(
    columns,
    (j) => `
  if (n_${j} < p.n) {
    let at = group.z * p.outBatch + row * p.n + n_${j};
    ${times(
      rows,
      (i) => `
    if (row + ${i}u * row_step < p.m) { out[at + ${i}u * row_step * p.n] = sum_${i}_${j}${has_bias ? ` + bias[n_${j}]` : ''}; }`,
    )}
  }`,
  )}
}`;
  },
});
