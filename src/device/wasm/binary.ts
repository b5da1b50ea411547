/** The bytes of a compiled binary. */
import { DeviceError } from '../../errors.js';

const IMPORT_SECTION = 2;
const MEMORY_IMPORT = 2;
const SHARED_FLAG = 2;

/**
 * The bytes of a binary as scripts/build-wasm.mjs writes them: characters from # to ~, with ! for \ and a space for -, are digits from
 * 0 to 91. Digits below 90 are a byte + 3 each; the last two begin a pair, for those that are larger.
 */
export function decodeBinary(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  let count = 0;
  let at = 0;
  const digit = (): number => {
    const code = text.charCodeAt(at++);
    return (code === 33 ? 92 : code === 32 ? 45 : code) - 35;
  };
  while (at < text.length) {
    const first = digit();
    bytes[count++] = (first < 90 ? first : 90 + 92 * (first - 90) + digit()) - 3;
  }
  return bytes.slice(0, count);
}

/**
 * The same binary for a shared memory: the flag of its only import's limits is all that differs.
 * https://webassembly.github.io/spec/core/binary/types.html#limits, and the threads proposal's bit 1
 */
export function forSharedMemory(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const shared = bytes.slice();
  let at = 8;
  // Ends, and never leads back, whatever the bytes: they may be a caller's.
  const number = (): number => {
    let value = 0;
    for (let shift = 0; at < shared.length; shift += 7) {
      const byte = shared[at++];
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return value >>> 0;
  };
  while (at < shared.length) {
    const section = shared[at++];
    const end = number() + at;
    if (section === IMPORT_SECTION) {
      // One import, the memory: its two names, its kind, the flags.
      number();
      for (let names = 0; names < 2; names++) {
        const length = number();
        at += length;
      }
      if (shared[at++] === MEMORY_IMPORT) {
        shared[at] |= SHARED_FLAG;
        return shared;
      }
    }
    at = end;
  }
  throw new DeviceError('wasm: the binary imports no memory');
}
