/**
 * The tensors of a PyTorch file: a pickle describes each as a window (offset, shape, strides) of a storage, and the
 * storages' bytes are found elsewhere in the file. So they are described first, checked, and filled at the end.
 * @see https://github.com/pytorch/pytorch/blob/main/torch/_utils.py (`_rebuild_tensor_v2`)
 */
import { FormatError } from '../../errors.js';
import { formatShape } from '../../shape.js';
import { bfloatReader, halfToFloat } from '../half.js';
import { showName } from '../safetensorsHeader.js';
import type { Surroundings } from './unpickle.js';
import {
  describe,
  Global,
  type Item,
  isTensor,
  type PthDtype,
  type PthTensor,
  type Storage,
  StorageView,
} from './values.js';

type Data = PthTensor['data'];

interface Codec {
  /** Bytes an element takes in the file. */
  readonly bytes: number;
  readonly array: new (buffer: ArrayBufferLike, offset: number, length: number) => Data;
  /** For 16-bit floats: the bits as a float32. */
  readonly widen?: (bits: number) => number;
}

const CODECS: Readonly<Record<PthDtype, Codec>> = {
  F64: { bytes: 8, array: Float64Array },
  F32: { bytes: 4, array: Float32Array },
  F16: { bytes: 2, array: Float32Array, widen: halfToFloat },
  BF16: { bytes: 2, array: Float32Array, widen: bfloatReader() },
  I64: { bytes: 8, array: BigInt64Array },
  I32: { bytes: 4, array: Int32Array },
  I16: { bytes: 2, array: Int16Array },
  I8: { bytes: 1, array: Int8Array },
  U8: { bytes: 1, array: Uint8Array },
  BOOL: { bytes: 1, array: Uint8Array },
};

/** By the type that a persistent id names. An untyped storage counts bytes. */
const STORAGE_TYPES: ReadonlyMap<string, PthDtype> = new Map<string, PthDtype>([
  ['torch.DoubleStorage', 'F64'],
  ['torch.FloatStorage', 'F32'],
  ['torch.HalfStorage', 'F16'],
  ['torch.BFloat16Storage', 'BF16'],
  ['torch.LongStorage', 'I64'],
  ['torch.IntStorage', 'I32'],
  ['torch.ShortStorage', 'I16'],
  ['torch.CharStorage', 'I8'],
  ['torch.ByteStorage', 'U8'],
  ['torch.BoolStorage', 'BOOL'],
  ['torch.storage.UntypedStorage', 'U8'],
  ['torch.storage._UntypedStorage', 'U8'],
]);

/** dtypes as values: they are given as strings. */
const DTYPES: readonly string[] = [
  ...['float64', 'float32', 'float16', 'bfloat16', 'complex128', 'complex64', 'complex32', 'bool'],
  ...['int64', 'int32', 'int16', 'int8', 'uint8', 'uint16', 'uint32', 'uint64'],
];

/** PyTorch's operations stop at as many axes. */
const MAX_RANK = 64;

/**
 * Most bytes that the strided tensors of a file may take together, since each must be a copy: so many times the
 * bytes of its storages, and so many more. Strides of 0 make any number of elements out of one.
 */
export const STRIDED_RATIO = 4;
export const STRIDED_MORE = 2 ** 20;

function fail(problem: string): never {
  throw new FormatError(`pth: ${problem}`);
}

function isCount(item: Item): item is number {
  return typeof item === 'number' && Number.isSafeInteger(item) && item >= 0;
}

function counts(what: string, item: Item): number[] {
  if (!Array.isArray(item) || item.length > MAX_RANK || !item.every(isCount)) {
    fail(`${what} is ${describe(item)}; want at most ${MAX_RANK} whole numbers of at least 0`);
  }
  return [...item];
}

function arity(name: string, args: readonly Item[], least: number, most: number): void {
  if (args.length < least || args.length > most) {
    fail(`${name} has ${args.length} arguments; want ${least === most ? least : `${least} to ${most}`}`);
  }
}

/** Whether elements of this layout follow one another in row-major order. The stride of one element does not matter. */
function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i];
  }
  return true;
}

