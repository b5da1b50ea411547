/**
 * What the kernels of this device share: the compiled exports, the heap, addresses of buffers, scratch.
 */
import { DeviceError, OutOfMemoryError } from '../../errors.js';
import { Buffer, type DType, type MemoryUse, type TypedArray } from '../device.js';
import { checkSize, copyInto } from '../hostData.js';
import type { Besides } from './beside.js';
import type { WasmExports } from './exports.gen.js';
import { type Heap, MAX_MEMORY_BYTES } from './heap.js';
import { JobTables } from './tables.js';
import { callKernel, type Kernel, SLOTS, type Step, type Team } from './team.js';

const BYTES: Record<DType, number> = { float32: 4, float64: 8, int32: 4, int64: 8 };

export class WasmBuffer extends Buffer {
  constructor(
    readonly context: WasmContext,
    readonly address: number,
    size: number,
    dtype: DType,
  ) {
    super(size, dtype);
  }

  protected override free(): void {
    this.context.release(this.address);
  }
}

/** The part of a thread's last range that is cut off, for whoever is free. */
const SMALL = 0.25;

/** For a convolution and two that begin in its run, as the ways through a residual block do. */
const SCRATCH_BLOCKS = 3;

/** A piece of memory; address 0 before there is one. */
export interface Block {
  address: number;
  bytes: number;
}

/** The exports that only compute how much memory a kernel takes. */
type Sizes = Pick<WasmExports, { [K in keyof WasmExports]: K extends Kernel ? never : K }[keyof WasmExports]>;

/**
 * Kernels run in the order in which they are asked for, but with threads not at once: what JavaScript reads or writes itself waits for
 * them (`settle`), but for `tables`, which are made for that.
 */
export class WasmContext {
  /** Scratch: of an operation alone the first; convolutions that begin in another's run take the others, too, in turn. */
  readonly blocks: readonly Block[] = Array.from({ length: SCRATCH_BLOCKS }, () => ({ address: 0, bytes: 0 }));
  /** Structs and tables of the next job. */
  readonly tables: JobTables;
  /** Jobs that run beside others, where there are threads and kernels that have some. */
  besides: Besides | null = null;
  /** Least work of a part, in `split`'s units, about a nanosecond each: less is not worth handing out. */
  grain = 10_000;

  constructor(
    private exports: WasmExports,
    private heapOrNone: Heap | null,
    public team: Team | null = null,
  ) {
    this.tables = new JobTables(
      () => this.heap,
      team === null ? 1 : SLOTS,
      () => this.team?.open() ?? 0,
      () => this.settle(),
    );
  }

  get sizes(): Sizes {
    return this.exports;
  }

  get threads(): number {
    return this.team?.threads ?? 1;
  }

  /** Parts for the threads: `perThread` for each, fewer when `work`, that of all together, is little. */
  parts(work: number, perThread: number): number {
    return this.threads === 1 ? 1 : Math.min(this.threads * perThread, Math.max(1, Math.floor(work / this.grain)));
  }

  /**
   * Cuts 0 … total into so many ranges, at multiples of `multiple`, and the last of each thread's in two, large and small, where that is
   * worth it: a thread that others hold up leaves its small ones to those that it would keep waiting.
   */
  split(total: number, work: number, multiple = 1, perThread = 1): [number, number][] {
    const ranges = this.ranges(total, this.parts(work, perThread), multiple);
    const each = ranges.length / this.threads;
    if (this.threads === 1 || each % 1 !== 0 || work / ranges.length < this.grain / SMALL) return ranges;
    const cuts = ranges.map(([from, to]) => from + Math.ceil(((to - from) * (1 - SMALL)) / multiple) * multiple);
    const last = (i: number): boolean => (i + 1) % each === 0;
    // All or none: the order in which threads take them needs as many for each.
    if (ranges.some(([, to], i) => last(i) && cuts[i] >= to)) return ranges;
    return ranges.flatMap(([from, to], i): [number, number][] =>
      last(i)
        ? [
            [from, cuts[i]],
            [cuts[i], to],
          ]
        : [[from, to]],
    );
  }

  /** Cuts 0 … total into `most` ranges at multiples of `multiple`, into fewer where there are not as many; at least one. */
  ranges(total: number, most: number, multiple: number): [number, number][] {
    const units = Math.ceil(total / multiple);
    const parts = Math.max(1, Math.min(most, units));
    const ranges: [number, number][] = [];
    for (let i = 0; i < parts; i++) {
      const from = Math.floor((units * i) / parts) * multiple;
      ranges.push([from, Math.min(total, Math.floor((units * (i + 1)) / parts) * multiple)]);
    }
    return ranges;
  }

  /** Runs programs that write to different places, on all threads where there are several; beside other jobs, after so many. */
  run(programs: readonly (readonly Step[])[], after?: number): void {
    const { team } = this;
    // `heap` throws once the device was disposed.
    if (programs.length === 0 || !this.heap) return;
    if (team === null || (programs.length === 1 && team.idle)) {
      for (const steps of programs) for (const step of steps) callKernel(this.exports, step);
    } else team.run(programs, after);
    this.tables.next();
    this.besides?.tidy();
  }

