/**
 * Files that are either the old ones or the new ones, whole, whatever moment the process is killed at. Node only.
 */
import { randomUUID } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** `.NAME.UUID.tmp`: unique among all processes, on all machines that share a disk. */
const TEMPORARY = /^\..+\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp$/;

function syncFolder(folder: string): void {
  // Windows opens no folders; its rename is durable once the volume's log is.
  if (process.platform === 'win32') return;
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/**
 * Replaces the file at `path`: writes a temporary file beside it, flushes it to the disk, renames it over `path` and
 * flushes the folder. Synchronous, so nothing can change `content` meanwhile. The folder must exist.
 * @throws the file system's error (`code` 'ENOSPC', 'EACCES', ...); `path` is then as it was and the temporary file
 *   is gone.
 */
export function writeFileAtomic(path: string, content: Uint8Array | string): void {
  const folder = dirname(path);
  const temporary = join(folder, `.${basename(path)}.${randomUUID()}.tmp`);
  const handle = openSync(temporary, 'wx');
  try {
    try {
      writeFileSync(handle, content);
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncFolder(folder);
}

/**
 * Removes the temporary files in `folder` that nothing was written to for `idleMs`, and returns their names. Where
 * others may be writing it must be longer than any write pauses; under a lock 0 will do. A folder that does not exist
 * has none.
 */
export function removeLeftovers(folder: string, idleMs: number): string[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
  const old = (name: string): boolean => {
    const stat = statSync(join(folder, name), { throwIfNoEntry: false });
    return stat !== undefined && Date.now() - stat.mtimeMs >= idleMs;
  };
  const removed = names.filter((name) => TEMPORARY.test(name) && (idleMs === 0 || old(name)));
  for (const name of removed) rmSync(join(folder, name), { force: true });
  return removed;
}
