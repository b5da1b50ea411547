/**
 * Register tiles: each invocation computes a few rows and columns of a product at once, so that what it loads serves
 * several sums. The sums are named variables, which compilers keep in registers where they would not an array.
 */

export const times = (count: number, text: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => text(i)).join('\n');

/** `sum_i_j` for every row and column, from +0. */
export const sums = (rows: number, columns: number): string =>
  times(rows, (i) => times(columns, (j) => `var sum_${i}_${j} = 0.0;`));

/** One step: every sum takes the product of its row's `a_i` and its column's `b_j`. */
export const step = (rows: number, columns: number): string =>
  times(rows, (i) => times(columns, (j) => `sum_${i}_${j} += a_${i} * b_${j};`));

/**
 * Which rows and columns an invocation has. Lanes lie along the columns, where there are enough of them: then all lanes load
 * the same of a row. Else they lie along the rows. `row_i` and `n_j`; `row_step` between an invocation's rows.
 */
export const place = (rows: number, columns: number, lanes: number, alongRows: boolean): string =>
  alongRows
    ? `
  const row_step = ${lanes}u;
  let row = group.y * ${rows * lanes}u + lane;
  let first_column = group.x * ${columns}u;
  ${times(columns, (j) => `let n_${j} = first_column + ${j}u;`)}`
    : `
  const row_step = 1u;
  let row = group.y * ${rows}u;
  let first_column = group.x * ${lanes * columns}u;
  ${times(columns, (j) => `let n_${j} = first_column + ${j * lanes}u + lane;`)}`;
