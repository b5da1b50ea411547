/**
 * Jobs that run beside others: nobody needs soon what they write, such as a gradient of weights, so that threads come to them, and leave
 * them, while other jobs end and begin. A context keeps what they use as it is until they are done.
 */
import type { Buffer } from '../device.js';
import type { WasmContext } from './context.js';

/** What such a job reads is there before the operation that it follows, and its scratch is its own. */
export interface Beside {
  /** Jobs of the main order that it needs. */
  readonly after: number;
  readonly reads: readonly Buffer[];
  readonly writes: Buffer;
}

/** Jobs of the main order so far: the start of an operation. */
export const startOf = (w: WasmContext): number => w.team?.main ?? 0;

/** Says that the jobs since `start` were one operation, which wrote to that buffer, and else only to scratch. */
export function wrote(w: WasmContext, start: number, writes: Buffer): void {
  w.last = { before: start, end: w.team?.published ?? 0, writes };
}

/** Most scratch that is kept for jobs beside others. */
const SCRATCH_BYTES = 16 << 20;

/** How a job that takes so much scratch may run beside the last operation and those that come; null where it may not. */
export function besideLast(w: WasmContext, scratch: number, reads: readonly Buffer[], writes: Buffer): Beside | null {
  const { last, team } = w;
  if (scratch > SCRATCH_BYTES || team === null || last === null || last.end !== team.published) return null;
  if (last.writes === writes || reads.includes(last.writes)) return null;
  return { after: last.before, reads, writes };
}
