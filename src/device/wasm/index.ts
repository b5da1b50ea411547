/**
 * The WASM SIMD device: the whole contract over linear memory. Everything that a kernel needs is an argument; the
 * binary holds no data and no state.
 */
import { instantiate } from '@assemblyscript/loader';
import { ArgumentError, DeviceError, OutOfMemoryError } from '../../errors.js';
import type { Buffer, Device, DType, Kernels, MemoryUse, TypedArray } from '../device.js';
import { ScopeStack } from '../scope.js';
import { WASM_BASE64, WASM_RELAXED_BASE64 } from './binary.gen.js';
import { WasmContext } from './context.js';
import { convKernels } from './conv2d.js';
import { elementwiseKernels } from './elementwise.js';
import type { WasmExports } from './exports.gen.js';
import { Heap, MAX_MEMORY_BYTES } from './heap.js';
import { type CreateWorker, mayWait, processors } from './host.js';
import { matmulKernels } from './matmul.js';
import { normalizationKernels } from './normalization.js';
import { poolKernels } from './pool.js';
import { preparedKernels } from './prepared.js';
import { Team } from './team.js';
import { winogradKernels } from './winograd.js';

export type { CreateWorker, WorkerLike } from './host.js';

export type WasmMath = 'exact' | 'fast' | 'relaxed';

export interface WasmOptions {
  /**
   * - `exact`, the default: the bits of `reference()`;
   * - `fast`: Winograd's convolution where it pays, the bits of `reference({ math: 'fast' })` on every engine and thread count;
   * - `relaxed`: that with fused multiply-adds, whose bits depend on the engine; `fast` where the engine has none.
   */
  math?: WasmMath;
  /**
   * Threads, the owner's included; the default is 1, `'auto'` one for each processor. The bits do not depend on it. More
   * than one takes SharedArrayBuffer, and a thread that may block: in a browser, a worker on a cross-origin isolated page.
   */
  threads?: number | 'auto';
  /** Starts a worker from the script at the URL, as a module; the default is the host's own Worker. */
  createWorker?: CreateWorker;
  /** Most memory that the device may take, in bytes; 4 GiB less a page is the engine's limit and the default. */
  maxMemoryBytes?: number;
  /** A compiled module or its bytes, where a host forbids compiling; must be this package's own binary for `math`. */
  module?: BufferSource | WebAssembly.Module;
  /** Told once for each device where it cannot be quite what was asked for; the default is `console.warn`. */
  onWarning?: (message: string) => void;
}

/** A device on WebAssembly; `math` and `threads` are what it came to. */
export interface WasmDevice extends Device {
  readonly math: WasmMath;
  readonly threads: number;
}

/** What does without WebAssembly. */
const INSTEAD: Readonly<Record<WasmMath, string>> = {
  exact: 'use reference(), which computes the same bits',
  fast: "use reference({ math: 'fast' }), which computes the same bits",
  relaxed: "use reference({ math: 'fast' })",
};

const PAGE = 65536;
const MOST_THREADS = 64;
const IMPORT_SECTION = 2;
const MEMORY_IMPORT = 2;
const SHARED_FLAG = 2;

function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/**
 * The same binary for a shared memory: the flag of its only import's limits is all that differs.
 * https://webassembly.github.io/spec/core/binary/types.html#limits, and the threads proposal's bit 1
 */
function forSharedMemory(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const shared = bytes.slice();
  let at = 8;
  const number = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = shared[at++];
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < shared.length) {
    const section = shared[at++];
    const end = number() + at;
    if (section === IMPORT_SECTION) {
      // One import, the memory: its two names, its kind, the flags.
      number();
      for (let names = 0; names < 2; names++) {
        const length = number();
        at += length;
      }
      if (shared[at++] === MEMORY_IMPORT) {
        shared[at] |= SHARED_FLAG;
        return shared;
      }
    }
    at = end;
  }
  throw new DeviceError('wasm: the binary imports no memory');
}

/**
 * How many threads to use.
 * @throws ArgumentError when `threads` is not a number of threads
 * @throws DeviceError when more than one is asked for where there can be no more
 */
async function threadCount(
  threads: number | 'auto',
  module: WasmOptions['module'],
  warn: (message: string) => void,
): Promise<number> {
  if (threads !== 'auto' && !(Number.isInteger(threads) && threads >= 1 && threads <= MOST_THREADS)) {
    throw new ArgumentError(`wasm: threads is ${JSON.stringify(threads)}; want 'auto' or 1 to ${MOST_THREADS}`);
  }
  const wanted = threads === 'auto' ? Math.min(await processors(), MOST_THREADS) : threads;
  if (wanted === 1) return 1;
  let hindrance = '';
  if (typeof SharedArrayBuffer === 'undefined') {
    hindrance = 'this host has no SharedArrayBuffer (a page must be cross-origin isolated)';
  } else if (!mayWait()) hindrance = "a browser's main thread must not wait; make the device in a worker";
  else if (typeof WebAssembly !== 'undefined' && module instanceof WebAssembly.Module) {
    hindrance = 'a compiled module has a memory of its own; give its bytes';
  }
  if (hindrance === '') return wanted;
  if (threads === 'auto') {
    warn(`wasm: one thread, since ${hindrance}; the bits are the same`);
    return 1;
  }
  throw new DeviceError(`wasm: threads is ${threads}, but ${hindrance}; threads: 1 computes the same bits`);
}

