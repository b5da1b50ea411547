/**
 * The threads of the WASM device. A job is a list of programs, each some calls of kernels one after the other, which write to
 * different places; the thread that owns the device and its workers take them one by one from a shared counter, and the
 * owner waits for the last. Splitting never cuts a sum, so the bits do not depend on who computes what.
 */
import { AtalhoError, DeviceError } from '../../errors.js';
import type { WasmMemory, WasmModule } from '../../hostTypes.js';
import type { WasmExports } from './exports.gen.js';

/** What a host's worker must be able to do: Web Workers and Node's both are. */
export interface WorkerLike {
  /** Sends it a message, by structured clone. */
  postMessage(message: unknown): void;
  /** Ends it. */
  terminate(): unknown;
  /** Node: lets the process end while the worker waits. */
  unref?(): void;
  /** How it tells of a message, of an error, and, in Node, of its end: Node's way, or the web's. */
  on?(event: 'error' | 'exit' | 'message', listener: (event: unknown) => void): unknown;
  /** The web's way. */
  addEventListener?(event: 'error' | 'message', listener: (event: unknown) => void): unknown;
}

/** A kernel that returns nothing; the last parameter of many is the thread, which is added when it is called. */
export type Kernel = {
  [K in keyof WasmExports]: undefined extends ReturnType<WasmExports[K]> ? K : never;
}[keyof WasmExports];

/** A kernel and its arguments, without the thread. */
export type Step = readonly [kernel: Kernel, args: readonly number[]];

/** Calls a kernel on the thread that owns the device: number 0, as which WebAssembly takes an argument that is missing. */
export function callKernel(exports: WasmExports, [kernel, args]: Step): void {
  (exports[kernel] as (...values: number[]) => void)(...args);
}

// The words of the control block; the same as in worker.js.
const [SEQUENCE, TICKET, DONE, FAILED, STOP, PROGRAMS, SLEEPERS] = [0, 1, 2, 3, 4, 5, 6];
const HEADER_BYTES = 64;
/** Numbers that a job may take. */
const VALUES = 65536;
/** Steps, and programs, of a job; of at most 12 numbers each. */
export const MOST_STEPS = 4000;
/** A ticket has 12 bits for the program. */
const MOST_PROGRAMS = 4094;

/** How often a waiting owner looks whether anything moved, and how long nothing may. */
const LOOK_MS = 100;
const STALL_MS = 60_000;
const names = (programs: readonly (readonly Step[])[]): string =>
  [...new Set(programs.flatMap((steps) => steps.map(([kernel]) => kernel)))].join(', ');

export interface TeamOptions {
  readonly threads: number;
  readonly module: WasmModule;
  readonly memory: WasmMemory;
  readonly exports: WasmExports;
  /** Starts a worker on worker.js. */
  readonly createWorker: () => WorkerLike | Promise<WorkerLike>;
  /** Looks before sleeping; 0 where there are more threads than processors, which would spin in each other's way. */
  readonly spins: number;
  /** Ends the waiting for the workers' start where a host has a clock; waits for ever by default. */
  readonly within?: <T>(work: Promise<T>) => Promise<T>;
  /** How long a worker may make no progress. Default a minute. */
  readonly stallMs?: number;
}

/** Settles when `worker` says that it is ready, or fails; what goes wrong later is kept in `trouble`. */
function started(worker: WorkerLike, trouble: { message: string | null }): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (event: unknown): void => {
      const { message, preventDefault } = Object(event) as { message?: unknown; preventDefault?: unknown };
      // On the web an event: handled here, it must not go on to the error handlers of the page.
      const web = typeof preventDefault === 'function';
      if (web) preventDefault.call(event);
      trouble.message ??=
        web && !message
          ? "the worker script did not load; is it served, and with the page's Cross-Origin-Embedder-Policy?"
          : String(message ?? event);
      reject(new Error(trouble.message));
    };
    if (worker.on) {
      worker.on('error', onError);
      // A script that is not worker.js may just end, and never say a word.
      worker.on('exit', () => reject(new Error('a worker ended before it was ready')));
      worker.on('message', () => resolve());
    } else {
      worker.addEventListener?.('error', onError);
      worker.addEventListener?.('message', () => resolve());
    }
  });
}

/**
 * Programs in the order in which threads take them: those that keep step get neighbours, so that what one writes, and reads again in the
 * next run, lies side by side, and is not every other line or page.
 */
function taken<T>(programs: readonly T[], threads: number): readonly T[] {
  if (programs.length <= threads) return programs;
  const each = Math.ceil(programs.length / threads);
  const order: T[] = [];
  for (let i = 0; i < each; i++) for (let at = i; at < programs.length; at += each) order.push(programs[at]);
  return order;
}

export class Team {
  private readonly words: Int32Array;
  private readonly values: Float64Array;
  private readonly kernels: Map<string, number>;
  private failure: string | null = null;

