/** What threads need of the host: workers, processors, a clock. */
import type { HostUrl } from '../../hostTypes.js';
import type { WorkerLike } from './team.js';

/** Starts the worker script at `url` as a module. */
export type CreateWorker = (url: HostUrl) => WorkerLike | Promise<WorkerLike>;

const START_MS = 10_000;

/** Processors that this process may use; 1 where the host does not tell. */
export async function processors(): Promise<number> {
  const told = globalThis.navigator?.hardwareConcurrency;
  if (told !== undefined) return told;
  try {
    return (await import('node:os')).availableParallelism();
  } catch {
    return 1;
  }
}

/** A worker of this host on the script of this package. */
export async function hostWorker(url: HostUrl): Promise<WorkerLike> {
  if (typeof Worker !== 'undefined') return new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  const { Worker: NodeWorker } = await import('node:worker_threads');
  // Flags of the main thread, such as --input-type, are not for this script.
  return new NodeWorker(url, { execArgv: [] });
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
