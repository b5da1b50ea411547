/** Starts a device on a binary. What differs from host to host, compiling, threads, warnings, is given. */
import { BIG_ENDIAN } from '../../endian.js';
import { ArgumentError, AtalhoError, DeviceError, OutOfMemoryError, show } from '../../errors.js';
import type { WasmBytes, WasmMemory, WasmModule } from '../../hostTypes.js';
import type { Kernels } from '../device.js';
import { decodeBinary, forSharedMemory } from './binary.js';
import { WasmContext } from './context.js';
import type { WasmExports } from './exports.gen.js';
import { Heap, MAX_MEMORY_BYTES } from './heap.js';
import { LinearMemoryDevice, type WasmDevice, type WasmMath } from './linearMemoryDevice.js';
import { Team, type TeamOptions } from './team.js';

/** What a device is made of on some host. */
export interface WasmHost {
  /** The binary, as text; `relaxed` the one with relaxed SIMD, where it is at hand. */
  readonly binary: string;
  readonly relaxed?: string;
  /** Names of its exports, by which a caller's `module` is told from others. */
  readonly exports: readonly string[];
  readonly kernels: (w: WasmContext, math: WasmMath) => Kernels;
  instantiate(
    source: WasmBytes | WasmModule,
    imports: { readonly env: { readonly memory: WasmMemory } },
  ): Promise<WasmExports>;
  warn(message: string): void;
  /** How many threads to use. */
  readonly threads: number;
  /** Whether one thread will do where others cannot be started. */
  readonly orAlone?: boolean;
  /** What more threads than one take. */
  team?(o: Pick<TeamOptions, 'threads' | 'module' | 'memory' | 'exports'>): Promise<TeamOptions>;
}

/** What a caller wants of any host. */
export interface StartOptions {
  readonly math?: WasmMath;
  readonly maxMemoryBytes?: number;
  readonly module?: WasmBytes | WasmModule;
}

/** What does without WebAssembly. */
const INSTEAD: Readonly<Record<WasmMath, string>> = {
  exact: 'use reference(), which computes the same bits',
  fast: "use reference({ math: 'fast' }), which computes the same bits",
  relaxed: "use reference({ math: 'fast' })",
};

const PAGE = 65536;
export const MOST_THREADS = 64;

/** @throws ArgumentError when it is no number of threads */
export function checkThreads(threads: unknown, orAuto = ''): asserts threads is number {
  if (!(Number.isInteger(threads) && Number(threads) >= 1 && Number(threads) <= MOST_THREADS)) {
    throw new ArgumentError(`wasm: threads is ${show(threads)}; want ${orAuto}1 to ${MOST_THREADS}`);
  }
}

/** Told by its tag, since its class may be another realm's. */
export const isModule = (source: unknown): source is WasmModule =>
  Object.prototype.toString.call(source) === '[object WebAssembly.Module]';

/** Why there cannot be more than one thread here, or null. */
export function threadsHindrance(module: StartOptions['module']): string | null {
  if (typeof SharedArrayBuffer === 'undefined') {
    return 'this host has no SharedArrayBuffer (a page must be cross-origin isolated)';
  }
  if (!mayWait()) return "a browser's main thread must not wait; make the device in a worker";
  if (isModule(module)) {
    return 'a compiled module has a memory of its own; give its bytes';
  }
  return null;
}

/** True where this thread may block in `Atomics.wait`: everywhere but on a browser's main thread. */
function mayWait(): boolean {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1, 0);
    return true;
  } catch {
    return false;
  }
}

/**
 * The bytes for a mode, and the mode that they are.
 * @throws DeviceError where the engine has no SIMD
 */
function binaryFor(math: WasmMath, { binary, relaxed, warn }: WasmHost): [Uint8Array<ArrayBuffer>, WasmMath] {
  if (math === 'relaxed' && relaxed !== undefined) {
    const bytes = decodeBinary(relaxed);
    if (WebAssembly.validate(bytes)) return [bytes, math];
    warn("wasm: this engine has no relaxed SIMD; math: 'fast' instead of 'relaxed'");
  }
  const bytes = decodeBinary(binary);
  if (!WebAssembly.validate(bytes)) {
    throw new DeviceError(`wasm: this engine has no WebAssembly SIMD; ${INSTEAD[math]}`);
  }
  return [bytes, math === 'relaxed' ? 'fast' : math];
}

