/**
 * The meta device: shapes without elements. Tensors have a shape, a dtype and no memory, and kernels do nothing, so the
 * largest network is made and walked through in milliseconds: to count, to plan, to check that shapes agree.
 */
import { DeviceError } from '../errors.js';
import { Buffer, type Device, type DType, type Kernels, type MemoryUse, type TypedArray } from './device.js';
import { checkSize } from './hostData.js';
import { ScopeStack } from './scope.js';

class MetaBuffer extends Buffer {
  protected override free(): void {}
}

const NOTHING = { run() {}, release() {} };

/** Whatever the contract asks for is done by doing nothing, so this table alone need not name every kernel. */
const kernels = new Proxy({}, { get: () => () => NOTHING }) as Kernels;

class MetaDevice implements Device {
  readonly name = 'meta';
  readonly dtype = 'float32';
  readonly holdsNothing = true;
  readonly kernels = kernels;
  readonly scopes = new ScopeStack();

  alloc(size: number, dtype: DType = this.dtype): Buffer {
    checkSize(size, dtype);
    return new MetaBuffer(size, dtype);
  }

  write(): void {}

  async read(): Promise<TypedArray> {
    return this.readSync();
  }

  readSync(): TypedArray {
    throw new DeviceError('meta: its tensors have no elements; want a model made on another device');
  }

  scope<T>(fn: () => T): T {
    return this.scopes.run(fn);
  }

  memory(): MemoryUse {
    return { used: 0, peak: 0, reserved: 0 };
  }

  dispose(): void {}
}

/**
 * A device whose tensors have shapes and no elements. Layers made on it draw no weights; ops check shapes and record
 * their calls; reading an element is an error.
 * @see https://pytorch.org/docs/stable/meta.html
 */
export function meta(): Device {
  return new MetaDevice();
}
