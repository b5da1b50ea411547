/** Reading a file whose size nobody has vouched for. Node only. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { FormatError } from '../errors.js';

/** One call reads less than 2 GiB. */
const MAX_CHUNK = 2 ** 30;

/**
 * The content of a regular file of at most `maxBytes`. Nothing is read, and nothing waited for, before that is known:
 * pipes, devices and folders are refused.
 * @throws FormatError when it is no regular file or too large; the file system's error when it cannot be read
 */
export function readFileBounded(path: string, maxBytes: number): Uint8Array<ArrayBuffer> {
  // Without O_NONBLOCK (which Windows lacks) opening a pipe waits for its writer.
  const handle = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    const stat = fstatSync(handle);
    if (!stat.isFile()) throw new FormatError(`${path}: is no regular file; want one`);
    if (stat.size > maxBytes) throw new FormatError(`${path}: has ${stat.size} bytes; want at most ${maxBytes}`);
    const bytes = new Uint8Array(stat.size);
    let at = 0;
    while (at < bytes.length) {
      const count = readSync(handle, bytes, at, Math.min(bytes.length - at, MAX_CHUNK), at);
      // Cut shorter by someone since.
      if (count === 0) return bytes.slice(0, at);
      at += count;
    }
    return bytes;
  } finally {
    closeSync(handle);
  }
}
