/**
 * What the kernels of this device share: the compiled exports, the heap, addresses of buffers, scratch.
 */
import { DeviceError, OutOfMemoryError } from '../../errors.js';
import { Buffer, type DType, type MemoryUse, type TypedArray } from '../device.js';
import { checkSize, copyInto } from '../hostData.js';
import type { WasmExports } from './exports.gen.js';
import { type Heap, MAX_MEMORY_BYTES } from './heap.js';
import { callKernel, type Kernel, type Step, type Team } from './team.js';

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
    this.context.releaseBuffer(this);
  }
}

export class WasmContext {
  private scratchAddress = 0;
  private scratchBytes = 0;
  /** Least work of a part, in `split`'s units, about a nanosecond each: less is not worth handing out. */
  grain = 10_000;

  constructor(
    public exports: WasmExports,
    private heapOrNone: Heap | null,
    private team: Team | null = null,
  ) {}

  get threads(): number {
    return this.team?.threads ?? 1;
  }

  /**
   * Cuts 0 … total into ranges for the threads, at multiples of `multiple`: `perThread` for each, fewer when `work`, that
   * of all together, is little.
   */
  split(total: number, work: number, multiple = 1, perThread = 1): [number, number][] {
    const most =
      this.threads === 1 ? 1 : Math.min(this.threads * perThread, Math.max(1, Math.floor(work / this.grain)));
    return this.ranges(total, most, multiple);
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

  /** Runs programs that write to different places, on all threads where there are several. */
  run(programs: readonly (readonly Step[])[]): void {
    if (this.team !== null && programs.length > 1) this.team.run(programs);
    else for (const steps of programs) for (const step of steps) callKernel(this.exports, step);
  }

  /** The same for calls of one kernel. */
  parallel(kernel: Kernel, calls: readonly (readonly number[])[]): void {
    if (this.team !== null && calls.length > 1) this.team.run(calls.map((args) => [[kernel, args]]));
    else for (const args of calls) callKernel(this.exports, [kernel, args]);
  }

  get heap(): Heap {
    if (this.heapOrNone === null) throw new DeviceError('wasm: the device was disposed');
    return this.heapOrNone;
  }

  alloc(size: number, dtype: DType): WasmBuffer {
    checkSize(size, dtype);
    return new WasmBuffer(this, this.heap.alloc(size * BYTES[dtype], `a ${dtype} buffer of ${size}`), size, dtype);
  }

  releaseBuffer(buffer: WasmBuffer): void {
    this.heapOrNone?.release(buffer.address);
  }

  /** Gives back memory that was taken of the heap, unless the device was disposed. */
  releaseLasting(address: number): void {
    this.heapOrNone?.release(address);
  }

  /**
   * The address of a buffer's elements, at least `size` of `dtype`.
   * @throws DeviceError when it is another device's, given back, too small or of another dtype
   */
  address(buffer: Buffer, size = 0, dtype: DType = 'float32'): number {
    if (this.heapOrNone === null) throw new DeviceError('wasm: the device was disposed');
    if (!(buffer instanceof WasmBuffer) || buffer.context !== this) {
      throw new DeviceError('wasm: a kernel was given a buffer of another device');
    }
    if (!buffer.live) throw new DeviceError('wasm: a buffer was used after its memory was given back');
    if (buffer.dtype !== dtype) throw new DeviceError(`wasm: a buffer holds ${buffer.dtype}; want ${dtype}`);
    if (buffer.size < size) throw new DeviceError(`wasm: a buffer has ${buffer.size} elements; want at least ${size}`);
    return buffer.address;
  }

  /** The same, or 0 for none. */
  optional(buffer: Buffer | null, size = 0): number {
    return buffer === null ? 0 : this.address(buffer, size);
  }

  /** A view of the buffer's elements, good until the next allocation. */
  view(buffer: Buffer): TypedArray {
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
   * Scratch of at least `bytes`, the caller's until its kernel returns. One block, kept and grown, so that a training
   * step does not cut the heap into pieces.
   */
  scratch(bytes: number): number {
    if (!(bytes >= 0 && bytes <= MAX_MEMORY_BYTES)) {
      throw new OutOfMemoryError(
        `wasm: out of memory: a kernel wants ${bytes} bytes of scratch; use smaller shapes`,
        bytes,
        this.memory().used,
      );
    }
    if (bytes > this.scratchBytes) {
      if (this.scratchAddress !== 0) this.heap.release(this.scratchAddress);
      this.scratchAddress = 0;
      this.scratchBytes = 0;
      this.scratchAddress = this.heap.alloc(bytes, 'scratch');
      this.scratchBytes = bytes;
    }
    return this.scratchAddress;
  }

  /** Writes groups of 32-bit fields, one after the other, at an address: how structs and tables reach the kernels. */
  writeInts(address: number, ...groups: readonly ArrayLike<number>[]): void {
    const { ints } = this.heap;
    let at = address >>> 2;
    for (let i = 0; i < groups.length; i++) {
      const values = groups[i];
      for (let j = 0; j < values.length; j++) ints[at++] = values[j];
    }
  }

  /** The heap's figures; scratch counts only in the peak. */
  memory(): MemoryUse {
    if (this.heapOrNone === null) return { used: 0, peak: 0, reserved: 0 };
    const use = this.heap.use();
    const scratch = this.scratchAddress === 0 ? 0 : this.heap.sizeOf(this.scratchAddress);
    return { ...use, used: use.used - scratch };
  }

  /** Lets go of the memory; every later use is an error. */
  close(): void {
    this.team?.stop();
    this.team = null;
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