/** Copies a strided window into row-major order. Whole numbers, not floats, so that every NaN keeps its bits. */
function gather<T extends Uint8Array | Uint16Array | Uint32Array>(
  from: T,
  offset: number,
  shape: readonly number[],
  strides: readonly number[],
  to: T,
): void {
  const index = new Array<number>(shape.length).fill(0);
  let source = offset;
  for (let i = 0; i < to.length; i++) {
    to[i] = from[source];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      source += strides[axis];
      if (++index[axis] < shape[axis]) break;
      source -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
}

function strided(data: Data, offset: number, shape: readonly number[], strides: readonly number[], size: number): Data {
  const width = data.BYTES_PER_ELEMENT;
  // BYTES_PER_ELEMENT is the array's own: its constructor makes an empty one of the same kind.
  const bytes = new Uint8Array(size * width);
  const { buffer, byteOffset, byteLength } = data;
  if (width === 1) gather(new Uint8Array(buffer, byteOffset, byteLength), offset, shape, strides, bytes);
  if (width === 2) {
    gather(new Uint16Array(buffer, byteOffset, data.length), offset, shape, strides, new Uint16Array(bytes.buffer));
  }
  if (width >= 4) {
    // 64-bit elements are copied as two words.
    const words = width / 4;
    const from = new Uint32Array(buffer, byteOffset, byteLength / 4);
    const wide = words === 1 ? strides : [...strides.map((stride) => stride * words), 1];
    gather(from, offset * words, words === 1 ? shape : [...shape, words], wide, new Uint32Array(bytes.buffer));
  }
  const array = data.constructor as Codec['array'];
  return new array(bytes.buffer, 0, size);
}

/** A storage's elements: a view of its bytes where they are aligned, else a copy. */
function decode({ bytes: width, array, widen }: Codec, bytes: Uint8Array): Data {
  const count = bytes.length / width;
  if (widen) {
    const data = new Float32Array(count);
    for (let i = 0; i < count; i++) data[i] = widen(bytes[2 * i] | (bytes[2 * i + 1] << 8));
    return data;
  }
  const aligned = bytes.byteOffset % width === 0 ? bytes : new Uint8Array(bytes);
  return new array(aligned.buffer, aligned.byteOffset, count);
}

/** A tensor that is described but not yet filled. */
interface Blank {
  readonly tensor: { data: Data };
  readonly view: StorageView;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly size: number;
}

/** What one file's pickle may refer to: the globals that are known, and its storages. */
export class Tensors implements Surroundings {
  private readonly byKey = new Map<string, Storage>();
  private readonly blanks: Blank[] = [];
  private readonly globals: ReadonlyMap<string, Item>;

  constructor() {
    const functions: readonly [string, (args: readonly Item[]) => Item][] = [
      ['collections.OrderedDict', orderedDict],
      ['torch.Size', size],
      ['torch.device', device],
      ['torch._utils._rebuild_tensor', (args) => this.rebuild(args, 4, 4)],
      ['torch._utils._rebuild_tensor_v2', (args) => this.rebuild(args, 6, 7)],
      ['torch._utils._rebuild_parameter', (args) => parameter(args, 3, 3)],
      // Before PyTorch 1.0 a Parameter was pickled as its class.
      ['torch.nn.parameter.Parameter', (args) => parameter(args, 1, 2)],
    ];
    this.globals = new Map<string, Item>([
      ...functions.map(([name, call]) => [name, new Global(name, call)] as const),
      ...[...STORAGE_TYPES.keys()].map((name) => [name, new Global(name)] as const),
      ...DTYPES.map((name) => [`torch.${name}`, `torch.${name}`] as const),
    ]);
  }

  global(name: string): Item | undefined {
    return this.globals.get(name);
  }

  /** The storages that the pickle refers to, by key. */
  get storages(): ReadonlyMap<string, Storage> {
    return this.byKey;
  }

  /** `('storage', type, key, location, numel)`, in the legacy layout with a view `(key, offset, numel)` or None. */
  persistent(id: Item): Item {
    if (!Array.isArray(id) || id[0] !== 'storage') {
      const kind = Array.isArray(id) && id.length > 0 ? id[0] : id;
      fail(`persistent id of ${typeof kind === 'string' ? showName(kind) : describe(kind)}; want "storage"`);
    }
    arity('persistent id', id, 5, 6);
    const [, type, key, location, numel, view = null] = id;
    const dtype = type instanceof Global ? STORAGE_TYPES.get(type.name) : undefined;
    if (dtype === undefined) fail(`a storage's type is ${describe(type)}; want such as torch.FloatStorage`);
    if (typeof key !== 'string') fail(`a storage's key is ${describe(key)}; want a string`);
    if (typeof location !== 'string') fail(`a storage's location is ${describe(location)}; want a string`);
    if (!isCount(numel)) fail(`storage ${showName(key)} has ${describe(numel)} elements; want a whole number`);
    const known = this.byKey.get(key);
    if (known && (known.dtype !== dtype || known.numel !== numel)) {
      fail(
        `storage ${showName(key)} is ${dtype} of ${numel} elements here and ` +
          `${known.dtype} of ${known.numel} elsewhere`,
      );
    }
    const storage = known ?? { key, dtype, numel };
    this.byKey.set(key, storage);
    if (view === null) return new StorageView(storage, 0, numel);
    if (!Array.isArray(view) || view.length !== 3 || !isCount(view[1]) || !isCount(view[2])) {
      fail(`storage ${showName(key)}: its view is ${describe(view)}; want a key and two whole numbers`);
    }
    if (view[1] + view[2] > numel) {
      fail(`storage ${showName(key)}: view of ${view[2]} elements at ${view[1]} in one of ${numel}`);
    }
    return new StorageView(storage, view[1], view[2]);
  }

  private rebuild(args: readonly Item[], least: number, most: number): Item {
    arity('a tensor', args, least, most);
    const [view, offset, shapeItem, strideItem, , , metadata = null] = args;
    if (!(view instanceof StorageView)) fail(`a tensor's storage is ${describe(view)}`);
    if (!isCount(offset)) fail(`a tensor's offset is ${describe(offset)}; want a whole number of at least 0`);
    const shape = counts("a tensor's shape", shapeItem);
    const strides = counts("a tensor's strides", strideItem);
    if (shape.length !== strides.length) fail(`a tensor has ${shape.length} axes and ${strides.length} strides`);
    // PyTorch 2 marks a tensor that is to be read as conjugated or negated.
    if (metadata !== null && !(metadata instanceof Map && metadata.size === 0)) {
      fail(`a tensor has metadata (${describe(metadata)}); want none`);
    }

    const { dtype, key } = view.storage;
    const what = (): string => `tensor ${dtype} of shape ${formatShape(shape.slice(0, 8))}`;
    let size = 1;
    for (const extent of shape) size *= extent;
    if (shape.includes(0)) size = 0;
    if (!Number.isSafeInteger(size)) fail(`${what()} is too large`);
    let last = offset;
    if (size > 0) {
      for (let i = 0; i < shape.length; i++) last += (shape[i] - 1) * strides[i];
      if (last >= view.numel) {
        fail(`${what()} reaches element ${last} of storage ${showName(key)}, which has ${view.numel}`);
      }
    }
    const tensor = { dtype, shape, data: new Uint8Array(0) as Data };
    this.blanks.push({ tensor, view, offset, shape, strides, size });
    return tensor as PthTensor;
  }

  /** Bytes that a storage takes in the file. */
  static byteLength({ dtype, numel }: Storage): number {
    return CODECS[dtype].bytes * numel;
  }

  /**
   * Fills the tensors. `content` gives the bytes of a storage, of the length that it should have.
   * @throws FormatError when the strided tensors would take more than the limit; nothing is allocated before
   */
  fill(content: (storage: Storage) => Uint8Array): void {
    const storages = [...this.byKey.values()].map((storage) => {
      const bytes = content(storage);
      const want = Tensors.byteLength(storage);
      if (bytes.length !== want) {
        const { key, numel, dtype } = storage;
        fail(`storage ${showName(key)} has ${bytes.length} bytes; ${numel} elements of ${dtype} want ${want}`);
      }
      return [storage, bytes] as const;
    });
    const total = storages.reduce((sum, [, bytes]) => sum + bytes.length, 0);
    const most = STRIDED_RATIO * total + STRIDED_MORE;
    let copied = 0;
    for (const { view, shape, strides, size } of this.blanks) {
      if (isContiguous(shape, strides)) continue;
      const { bytes, widen } = CODECS[view.storage.dtype];
      copied += size * (widen ? 4 : bytes);
      if (copied > most) {
        fail(
          `strided tensors take more than ${most} bytes, which is the limit for storages of ${total}; one is ` +
            `${view.storage.dtype} of shape ${formatShape(shape.slice(0, 8))}, strides ${formatShape(strides.slice(0, 8))}`,
        );
      }
    }

    const bytesOf = new Map(storages);
    // Decoded when first wanted, and once, so that tensors that share a storage share memory.
    const decoded = new Map<Storage, Data>();
    const elements = (storage: Storage): Data => {
      const data = decoded.get(storage) ?? decode(CODECS[storage.dtype], bytesOf.get(storage) ?? new Uint8Array(0));
      decoded.set(storage, data);
      return data;
    };
    for (const { tensor, view, offset, shape, strides, size } of this.blanks) {
      const data = elements(view.storage);
      const start = size > 0 ? view.offset + offset : 0;
      tensor.data = isContiguous(shape, strides)
        ? data.subarray(start, start + size)
        : strided(data, start, shape, strides, size);
    }
  }
}

function orderedDict(args: readonly Item[]): Item {
  arity('OrderedDict', args, 0, 1);
  const map = new Map<Item, Item>();
  // Python 2 gives the items as a list of pairs.
  const pairs = args.length === 0 ? [] : args[0];
  if (!Array.isArray(pairs)) fail(`OrderedDict of ${describe(pairs)}; want a list of pairs`);
  for (const pair of pairs) {
    if (!Array.isArray(pair) || pair.length !== 2) fail(`OrderedDict of ${describe(pair)}; want pairs`);
    const [key, value] = pair;
    if (typeof key === 'object' && key !== null) fail(`OrderedDict has the key ${describe(key)}; want a string`);
    map.set(key, value);
  }
  return map;
}

function size(args: readonly Item[]): Item {
  arity('torch.Size', args, 1, 1);
  return counts('torch.Size', args[0]);
}

function device(args: readonly Item[]): Item {
  arity('torch.device', args, 1, 2);
  const [type, index] = args;
  if (typeof type !== 'string' || !(index === undefined || isCount(index))) {
    fail(`torch.device of ${args.map(describe).join(' and ')}; want a string and perhaps an index`);
  }
  return index === undefined ? type : `${type}:${index}`;
}

function parameter(args: readonly Item[], least: number, most: number): Item {
  arity('a Parameter', args, least, most);
  const [tensor] = args;
  if (!isTensor(tensor)) fail(`a Parameter of ${describe(tensor)}; want a tensor`);
  return tensor;
}