/** @throws DeviceError where the engine has no WebAssembly, or a byte order that is not that of its memory */
export function checkWasm(math: WasmMath): void {
  if (typeof WebAssembly === 'undefined') {
    throw new DeviceError(`wasm: this engine has no WebAssembly; ${INSTEAD[math]}`);
  }
  // The memory is little-endian everywhere, and arrays over it are the machine's.
  if (BIG_ENDIAN) throw new DeviceError(`wasm: this machine is big-endian; ${INSTEAD[math]}`);
}

/** @throws ArgumentError when an option is out of its range */
export function checkOptions(
  { math = 'exact', maxMemoryBytes = PAGE * 16, module }: StartOptions,
  maths: readonly WasmMath[],
): void {
  if (!maths.includes(math)) {
    const names = maths.map((name) => `'${name}'`);
    const last = names.pop();
    throw new ArgumentError(`wasm: math is ${show(math)}; want ${names.join(', ')} or ${last}`);
  }
  if (!(typeof maxMemoryBytes === 'number' && maxMemoryBytes >= 16 * PAGE && maxMemoryBytes <= MAX_MEMORY_BYTES)) {
    throw new ArgumentError(
      `wasm: maxMemoryBytes is ${show(maxMemoryBytes)}; want ${16 * PAGE} to ${MAX_MEMORY_BYTES}`,
    );
  }
  if (module !== undefined && (typeof module !== 'object' || module === null)) {
    throw new ArgumentError(`wasm: module is ${show(module)}; want bytes or a compiled module`);
  }
}

/**
 * A device on the host's binary, or on the caller's `module`. Options are checked by now.
 * @throws ArgumentError when `module` is another binary
 * @throws DeviceError when the engine refuses
 * @throws OutOfMemoryError when not even the first pages can be had
 */
export async function startWasm(options: StartOptions, host: WasmHost): Promise<WasmDevice> {
  const { math = 'exact', maxMemoryBytes = MAX_MEMORY_BYTES - PAGE, module: given } = options;
  const { threads } = host;
  // A module that the host compiled needs no bytes, which its engine may not even be allowed to validate.
  const [bytes, mode] = given === undefined ? binaryFor(math, host) : [given, math];
  let memory: WebAssembly.Memory;
  try {
    memory = new WebAssembly.Memory({ initial: 16, maximum: Math.ceil(maxMemoryBytes / PAGE), shared: threads > 1 });
  } catch (error) {
    throw new OutOfMemoryError(`wasm: no memory to start with: ${String(error)}`, 16 * PAGE, 0);
  }
  let exports: WasmExports;
  let module: WebAssembly.Module | null = null;
  try {
    let source = bytes;
    if (threads > 1) {
      const own = source as BufferSource;
      const view = ArrayBuffer.isView(own)
        ? new Uint8Array(own.buffer, own.byteOffset, own.byteLength)
        : new Uint8Array(own);
      source = module = await WebAssembly.compile(forSharedMemory(view as Uint8Array<ArrayBuffer>));
    }
    exports = await host.instantiate(source, { env: { memory } });
    const missing = host.exports.find((name) => typeof exports[name as keyof WasmExports] !== 'function');
    if (missing !== undefined) {
      throw new ArgumentError(`wasm: module is not the binary of this build: it has no ${missing}`);
    }
  } catch (error) {
    if (error instanceof AtalhoError) throw error;
    throw new DeviceError(
      `wasm: the engine refused the binary (${String(error).trim()}). A Content-Security-Policy must allow script-src 'wasm-unsafe-eval'; without WebAssembly, ${INSTEAD[math]}`,
    );
  }
  let team: Team | null = null;
  if (module !== null && host.team !== undefined) {
    try {
      team = await Team.start(await host.team({ threads, module, memory, exports }));
    } catch (error) {
      if (!host.orAlone) throw error;
      host.warn(`wasm: one thread, since no worker could be started (${String(error)}); the bits are the same`);
      return startWasm({ ...options, math: mode }, { ...host, threads: 1, orAlone: false });
    }
  }
  const context = new WasmContext(exports, new Heap(memory, maxMemoryBytes), team);
  return new LinearMemoryDevice(context, host.kernels(context, mode), mode, threads);
}
