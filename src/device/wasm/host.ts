/** What threads need of the host: workers, processors, and whether a thread may wait. */

/** What a host's worker must be able to do: Web Workers and Node's both are. */
export interface WorkerLike {
  postMessage(message: unknown): void;
  terminate(): unknown;
  /** Node: lets the process end while the worker waits. */
  unref?(): void;
  /** How it tells of an error: Node's way, or the web's. */
  on?(event: 'error', listener: (error: unknown) => void): unknown;
  addEventListener?(event: 'error', listener: (error: unknown) => void): unknown;
}

/** Starts the worker script at `url` as a module. */
export type CreateWorker = (url: URL) => WorkerLike | Promise<WorkerLike>;

/** True where this thread may block in `Atomics.wait`: everywhere but on a browser's main thread. */
export function mayWait(): boolean {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1, 0);
    return true;
  } catch {
    return false;
  }
}

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
export async function hostWorker(url: URL): Promise<WorkerLike> {
  if (typeof Worker !== 'undefined') return new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  const { Worker: NodeWorker } = await import('node:worker_threads');
  // Flags of the main thread, such as --input-type, are not for this script.
  return new NodeWorker(url, { execArgv: [] });
}
