/**
 * Which block of workgroup memory a product gets, and into how many parts its sum is split: by its size alone, never by measuring, so
 * that two runs on one adapter have the same sums.
 */
import { blockBytes, blockLanes, DEPTH } from './shaders/block.js';

/** Rows and columns of a workgroup, and parts of `share` steps each. */
export interface Block {
  readonly ROWS: number;
  readonly COLUMNS: number;
  readonly parts: number;
  readonly share: number;
}

export interface BlockedProduct {
  readonly rows: number;
  readonly columns: number;
  /** Steps of `DEPTH` terms. */
  readonly steps: number;
  /** Products of this size. */
  readonly count: number;
  /** Parts into which the sum may be split. */
  readonly most: number;
}

/** Processors of the GPU that the model describes. */
export const PROCESSORS = 132;

/**
 * A large GPU, as an NVIDIA H200 was measured: the lanes that a processor computes at once, the invocations from which on these are busy,
 * and as how many more count the last ones, which keep it half idle.
 */
const LANES = 128;
const ENOUGH = 256;
const LAST = 48;
/** Invocations that a processor holds, by their results. */
const HELD: Readonly<Record<number, number>> = { 64: 512, 32: 768, 16: 1024 };
/** Beside its multiply-adds an invocation spends on a term: for four rows or columns read, and for an element brought. */
const READ = 16;
const BRING = 14;
/** Cycles of a workgroup's begin and end, of a pass more, and the elements that memory moves in one. */
const AROUND = 2500;
const PASS = 8000;
const MOVED = 200;

/** Steps that a part should at least have. */
const LEAST_SHARE = 8;
const SIDES = [128, 64, 32];
const MOST_BYTES = 16384;
const BLOCKS = SIDES.flatMap((ROWS) =>
  SIDES.map((COLUMNS) => ({ ROWS, COLUMNS, lanes: blockLanes(ROWS, COLUMNS) })),
).filter(({ ROWS, COLUMNS }) => blockBytes(ROWS, COLUMNS) <= MOST_BYTES);

/** The block that takes the fewest cycles. */
export function blockFor({ rows, columns, steps, count, most }: BlockedProduct, processors: number): Block {
  let best: Block = { ROWS: 32, COLUMNS: 32, parts: 1, share: steps };
  let least = Infinity;
  for (const { ROWS, COLUMNS, lanes } of BLOCKS) {
    const results = (ROWS * COLUMNS) / lanes;
    const sides = results === 64 ? 4 : results === 32 ? 3 : 2;
    const term = results + READ * sides + (BRING * (ROWS + COLUMNS)) / lanes;
    const groups = Math.ceil(rows / ROWS) * Math.ceil(columns / COLUMNS) * count;
    const held = HELD[results] / lanes;
    for (let parts = 1; parts === 1 || (parts <= most && parts * LEAST_SHARE <= steps); parts++) {
      const share = Math.ceil(steps / parts);
      if (Math.ceil(steps / share) < parts) continue;
      const each = (groups * parts) / processors;
      const own = (each <= held ? Math.ceil(each) : each) * lanes;
      const passes = parts > 1 ? PASS + (2 * parts * rows * columns * count) / MOVED : 0;
      const cycles = AROUND + (Math.max(own + LAST, ENOUGH) * share * DEPTH * term) / LANES + passes;
      if (cycles < least) {
        least = cycles;
        best = { ROWS, COLUMNS, parts, share };
      }
    }
  }
  return best;
}
