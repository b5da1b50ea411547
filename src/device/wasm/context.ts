/**
 * What the kernels of this device share: the compiled exports, the heap, addresses of buffers, scratch.
 */
import { ArgumentError, DeviceError } from '../../errors.js';
import { Buffer, type DType, type MemoryUse, type TypedArray } from '../device.js';
import type { WasmExports } from './exports.gen.js';
import type { Heap } from './heap.js';

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
  private open = true;

  constructor(
    readonly exports: WasmExports,
    readonly heap: Heap,
  ) {}

  alloc(size: number, dtype: DType): WasmBuffer {
    this.checkOpen();
    return new WasmBuffer(this, this.heap.alloc(size * BYTES[dtype], `a ${dtype} buffer of ${size}`), size, dtype);
  }

  releaseBuffer(buffer: WasmBuffer): void {
    if (this.open) this.heap.release(buffer.address);
  }

  /** The address of a buffer of this device; another device's is an error. */
  address(buffer: Buffer): number {
    if (!(buffer instanceof WasmBuffer) || buffer.context !== this) {
      throw new DeviceError('wasm: a kernel was given a buffer of another device');
    }
    this.checkOpen();
    return buffer.address;
  }

  /** The same, or 0 for none. */
  optional(buffer: Buffer | null): number {
    return buffer === null ? 0 : this.address(buffer);
  }

  /** A view of the buffer's elements, good until the next allocation. */
  view(buffer: Buffer): TypedArray {
    const address = this.address(buffer);
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
    const view = this.view(buffer);
    if (data.length !== view.length) {
      throw new ArgumentError(`wasm: write of ${data.length} elements into a buffer of ${view.length}`);
    }
    const big = data instanceof BigInt64Array || data instanceof BigUint64Array || typeof data[0] === 'bigint';
    if (view instanceof BigInt64Array) {
      if (big) view.set(data as ArrayLike<bigint>);
      else for (let i = 0; i < view.length; i++) view[i] = BigInt((data as ArrayLike<number>)[i]);
    } else {
      if (big) throw new ArgumentError(`wasm: 64-bit integers cannot be written into a ${buffer.dtype} buffer`);
      view.set(data as ArrayLike<number>);
    }
  }

  /**
   * Scratch of at least `bytes`, the caller's until its kernel returns. One block, kept and grown, so that a training
   * step does not cut the heap into pieces.
   */
  scratch(bytes: number): number {
    if (bytes > this.scratchBytes) {
      if (this.scratchAddress !== 0) this.heap.release(this.scratchAddress);
      this.scratchAddress = 0;
      this.scratchBytes = 0;
      this.scratchAddress = this.heap.alloc(bytes, 'scratch');
      this.scratchBytes = bytes;
    }
    return this.scratchAddress;
  }

  /** Writes 32-bit fields at an address: how structs and tables reach the kernels. */
  writeInts(address: number, values: ArrayLike<number>): void {
    const view = new Int32Array(this.heap.memory.buffer, address, values.length);
    for (let i = 0; i < values.length; i++) view[i] = values[i];
  }

  /** The heap's figures; scratch counts only in the peak. */
  memory(): MemoryUse {
    const use = this.heap.use();
    const scratch = this.scratchAddress === 0 ? 0 : this.heap.sizeOf(this.scratchAddress);
    return { ...use, used: use.used - scratch };
  }

  close(): void {
    this.open = false;
  }

  private checkOpen(): void {
    if (!this.open) throw new DeviceError('wasm: the device was disposed');
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
