/** TensorProto: its elements as numbers, and back. Little-endian, as the typed arrays of every engine that runs WebAssembly. */
import { FormatError } from '../errors.js';
import { bfloatReader, halfToFloat } from '../io/half.js';
import { formatShape, type Shape } from '../shape.js';
import { DATA_TYPE, type OnnxTensor } from './messages.js';

/** A name as errors show it: quoted, escaped, and cut when it is long. */
export function showName(name: string): string {
  return JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name);
}

/** The name of a TensorProto.DataType. */
export function typeName(type: number): string {
  return Object.entries(DATA_TYPE).find(([, number]) => number === type)?.[0] ?? `type ${type}`;
}

export interface TensorData {
  readonly shape: Shape;
  /** False for INT32, INT64 and BOOL. */
  readonly float: boolean;
  readonly data: Float32Array | Float64Array;
}

interface Format {
  readonly float: boolean;
  /** Bytes of an element in raw_data. */
  readonly bytes: number;
  readonly list: 'floatData' | 'doubleData' | 'int32Data' | 'int64Data';
  readonly raw: (view: DataView, at: number) => number;
  /** For 16-bit floats, what an element of the list means. */
  readonly widen?: (bits: number) => number;
}

const bfloatToFloat = bfloatReader();

const FORMATS: ReadonlyMap<number, Format> = new Map<number, Format>([
  [DATA_TYPE.FLOAT, { float: true, bytes: 4, list: 'floatData', raw: (v, at) => v.getFloat32(at, true) }],
  [DATA_TYPE.DOUBLE, { float: true, bytes: 8, list: 'doubleData', raw: (v, at) => v.getFloat64(at, true) }],
  [
    DATA_TYPE.FLOAT16,
    {
      ...{ float: true, bytes: 2, list: 'int32Data', widen: halfToFloat },
      raw: (v, at) => halfToFloat(v.getUint16(at, true)),
    },
  ],
  [
    DATA_TYPE.BFLOAT16,
    {
      ...{ float: true, bytes: 2, list: 'int32Data', widen: bfloatToFloat },
      raw: (v, at) => bfloatToFloat(v.getUint16(at, true)),
    },
  ],
  [DATA_TYPE.INT32, { float: false, bytes: 4, list: 'int32Data', raw: (v, at) => v.getInt32(at, true) }],
  [DATA_TYPE.INT64, { float: false, bytes: 8, list: 'int64Data', raw: (v, at) => Number(v.getBigInt64(at, true)) }],
  [DATA_TYPE.BOOL, { float: false, bytes: 1, list: 'int32Data', raw: (v, at) => v.getUint8(at) }],
]);

/** The lists that a TensorProto may have its elements in. */
const LISTS = ['floatData', 'int32Data', 'int64Data', 'doubleData'] as const;

/**
 * The shape of a tensor whose elements are all there. Allocates nothing.
 * @throws FormatError when its type is not known, its extents are not whole numbers of at least 0, its elements are in
 *   another file, or are more or fewer than the shape says
 */
export function checkTensor(t: OnnxTensor, what: string): { shape: Shape; size: number; format: Format } {
  const { dims, dataType = 0, rawData } = t;
  if (t.dataLocation === 1 || t.externalData.length > 0) {
    const location = t.externalData.find(({ key }) => key === 'location')?.value ?? '';
    throw new FormatError(
      `onnx: ${what} keeps its elements in another file, ${showName(location)}; want a model saved as one file, external data is not read`,
    );
  }
  const format = FORMATS.get(dataType);
  if (format === undefined) {
    const known = [...FORMATS.keys()].map(typeName).join(', ');
    throw new FormatError(`onnx: ${what} has data type ${typeName(dataType)}; want one of ${known}`);
  }
  if (dims.length > 32) throw new FormatError(`onnx: ${what} has ${dims.length} axes; want at most 32`);
  let size = 1;
  for (const extent of dims) {
    if (!Number.isSafeInteger(extent) || extent < 0) {
      throw new FormatError(`onnx: ${what} has shape ${formatShape(dims)}; want whole numbers of at least 0`);
    }
    size *= extent;
  }
  const lists = LISTS.filter((list) => t[list].length > 0);
  if (rawData !== undefined ? lists.length > 0 : lists.length > 1) {
    throw new FormatError(`onnx: ${what} has its elements twice, in two fields; want one`);
  }
  const got = rawData !== undefined ? rawData.length / format.bytes : t[format.list].length;
  const stray = rawData === undefined ? lists.find((list) => list !== format.list) : undefined;
  if (got !== size || stray !== undefined) {
    throw new FormatError(
      `onnx: ${what} has ${rawData !== undefined ? `${rawData.length} bytes` : `${got} elements`}; ${typeName(dataType)} of shape ${formatShape(dims)} wants ${rawData !== undefined ? size * format.bytes : size}`,
    );
  }
  return { shape: dims, size, format };
}

/**
 * The elements of a tensor, row-major: floats as they are (16-bit ones widened), integers as float64, exact within ±2^53.
 * @throws FormatError as `checkTensor`
 */
export function decodeTensor(t: OnnxTensor, what: string): TensorData {
  const { shape, size, format } = checkTensor(t, what);
  const { rawData } = t;
  const wide = !format.float || t.dataType === DATA_TYPE.DOUBLE;
  const data = wide ? new Float64Array(size) : new Float32Array(size);
  if (rawData !== undefined) {
    if (t.dataType === DATA_TYPE.FLOAT) {
      new Uint8Array(data.buffer).set(rawData);
    } else {
      const view = new DataView(rawData.buffer, rawData.byteOffset, rawData.byteLength);
      for (let i = 0; i < size; i++) data[i] = format.raw(view, i * format.bytes);
    }
  } else {
    const list = t[format.list];
    for (let i = 0; i < size; i++) data[i] = format.widen ? format.widen(list[i] & 0xffff) : list[i];
  }
  return { shape, float: format.float, data };
}

/** A FLOAT tensor, each element rounded once. */
export function floatTensor(name: string | undefined, shape: Shape, data: ArrayLike<number>): OnnxTensor {
  const floats = new Float32Array(data);
  return rawTensor(name, shape, DATA_TYPE.FLOAT, new Uint8Array(floats.buffer));
}

/** An INT64 tensor, of one axis unless there is a shape. */
export function int64Tensor(name: string, values: readonly number[], shape: Shape = [values.length]): OnnxTensor {
  const wide = BigInt64Array.from(values, BigInt);
  return rawTensor(name, shape, DATA_TYPE.INT64, new Uint8Array(wide.buffer));
}

function rawTensor(name: string | undefined, dims: Shape, dataType: number, rawData: Uint8Array): OnnxTensor {
  const lists = { floatData: [], int32Data: [], int64Data: [], doubleData: [], externalData: [] };
  return { ...lists, dims, dataType, name, rawData };
}
