/**
 * safetensors: named tensors in one file; an 8-byte header length, a JSON header, the bytes. Little-endian, as the
 * typed arrays of every engine that runs WebAssembly are.
 * @see https://github.com/huggingface/safetensors#format
 */
import { BIG_ENDIAN, fileOrder } from '../endian.js';
import { ArgumentError, FormatError, reading, show } from '../errors.js';
import { hasLateData } from '../lateData.js';
import { formatShape, type Shape } from '../shape.js';
import { decodeUtf8, encodeUtf8 } from '../utf8.js';
import { bfloatReader, bfloatWriter, halfToFloat, halfWriter } from './half.js';
import { parseHeader, showName, type TensorInfo } from './safetensorsHeader.js';

/** Longest header that the format allows, in bytes. */
const MAX_HEADER = 100_000_000;

/** The array that holds each dtype in memory. F16 and BF16 are widened to float32; BOOL is one byte, 0 or 1. */
interface ArrayOf {
  BOOL: Uint8Array;
  U8: Uint8Array;
  I8: Int8Array;
  I16: Int16Array;
  U16: Uint16Array;
  F16: Float32Array;
  BF16: Float32Array;
  I32: Int32Array;
  U32: Uint32Array;
  F32: Float32Array;
  F64: Float64Array;
  I64: BigInt64Array;
  U64: BigUint64Array;
}

/** The dtypes that are read and written, under the names of the format. */
export type SafetensorsDtype = keyof ArrayOf;
/** Elements of a tensor of a file: one kind of array for each dtype. */
export type SafetensorsData = ArrayOf[SafetensorsDtype];

/** One tensor of a file, row-major; `dtype` as the file says. */
export type SafetensorsEntry = {
  [D in SafetensorsDtype]: { readonly dtype: D; readonly shape: readonly number[]; readonly data: ArrayOf[D] };
}[SafetensorsDtype];

/** What `readSafetensors` gives: the tensors by name, in the header's order, and the file's own strings. */
export type Safetensors = Map<string, SafetensorsEntry> & {
  /** `__metadata__`, empty when the file has none. It has no prototype. */
  readonly metadata: Readonly<Record<string, string>>;
};

/** What can be written: an array, with a dtype unless the array's type says it, or a tensor that the CPU sees. */
export type SafetensorsInput =
  | { readonly dtype?: SafetensorsDtype; readonly shape: Shape; readonly data: SafetensorsData }
  | {
      readonly shape: Shape;
      /** Its elements, as `Tensor.dataSync` gives them. */
      dataSync(): SafetensorsData;
    };

interface Codec {
  /** Bytes an element takes in the file. */
  readonly bytes: number;
  readonly array: new (buffer: ArrayBufferLike, offset: number, length: number) => SafetensorsData;
  /** For dtypes that no typed array holds: make what turns 16 bits into a float32, and back. */
  readonly widen?: () => (bits: number) => number;
  readonly narrow?: () => (value: number) => number;
}

/** Largest alignment last: the writer goes from the end, so that every tensor is aligned. */
const CODECS: ReadonlyMap<string, Codec> = new Map<SafetensorsDtype, Codec>([
  ['BOOL', { bytes: 1, array: Uint8Array }],
  ['U8', { bytes: 1, array: Uint8Array }],
  ['I8', { bytes: 1, array: Int8Array }],
  ['I16', { bytes: 2, array: Int16Array }],
  ['U16', { bytes: 2, array: Uint16Array }],
  ['F16', { bytes: 2, array: Float32Array, widen: () => halfToFloat, narrow: halfWriter }],
  ['BF16', { bytes: 2, array: Float32Array, widen: bfloatReader, narrow: bfloatWriter }],
  ['I32', { bytes: 4, array: Int32Array }],
  ['U32', { bytes: 4, array: Uint32Array }],
  ['F32', { bytes: 4, array: Float32Array }],
  ['F64', { bytes: 8, array: Float64Array }],
  ['I64', { bytes: 8, array: BigInt64Array }],
  ['U64', { bytes: 8, array: BigUint64Array }],
]);
const DTYPES = [...CODECS.keys()];

/** Elements times bytes, or an error where that leaves the exact range of numbers. */
function byteLength(name: string, { shape, dtype }: TensorInfo, codec: Codec): number {
  let bytes = codec.bytes;
  for (const extent of shape) {
    bytes *= extent;
    if (bytes > Number.MAX_SAFE_INTEGER) {
      throw new FormatError(
        `safetensors: tensor ${showName(name)}: ${dtype} of shape ${formatShape(shape.slice(0, 8))} is too large`,
      );
    }
  }
  return bytes;
}

