/** UTF-8 by what the language itself has: TextDecoder and TextEncoder are the host's, and not every host has them. */

/** Bytes that are decoded at a time; the escaped text of each takes three times as much. */
const CHUNK = 8192;
const PERCENT = 0x25;

const escaped = (byte: number): string => `%${byte < 16 ? '0' : ''}${byte.toString(16)}`;

/**
 * The text of UTF-8 bytes, a byte order mark included.
 * @throws URIError when they are not well-formed: `decodeURIComponent` takes what the standard takes
 * @see https://tc39.es/ecma262/#sec-decode
 */
export function decodeUtf8(bytes: Uint8Array): string {
  let text = '';
  for (let start = 0; start < bytes.length; ) {
    let end = Math.min(start + CHUNK, bytes.length);
    // Not between the bytes of a character, of which at most three continue it.
    for (let back = 0; back < 3 && end < bytes.length && (bytes[end] & 0xc0) === 0x80; back++) end--;
    let chunk = '';
    for (let i = start; i < end; i++) {
      const byte = bytes[i];
      chunk += byte < 0x80 && byte !== PERCENT ? String.fromCharCode(byte) : escaped(byte);
    }
    text += decodeURIComponent(chunk);
    start = end;
  }
  return text;
}

/**
 * The UTF-8 bytes of a text.
 * @throws URIError when it has half a surrogate pair
 */
export function encodeUtf8(text: string): Uint8Array<ArrayBuffer> {
  const escapes = encodeURIComponent(text);
  const bytes = new Uint8Array(escapes.length);
  let size = 0;
  for (let i = 0; i < escapes.length; i++) {
    const code = escapes.charCodeAt(i);
    if (code === PERCENT) {
      bytes[size++] = Number.parseInt(escapes.slice(i + 1, i + 3), 16);
      i += 2;
    } else bytes[size++] = code;
  }
  return bytes.slice(0, size);
}
