/** One run folder, one training at a time: a file `lock` that names the process which holds it. */
import { randomUUID } from 'node:crypto';
import { closeSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { AtalhoError } from '../errors.js';
import { systemCode } from './errors.js';

/** A lock that is still empty after so long, in milliseconds, was being taken by a process that was killed. */
const EMPTY_AGE = 5_000;

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it runs, under another user.
    return systemCode(error) === 'EPERM';
  }
}

/** "PID HOST ID" */
function parseOwner(text: string): { pid: number; host: string } | null {
  const [, pid, host] = /^(\d+) (\S*) \S+\n$/.exec(text) ?? [];
  return pid === undefined ? null : { pid: Number(pid), host };
}

/** Whether nobody holds a lock with this content: its process has ended, on this host. */
function isStale(file: string, text: string): boolean {
  const owner = parseOwner(text);
  if (owner === null) {
    const stat = statSync(file, { throwIfNoEntry: false });
    return stat !== undefined && Date.now() - stat.mtimeMs > EMPTY_AGE;
  }
  // Our own number: a process that had it before, as the first one in each container has.
  return owner.host === hostname() && (owner.pid === process.pid || !isRunning(owner.pid));
}

function read(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
}

/** Takes a stale lock away, unless another process was faster and has put its own there. */
function removeStale(file: string, text: string): void {
  const aside = `${file}.${randomUUID()}`;
  try {
    renameSync(file, aside);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return;
    throw error;
  }
  if (read(aside) === text) rmSync(aside, { force: true });
  else renameSync(aside, file);
}

/**
 * Takes the lock of a run folder, which must exist.
 * @returns what gives it back
 * @throws AtalhoError when another process holds it; the file system's error when it cannot be written
 */
export function lockRun(folder: string): () => void {
  const file = join(folder, 'lock');
  const own = `${process.pid} ${hostname()} ${randomUUID()}\n`;
  for (;;) {
    try {
      const handle = openSync(file, 'wx');
      try {
        writeFileSync(handle, own);
      } catch (error) {
        rmSync(file, { force: true });
        throw error;
      } finally {
        closeSync(handle);
      }
      return () => {
        if (read(file) === own) rmSync(file, { force: true });
      };
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
    }
    const text = read(file);
    if (text === null) continue;
    if (isStale(file, text)) {
      removeStale(file, text);
      continue;
    }
    const owner = parseOwner(text);
    const who = owner === null ? 'another process' : `process ${owner.pid} on ${owner.host}`;
    throw new AtalhoError(
      `${folder} is being trained by ${who}; want it to end first (or, if it is not running, ${file} removed)`,
    );
  }
}