  private constructor(
    private readonly exports: WasmExports,
    control: SharedArrayBuffer,
    names: readonly string[],
    private readonly workers: readonly WorkerLike[],
    private readonly spins: number,
    /** What a worker's error event said. */
    private readonly trouble: { message: string | null },
    private readonly stallMs: number,
  ) {
    this.words = new Int32Array(control, 0, HEADER_BYTES / 4);
    this.values = new Float64Array(control, HEADER_BYTES);
    this.kernels = new Map(names.map((name, i) => [name, i]));
  }

  get threads(): number {
    return this.workers.length + 1;
  }

  /**
   * Starts `threads` − 1 workers on `module` and `memory`.
   * @throws DeviceError when they do not start
   */
  static async start(o: TeamOptions): Promise<Team> {
    const { threads, module, memory, exports, createWorker, spins, within = (work) => work, stallMs = STALL_MS } = o;
    const control = new SharedArrayBuffer(HEADER_BYTES + 8 * VALUES);
    const kernels = Object.keys(exports).filter((name) => typeof exports[name as keyof WasmExports] === 'function');
    const workers: WorkerLike[] = [];
    const trouble: { message: string | null } = { message: null };
    try {
      const ready: Promise<void>[] = [];
      for (let thread = 1; thread < threads; thread++) {
        const worker = await createWorker();
        workers.push(worker);
        const start = started(worker, trouble);
        // It may fail while another worker is made.
        start.catch(() => {});
        ready.push(start);
        worker.postMessage({ module, memory, control, kernels, thread, spins });
      }
      await within(Promise.all(ready));
      for (const worker of workers) worker.unref?.();
    } catch (error) {
      for (const worker of workers) worker.terminate();
      const reason = error instanceof Error ? error.message : String(error);
      throw new DeviceError(`wasm: no threads (${reason}); use threads: 1, which computes the same bits`);
    }
    return new Team(exports, control, kernels, workers, spins, trouble, stallMs);
  }

  /**
   * Runs all programs side by side, and returns when the last is done.
   * @throws DeviceError when a worker fails or makes no progress; the device is then of no more use
   */
  run(list: readonly (readonly Step[])[]): void {
    if (this.failure !== null) throw new DeviceError(this.failure);
    if (this.trouble.message !== null) this.fail(`wasm: a worker broke (${this.trouble.message}); make a new device`);
    const { words, values } = this;
    const programs = taken(list, this.threads);
    let size = 2 * programs.length;
    for (const steps of programs) for (const [, args] of steps) size += 2 + args.length;
    if (programs.length > MOST_PROGRAMS || size > VALUES) {
      throw new AtalhoError(`wasm: ${programs.length} programs of ${size} numbers are too many for a job`);
    }
    const job = (words[SEQUENCE] + 1) & 0xfffff;
    // Closed for a late worker of the last job, before anything that it might take for its own is written.
    Atomics.store(words, TICKET, (job << 12) | 0xfff);
    let at = programs.length;
    for (let i = 0; i < programs.length; i++) {
      values[i] = at;
      values[at++] = programs[i].length;
      for (const [kernel, args] of programs[i]) {
        values[at++] = this.kernels.get(kernel) as number;
        values[at++] = args.length;
        for (let j = 0; j < args.length; j++) values[at++] = args[j];
      }
    }
    words[PROGRAMS] = programs.length;
    words[DONE] = 0;
    Atomics.store(words, TICKET, job << 12);
    Atomics.add(words, SEQUENCE, 1);
    if (Atomics.load(words, SLEEPERS) > 0) Atomics.notify(words, SEQUENCE);

    let error: unknown;
    for (;;) {
      const program = Atomics.add(words, TICKET, 1) & 0xfff;
      if (program >= programs.length) break;
      try {
        for (const step of programs[program]) callKernel(this.exports, step);
      } catch (thrown) {
        error ??= thrown;
      }
      Atomics.add(words, DONE, 1);
    }
    this.wait(programs);
    if (error !== undefined) throw error;
    if (Atomics.load(words, FAILED) !== 0) this.fail(`wasm: a worker failed in ${names(programs)}; make a new device`);
  }

  private wait(programs: readonly (readonly Step[])[]): void {
    const { words } = this;
    const all = programs.length;
    for (let i = 0; i < this.spins; i++) if (Atomics.load(words, DONE) === all) return;
    let still = 0;
    for (let done = Atomics.load(words, DONE); done !== all; ) {
      Atomics.wait(words, DONE, done, LOOK_MS);
      const now = Atomics.load(words, DONE);
      still = now === done ? still + LOOK_MS : 0;
      done = now;
      if (still >= this.stallMs) {
        this.fail(
          `wasm: a worker died or stalled in ${names(programs)}: ${all - done} of ${all} parts did not come back for ` +
            `${this.stallMs / 1000} s; make a new device`,
        );
      }
    }
  }

  private fail(message: string): never {
    this.failure = message;
    this.stop();
    throw new DeviceError(message);
  }

  /** Ends the workers. */
  stop(): void {
    Atomics.store(this.words, STOP, 1);
    Atomics.add(this.words, SEQUENCE, 1);
    Atomics.notify(this.words, SEQUENCE);
    for (const worker of this.workers) worker.terminate();
  }
}
