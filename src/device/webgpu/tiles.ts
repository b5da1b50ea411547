/**
 * Which tile a product gets: by its size and by how much of the GPU it can keep busy, never by measuring, so that two
 * runs on one adapter have the same sums.
 */

/** Rows and columns of an invocation, the lanes of a workgroup and whether they lie along the rows. */
export interface Tile {
  readonly ROWS: number;
  readonly COLUMNS: number;
  readonly LANES: number;
  readonly ALONG_ROWS: boolean;
}

const SIDES = [8, 4, 2, 1];
/** An element loaded, in multiply-adds. Lanes along the rows load from far apart. */
const LOAD = 4;
const FAR_LOAD = 8;

/** Workgroups of a product along columns and rows. */
export function workgroups(
  rows: number,
  columns: number,
  { ROWS, COLUMNS, LANES, ALONG_ROWS }: Tile,
): [number, number] {
  return ALONG_ROWS
    ? [Math.ceil(columns / COLUMNS), Math.ceil(rows / (ROWS * LANES))]
    : [Math.ceil(columns / (COLUMNS * LANES)), Math.ceil(rows / ROWS)];
}

const TILES: readonly Tile[] = [false, true].flatMap((ALONG_ROWS) =>
  [64, 32, 16, 8].flatMap((LANES) =>
    SIDES.flatMap((ROWS) => SIDES.map((COLUMNS) => ({ ROWS, COLUMNS, LANES, ALONG_ROWS }))),
  ),
);

/**
 * The tile for `count` products of this size; `busy`: workgroups from which on the GPU has enough to do.
 * Lanes that do nothing cost as much as others, and so do workgroups that are missing.
 */
export function tileFor(rows: number, columns: number, count: number, busy: number): Tile {
  let best = TILES[0];
  let least = Infinity;
  for (const tile of TILES) {
    const { ROWS, COLUMNS, LANES, ALONG_ROWS } = tile;
    const [across, down] = workgroups(rows, columns, tile);
    const turn = ROWS * COLUMNS + (ALONG_ROWS ? FAR_LOAD : LOAD) * ROWS + LOAD * COLUMNS;
    const cost = Math.max(across * down * count, busy) * LANES * turn;
    if (cost < least) {
      least = cost;
      best = tile;
    }
  }
  return best;
}
