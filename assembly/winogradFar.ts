/**
 * Transformed filters for the input gradient of stride 1, whose rows are input channels: those of an output channel, its k, lie side by
 * side, and those of the next far away. Transformed one by one, a line of memory after the other is waited for, so that those of
 * some k are fetched first, by few instructions: then many lines are under way at once.
 */
import { FILTER_SCRATCH, panelOfFilters } from './winograd';
import { writeConstants } from './winogradLines';
import { filterTiles, TILE_SCRATCH } from './winogradTiles';

/** Rows and k that are fetched at once. */
const ROWS: i32 = 8;
const FETCHED: i32 = 32;

/** As `winogradFilters`, of filters that lie 36 bytes apart, turned around. */
export function winogradFarFilters(tile: i32, weight: usize, rows: i32, k: i32, step: usize, out: usize, xi: usize, kStep: usize, scratch: usize, thread: i32): void {
  const constants: usize = scratch + <usize>thread * FILTER_SCRATCH;
  const fetched: usize = constants + TILE_SCRATCH;
  writeConstants(constants);
  for (let r = 0; r < rows; r += ROWS) {
    const end = min(r + ROWS, rows);
    const bytes: usize = (<usize>(end - r)) * 36;
    let from = weight + (<usize>r) * 36;
    for (let k0 = 0; k0 < k; k0 += FETCHED) {
      const count = min(FETCHED, k - k0);
      for (let to = fetched; to < fetched + <usize>count * bytes; to += bytes) {
        let at: usize = 0;
        for (; at + 16 <= bytes; at += 16) v128.store(to + at, v128.load(from + at));
        for (; at < bytes; at += 4) store<u32>(to + at, load<u32>(from + at));
        from += step;
      }
      for (let q = r; q < end; q += 4) {
        const to = panelOfFilters(q, k, out, kStep) + <usize>k0 * kStep;
        filterTiles(tile, fetched + (<usize>(q - r)) * 36, 36, min(4, end - q), bytes, true, to, kStep, xi, count, constants);
      }
    }
  }
}
