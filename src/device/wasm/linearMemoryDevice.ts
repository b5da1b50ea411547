/** A device over one WebAssembly memory. */
import { DeviceError } from '../../errors.js';
import type { Buffer, Device, DType, Kernels, MemoryUse, TypedArray } from '../device.js';
import { ScopeStack } from '../scope.js';
import type { WasmContext } from './context.js';

/** What a WASM device may do to sums; see `WasmOptions.math`. */
export type WasmMath = 'exact' | 'fast' | 'relaxed';

/** A device on WebAssembly; `math` and `threads` are what it came to. */
export interface WasmDevice extends Device {
  readonly math: WasmMath;
  readonly threads: number;
}

export class LinearMemoryDevice implements WasmDevice {
  readonly name = 'wasm';
  readonly dtype = 'float32';
  readonly scopes = new ScopeStack();
  constructor(
    private readonly context: WasmContext,
    public kernels: Kernels,
    readonly math: WasmMath,
    readonly threads: number,
  ) {}

  alloc(size: number, dtype: DType = this.dtype): Buffer {
    return this.context.alloc(size, dtype);
  }

  write(buffer: Buffer, data: ArrayLike<number> | ArrayLike<bigint>): void {
    this.context.write(buffer, data);
  }

  async read(buffer: Buffer): Promise<TypedArray> {
    return this.readSync(buffer);
  }

  readSync(buffer: Buffer): TypedArray {
    return this.context.view(buffer).slice();
  }

  scope<T>(fn: () => T): T {
    return this.scopes.run(fn);
  }

  memory(): MemoryUse {
    return this.context.memory();
  }

  dispose(): void {
    this.context.close();
    // The kernels hold the instance, and the instance the memory: nothing may stay of them.
    this.kernels = new Proxy({} as Kernels, {
      get() {
        throw new DeviceError('wasm: the device was disposed');
      },
    });
  }
}
