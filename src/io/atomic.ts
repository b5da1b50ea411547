/**
 * Files that are either the old ones or the new ones, whole, whatever moment the process is killed at. Node only.
 */
import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** `.NAME.PID.NUMBER.tmp` */
const TEMPORARY = /^\..+\.(\d+)\.\d+\.tmp$/;

let written = 0;

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
  const temporary = join(folder, `.${basename(path)}.${process.pid}.${written++}.tmp`);
  // A killed process that had our number may have left one.
  rmSync(temporary, { force: true });
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

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it runs, under another user.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/**
 * Removes the temporary files that killed processes left in `folder`, and returns their names. Those of other
 * processes that still run are left alone. A folder that does not exist has none.
 */
export function removeLeftovers(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
  const removed: string[] = [];
  for (const name of names) {
    const pid = Number(TEMPORARY.exec(name)?.[1]);
    // Our own number is not in use by a write: those are synchronous. A container gives every run the same number.
    if (!(pid > 0) || (pid !== process.pid && isRunning(pid))) continue;
    rmSync(join(folder, name), { force: true });
    removed.push(name);
  }
  return removed;
}
