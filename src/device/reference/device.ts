/** What reference devices are made of: the whole contract of `device.ts` in plain loops, the convolutions given. */
import { ArgumentError, show } from '../../errors.js';
import type { Buffer, Device, DType, FloatType, Kernels, MemoryUse, TypedArray } from '../device.js';
import { checkSize, copyInto } from '../hostData.js';
import { ScopeStack } from '../scope.js';
import { elementwise } from './elementwise.js';
import { Host } from './host.js';
import { matmul } from './matmul.js';
import { norm } from './norm.js';
import { pool } from './pool.js';
import { softmax } from './softmax.js';
import { update } from './update.js';

/** The dtype and the memory of a reference device. */
export interface ReferenceBounds {
  /** `'float32'` by default. */
  dtype?: FloatType;
  /** Most memory that the device's buffers and scratch may take, in bytes; no limit but the engine's by default. */
  maxMemoryBytes?: number;
}

export class ReferenceDevice implements Device {
  readonly name: string;
  readonly kernels: Kernels;
  readonly scopes = new ScopeStack();
  private readonly host: Host;

  constructor(
    readonly dtype: FloatType,
    maxMemoryBytes: number,
    kernelsOf: (host: Host) => Kernels,
  ) {
    this.name = dtype === 'float32' ? 'reference' : `reference-${dtype}`;
    this.host = new Host(this.name, dtype, maxMemoryBytes);
    this.kernels = kernelsOf(this.host);
  }

  alloc(size: number, dtype: DType = this.dtype): Buffer {
    checkSize(size, dtype);
    return this.host.alloc(size, dtype);
  }

  write(buffer: Buffer, data: ArrayLike<number> | ArrayLike<bigint>): void {
    const array = this.host.array('write', 'buffer', buffer);
    copyInto(array, data);
  }

  async read(buffer: Buffer): Promise<TypedArray> {
    return this.readSync(buffer);
  }

  readSync(buffer: Buffer): TypedArray {
    return this.host.array('read', 'buffer', buffer).slice();
  }

  scope<T>(fn: () => T): T {
    return this.scopes.run(fn);
  }

  memory(): MemoryUse {
    return this.host.memory();
  }

  dispose(): void {
    this.host.dispose();
  }
}

/** All kernels but copy, rmsprop and those of prepared convolutions, which not every build has, on these plain convolutions. */
export function kernelsOn<C extends Pick<Kernels, 'conv2d' | 'conv2dBackwardInput' | 'conv2dBackwardWeight'>>(
  host: Host,
  convolutions: C,
) {
  return {
    ...elementwise(host),
    ...matmul(host),
    ...convolutions,
    ...pool(host),
    ...norm(host),
    ...softmax(host),
    ...update(host),
  };
}

/** @throws ArgumentError when an option is out of its range */
export function checkReference({ dtype = 'float32', maxMemoryBytes = 1 }: ReferenceBounds): void {
  if (dtype !== 'float32' && dtype !== 'float64') {
    throw new ArgumentError(`reference: dtype is ${show(dtype)}; want 'float32' or 'float64'`);
  }
  if (!(typeof maxMemoryBytes === 'number' && maxMemoryBytes > 0)) {
    throw new ArgumentError(`reference: maxMemoryBytes is ${show(maxMemoryBytes)}; want more than 0`);
  }
}