/** The entry of the tensor in `bytes` from `start` to `end`: a view where there can be one, else decoded on demand. */
function entryOf({ dtype, shape }: TensorInfo, codec: Codec, bytes: Uint8Array, start: number, end: number) {
  const { widen, array } = codec;
  const length = (end - start) / codec.bytes;
  const offset = bytes.byteOffset + start;
  if (widen === undefined && offset % codec.bytes === 0 && !BIG_ENDIAN) {
    return { dtype, shape, data: new array(bytes.buffer, offset, length) };
  }
  const decodeInto = (memory: ArrayBuffer): SafetensorsData => {
    const data = new array(memory, 0, length);
    if (widen === undefined) {
      const copy = new Uint8Array(memory, 0, size);
      copy.set(bytes.subarray(start, end));
      fileOrder(copy, codec.bytes);
    } else {
      const toFloat = widen();
      for (let i = 0, at = start; i < length; i++, at += 2) data[i] = toFloat(bytes[at] | (bytes[at + 1] << 8));
    }
    return data;
  };
  const size = length * (widen === undefined ? codec.bytes : Float32Array.BYTES_PER_ELEMENT);
  const entry = {
    dtype,
    shape,
    get data() {
      return decodeInto(new ArrayBuffer(size));
    },
  };
  return hasLateData(entry, { length, bytes: size, bigints: /^[IU]64$/.test(dtype), decodeInto });
}

/**
 * Reads a whole safetensors file.
 *
 * `data` is a view of `bytes` where element type and alignment allow it. Elsewhere (F16 and BF16, which arrive as float32, and
 * files whose header is not padded) it is decoded anew each time that it is asked for, so that a large file is never in
 * memory twice; `loadStateDict` decodes one tensor after another. Each tensor is checked before anything is allocated for it.
 *
 * @throws FormatError for whatever the format forbids: a header that is cut off, over 100 MB, not UTF-8, not JSON or
 *   with a key twice; an unknown dtype or field; a shape that disagrees with its bytes; tensors that overlap, leave
 *   a hole or do not end where the file does.
 */
export function readSafetensors(bytes: Uint8Array): Safetensors {
  // Told by its tag, since its class may be another realm's.
  if (Object.prototype.toString.call(bytes) !== '[object Uint8Array]')
    throw new ArgumentError(`readSafetensors: bytes is ${show(bytes)}; want a Uint8Array`);
  if (bytes.length < 8) throw new FormatError(`safetensors: file has ${bytes.length} bytes; want at least 8`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  const headerLength = view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true);
  if (headerLength > MAX_HEADER) {
    throw new FormatError(`safetensors: header length is ${headerLength} bytes; want at most ${MAX_HEADER}`);
  }
  const base = 8 + headerLength;
  if (base > bytes.length) {
    throw new FormatError(`safetensors: header of ${headerLength} bytes in a file of ${bytes.length}: truncated`);
  }
  let text: string;
  try {
    // A byte order mark stays, to be refused as no {.
    text = decodeUtf8(bytes.subarray(8, base));
  } catch {
    throw new FormatError('safetensors: header is not valid UTF-8');
  }
  const { metadata, tensors } = parseHeader(text);

  const checked = [...tensors].map(([name, info]) => {
    const codec = CODECS.get(info.dtype);
    if (!codec) {
      const want = DTYPES.join(', ');
      throw new FormatError(
        `safetensors: tensor ${showName(name)} has dtype ${showName(info.dtype)}; want one of ${want}`,
      );
    }
    const [begin, end] = info.offsets;
    const want = byteLength(name, info, codec);
    if (end - begin !== want) {
      throw new FormatError(
        `safetensors: tensor ${showName(name)}: data_offsets [${begin}, ${end}] hold ${end - begin} bytes; ` +
          `${info.dtype} of shape ${formatShape(info.shape.slice(0, 8))} wants ${want}`,
      );
    }
    return { name, info, codec, begin, end };
  });
  let expected = 0;
  for (const { name, begin, end } of [...checked].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== expected) {
      const how = begin < expected ? 'overlaps the tensor before it' : 'leaves a hole before it';
      throw new FormatError(`safetensors: tensor ${showName(name)} begins at ${begin} and ${how}; want ${expected}`);
    }
    expected = end;
  }
  if (base + expected !== bytes.length) {
    const what = base + expected > bytes.length ? 'truncated' : 'trailing bytes';
    throw new FormatError(
      `safetensors: tensors take ${expected} bytes after the header, the file has ${bytes.length - base}: ${what}`,
    );
  }

  const result = new Map<string, SafetensorsEntry>();
  for (const { name, info, codec, begin, end } of checked) {
    result.set(name, entryOf(info, codec, bytes, base + begin, base + end) as SafetensorsEntry);
  }
  return Object.assign(result, { metadata });
}

function dtypeOf(data: SafetensorsData): SafetensorsDtype | undefined {
  if (data instanceof Float32Array) return 'F32';
  if (data instanceof Float64Array) return 'F64';
  if (data instanceof BigInt64Array) return 'I64';
  if (data instanceof Int32Array) return 'I32';
  if (data instanceof Uint8Array) return 'U8';
  if (data instanceof Int8Array) return 'I8';
  if (data instanceof Int16Array) return 'I16';
  if (data instanceof Uint16Array) return 'U16';
  if (data instanceof Uint32Array) return 'U32';
  if (data instanceof BigUint64Array) return 'U64';
  return undefined;
}

