/**
 * Structs and tables that JavaScript writes for kernels. Those of a job stay until it is done, while the next job's are written
 * elsewhere; those of a prepared convolution stay as long as it does.
 */
import { AtalhoError } from '../../errors.js';
import type { Heap } from './heap.js';

const ALIGNMENT = 64;
/** What a job gets at first; more is taken of the heap as it is needed, which cuts it into pieces. */
const BLOCK_BYTES = 65536;

const align = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

export abstract class Tables {
  /** Another one when what was written before is no longer good. */
  generation = 0;

  /** Where to write, by the word. */
  protected abstract get ints(): Int32Array | number[];

  /** The address of `bytes`, not zeroed. */
  abstract take(bytes: number): number;

  /** Writes groups of 32-bit fields, one after the other: a struct, or a table. The groups are for the reader alone. */
  write(...groups: readonly (readonly number[])[]): number {
    const address = this.take(4 * groups.reduce((fields, group) => fields + group.length, 0));
    const { ints } = this;
    let at = address >>> 2;
    for (const group of groups) for (const value of group) ints[at++] = value;
    return address;
  }

  /** tap[k] for k = (channel, tap): channel · planeBytes + offset of the tap within a plane; the first channels once more if `count` are more. */
  taps(channels: number, planeBytes: number, offsets: readonly number[], count = channels): number {
    const address = this.take(4 * count * offsets.length);
    const { ints } = this;
    let at = address >>> 2;
    for (let c = 0; c < count; c++) for (const offset of offsets) ints[at++] = (c % channels) * planeBytes + offset;
    return address;
  }
}

/** Of jobs that run once: memory by memory, in which one job after the other has its tables. */
export class JobTables extends Tables {
  /** For each slot the pieces of memory that it has got: their first and last bytes. */
  private slots: [number, number][][] = [];
  /** The next job's slot; −1 before anything is written for it. */
  private slot = -1;
  private block = 0;
  private at = 0;

  constructor(
    private readonly heap: () => Heap,
    /** Jobs whose tables there are at a time. */
    private readonly jobs: number,
    /** Waits until a slot is free for the next job, and says which. */
    private readonly open: () => number,
    /** Waits until no kernel runs: whose memory the heap gives may still be read. */
    private readonly settle: () => void,
  ) {
    super();
  }

  protected get ints(): Int32Array {
    return this.heap().ints;
  }

  take(bytes: number): number {
    if (this.slot < 0) this.slot = this.open();
    if (this.slots.length === 0) {
      const [first] = this.reserve(this.jobs * BLOCK_BYTES);
      this.slots = Array.from({ length: this.jobs }, (_, slot) => [
        [first + slot * BLOCK_BYTES, first + (slot + 1) * BLOCK_BYTES],
      ]);
    }
    const blocks = this.slots[this.slot];
    for (; ; this.block++, this.at = 0) {
      if (this.block === blocks.length) blocks.push(this.reserve(Math.max(BLOCK_BYTES, align(bytes))));
      const [first, end] = blocks[this.block];
      const address = first + this.at;
      this.at += align(bytes);
      if (first + this.at <= end) return address;
    }
  }

  private reserve(bytes: number): [number, number] {
    this.settle();
    try {
      const address = this.heap().alloc(bytes, 'the tables of a job', false);
      return [address, address + bytes];
    } catch (error) {
      // There will be no such job: the next one starts afresh.
      this.next();
      throw error;
    }
  }

  /** The next job may write: this one was handed out. */
  next(): void {
    this.slot = -1;
    this.block = 0;
    this.at = 0;
    this.generation++;
  }
}

/** Of jobs that run often, in a piece of memory; without a heap they are only counted. */
export class LastingTables extends Tables {
  used = 0;

  constructor(
    private readonly heap: Heap | null,
    private readonly address = 0,
    private readonly capacity = Number.POSITIVE_INFINITY,
  ) {
    super();
  }

  protected get ints(): Int32Array | number[] {
    return this.heap?.ints ?? [];
  }

  take(bytes: number): number {
    const at = this.address + this.used;
    this.used += align(bytes);
    if (this.used > this.capacity) throw new AtalhoError('wasm: no room for a prepared convolution');
    return at;
  }
}

/** What `make` writes, once for all users of the same job. */
export function oncePerJob(tables: Tables, make: () => number): () => number {
  let generation = -1;
  let address = 0;
  return () => {
    if (tables.generation !== generation) {
      address = make();
      generation = tables.generation;
    }
    return address;
  };
}
