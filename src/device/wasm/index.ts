/**
 * The WASM SIMD device: the whole contract over linear memory. Everything that a kernel needs is an argument; the
 * binary holds no data and no state.
 */
import { instantiate } from '@assemblyscript/loader';
import { DeviceError } from '../../errors.js';
import type { WasmBytes, WasmModule } from '../../hostTypes.js';
import { WASM_EXPORTS, WASM_RELAXED_TEXT, WASM_TEXT } from './binary.gen.js';
import type { WasmExports } from './exports.gen.js';
import { type CreateWorker, hostWorker, processors, within } from './host.js';
import { allKernels } from './kernels.js';
import type { WasmDevice, WasmMath } from './linearMemoryDevice.js';
import { checkOptions, checkThreads, checkWasm, MOST_THREADS, startWasm, threadsHindrance } from './start.js';

export type { CreateWorker } from './host.js';
export type { WasmDevice, WasmMath } from './linearMemoryDevice.js';
export type { WorkerLike } from './team.js';

/** How a WASM device computes: mode, threads, memory, and what stands in for the host. */
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
  module?: WasmBytes | WasmModule;
  /** Told once for each device where it cannot be quite what was asked for; the default is `console.warn`. */
  onWarning?: (message: string) => void;
}

/** Looks before sleeping, some tenths of a millisecond: longer than the owner is between two kernels. */
const SPINS = 200_000;

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
  if (threads !== 'auto') checkThreads(threads, "'auto' or ");
  const wanted = threads === 'auto' ? Math.min(await processors(), MOST_THREADS) : threads;
  const hindrance = wanted === 1 ? null : threadsHindrance(module);
  if (hindrance === null) return wanted;
  if (threads === 'auto') {
    warn(`wasm: one thread, since ${hindrance}; the bits are the same`);
    return 1;
  }
  throw new DeviceError(`wasm: threads is ${threads}, but ${hindrance}; threads: 1 computes the same bits`);
}

/**
 * A device on WebAssembly SIMD, of the same bits on any engine unless `math` is `relaxed`.
 * @throws ArgumentError when an option is out of its range, or `module` another binary
 * @throws DeviceError where the engine has no WebAssembly, or none with SIMD: use `reference()` there; where there cannot be
 * as many threads as asked for
 * @throws OutOfMemoryError when not even the first pages can be had
 */
export async function wasm(o: WasmOptions = {}): Promise<WasmDevice> {
  const options = o ?? {};
  const { math = 'exact', threads = 1, createWorker = hostWorker } = options;
  const { onWarning: warn = (message: string): void => console.warn(message) } = options;
  checkOptions(options, ['exact', 'fast', 'relaxed']);
  checkWasm(math);
  const count = await threadCount(threads, options.module, warn);
  return startWasm(options, {
    ...{ binary: WASM_TEXT, relaxed: WASM_RELAXED_TEXT, exports: WASM_EXPORTS, kernels: allKernels, warn },
    ...{ threads: count, orAlone: threads === 'auto' },
    instantiate: async (source, imports) =>
      (await instantiate<WasmExports & Record<string, unknown>>(source, imports)).exports,
    team: async (o) => ({
      ...o,
      createWorker: () => createWorker(new URL('./worker.js', import.meta.url)),
      // More threads than processors would spin in each other's way.
      spins: count <= (await processors()) ? SPINS : 0,
      within,
    }),
  });
}
