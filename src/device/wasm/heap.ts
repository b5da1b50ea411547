/**
 * The heap: 64-byte aligned blocks of one WebAssembly memory, best fit, neighbours merged when freed. It lives in
 * TypeScript, since kernels take every pointer as an argument.
 */
import { AtalhoError, OutOfMemoryError } from '../../errors.js';
import type { WasmMemory } from '../../hostTypes.js';
import type { MemoryUse } from '../device.js';

const PAGE = 65536;
const ALIGNMENT = 64;
/** Kept behind the last block: kernels read rows four floats at a time, and may look past the last one. */
const GUARD = 64;
/** The engine's own limit of a 32-bit memory. */
export const MAX_MEMORY_BYTES = 65536 * PAGE;

interface FreeBlock {
  start: number;
  bytes: number;
}

export class Heap {
  /** Free blocks, ascending, never touching. */
  private readonly free: FreeBlock[] = [];
  private readonly sizes = new Map<number, number>();
  private used = 0;
  private peak = 0;
  private view: Int32Array;

  constructor(
    readonly memory: WasmMemory,
    private readonly maxBytes: number,
  ) {
    this.view = new Int32Array(memory.buffer);
    // Address 0 stays unused, so that it can mean "none".
    this.insert(ALIGNMENT, memory.buffer.byteLength - GUARD - ALIGNMENT);
  }

  /** The address of at least `bytes` bytes, not zeroed; `counts`: in the figures, as all but what the device keeps for itself does. */
  alloc(bytes: number, what: string, counts = true): number {
    const size = Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
    let best = this.bestFit(size);
    if (best < 0) {
      this.grow(size, what);
      best = this.bestFit(size);
    }
    const block = this.free[best];
    const { start } = block;
    if (block.bytes === size) this.free.splice(best, 1);
    else {
      block.start += size;
      block.bytes -= size;
    }
    this.sizes.set(start, size);
    if (counts) this.used += size;
    this.peak = Math.max(this.peak, this.used);
    return start;
  }

  /** Whether there is a free block of at least `bytes` bytes. */
  has(bytes: number): boolean {
    return this.bestFit(bytes + ALIGNMENT) >= 0;
  }

  release(start: number): void {
    const bytes = this.sizes.get(start);
    if (bytes === undefined) throw new AtalhoError(`heap: ${start} is not an allocated address`);
    this.sizes.delete(start);
    this.used -= bytes;
    this.insert(start, bytes);
  }

  /** Bytes of an allocated block, rounding included. */
  sizeOf(start: number): number {
    return this.sizes.get(start) ?? 0;
  }

  /** All of the memory as it is now; it may grow. */
  get ints(): Int32Array {
    const { buffer } = this.memory;
    if (this.view.buffer !== buffer) this.view = new Int32Array(buffer);
    return this.view;
  }

  use(): MemoryUse {
    return { used: this.used, peak: this.peak, reserved: this.memory.buffer.byteLength };
  }

  private bestFit(bytes: number): number {
    let best = -1;
    for (let i = 0; i < this.free.length; i++) {
      const size = this.free[i].bytes;
      if (size >= bytes && (best < 0 || size < this.free[best].bytes)) {
        best = i;
        if (size === bytes) break;
      }
    }
    return best;
  }

  private insert(start: number, bytes: number): void {
    const { free } = this;
    let low = 0;
    for (let high = free.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if (free[middle].start < start) low = middle + 1;
      else high = middle;
    }
    const before = free[low - 1];
    const after = free[low];
    const joinsBefore = before !== undefined && before.start + before.bytes === start;
    const joinsAfter = after !== undefined && start + bytes === after.start;
    if (joinsBefore && joinsAfter) {
      before.bytes += bytes + after.bytes;
      free.splice(low, 1);
    } else if (joinsBefore) before.bytes += bytes;
    else if (joinsAfter) {
      after.start = start;
      after.bytes += bytes;
    } else free.splice(low, 0, { start, bytes });
  }

  /** Makes room for one more block of `bytes`: an eighth more than now, or just what is needed near the limit. */
  private grow(bytes: number, what: string): void {
    const size = this.memory.buffer.byteLength;
    const last = this.free.at(-1);
    const tail = last !== undefined && last.start + last.bytes === size - GUARD ? last.bytes : 0;
    const needed = Math.ceil((bytes - tail) / PAGE);
    // The last page stays unused: an end address of 2^32 would wrap to 0.
    const room = Math.floor(Math.min(this.maxBytes, MAX_MEMORY_BYTES - PAGE) / PAGE) - size / PAGE;
    for (const pages of [Math.max(needed, Math.ceil(size / PAGE / 8)), needed]) {
      if (pages > room) continue;
      try {
        this.memory.grow(pages);
      } catch (error) {
        if (error instanceof RangeError) continue;
        throw error;
      }
      this.insert(size - GUARD, pages * PAGE);
      return;
    }
    throw new OutOfMemoryError(
      `wasm: out of memory: ${what} wants ${bytes} bytes; ${this.used} in use, ${size} reserved, limit ${this.maxBytes}. ` +
        'Use a smaller batch, dispose tensors or use device.scope().',
      bytes,
      this.used,
    );
  }
}
