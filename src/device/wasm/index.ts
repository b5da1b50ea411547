/**
 * The WASM SIMD device: the whole contract over linear memory. Everything that a kernel needs is an argument; the
 * binary holds no data and no state.
 */
import { instantiate } from '@assemblyscript/loader';
import { ArgumentError, DeviceError, OutOfMemoryError } from '../../errors.js';
import type { Buffer, Device, DType, Kernels, MemoryUse, TypedArray } from '../device.js';
import { ScopeStack } from '../scope.js';
import { WASM_BASE64 } from './binary.gen.js';
import { WasmContext } from './context.js';
import { convKernels } from './conv2d.js';
import { elementwiseKernels } from './elementwise.js';
import type { WasmExports } from './exports.gen.js';
import { Heap, MAX_MEMORY_BYTES } from './heap.js';
import { matmulKernels } from './matmul.js';
import { normalizationKernels } from './normalization.js';
import { poolKernels } from './pool.js';

export interface WasmOptions {
  /** `exact`: the bits of `reference()`. The only mode so far. */
  math?: 'exact';
  /** Threads; one so far. */
  threads?: 1;
  /** Most memory that the device may take, in bytes; 4 GiB less a page is the engine's limit and the default. */
  maxMemoryBytes?: number;
  /** A compiled module or its bytes, where a host forbids compiling; must be this package's own binary. */
  module?: BufferSource | WebAssembly.Module;
}

const PAGE = 65536;

function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

class WasmDevice implements Device {
  readonly name = 'wasm';
  readonly dtype = 'float32';
  readonly scopes = new ScopeStack();
  kernels: Kernels;

  constructor(private readonly context: WasmContext) {
    this.kernels = {
      ...convKernels(context),
      ...elementwiseKernels(context),
      ...matmulKernels(context),
      ...normalizationKernels(context),
      ...poolKernels(context),
    };
  }

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

/**
 * A device on WebAssembly SIMD: the same bits as `reference()`, on any engine.
 * @throws DeviceError where the engine has no WebAssembly, or none with SIMD: use `reference()` there
 * @throws OutOfMemoryError when not even the first pages can be had
 */
export async function wasm(options: WasmOptions = {}): Promise<Device> {
  const { math = 'exact', threads = 1, maxMemoryBytes = MAX_MEMORY_BYTES - PAGE } = options;
  if (math !== 'exact') throw new ArgumentError(`wasm: math is ${JSON.stringify(math)}; want 'exact'`);
  if (threads !== 1) throw new ArgumentError(`wasm: threads is ${JSON.stringify(threads)}; want 1`);
  if (!(maxMemoryBytes >= 16 * PAGE && maxMemoryBytes <= MAX_MEMORY_BYTES)) {
    throw new ArgumentError(`wasm: maxMemoryBytes is ${maxMemoryBytes}; want ${16 * PAGE} to ${MAX_MEMORY_BYTES}`);
  }
  if (typeof WebAssembly === 'undefined') {
    throw new DeviceError('wasm: this engine has no WebAssembly; use reference(), which computes the same bits');
  }
  const bytes = decodeBase64(WASM_BASE64);
  if (!WebAssembly.validate(bytes)) {
    throw new DeviceError('wasm: this engine has no WebAssembly SIMD; use reference(), which computes the same bits');
  }
  let memory: WebAssembly.Memory;
  try {
    memory = new WebAssembly.Memory({ initial: 16, maximum: Math.ceil(maxMemoryBytes / PAGE) });
  } catch (error) {
    throw new OutOfMemoryError(`wasm: no memory to start with: ${String(error)}`, 16 * PAGE, 0);
  }
  try {
    const source = options.module ?? bytes;
    const { exports } = await instantiate<WasmExports & Record<string, unknown>>(source, { env: { memory } });
    return new WasmDevice(new WasmContext(exports, new Heap(memory, maxMemoryBytes)));
  } catch (error) {
    throw new DeviceError(
      `wasm: the engine refused the binary (${String(error)}). A Content-Security-Policy must allow script-src 'wasm-unsafe-eval'; reference() needs no WebAssembly and computes the same bits`,
    );
  }
}
