/**
 * Which block of workgroup memory a product gets, and into how many parts its sum is split: by its size alone, never by measuring, so
 * that two runs on one adapter have the same sums.
 */
import { blockLanes, DEPTH } from './shaders/block.js';

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

/** A large GPU, whose cycles are counted: its processors, and the lanes that each computes at once. */
const PROCESSORS = 132;
const LANES = 128;
/** Invocations of a processor from which on none of its lanes waits. */
const ENOUGH = 384;
/** Beside its multiply-adds an invocation spends on a term: for four rows or columns read, and for an element brought. */
const READ = 4;
const BRING = 6;
/** Cycles of a workgroup's begin and end, of a pass more, and the elements that memory moves in one. */
const AROUND = 2500;
const PASS = 5000;
const MOVED = 500;

/** Steps that a part should at least have. */
const LEAST_SHARE = 8;
const SIDES = [128, 64, 32];
const BLOCKS = SIDES.flatMap((ROWS) => SIDES.map((COLUMNS) => ({ ROWS, COLUMNS, lanes: blockLanes(ROWS, COLUMNS) })));

/** The block that takes the fewest cycles. */
export function blockFor({ rows, columns, steps, count, most }: BlockedProduct): Block {
  let best: Block = { ROWS: 32, COLUMNS: 32, parts: 1, share: steps };
  let least = Infinity;
  for (const { ROWS, COLUMNS, lanes } of BLOCKS) {
    const results = (ROWS * COLUMNS) / lanes;
    const sides = results === 64 ? 4 : results === 32 ? 3 : 2;
    const term = results + READ * sides + (BRING * (ROWS + COLUMNS)) / lanes;
    const groups = Math.ceil(rows / ROWS) * Math.ceil(columns / COLUMNS) * count;
    for (let parts = 1; parts === 1 || (parts <= most && parts * LEAST_SHARE <= steps); parts++) {
      const share = Math.ceil(steps / parts);
      if (Math.ceil(steps / share) < parts) continue;
      const each = Math.ceil((groups * parts) / PROCESSORS);
      const filled = Math.min(1, (each * lanes) / ENOUGH);
      const passes = parts > 1 ? PASS + (2 * parts * rows * columns * count) / MOVED : 0;
      const cycles = AROUND + (each * lanes * share * DEPTH * term) / (LANES * filled) + passes;
      if (cycles < least) {
        least = cycles;
        best = { ROWS, COLUMNS, parts, share };
      }
    }
  }
  return best;
}
