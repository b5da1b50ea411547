/** What threads need of the host: workers, processors, a clock. */
import type { HostUrl } from '../../hostTypes.js';
import type { WorkerLike } from './team.js';

/** Starts the worker script at `url` as a module. */
export type CreateWorker = (url: HostUrl) => WorkerLike | Promise<WorkerLike>;

/** Node's own modules, by names that bundlers for browsers do not look up, and so do not miss. */
const NODE: Readonly<Record<'os' | 'threads', string>> = { os: 'node:os', threads: 'node:worker_threads' };

const START_MS = 10_000;

/** Processors that this process may use; 1 where the host does not tell. */
export async function processors(): Promise<number> {
  const told = globalThis.navigator?.hardwareConcurrency;
  if (told !== undefined) return told;
  try {
    const os: typeof import('node:os') = await import(/* @vite-ignore */ NODE.os);
    return os.availableParallelism();
  } catch {
    return 1;
  }
}

/** A worker of this host on the script of this package. */
export async function hostWorker(url: HostUrl): Promise<WorkerLike> {
  // Spelled out once more: it is by this expression that bundlers find the script.
  if (typeof Worker !== 'undefined') return new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  const threads: typeof import('node:worker_threads') = await import(/* @vite-ignore */ NODE.threads);
  // Flags of the main thread, such as --input-type, are not for this script.
  return new threads.Worker(url, { execArgv: [] });
}

/** `work`, unless it takes longer than workers may take to start. */
export async function within<T>(work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not started after ${START_MS / 1000} s`)), START_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
