/** Byte order: files and WebAssembly's memory store the lowest byte of a number first, and nearly every machine does so too. */

/** Whether this machine stores the highest byte first. */
export const BIG_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 0;

/** Brings numbers of `size` bytes each from a file's byte order to the machine's, or back, in place. */
export function fileOrder(bytes: Uint8Array, size: number): void {
  if (BIG_ENDIAN) for (let i = 0; i < bytes.length; i += size) bytes.subarray(i, i + size).reverse();
}
