/** Errors as a person at a terminal wants them: one line. */
import { AtalhoError } from '../errors.js';

const REASONS: ReadonlyMap<string, string> = new Map([
  ['ENOSPC', 'no space left on the disk'],
  ['EDQUOT', 'your disk quota is used up'],
  ['EACCES', 'permission denied'],
  ['EPERM', 'permission denied'],
  ['EROFS', 'the file system is read-only'],
  ['ENOENT', 'no such file or folder'],
  ['ENOTDIR', 'a part of the path is not a folder'],
  ['EISDIR', 'it is a folder'],
  ['EEXIST', 'it exists already'],
  ['EMFILE', 'too many open files'],
  ['EIO', 'the disk reports an input/output error'],
]);

/** The code of a file system's error, such as 'ENOSPC'; null for any other. */
export function systemCode(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;
}

function reasonOf(error: unknown, code: string): string {
  return `${REASONS.get(code) ?? (error instanceof Error ? error.message : '')} (${code})`;
}

/**
 * Runs `fn`; a file system's error becomes an AtalhoError "cannot ACTION: REASON".
 * @param advice what to do about it or how things stand then, added as a sentence of its own
 */
export function attempt<T>(action: string, fn: () => T, advice: () => string = () => ''): T {
  try {
    return fn();
  } catch (error) {
    const code = systemCode(error);
    if (code === null || error instanceof AtalhoError) throw error;
    const more = advice();
    throw new AtalhoError(`cannot ${action}: ${reasonOf(error, code)}${more && `; ${more}`}`, { cause: error });
  }
}

/** What the command prints of an error: a line, or for what can only be a bug of ours, everything. */
export function describeError(error: unknown): string {
  if (error instanceof AtalhoError) return error.message;
  const code = systemCode(error);
  if (code !== null && error instanceof Error && 'syscall' in error) {
    const path = 'path' in error ? ` ${String(error.path)}` : '';
    return `${String(error.syscall)}${path}: ${reasonOf(error, code)}`;
  }
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