  /** The same for calls of one kernel. */
  parallel(kernel: Kernel, calls: readonly (readonly number[])[]): void {
    this.run(calls.map((args) => [[kernel, args]]));
  }

  /** Runs one kernel, undivided. */
  call(kernel: Kernel, ...args: readonly number[]): void {
    this.run([[[kernel, args]]]);
  }

  /** Waits until all kernels are done, before JavaScript reads or writes memory itself. */
  settle(): void {
    this.team?.settle();
    this.besides?.tidy();
  }

  get heap(): Heap {
    if (this.heapOrNone === null) throw new DeviceError('wasm: the device was disposed');
    return this.heapOrNone;
  }

  alloc(size: number, dtype: DType): WasmBuffer {
    checkSize(size, dtype);
    return new WasmBuffer(this, this.take(size * BYTES[dtype], `a ${dtype} buffer of ${size}`), size, dtype);
  }

  /** Memory of the heap, to which kernels may write, and JavaScript when they are done. */
  take(bytes: number, what: string): number {
    this.besides?.makeRoom(bytes);
    return this.heap.alloc(bytes, what);
  }

  /** Gives it back, when nothing uses it any more. */
  release(address: number): void {
    if (!this.besides?.hold(address)) this.free(address);
  }

  /** Gives it back now, unless the device was disposed. */
  free(address: number): void {
    this.heapOrNone?.release(address);
  }

  /**
   * The address of a buffer's elements, at least `size` of `dtype`, to read or to write.
   * @throws DeviceError when it is another device's, given back, too small or of another dtype
   */
  address(buffer: Buffer, size = 0, dtype: DType = 'float32'): number {
    this.besides?.written(buffer);
    return this.input(buffer, size, dtype);
  }

  /** The same, only to read: of kernels that often follow one which others may run beside. */
  input(buffer: Buffer, size = 0, dtype: DType = 'float32'): number {
    this.besides?.read(buffer);
    if (this.heapOrNone === null) throw new DeviceError('wasm: the device was disposed');
    if (!(buffer instanceof WasmBuffer) || buffer.context !== this) {
      throw new DeviceError('wasm: a kernel was given a buffer of another device');
    }
    if (!buffer.live) throw new DeviceError('wasm: a buffer was used after its memory was given back');
    if (buffer.dtype !== dtype) throw new DeviceError(`wasm: a buffer holds ${buffer.dtype}; want ${dtype}`);
    if (buffer.size < size) throw new DeviceError(`wasm: a buffer has ${buffer.size} elements; want at least ${size}`);
    return buffer.address;
  }

  /** `address`, or 0 for none. */
  optional(buffer: Buffer | null, size = 0): number {
    return buffer === null ? 0 : this.address(buffer, size);
  }

  /** A view of the buffer's elements, when all kernels are done; good until the next allocation. */
  view(buffer: Buffer): TypedArray {
    this.settle();
    const address = this.address(buffer, 0, buffer.dtype);
    const { memory } = this.heap;
    switch (buffer.dtype) {
      case 'float32':
        return new Float32Array(memory.buffer, address, buffer.size);
      case 'float64':
        return new Float64Array(memory.buffer, address, buffer.size);
      case 'int32':
        return new Int32Array(memory.buffer, address, buffer.size);
      case 'int64':
        return new BigInt64Array(memory.buffer, address, buffer.size);
    }
  }

  write(buffer: Buffer, data: ArrayLike<number> | ArrayLike<bigint>): void {
    copyInto(this.view(buffer), data);
  }

  /**
   * Scratch of at least `bytes`, the kernels' of an operation alone. Each block is kept and grown, so that a training step does not cut
   * the heap into pieces; those that run beside others have their own.
   */
  scratch(bytes: number, block = this.blocks[0]): number {
    if (!(bytes >= 0 && bytes <= MAX_MEMORY_BYTES)) {
      throw new OutOfMemoryError(
        `wasm: out of memory: a kernel wants ${bytes} bytes of scratch; use smaller shapes`,
        bytes,
        this.memory().used,
      );
    }
    if (bytes > block.bytes) {
      if (block.address !== 0) this.release(block.address);
      block.address = 0;
      block.bytes = 0;
      block.address = this.take(bytes, 'scratch');
      block.bytes = bytes;
    }
    return block.address;
  }

  /** The heap's figures; scratch counts only in the peak. */
  memory(): MemoryUse {
    if (this.heapOrNone === null) return { used: 0, peak: 0, reserved: 0 };
    const use = this.heap.use();
    let { used } = use;
    for (const { address } of [...this.blocks, ...(this.besides?.blocks ?? [])]) used -= this.heap.sizeOf(address);
    return { ...use, used };
  }

  /** Lets go of the memory; every later use is an error. */
  close(): void {
    this.team?.stop();
    this.team = null;
    this.besides = null;
    // The instance holds the memory.
    this.exports = {} as WasmExports;
    this.heapOrNone = null;
  }
}

/** Cuts one scratch block into 64-byte aligned parts. */
export class ScratchLayout {
  private bytes = 0;

  /** Reserves `bytes`; the offset to add to the block's address. */
  take(bytes: number): number {
    const offset = this.bytes;
    this.bytes += Math.ceil(bytes / 64) * 64;
    return offset;
  }

  get total(): number {
    return this.bytes;
  }
}