class LinearMemoryDevice implements WasmDevice {
  readonly name = 'wasm';
  readonly dtype = 'float32';
  readonly scopes = new ScopeStack();
  kernels: Kernels;

  constructor(
    private readonly context: WasmContext,
    readonly math: WasmMath,
    readonly threads: number,
  ) {
    const direct = convKernels(context);
    const { prepareConv, ...convolutions } = math === 'exact' ? direct : winogradKernels(context, direct);
    this.kernels = {
      ...convolutions,
      ...preparedKernels(context, prepareConv, math !== 'exact'),
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
 * The binary for a mode, and the mode that it is.
 * @throws DeviceError where the engine has no SIMD
 */
function binaryFor(math: WasmMath, warn: (message: string) => void): [Uint8Array<ArrayBuffer>, WasmMath] {
  if (math === 'relaxed') {
    const relaxed = decodeBase64(WASM_RELAXED_BASE64);
    if (WebAssembly.validate(relaxed)) return [relaxed, math];
    warn("wasm: this engine has no relaxed SIMD; math: 'fast' instead of 'relaxed'");
  }
  const bytes = decodeBase64(WASM_BASE64);
  if (!WebAssembly.validate(bytes)) {
    throw new DeviceError(`wasm: this engine has no WebAssembly SIMD; ${INSTEAD[math]}`);
  }
  return [bytes, math === 'relaxed' ? 'fast' : math];
}

/**
 * A device on WebAssembly SIMD, of the same bits on any engine unless `math` is `relaxed`.
 * @throws DeviceError where the engine has no WebAssembly, or none with SIMD: use `reference()` there; where there cannot be
 * as many threads as asked for
 * @throws OutOfMemoryError when not even the first pages can be had
 */
export async function wasm(options: WasmOptions = {}): Promise<WasmDevice> {
  const { math = 'exact', threads = 1, maxMemoryBytes = MAX_MEMORY_BYTES - PAGE } = options;
  const { onWarning: warn = (message: string): void => console.warn(message) } = options;
  if (math !== 'exact' && math !== 'fast' && math !== 'relaxed') {
    throw new ArgumentError(`wasm: math is ${JSON.stringify(math)}; want 'exact', 'fast' or 'relaxed'`);
  }
  if (!(maxMemoryBytes >= 16 * PAGE && maxMemoryBytes <= MAX_MEMORY_BYTES)) {
    throw new ArgumentError(`wasm: maxMemoryBytes is ${maxMemoryBytes}; want ${16 * PAGE} to ${MAX_MEMORY_BYTES}`);
  }
  if (typeof WebAssembly === 'undefined') {
    throw new DeviceError(`wasm: this engine has no WebAssembly; ${INSTEAD[math]}`);
  }
  const count = await threadCount(threads, options.module, warn);
  const [bytes, mode] = binaryFor(math, warn);
  let memory: WebAssembly.Memory;
  try {
    memory = new WebAssembly.Memory({
      initial: 16,
      maximum: Math.ceil(maxMemoryBytes / PAGE),
      shared: count > 1,
    });
  } catch (error) {
    throw new OutOfMemoryError(`wasm: no memory to start with: ${String(error)}`, 16 * PAGE, 0);
  }
  let exports: WasmExports;
  let module: WebAssembly.Module | null = null;
  try {
    let source = options.module ?? bytes;
    if (count > 1) {
      const own = source as BufferSource;
      const view = ArrayBuffer.isView(own)
        ? new Uint8Array(own.buffer, own.byteOffset, own.byteLength)
        : new Uint8Array(own);
      source = module = await WebAssembly.compile(forSharedMemory(view as Uint8Array<ArrayBuffer>));
    }
    ({ exports } = await instantiate<WasmExports & Record<string, unknown>>(source, { env: { memory } }));
  } catch (error) {
    throw new DeviceError(
      `wasm: the engine refused the binary (${String(error)}). A Content-Security-Policy must allow script-src 'wasm-unsafe-eval'; without WebAssembly, ${INSTEAD[math]}`,
    );
  }
  let team: Team | null = null;
  try {
    if (module !== null) team = await Team.start(count, module, memory, exports, options.createWorker);
  } catch (error) {
    if (threads !== 'auto') throw error;
    warn(`wasm: one thread, since no worker could be started (${String(error)}); the bits are the same`);
    return wasm({ ...options, math: mode, threads: 1 });
  }
  return new LinearMemoryDevice(new WasmContext(exports, new Heap(memory, maxMemoryBytes), team), mode, count);
}
