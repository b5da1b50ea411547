import { shader } from '../shader.js';
import { block, DEPTH } from './block.js';
import { matmul } from './matmul.js';
import { times } from './tile.js';

/** `matmul` by blocks in workgroup memory. Lanes load along the terms of A or of B where these lie side by side, not its rows or columns. */
export const matmulBlock = shader({
  name: 'matmulBlock',
  buffers: matmul.buffers,
  params: matmul.params,
  code({ ROWS, COLUMNS, A_ALONG_TERMS, B_ALONG_TERMS, RAGGED, has_bias }) {
    const along = { aAlongTerms: A_ALONG_TERMS === true, bAlongTerms: B_ALONG_TERMS === true };
    const { a, b, ...text } = block(Number(ROWS), Number(COLUMNS), along);
    const term = (name: string, i: number, value: (term: string) => string): string =>
      RAGGED === true
        ? `next_${name}_${i} = select(0.0, ${value(`min(k_${name}_${i}, terms - 1u)`)}, k_${name}_${i} < terms);`
        : `next_${name}_${i} = ${value(`k_${name}_${i}`)};`;
    return `${text.memory}
@compute @workgroup_size(${text.lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let aStep = p.aStep;
  let bStep = p.bStep;
  let terms = p.k;
  ${text.places}
  ${times(a.length, (i) => `let row_${i} = group.z * p.aBatch + min(first_row + ${a[i].at}, p.m - 1u) * p.aRow;`)}
  ${times(b.length, (i) => `let column_${i} = group.z * p.bBatch + min(first_column + ${b[i].at}, p.n - 1u) * p.bColumn;`)}
  let first = 0u;
  let last = (terms + ${DEPTH - 1}u) / ${DEPTH}u;
  var k = 0u;
  ${text.loop(
    `
      ${times(a.length, (i) => `let k_a_${i} = k + ${a[i].term};\n${term('a', i, (at) => `a_at(row_${i} + ${at} * aStep)`)}`)}
      ${times(b.length, (i) => `let k_b_${i} = k + ${b[i].term};\n${term('b', i, (at) => `b[column_${i} + ${at} * bStep]`)}`)}`,
    `k += ${DEPTH}u;`,
  )}
  ${text.results(
    { rowCount: 'p.m', columnCount: 'p.n' },
    'let at = group.z * p.outBatch + n;',
    (value) => `out[at + row * p.n] = ${value}${has_bias === true ? ' + bias[n]' : ''};`,
  )}
}`;
  },
});
