/**
 * Who prepares the batches: this thread, when one is asked for, or a worker, ahead of use. A training step blocks
 * this thread for seconds, so only another thread can work ahead.
 */
import { AtalhoError } from '../errors.js';
import type { WorkerInput } from './batchWorker.js';
import { BatchMaker, type Recipe } from './prepare.js';

/**
 * Who prepares batches: `'worker'`, a thread ahead of use; `'inline'`, the caller's, when one is asked for; `'auto'`, a worker where
 * there can be one.
 */
export type Prefetch = 'auto' | 'worker' | 'inline';

export interface Preparer {
  /** Asks for a batch; `next` gives the batches in the order asked for. */
  request(indices: Int32Array): void;
  next(): Promise<Float32Array>;
  /** One element, the number of batches made so far; a worker counts up even while this thread is blocked. */
  readonly made: Int32Array;
  close(): Promise<void>;
}

function inlinePreparer(images: Uint8Array, recipe: Recipe): Preparer {
  const maker = new BatchMaker(images, recipe);
  const queue: Int32Array[] = [];
  const made = new Int32Array(1);
  return {
    made,
    request: (indices) => queue.push(indices),
    async next() {
      const indices = queue.shift();
      if (!indices) throw new AtalhoError('batches: next without a request');
      made[0]++;
      return maker.make(indices);
    },
    async close() {},
  };
}

/** Each data set is copied to shared memory once, not once an epoch. */
const shared = new WeakMap<Uint8Array, SharedArrayBuffer>();

function share(images: Uint8Array): SharedArrayBuffer {
  let memory = shared.get(images);
  if (!memory) {
    memory = new SharedArrayBuffer(images.length);
    new Uint8Array(memory).set(images);
    shared.set(images, memory);
  }
  return memory;
}

async function workerPreparer(images: Uint8Array, recipe: Recipe, script: URL): Promise<Preparer> {
  const { Worker } = await import('node:worker_threads');
  const made = new SharedArrayBuffer(4);
  const input: WorkerInput = { images: share(images), recipe, made };
  // Without the flags of this process, which may suit only its own main file (--input-type, --import).
  const worker = new Worker(script, { workerData: input, execArgv: [] });
  // It must not keep the process alive, except while someone waits for it (see `next`).
  worker.unref();

  const ready: Float32Array[] = [];
  let waiting: { resolve(batch: Float32Array): void; reject(error: Error): void } | null = null;
  let failure: Error | null = null;
  const fail = (error: Error): void => {
    failure ??= error;
    waiting?.reject(failure);
    waiting = null;
  };
  worker.on('message', (batch: Float32Array) => {
    if (waiting) waiting.resolve(batch);
    else ready.push(batch);
    waiting = null;
  });
  worker.on('messageerror', (error) => fail(new AtalhoError(`batches: worker's answer is lost: ${error}`)));
  worker.on('error', (error) => fail(new AtalhoError(`batches: worker failed: ${error}`, { cause: error })));
  worker.on('exit', (code) => fail(new AtalhoError(`batches: worker ended early with exit code ${code}`)));
  return {
    made: new Int32Array(made),
    request: (indices) => worker.postMessage(indices),
    async next() {
      const batch = ready.shift();
      if (batch) return batch;
      if (failure) throw failure;
      worker.ref();
      try {
        return await new Promise<Float32Array>((resolve, reject) => {
          waiting = { resolve, reject };
        });
      } finally {
        worker.unref();
      }
    },
    async close() {
      await worker.terminate();
    },
  };
}

/** The worker's file, where this engine can start it: in Node, from the built package. Else why not. */
async function findWorker(): Promise<URL | string> {
  if (typeof process === 'undefined' || !process.versions?.node) return 'this engine has no node:worker_threads';
  const { existsSync } = await import('node:fs');
  const script = new URL('./batchWorker.js', import.meta.url);
  return script.protocol === 'file:' && existsSync(script) ? script : `there is no file ${script}`;
}

/**
 * @throws AtalhoError for 'worker' where no worker can be started; 'auto' then works inline.
 */
export async function startPreparer(images: Uint8Array, recipe: Recipe, prefetch: Prefetch): Promise<Preparer> {
  if (prefetch === 'inline') return inlinePreparer(images, recipe);
  const script = await findWorker();
  if (typeof script !== 'string') return workerPreparer(images, recipe, script);
  if (prefetch === 'worker')
    throw new AtalhoError(`batches: prefetch is 'worker', but ${script}; want 'auto' or 'inline'`);
  return inlinePreparer(images, recipe);
}
