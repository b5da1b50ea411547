/** The WASM device of a sandbox: nothing of the host but `WebAssembly`, and workers where they are asked for. */

import type { Kernels } from '../device/device.js';
import type { WasmContext } from '../device/wasm/context.js';
import type { WasmExports } from '../device/wasm/exports.gen.js';
import type { WasmDevice, WasmMath } from '../device/wasm/linearMemoryDevice.js';
import { checkOptions, checkThreads, checkWasm, isModule, startWasm, threadsHindrance } from '../device/wasm/start.js';
import type { WorkerLike } from '../device/wasm/team.js';
import { ArgumentError, DeviceError } from '../errors.js';
import type { HostUrl, WasmBytes, WasmModule } from '../hostTypes.js';

/** How the WASM device of a sandbox computes, and what its host provides. */
export interface EmbedWasmOptions {
  /** `exact`, the default: the bits of `reference()`. `fast`: Winograd's convolution where it pays, the same bits everywhere. */
  readonly math?: 'exact' | 'fast';
  /** Most memory that the device may take, in bytes; 4 GiB less a page is the engine's limit and the default. */
  readonly maxMemoryBytes?: number;
  /** A compiled module or its bytes, where a host forbids compiling: those of the `.wasm` file beside this one. */
  readonly module?: WasmBytes | WasmModule;
  /**
   * Threads, the owner's included, at most as many as there are processors; 1 by default. More take SharedArrayBuffer, a thread
   * that may block, and workers: `createWorker`, or the host's own Worker on `workerUrl`.
   */
  readonly threads?: number;
  /** Starts a worker on `atalho/embed/worker`, as a module. */
  readonly createWorker?: () => WorkerLike | Promise<WorkerLike>;
  /** Where the host's own Worker finds `atalho/embed/worker`. */
  readonly workerUrl?: string | HostUrl;
}

/** Looks before sleeping; see the main build, which counts processors first. */
const SPINS = 200_000;

function workerOf({ createWorker, workerUrl }: EmbedWasmOptions): () => WorkerLike | Promise<WorkerLike> {
  if (createWorker !== undefined) return createWorker;
  if (workerUrl === undefined || typeof Worker === 'undefined') {
    throw new DeviceError(
      'wasm: threads take createWorker, or workerUrl where the host has a global Worker; threads: 1 computes the same bits',
    );
  }
  return () => new Worker(workerUrl, { type: 'module' });
}

/** Some hosts refuse to do it asynchronously, gjs for one; some only do so, such as the main thread of a page. */
async function exportsOf(source: WasmBytes | WasmModule, imports: WebAssembly.Imports): Promise<WebAssembly.Exports> {
  let made: WebAssembly.Instance | WebAssembly.WebAssemblyInstantiatedSource;
  try {
    made = await WebAssembly.instantiate(source as BufferSource, imports);
  } catch (error) {
    try {
      const module = isModule(source) ? source : new WebAssembly.Module(source);
      made = new WebAssembly.Instance(module, imports);
    } catch {
      throw error;
    }
  }
  return ('instance' in made ? made.instance : made).exports;
}

/** `wasm()` for a build with this binary, known by its export `own`, and these kernels. */
export function embedWasm(
  binary: string,
  own: keyof WasmExports,
  kernels: (w: WasmContext, math: WasmMath) => Kernels,
) {
  /**
   * A device on WebAssembly SIMD, of the same bits on any engine.
   * @throws ArgumentError when an option is out of its range
   * @throws DeviceError where the engine has no WebAssembly, or none with SIMD, or refuses to compile: use `reference()` there
   * @throws OutOfMemoryError when not even the first pages can be had
   */
  return async function wasm(given: EmbedWasmOptions = {}): Promise<WasmDevice> {
    const options = given ?? {};
    const { math = 'exact', threads = 1, module } = options;
    checkOptions(options, ['exact', 'fast']);
    checkThreads(threads);
    checkWasm(math);
    const hindrance = threads === 1 ? null : threadsHindrance(module);
    if (hindrance !== null) {
      throw new DeviceError(`wasm: threads is ${threads}, but ${hindrance}; threads: 1 computes the same bits`);
    }
    const createWorker = threads === 1 ? null : workerOf(options);
    return startWasm(options, {
      ...{ binary, kernels, threads },
      warn() {},
      async instantiate(source, imports) {
        const exports = await exportsOf(source, imports);
        if (typeof exports[own] !== 'function') {
          throw new ArgumentError('wasm: module is not the binary of this build');
        }
        return exports as unknown as WasmExports;
      },
      ...(createWorker && { team: async (o) => ({ ...o, createWorker, spins: SPINS }) }),
    });
  };
}
