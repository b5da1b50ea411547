/**
 * IDX: the file format of MNIST and its kin. A magic number that names the element type and the number of axes, the
 * extents as big-endian uint32, then the elements, big-endian.
 * @see http://yann.lecun.com/exdb/mnist/ (at the end of the page)
 */
import { FormatError } from '../errors.js';
import { formatShape } from '../shape.js';

interface ArrayOf {
  uint8: Uint8Array;
  int8: Int8Array;
  int16: Int16Array;
  int32: Int32Array;
  float32: Float32Array;
  float64: Float64Array;
}

/** The content of an IDX file, row-major. */
export type Idx = {
  [D in keyof ArrayOf]: { readonly dtype: D; readonly shape: readonly number[]; readonly data: ArrayOf[D] };
}[keyof ArrayOf];

interface Element {
  readonly dtype: keyof ArrayOf;
  readonly bytes: number;
  readonly array: new (buffer: ArrayBufferLike, offset: number, length: number) => ArrayOf[keyof ArrayOf];
}

/** By the third byte of the magic number. */
const ELEMENTS: ReadonlyMap<number, Element> = new Map<number, Element>([
  [0x08, { dtype: 'uint8', bytes: 1, array: Uint8Array }],
  [0x09, { dtype: 'int8', bytes: 1, array: Int8Array }],
  [0x0b, { dtype: 'int16', bytes: 2, array: Int16Array }],
  [0x0c, { dtype: 'int32', bytes: 4, array: Int32Array }],
  [0x0d, { dtype: 'float32', bytes: 4, array: Float32Array }],
  [0x0e, { dtype: 'float64', bytes: 8, array: Float64Array }],
]);

/**
 * Reads a whole IDX file. Bytes come as a view of `bytes`, wider elements as a copy in the machine's order.
 * @throws FormatError when the magic number, the extents and the length of the file do not agree exactly; nothing is
 *   allocated before they do.
 */
export function readIdx(bytes: Uint8Array): Idx {
  if (bytes.length < 4) throw new FormatError(`IDX: file has ${bytes.length} bytes; want at least 4`);
  const element = ELEMENTS.get(bytes[2]);
  if (bytes[0] !== 0 || bytes[1] !== 0 || !element) {
    const got = [...bytes.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    throw new FormatError(`IDX: magic number is ${got}; want 00 00, a type 08, 09 or 0b to 0e, and the number of axes`);
  }
  const rank = bytes[3];
  const header = 4 + 4 * rank;
  if (rank === 0) throw new FormatError('IDX: file has 0 axes; want at least 1');
  if (bytes.length < header) {
    throw new FormatError(`IDX: file has ${bytes.length} bytes; its ${rank} extents alone want ${header}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, header);
  const shape: number[] = [];
  let want = element.bytes;
  for (let i = 0; i < rank; i++) {
    const extent = view.getUint32(4 + 4 * i);
    shape.push(extent);
    want *= extent;
  }
  // A product too large to be exact, or infinite, or infinity times 0, cannot equal the length.
  if (want !== bytes.length - header) {
    const what = want < bytes.length - header ? 'trailing bytes' : 'truncated';
    throw new FormatError(
      `IDX: ${element.dtype} of shape ${formatShape(shape.slice(0, 8))} wants ${want} bytes after the header; ` +
        `got ${bytes.length - header}: ${what}`,
    );
  }
  const count = want / element.bytes;
  if (element.bytes === 1) {
    const data = new element.array(bytes.buffer, bytes.byteOffset + header, count);
    return { dtype: element.dtype, shape, data } as Idx;
  }
  // Bytes are swapped, not numbers converted, so that every NaN keeps its bits.
  const swapped = new Uint8Array(bytes.subarray(header));
  for (let i = 0; i < swapped.length; i += element.bytes) swapped.subarray(i, i + element.bytes).reverse();
  return { dtype: element.dtype, shape, data: new element.array(swapped.buffer, 0, count) } as Idx;
}
