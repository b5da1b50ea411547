/**
 * PyTorch's files (`torch.save`), read without Python. Two layouts:
 * - zip, by default since 1.6: `NAME/data.pkl`, a pickle, and `NAME/data/KEY`, the bytes of each storage;
 * - legacy: five pickles one after another (a magic number, the version, the machine, the object, the storages'
 *   keys), then each storage as its number of elements (int64) and its bytes.
 * @see https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
 */
import { FormatError } from '../../errors.js';
import { showName } from '../safetensorsHeader.js';
import { Tensors } from './tensors.js';
import { unpickle } from './unpickle.js';
import { checkValue, describe, type Item, type PthValue, type Storage } from './values.js';
import { Zip } from './zip.js';

const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;
const LEGACY_VERSION = 1001;
/** Latest version of the zip layout that PyTorch itself reads, `kMaxSupportedFileFormatVersion`. */
const MAX_ZIP_VERSION = 10;

/** What is checked of a `.pth` file. */
export interface ReadPthOptions {
  /**
   * Whether each entry of the zip layout must have its CRC-32. True by default. PyTorch checks none, and writes wrong
   * ones after `torch.serialization.set_crc32_options(False)`: such files need `false`.
   */
  readonly checksums?: boolean;
}

function fail(problem: string): never {
  throw new FormatError(`pth: ${problem}`);
}

function text(bytes: Uint8Array): string {
  // Only short ones, in ASCII, are expected.
  return String.fromCharCode(...bytes.subarray(0, 100));
}

function readZip(bytes: Uint8Array, checksums: boolean): PthValue {
  const zip = new Zip(bytes, { checksums });
  const { names } = zip;
  const pickles = names.filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickles.length !== 1) {
    const found = names.slice(0, 5).map(showName).join(', ');
    fail(`zip has ${pickles.length} entries NAME/data.pkl; want one, as torch.save writes. It begins with ${found}`);
  }
  const [pickle] = pickles;
  const folder = pickle.slice(0, -'data.pkl'.length);
  if (zip.has(`${folder}constants.pkl`) || names.some((name) => name.startsWith(`${folder}code/`))) {
    fail('file is a TorchScript archive, which holds a program; want tensors: save the state_dict() with torch.save');
  }
  const version = text(zip.read(`${folder}version`));
  if (!/^\d{1,3}\s*$/.test(version) || Number(version) < 1 || Number(version) > MAX_ZIP_VERSION) {
    fail(`version is ${showName(version)}; want 1 to ${MAX_ZIP_VERSION}`);
  }
  // Written since 2.1; before that the machine's order, which was little-endian but for a few.
  if (zip.has(`${folder}byteorder`)) {
    const order = text(zip.read(`${folder}byteorder`));
    if (order !== 'little') fail(`byte order is ${showName(order)}; want "little"`);
  }

  const content = zip.read(pickle);
  const tensors = new Tensors();
  const { value, end } = unpickle(content, 0, tensors);
  if (end !== content.length) fail(`data.pkl has ${content.length - end} bytes after its pickle`);
  checkValue(value);
  tensors.fill(({ key, numel }) => {
    const name = `${folder}data/${key}`;
    return numel === 0 && !zip.has(name) ? new Uint8Array(0) : zip.read(name);
  });
  return value;
}

/** The storages that follow the pickles. Nothing but them may. */
function legacyStorages(
  bytes: Uint8Array,
  at: number,
  tensors: Tensors,
  keys: readonly Item[],
): Map<Storage, Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = new Map<Storage, Uint8Array>();
  let next = at;
  for (const key of keys) {
    if (typeof key !== 'string') fail(`a storage's key is ${describe(key)}; want a string`);
    const storage = tensors.storages.get(key);
    if (!storage) fail(`storage ${showName(key)} belongs to no tensor`);
    if (found.has(storage)) fail(`storage ${showName(key)} stands twice`);
    const length = Tensors.byteLength(storage);
    if (next + 8 + length > bytes.length) {
      const left = Math.max(0, bytes.length - next - 8);
      fail(`storage ${showName(key)} wants ${length} bytes where ${left} are left: truncated`);
    }
    const numel = view.getBigInt64(next, true);
    if (numel !== BigInt(storage.numel)) {
      fail(`storage ${showName(key)} has ${numel} elements; its tensors want ${storage.numel}`);
    }
    found.set(storage, bytes.subarray(next + 8, next + 8 + length));
    next += 8 + length;
  }
  if (next !== bytes.length) fail(`${bytes.length - next} bytes follow the last storage`);
  return found;
}

