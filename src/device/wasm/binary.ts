/** The bytes of a compiled binary. */
import { DeviceError } from '../../errors.js';

const IMPORT_SECTION = 2;
const MEMORY_IMPORT = 2;
const SHARED_FLAG = 2;

/** The bytes that pairs of hexadecimal digits say. */
export function decodeHex(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

/**
 * The same binary for a shared memory: the flag of its only import's limits is all that differs.
 * https://webassembly.github.io/spec/core/binary/types.html#limits, and the threads proposal's bit 1
 */
export function forSharedMemory(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const shared = bytes.slice();
  let at = 8;
  const number = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = shared[at++];
      value |= (byte & 0x7f) << shift;
      // Past the end too; and never backwards, whatever bytes these are.
      if (!(byte >= 0x80)) return value >>> 0;
    }
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
