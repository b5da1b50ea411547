/**
 * Device memory by size class. A buffer that is given back serves the next request of its class: commands run in
 * the order they were recorded, so what was recorded before still sees its own contents.
 */
import { DeviceError, OutOfMemoryError } from '../../errors.js';
import type { GPUBuffer, GPUDevice } from '../../hostTypes.js';
import { Buffer, type DType, type MemoryUse } from '../device.js';
import { checkSize } from '../hostData.js';

/** float64 is for statistics that ops keep between passes; there is none in WGSL, so they are kept in float32. */
const BYTES: Readonly<Record<DType, number>> = { float32: 4, float64: 4, int32: 4, int64: 8 };

/** What a block can hold. Tensors are of a dtype; halves are weights that a kernel keeps for itself, two in a word. */
export type Held = DType | 'float16';

const bytesOf = (size: number, held: Held): number =>
  held === 'float16' ? 4 * Math.ceil(size / 2) : size * BYTES[held];

/** Least size of a GPU buffer: a binding must not be empty, and shaders may write whole vectors of 16 bytes. */
const LEAST = 256;

/** Flags of GPUBufferUsage, which Node has no global of. https://www.w3.org/TR/webgpu/#typedefdef-gpubufferusageflags */
export const USAGE = { mapRead: 1, copySource: 4, copyDestination: 8, uniform: 64, storage: 128 } as const;

export class WebgpuBuffer extends Buffer {
  constructor(
    readonly memory: GpuMemory,
    readonly block: Block,
    size: number,
    readonly held: Held,
  ) {
    super(size, held === 'float16' ? 'float32' : held);
  }

  protected override free(): void {
    this.memory.giveBack(this);
  }
}

/** True of halves, two in a word. */
export const isHalves = (buffer: Buffer | null): boolean => buffer instanceof WebgpuBuffer && buffer.held === 'float16';

/** A piece of GPU memory, and which batch of commands used it last. */
export interface Block {
  readonly gpu: GPUBuffer;
  readonly bytes: number;
  /** Names it in the cache of bind groups. */
  readonly id: number;
  /** The batch that it was made in. */
  readonly born: number;
  lastBatch: number;
  /** Perhaps there is no memory behind it: it is not used again. */
  distrusted: boolean;
}

/** The bytes of a request's class: eight classes for each power of two, so at most an eighth is wasted. */
export function sizeClass(bytes: number): number {
  if (bytes <= LEAST) return LEAST;
  const step = 2 ** Math.max(8, Math.floor(Math.log2(bytes)) - 3);
  return Math.ceil(bytes / step) * step;
}

export class GpuMemory {
  private readonly all = new Set<Block>();
  private readonly free = new Map<number, Block[]>();
  private nextId = 0;
  private used = 0;
  private peak = 0;
  private reserved = 0;
  private closed = false;

  constructor(
    private readonly device: GPUDevice,
    private readonly maxBytes: number,
    /** Submits what is recorded, which may name blocks that are about to be destroyed. */
    private readonly submit: () => void,
    /** The batch that is being recorded. */
    private readonly batch: () => number,
  ) {}

  /** @throws OutOfMemoryError past the adapter's limit on a buffer, or past the device's own on all together */
  alloc(size: number, held: Held): WebgpuBuffer {
    checkSize(size, held === 'float16' ? 'float32' : held);
    const block = this.take(bytesOf(size, held), `a ${held} buffer of ${size}`);
    return new WebgpuBuffer(this, block, size, held);
  }

  private take(bytes: number, what: string): Block {
    if (this.closed) throw new DeviceError('webgpu: the device was disposed');
    const { maxBufferSize, maxStorageBufferBindingSize } = this.device.limits;
    const most = Math.min(maxBufferSize, maxStorageBufferBindingSize);
    if (bytes > most) {
      throw new OutOfMemoryError(
        `webgpu: out of memory: ${what} takes ${bytes} bytes; this adapter allows ${most} in one buffer, so use smaller shapes or batches`,
        bytes,
        this.used,
      );
    }
    const size = Math.min(sizeClass(bytes), Math.floor(most / 4) * 4);
    let block = this.free.get(size)?.pop();
    if (block === undefined) {
      if (this.reserved + size > this.maxBytes) this.trim();
      if (this.reserved + size > this.maxBytes) {
        throw new OutOfMemoryError(
          `webgpu: out of memory: ${what} takes ${bytes} bytes; ${this.used} of ${this.maxBytes} are in use`,
          bytes,
          this.used,
        );
      }
      const usage = USAGE.storage | USAGE.copySource | USAGE.copyDestination;
      const gpu = this.device.createBuffer({ size, usage });
      block = { gpu, bytes: size, id: this.nextId++, born: this.batch(), lastBatch: -1, distrusted: false };
      this.all.add(block);
      this.reserved += size;
    }
    this.used += bytes;
    this.peak = Math.max(this.peak, this.used);
    return block;
  }

  giveBack(buffer: WebgpuBuffer): void {
    if (this.closed) return;
    const { block, size, held } = buffer;
    this.used -= bytesOf(size, held);
    if (block.distrusted) {
      this.destroy(block);
      return;
    }
    const list = this.free.get(block.bytes) ?? [];
    this.free.set(block.bytes, list);
    // The first made is the first taken, so that a step like the last has its blocks, and its bind groups.
    let at = list.length;
    while (at > 0 && list[at - 1].id < block.id) at--;
    list.splice(at, 0, block);
  }

  /** Gives what is free back to the GPU. */
  trim(): void {
    this.submit();
    for (const list of this.free.values()) {
      for (const block of list) this.destroy(block);
    }
    this.free.clear();
  }

  private destroy(block: Block): void {
    this.reserved -= block.bytes;
    this.all.delete(block);
    block.gpu.destroy();
  }

  /** What was made in a batch that ran out of memory is not used again, and goes with what is free. */
  distrust(batch: number): void {
    if (this.closed) return;
    for (const block of this.all) if (block.born === batch) block.distrusted = true;
    this.trim();
  }

  use(): MemoryUse {
    return { used: this.used, peak: this.peak, reserved: this.reserved };
  }

  close(): void {
    this.closed = true;
    for (const { gpu } of this.all) gpu.destroy();
    this.all.clear();
    this.free.clear();
    this.used = 0;
    this.reserved = 0;
  }
}
