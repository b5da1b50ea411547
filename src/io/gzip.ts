/**
 * gunzip with a bound on what comes out, on the Compression Streams that Node and browsers share.
 * @see https://compression.spec.whatwg.org/
 */
import { joinBytes, unshared } from '../bytes.js';
import { FormatError } from '../errors.js';

export interface GunzipOptions {
  /** Most bytes that may come out. More is an error, found before they are all there. */
  maxBytes: number;
}

/**
 * Decompresses one gzip member that takes up the whole of `bytes`.
 * @throws FormatError for what is no gzip, is damaged (checksum and length are checked), cut off, followed by other
 *   bytes or a second member, or decompresses to more than `maxBytes`.
 */
export async function gunzip(bytes: Uint8Array, { maxBytes }: GunzipOptions): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new DecompressionStream('gzip');
  const writer = stream.writable.getWriter();
  // What goes wrong with the writing comes out of the reading too; here it must only not go unhandled.
  const writing = writer.write(unshared(bytes)).then(() => writer.close());
  writing.catch(() => {});
  writer.closed.catch(() => {});

  const reader = stream.readable.getReader();
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      if (size > maxBytes) {
        reader.cancel().catch(() => {});
        throw new FormatError(`gzip: content is larger than the ${maxBytes} bytes allowed`);
      }
      chunks.push(value);
    }
    await writing;
  } catch (error) {
    if (error instanceof FormatError) throw error;
    throw new FormatError(`gzip: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }

  // Some engines pass over zeros or a further member after the end; then the last four bytes are not the length.
  const trailer = new DataView(bytes.buffer, bytes.byteOffset + bytes.length - 4, 4).getUint32(0, true);
  if (trailer !== size % 2 ** 32) {
    throw new FormatError(`gzip: file does not end with the length of its content, ${size}: bytes follow the end`);
  }
  return joinBytes(chunks);
}
