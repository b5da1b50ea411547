/**
 * The reference device: the whole contract of `device.ts` in plain loops, the specification that every other device is
 * judged by. Its kernels stand in `reference/`, one file a family. In float32 each step is rounded by `Math.fround`;
 * in float64 the same loops run unrounded, for gradient checks and error bounds.
 */
import { ArgumentError } from '../errors.js';
import type { Buffer, Device, DType, FloatType, Kernels, MemoryUse, TypedArray } from './device.js';
import { checkSize, copyInto } from './hostData.js';
import { conv } from './reference/conv.js';
import { elementwise } from './reference/elementwise.js';
import { Host } from './reference/host.js';
import { matmul } from './reference/matmul.js';
import { norm } from './reference/norm.js';

import { pool } from './reference/pool.js';
import { prepared } from './reference/prepared.js';
import { softmax } from './reference/softmax.js';
import { update } from './reference/update.js';
import { winograd } from './reference/winograd.js';
import { ScopeStack } from './scope.js';

export interface ReferenceOptions {
  /** `'float32'` by default. */
  dtype?: FloatType;
  /** `'fast'`: the bits of the fast mode of other devices, Winograd's convolution and all. `'exact'` by default. */
  math?: 'exact' | 'fast';
}

class ReferenceDevice implements Device {
  readonly name: string;
  readonly kernels: Kernels;
  readonly scopes = new ScopeStack();
  private readonly host: Host;

  constructor(
    readonly dtype: FloatType,
    math: 'exact' | 'fast',
  ) {
    this.name = dtype === 'float32' ? 'reference' : `reference-${dtype}`;
    const host = new Host(this.name, dtype);
    this.host = host;
    const direct = conv(host);
    const convolutions = math === 'exact' ? direct : winograd(host, direct);
    const normalization = norm(host);
    this.kernels = {
      ...elementwise(host),
      ...matmul(host),
      ...convolutions,
      ...prepared(host, { ...convolutions, ...normalization }, math === 'fast'),
      ...pool(host),
      ...normalization,
      ...softmax(host),
      ...update(host),
    };
  }

  alloc(size: number, dtype: DType = this.dtype): Buffer {
    checkSize(size);
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

/**
 * A reference device: plain loops on the CPU that run in any JavaScript engine. `float32` (the default) gives the
 * bits that the exact mode of every other device gives; `float64` the same sums nearly without rounding.
 * @throws ArgumentError when dtype is neither
 */
export function reference({ dtype = 'float32', math = 'exact' }: ReferenceOptions = {}): Device {
  if (dtype !== 'float32' && dtype !== 'float64') {
    throw new ArgumentError(`reference: dtype is ${JSON.stringify(dtype)}; want 'float32' or 'float64'`);
  }
  if (math !== 'exact' && math !== 'fast') {
    throw new ArgumentError(`reference: math is ${JSON.stringify(math)}; want 'exact' or 'fast'`);
  }
  return new ReferenceDevice(dtype, math);
}