interface Prepared {
  readonly name: string;
  readonly key: Uint8Array;
  readonly dtype: string;
  readonly codec: Codec;
  readonly shape: Shape;
  readonly data: SafetensorsData;
}

function prepare(name: string, input: SafetensorsInput): Prepared {
  const where = `writeSafetensors: tensor ${showName(name)}`;
  if (name === '__metadata__') throw new ArgumentError(`${where}: the format keeps this name for its metadata`);
  if (/\p{Surrogate}/u.test(name)) throw new ArgumentError(`${where}: the name holds half a surrogate pair`);
  // A tensor's own dtype is the library's name; only an array's is the format's.
  const data = 'dataSync' in input ? input.dataSync() : input.data;
  const dtype = ('dataSync' in input ? undefined : input.dtype) ?? dtypeOf(data);
  if (dtype === undefined) throw new ArgumentError(`${where}: data must be a numeric typed array`);
  const codec = CODECS.get(dtype);
  if (!codec) throw new ArgumentError(`${where}: dtype is ${dtype}; want one of ${DTYPES.join(', ')}`);
  if (!(data instanceof codec.array)) {
    throw new ArgumentError(
      `${where}: dtype ${dtype} wants a ${codec.array.name}; got one that holds ${dtypeOf(data) ?? 'no numbers'}`,
    );
  }
  let size = 1;
  for (const extent of input.shape) {
    if (!Number.isSafeInteger(extent) || extent < 0) {
      throw new ArgumentError(`${where}: shape ${formatShape(input.shape)} must hold whole numbers of at least 0`);
    }
    size *= extent;
  }
  if (size !== data.length) {
    throw new ArgumentError(
      `${where}: data has ${data.length} elements; shape ${formatShape(input.shape)} wants ${size}`,
    );
  }
  return { name, key: encodeUtf8(name), dtype, codec, shape: input.shape, data };
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

/**
 * A safetensors file with these tensors: arrays, or tensors on a device whose memory the CPU sees. The bytes are
 * those that the format's own Rust writer makes: tensors by falling alignment of their dtype, then by name, and the
 * header padded with spaces to 8 bytes; so they do not depend on the order of `entries`.
 *
 * @param entries name and tensor; a `Map`, such as a state dict, or any iterable of pairs. Without `dtype` the
 *   array's type decides; 'F16' and 'BF16' take a Float32Array and round to nearest, ties to even.
 * @param metadata strings that the file carries along.
 * @throws ArgumentError for a name twice, a reserved name, a shape or dtype that disagrees with its data.
 */
export function writeSafetensors(
  entries: Iterable<readonly [string, SafetensorsInput]>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const tensors: Prepared[] = [];
  const names = new Set<string>();
  reading('writeSafetensors', () => {
    for (const [name, input] of entries) {
      if (names.has(name)) throw new ArgumentError(`writeSafetensors: two tensors are called ${showName(name)}`);
      names.add(name);
      tensors.push(prepare(name, input));
    }
  });
  tensors.sort((a, b) => DTYPES.indexOf(b.dtype) - DTYPES.indexOf(a.dtype) || compareBytes(a.key, b.key));

  const fields: string[] = [];
  if (metadata) {
    for (const [key, value] of Object.entries(metadata)) {
      if (typeof value !== 'string' || /\p{Surrogate}/u.test(key + value)) {
        throw new ArgumentError(`writeSafetensors: metadata ${showName(key)} must be a well-formed string`);
      }
    }
    const pairs = Object.entries(metadata).map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
    fields.push(`"__metadata__":{${pairs.join(',')}}`);
  }
  let offset = 0;
  for (const { name, dtype, codec, shape, data } of tensors) {
    const end = offset + data.length * codec.bytes;
    fields.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":[${offset},${end}]}`,
    );
    offset = end;
  }
  const header = encodeUtf8(`{${fields.join(',')}}`);
  const headerLength = Math.ceil(header.length / 8) * 8;
  if (headerLength > MAX_HEADER) {
    throw new ArgumentError(
      `writeSafetensors: the header takes ${headerLength} bytes; the format allows ${MAX_HEADER}`,
    );
  }

  const bytes = new Uint8Array(8 + headerLength + offset);
  new DataView(bytes.buffer).setUint32(0, headerLength, true);
  bytes.set(header, 8);
  bytes.fill(0x20, 8 + header.length, 8 + headerLength);
  let at = 8 + headerLength;
  for (const { codec, data } of tensors) {
    if (codec.narrow && data instanceof Float32Array) {
      const half = new Uint16Array(bytes.buffer, at, data.length);
      const toBits = codec.narrow();
      for (let i = 0; i < data.length; i++) half[i] = toBits(data[i]);
    } else {
      bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    }
    const end = at + data.length * codec.bytes;
    fileOrder(bytes.subarray(at, end), codec.bytes);
    at = end;
  }
  return bytes;
}
