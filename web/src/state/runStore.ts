/** Saved runs: what is told of a run, and its checkpoint, written together, so that one never speaks of another. */
import type { RunRecord } from '../work/messages.js';

const NAME = 'atalho';

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

let opened: Promise<IDBDatabase> | null = null;
/** Opened once, and again after a failure or when the browser has closed it, as when its data are cleared. */
function open(): Promise<IDBDatabase> {
  const forget = (): void => {
    opened = null;
  };
  if (opened === null) {
    opened = new Promise((resolve, reject) => {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore('runs', { keyPath: 'id' });
        request.result.createObjectStore('checkpoints');
      };
      request.onsuccess = () => {
        request.result.onclose = forget;
        resolve(request.result);
      };
      request.onerror = () => reject(request.error);
    });
    opened.catch(forget);
  }
  return opened;
}

async function within<T>(
  mode: IDBTransactionMode,
  work: (runs: IDBObjectStore, checkpoints: IDBObjectStore) => Promise<T>,
): Promise<T> {
  const transaction = (await open()).transaction(['runs', 'checkpoints'], mode);
  const ended = new Promise<void>((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error('the browser gave up the transaction'));
  });
  // Where the work itself fails, that is what the caller hears of.
  ended.catch(() => {});
  const result = await work(transaction.objectStore('runs'), transaction.objectStore('checkpoints'));
  await ended;
  return result;
}

/** The newest first. */
export async function listRuns(): Promise<RunRecord[]> {
  const all = await within('readonly', (runs) => done(runs.getAll() as IDBRequest<RunRecord[]>));
  return all.sort((a, b) => b.created - a.created);
}

export async function loadRun(id: string): Promise<{ record: RunRecord; checkpoint: Uint8Array } | null> {
  const found = await within('readonly', async (runs, checkpoints) => {
    const record = await done(runs.get(id) as IDBRequest<RunRecord | undefined>);
    const checkpoint = await done(checkpoints.get(id) as IDBRequest<Blob | undefined>);
    return record && checkpoint ? { record, checkpoint } : null;
  });
  return found && { ...found, checkpoint: new Uint8Array(await found.checkpoint.arrayBuffer()) };
}

/** The checkpoint as a Blob: an array of more than some 127 MB is refused. */
export function saveRun(record: RunRecord, checkpoint: Uint8Array<ArrayBuffer>): Promise<void> {
  return within('readwrite', async (runs, checkpoints) => {
    await Promise.all([done(runs.put(record)), done(checkpoints.put(new Blob([checkpoint]), record.id))]);
  });
}

export function deleteRun(id: string): Promise<void> {
  return within('readwrite', async (runs, checkpoints) => {
    await Promise.all([done(runs.delete(id)), done(checkpoints.delete(id))]);
  });
}
