/**
 * Products by blocks in workgroup memory: a workgroup computes ROWS × COLUMNS results, 8 × 8 an invocation (4 where the block has but
 * 32), and takes DEPTH terms a step. Of a step every element is loaded once and serves the whole block; the next step's are on
 * their way while this one's are multiplied. Two halves of the workgroup memory take turns, so that a step has one barrier.
 */
import { times } from './tile.js';

/** Terms of a step. */
export const DEPTH = 8;
const STAGES = 2;
/** Lanes along terms store rows of a block: so much longer, they do not meet in one bank. */
const APART = 4;
const PARTS = 'xyzw';

/** An operand's element of a step that an invocation loads: `at`, a row or column of the block, and `term` of the step. */
interface Load {
  readonly at: string;
  readonly term: string;
}

interface Operand {
  /** Elements of one term in workgroup memory. */
  readonly pitch: number;
  readonly loads: readonly Load[];
  /** `a_place` and `a_term`: where the first load of an invocation lies. */
  readonly place: string;
}

/** Lanes lie along rows (columns), or along terms: whichever lie side by side in memory. */
function operand(name: string, extent: number, lanes: number, alongTerms: boolean): Operand {
  const side = alongTerms ? DEPTH : extent;
  const apart = lanes / side;
  return {
    pitch: alongTerms ? extent + APART : extent,
    loads: Array.from({ length: (extent * DEPTH) / lanes }, (_, i) => ({
      at: `(${name}_place + ${alongTerms ? i * apart : 0}u)`,
      term: `(${name}_term + ${alongTerms ? 0 : i * apart}u)`,
    })),
    place: alongTerms
      ? `let ${name}_place = lane / ${side}u;\nlet ${name}_term = lane % ${side}u;`
      : `let ${name}_place = lane % ${side}u;\nlet ${name}_term = lane / ${side}u;`,
  };
}

/** Rows and columns of an invocation. */
const held = (extent: number): number => (extent >= 64 ? 8 : 4);

/** Invocations of a block. */
export const blockLanes = (rows: number, columns: number): number => (rows / held(rows)) * (columns / held(columns));

/** Bytes of workgroup memory that a block takes, at most; every adapter has 16384. */
export const blockBytes = (rows: number, columns: number): number => 4 * STAGES * DEPTH * (rows + columns + 2 * APART);

/** The text of a block's parts. `i` counts the loads of an operand; `load` fills `next_a_i` and `next_b_i`. */
export function block(
  rows: number,
  columns: number,
  along: { readonly aAlongTerms?: boolean; readonly bAlongTerms?: boolean } = {},
) {
  const lanes = blockLanes(rows, columns);
  const a = operand('a', rows, lanes, along.aAlongTerms === true);
  const b = operand('b', columns, lanes, along.bAlongTerms === true);
  const [high, wide] = [held(rows), held(columns)];
  const across = columns / wide;
  const vectors = (o: Operand): number => (DEPTH * o.pitch) / 4;
  // Four rows side by side, and, of eight, four more half a block on: lanes then read side by side.
  const rowOf = (r: number): number => (r >> 2) * (rows / 2) + (r & 3);
  const columnOf = (c: number): number => (c >> 2) * (columns / 2) + (c & 3);
  const store = (name: string, { loads, pitch }: Operand, size: number): string =>
    times(loads.length, (i) => {
      const at = `${name}_to_${i}`;
      return `let ${at} = ${loads[i].term} * ${pitch}u + ${loads[i].at};
    ${name}_block[stage * ${size}u + ${at} / 4u][${at} % 4u] = next_${name}_${i};`;
    });
  return {
    a: a.loads,
    b: b.loads,
    lanes,
    memory: `
var<workgroup> a_block: array<vec4f, ${STAGES * vectors(a)}>;
var<workgroup> b_block: array<vec4f, ${STAGES * vectors(b)}>;
`,
    places: `
  ${a.place}
  ${b.place}
  // Eight invocations across and then four down: those that compute together read little of either side.
  let tile = lane / 32u;
  let high = ((tile / ${across / 8}u) * 4u + (lane % 32u) / 8u) * 4u;
  let wide = ((tile % ${across / 8}u) * 8u + lane % 8u) * 4u;
  let first_row = group.y * ${rows}u;
  let first_column = group.x * ${columns}u;`,
    /** All steps from `first` to `last`: `load` what a step takes, `advance` to the next one. */
    loop: (load: string, advance: string): string => `
  ${times(high, (r) => times(wide / 4, (j) => `var sum_${r}_${j} = vec4f(0.0);`))}
  ${times(a.loads.length, (i) => `var next_a_${i} = 0.0;`)}
  ${times(b.loads.length, (i) => `var next_b_${i} = 0.0;`)}
  var stage = 0u;
  if (first < last) { ${load} }
  for (var turn = first; turn < last; turn++) {
    ${store('a', a, vectors(a))}
    ${store('b', b, vectors(b))}
    workgroupBarrier();
    if (turn + 1u < last) {
      ${advance}
      ${load}
    }
    let a_from = stage * ${vectors(a)}u + high / 4u;
    let b_from = stage * ${vectors(b)}u + wide / 4u;
    ${times(
      DEPTH,
      (t) => `
    {
      ${times(high / 4, (i) => `let a_${i} = a_block[a_from + ${(t * a.pitch) / 4 + (i * rows) / 8}u];`)}
      ${times(wide / 4, (j) => `let b_${j} = b_block[b_from + ${(t * b.pitch) / 4 + (j * columns) / 8}u];`)}
      ${times(high, (r) => times(wide / 4, (j) => `sum_${r}_${j} += a_${r >> 2}.${PARTS[r & 3]} * b_${j};`))}
    }`,
    )}
    stage = 1u - stage;
  }`,
    /** Hands out every result of a block: `column` of the columns `n`, `row` of the `row`s below it, which are of `value`. */
    results: (
      { rowCount, columnCount }: { readonly rowCount: string; readonly columnCount: string },
      column: string,
      row: (value: string) => string,
    ): string =>
      times(
        wide,
        (c) => `
  {
    let n = first_column + wide + ${columnOf(c)}u;
    if (n < ${columnCount}) {
      ${column}
      ${times(
        high,
        (r) => `
      {
        let row = first_row + high + ${rowOf(r)}u;
        if (row < ${rowCount}) { ${row(`sum_${r}_${c >> 2}.${PARTS[c & 3]}`)} }
      }`,
      )}
    }
  }`,
      ),
  };
}
