/**
 * The threads of the WASM device. A job is a list of programs, each some calls of kernels one after the other, which write to
 * different places; the thread that owns the device and its workers take them one by one from a shared counter. Jobs run in their
 * order, each when those before it are done, while the owner prepares what comes next: it computes when it hands out another job, and
 * when it waits. Jobs that nobody needs soon may run beside the others, and fill what these leave at their ends. Splitting never cuts a
 * sum, so the bits do not depend on who computes what.
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

// The words of the control block, then those of each slot, a line of the cache each; the same as in worker.js. MAIN and BESIDE count
// the jobs of either kind that are done, which each kind is in its order; DOINGS, all that were ever done, is what is waited for.
const [PUBLISHED, DOINGS, MAIN, BESIDE, FAILED, STOP, SLEEPERS] = [0, 1, 2, 3, 4, 5, 6];
// KIND and NUMBER: what to set when the job is done.
const [TICKET, DONE, PROGRAMS, AFTER_MAIN, AFTER_BESIDE, KIND, NUMBER] = [0, 1, 2, 3, 4, 5, 6];
/** Jobs that are not done, at most. */
export const SLOTS = 8;
const LINE = 16;
const HEADER_BYTES = 4 * LINE * (1 + SLOTS);
/** Numbers that a job may take. */
const VALUES = 65536;
/** Steps, and programs, of a job; of at most 12 numbers each. */
export const MOST_STEPS = 4000;
/** A ticket has 12 bits for the program. */
const MOST_PROGRAMS = 4094;
const [PROGRAM_MASK, JOB_BITS] = [0xfff, 12];

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
  private readonly values: readonly Float64Array[];
  private readonly kernels: Map<string, number>;
  /** The programs in each slot. */
  private readonly jobs: (readonly (readonly Step[])[])[] = [];
  /** Jobs handed out. Numbers of jobs wrap around, and only their differences tell. */
  published = 0;
  /** The first job that may have a program left for this thread. */
  private next = 0;
  /** How many of them are of either kind. */
  main = 0;
  beside = 0;
  /** How many of those beside the next job needs. */
  private joined = 0;
  /** Whether this thread is in a program: still so afterwards where a host ended it there, which no `catch` is told. */
  private running = false;
  private failure: string | null = null;
  private thrown: { error: unknown } | null = null;

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
    this.values = Array.from(
      { length: SLOTS },
      (_, i) => new Float64Array(control, HEADER_BYTES + 8 * VALUES * i, VALUES),
    );
    this.kernels = new Map(names.map((name, i) => [name, i]));
  }

  get threads(): number {
    return this.workers.length + 1;
  }

  /**
   * True when all jobs are done.
   * @throws DeviceError when a worker failed; the device is then of no more use
   */
  get idle(): boolean {
    const done = this.reached(MAIN, this.main) && this.besideDone(this.beside);
    // Only now: a worker says that it failed before it counts its part as done.
    this.check();
    return done;
  }

  /** Whether so many jobs beside the main order are done. */
  besideDone(jobs: number): boolean {
    return this.reached(BESIDE, jobs);
  }

  private reached(kind: number, jobs: number): boolean {
    return ((Atomics.load(this.words, kind) - jobs) | 0) >= 0;
  }

  /**
   * Starts `threads` − 1 workers on `module` and `memory`.
   * @throws DeviceError when they do not start
   */
  static async start(o: TeamOptions): Promise<Team> {
    const { threads, module, memory, exports, createWorker, spins, within = (work) => work, stallMs = STALL_MS } = o;
    const control = new SharedArrayBuffer(HEADER_BYTES + 8 * VALUES * SLOTS);
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
   * Waits until there is a slot for one more job, and says which.
   * @throws DeviceError when a worker failed or makes no progress; the device is then of no more use
   */
  open(): number {
    const slot = this.published & (SLOTS - 1);
    const line = LINE * (1 + slot);
    this.until(() => Atomics.load(this.words, line + DONE) === this.words[line + PROGRAMS]);
    return slot;
  }

  /**
   * Hands out programs, for when all jobs of the main order are done; what they need must stay until they are. `after`: they run beside
   * that order, when so many of its jobs are done, and all beside it.
   * @throws DeviceError when a worker failed or makes no progress; the device is then of no more use
   */
  run(list: readonly (readonly Step[])[], after?: number): void {
    const { words } = this;
    const programs = taken(list, this.threads);
    let size = 2 * programs.length;
    for (const steps of programs) for (const [, args] of steps) size += 2 + args.length;
    if (programs.length > MOST_PROGRAMS || size > VALUES) {
      throw new AtalhoError(`wasm: ${programs.length} programs, ${size} numbers: too many for a job`);
    }
    const slot = this.open();
    const job = this.published;
    const line = LINE * (1 + slot);
    const ticket = job << JOB_BITS;
    // Closed for a late worker of the slot's last job, before anything that it might take for its own is written.
    Atomics.store(words, line + TICKET, ticket | PROGRAM_MASK);
    const values = this.values[slot];
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
    // In this order for such a worker, too, which looks at both.
    Atomics.store(words, line + PROGRAMS, programs.length);
    words[line + DONE] = 0;
    words[line + AFTER_MAIN] = after ?? this.main;
    words[line + AFTER_BESIDE] = after === undefined ? this.joined : this.beside;
    if (after === undefined) this.main = (this.main + 1) | 0;
    else this.beside = (this.beside + 1) | 0;
    words[line + KIND] = after === undefined ? MAIN : BESIDE;
    words[line + NUMBER] = after === undefined ? this.main : this.beside;
    this.jobs[slot] = programs;
    Atomics.store(words, line + TICKET, ticket);
    this.published = (job + 1) | 0;
    Atomics.store(words, PUBLISHED, this.published);
    if (Atomics.load(words, SLEEPERS) > 0) Atomics.notify(words, PUBLISHED);
    // The jobs before: this one keeps the workers busy while the next is prepared.
    this.help(job);
  }

  /** The next job needs those beside the main order, too. */
  join(): void {
    this.joined = this.beside;
  }

  /**
   * Returns when all jobs are done.
   * @throws DeviceError when a worker failed or makes no progress; the device is then of no more use
   */
  settle(): void {
    this.until(() => this.idle);
  }

  /** Computes, and waits where there is nothing to compute, until what other threads do makes it so. */
  private until(done: () => boolean): void {
    for (;;) {
      const doings = Atomics.load(this.words, DOINGS);
      const over = done();
      this.check();
      if (over) break;
      if (!this.help(this.published)) this.wait(doings);
    }
  }

  /** Takes programs of the jobs before `end` as long as one may run; whether there was any. */
  private help(end: number): boolean {
    const { words } = this;
    let any = false;
    while (this.next !== end) {
      const slot = this.next & (SLOTS - 1);
      const line = LINE * (1 + slot);
      const ticket = Atomics.load(words, line + TICKET);
      const program = ticket & PROGRAM_MASK;
      const programs = Atomics.load(words, line + PROGRAMS);
      // A slot is taken again only when its job is done.
      if (ticket >>> JOB_BITS !== (this.next << JOB_BITS) >>> JOB_BITS || program >= programs) {
        this.next = (this.next + 1) | 0;
        continue;
      }
      if (!this.reached(MAIN, words[line + AFTER_MAIN]) || !this.reached(BESIDE, words[line + AFTER_BESIDE])) break;
      if (Atomics.compareExchange(words, line + TICKET, ticket, ticket + 1) !== ticket) continue;
      this.running = true;
      try {
        for (const step of this.jobs[slot][program]) callKernel(this.exports, step);
      } catch (error) {
        this.thrown ??= { error };
      }
      this.running = false;
      any = true;
      const [kind, number] = [words[line + KIND], words[line + NUMBER]];
      if (Atomics.add(words, line + DONE, 1) + 1 === programs) {
        Atomics.store(words, kind, number);
        Atomics.add(words, DOINGS, 1);
        Atomics.notify(words, DOINGS);
      }
    }
    return any;
  }

  /** Waits until one more job is done than `doings`. */
  private wait(doings: number): void {
    const { words } = this;
    for (let i = 0; i < this.spins; i++) if (Atomics.load(words, DOINGS) !== doings) return;
    let still = 0;
    let seen = '';
    while (Atomics.wait(words, DOINGS, doings, LOOK_MS) === 'timed-out') {
      const left = this.jobs.map(({ length }, slot) => length - Atomics.load(words, LINE * (1 + slot) + DONE));
      still = seen === `${left}` ? still + LOOK_MS : 0;
      seen = `${left}`;
      if (still < this.stallMs) continue;
      // The oldest that is not done; the last, where a worker came no further than to say which job it ended.
      let job = this.published;
      for (const last = job + SLOTS - 1; job < last && !left[job & (SLOTS - 1)]; ) job++;
      const programs = this.jobs[job & (SLOTS - 1)];
      this.fail(
        `a worker died or stalled in ${names(programs)}: ${left[job & (SLOTS - 1)]} of ${programs.length} parts did not come back ` +
          `for ${this.stallMs / 1000} s`,
      );
    }
  }

  /** Throws what went wrong. */
  private check(): void {
    if (this.failure !== null) throw new DeviceError(this.failure);
    if (this.running) this.fail('a kernel was stopped halfway');
    if (this.trouble.message !== null) this.fail(`a worker broke (${this.trouble.message})`);
    const failed = Atomics.load(this.words, FAILED);
    if (failed !== 0) this.fail(`a worker failed in ${names(this.jobs[failed - 1])}`);
    const { thrown } = this;
    this.thrown = null;
    if (thrown !== null) throw thrown.error;
  }

  private fail(why: string): never {
    this.failure = `wasm: ${why}; make a new device`;
    this.stop();
    throw new DeviceError(this.failure);
  }

  /** Ends the workers. */
  stop(): void {
    Atomics.store(this.words, STOP, 1);
    Atomics.add(this.words, PUBLISHED, 1);
    Atomics.notify(this.words, PUBLISHED);
    Atomics.add(this.words, DOINGS, 1);
    Atomics.notify(this.words, DOINGS);
    for (const worker of this.workers) worker.terminate();
  }
}