function readLegacy(bytes: Uint8Array): PthValue {
  let at = 0;
  const next = (tensors = new Tensors()): Item => {
    const { value, end } = unpickle(bytes, at, tensors);
    at = end;
    return value;
  };
  const magic = next();
  if (magic !== LEGACY_MAGIC)
    fail(`file is a pickle that begins with ${describe(magic)}; want torch.save's magic number`);
  const version = next();
  if (version !== LEGACY_VERSION) fail(`legacy version is ${describe(version)}; want ${LEGACY_VERSION}`);
  const machine = next();
  const little = machine instanceof Map ? machine.get('little_endian') : undefined;
  if (little === false) fail('file is big-endian; want little-endian');
  if (little !== true) fail('legacy file does not say that it is little-endian');
  const tensors = new Tensors();
  const value = next(tensors);
  checkValue(value);
  const keys = next();
  if (!Array.isArray(keys)) fail(`the storages' keys are ${describe(keys)}; want a list`);
  const storages = legacyStorages(bytes, at, tensors, keys);
  tensors.fill((storage) => storages.get(storage) ?? fail(`storage ${showName(storage.key)} is not in the file`));
  return value;
}

/**
 * Reads a whole `.pth` or `.pt` file, as `torch.save` writes it in either layout, with pickle protocols 0 to 5.
 *
 * A tensor's `data` is in row-major order: a view of `bytes` where its elements follow one another and are aligned,
 * else a copy; F16 and BF16 arrive as float32. Tensors that share a storage share memory unless they are strided.
 * Attributes of an OrderedDict (`_metadata`) are left out. Nothing of the file is run: a pickle may name
 * OrderedDict, Parameter, torch.Size, torch.device, dtypes, storages and the functions that rebuild tensors; any
 * other global is refused by its name.
 *
 * Limits: a million containers, nested 1,000 deep; 10 million values, those shared counted each time; strided
 * tensors that take 4 times the storages' bytes and 1 MiB; deflated entries of 64 times the file's length and 1 MiB.
 *
 * @throws FormatError for a file that is neither layout, truncated, damaged, big-endian, a TorchScript archive, of
 *   the layout before 0.1.10 (a tar archive), beyond a limit, or that holds what is not a tensor or a plain value;
 *   each tensor is checked against its storage, and each storage against the file, before anything is allocated
 */
export function readPth(bytes: Uint8Array, { checksums = true }: ReadPthOptions = {}): PthValue {
  // Node's Buffer is a Uint8Array whose slices are of its own kind.
  const file = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (file.length === 0) fail('file is empty');
  const begins = text(file.subarray(0, 4));
  if (begins === 'PK\x03\x04') return readZip(file, checksums);
  if (text(file.subarray(257, 262)) === 'ustar') {
    fail(
      "file is a tar archive, PyTorch's layout before 0.1.10; want zip or legacy. " +
        'Save it again with PyTorch: torch.save(torch.load(path), path)',
    );
  }
  // Every pickle of an int begins with PROTO, or in protocols 0 and 1 with LONG; others are read for what they name.
  if (file[0] === 0x80 || /^[Lc(}\]]/.test(begins)) return readLegacy(file);
  const hex = Array.from(file.subarray(0, 4), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return fail(`file begins with ${hex}; want 50 4b 03 04 (zip layout) or a pickle (legacy layout)`);
}
