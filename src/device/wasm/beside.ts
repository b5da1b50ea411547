/**
 * Jobs that run beside others: nobody needs soon what they write, such as a gradient of weights, so that threads come to them, and leave
 * them, while other jobs end and begin. What they use is kept as it is until they are done.
 */
import type { Buffer } from '../device.js';
import type { Block, WasmContext } from './context.js';
import type { Step, Team } from './team.js';

/** Most scratch that is kept for such jobs. */
const SCRATCH_BYTES = 16 << 20;

export class Besides {
  /** The last operation of the main order, as `wrote` tells of it. */
  private last: { before: number; end: number; writes: Buffer; reads: readonly Buffer[] } | null = null;
  /** Those that may still run beside the next job: what they use, and their numbers. */
  private readonly jobs: { readonly reads: readonly Buffer[]; readonly writes: Buffer; readonly number: number }[] = [];
  /** Blocks given back meanwhile, in their order, which `number` of them may still use: not for the next job to write to. */
  private readonly held: { readonly address: number; readonly number: number }[] = [];
  private readonly block: Block = { address: 0, bytes: 0 };

  constructor(
    private readonly w: WasmContext,
    private readonly team: Team,
  ) {}

  /** Jobs of the main order so far: the start of an operation. */
  get start(): number {
    return this.team.main;
  }

  /** Says that the jobs since `start` were one operation, which wrote to that buffer, and else only to scratch. */
  wrote(start: number, writes: Buffer, reads: readonly Buffer[]): void {
    this.last = { before: start, end: this.team.published, writes, reads };
  }

  /**
   * Runs programs that write to one buffer, beside the last operation and those that come. What they read is there before that
   * operation, and their scratch is their own.
   * @returns false where they may not: nothing was run
   */
  run(
    scratch: number,
    reads: readonly Buffer[],
    writes: Buffer,
    programs: (scratch: number) => readonly (readonly Step[])[],
  ): boolean {
    const { w, team, last } = this;
    if (scratch > SCRATCH_BYTES || last === null || last.end !== team.published) return false;
    if (last.writes === writes || reads.includes(last.writes) || last.reads.includes(writes)) return false;
    // The last one may still use the block that is given back.
    if (scratch > this.block.bytes) w.settle();
    w.run(programs(w.scratch(scratch, this.block)), last.before);
    this.jobs.push({ reads, writes, number: team.beside });
    return true;
  }

  /** The next job needs all of them. */
  join(): void {
    this.team.join();
    this.jobs.length = 0;
  }

  /** The next job reads this buffer. */
  read(buffer: Buffer): void {
    for (const { writes } of this.jobs) if (writes === buffer) this.join();
  }

  /** The next job may write to it. */
  written(buffer: Buffer): void {
    for (const { reads } of this.jobs) if (reads.includes(buffer)) this.join();
  }

  /** Keeps a block that is given back for as long as one may use it; whether one may. */
  hold(address: number): boolean {
    this.last = null;
    const { team } = this;
    if (team.besideDone(team.beside)) return false;
    this.held.push({ address, number: team.beside });
    return true;
  }

  /** Forgets those that are done, and gives back what was held for them. */
  tidy(): void {
    const { team, jobs, held } = this;
    while (jobs.length > 0 && team.besideDone(jobs[0].number)) jobs.shift();
    while (held.length > 0 && team.besideDone(held[0].number))
      this.w.free((held.shift() as { address: number }).address);
  }

  /** Rather than more memory, what is held. */
  makeRoom(bytes: number): void {
    this.tidy();
    if (this.held.length > 0 && !this.w.heap.has(bytes)) this.w.settle();
  }

  /** Blocks that are in nobody's use but theirs. */
  get blocks(): readonly { readonly address: number }[] {
    return [this.block, ...this.held];
  }
}
