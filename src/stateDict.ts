/**
 * Copying a state dict into tensors that exist: all of it or nothing. Modules and optimizers share it.
 */
import { Counter } from './counter.js';
import { ArgumentError, StateDictError } from './errors.js';
import { lateDataOf } from './lateData.js';
import { formatShape, type Shape, sameShape, sizeOf } from './shape.js';
import { Tensor } from './tensor.js';

/** One value of a state dict: a tensor of any device, or plain data such as `readSafetensors` gives. */
export type StateEntry = Tensor | { readonly shape: Shape; readonly data: ArrayLike<number> | ArrayLike<bigint> };

type Data = ArrayLike<number> | ArrayLike<bigint>;

function holdsBigints(data: Data): data is ArrayLike<bigint> {
  return data.length > 0 && typeof data[0] === 'bigint';
}

/** What is wrong with an entry's shape or type for `target`; null if nothing is. */
function complaint(target: Tensor, entry: StateEntry): string | null {
  if (!sameShape(target.shape, entry.shape)) {
    return `has shape ${formatShape(entry.shape)}; want ${formatShape(target.shape)}`;
  }
  if (entry instanceof Tensor) {
    if (entry.disposed) return 'was disposed';
    if ((entry.dtype === 'int64') !== (target.dtype === 'int64')) {
      return `has dtype ${entry.dtype}; want ${target.dtype}`;
    }
    return null;
  }
  const late = lateDataOf(entry);
  // What is asked for is decoded: only where the values themselves are in question.
  const { length } = late ?? entry.data;
  if (length !== sizeOf(target.shape)) return `has ${length} elements for shape ${formatShape(entry.shape)}`;
  const bigints = late === undefined ? holdsBigints(entry.data) : late.bigints && length > 0;
  if (target.dtype === 'int64') {
    if (!bigints && !Array.from(entry.data as ArrayLike<number>).every(Number.isSafeInteger)) {
      return 'holds numbers that are not whole; want int64';
    }
  } else if (bigints) {
    return `has dtype int64; want ${target.dtype}`;
  }
  return null;
}

/** Memory for one entry's decoded data at a time. */
class Scratch {
  private memory = new ArrayBuffer(0);

  /** @param most bytes that any entry takes */
  constructor(private readonly most: number) {}

  get(): ArrayBuffer {
    if (this.memory.byteLength < this.most) this.memory = new ArrayBuffer(this.most);
    return this.memory;
  }
}

/**
 * Makes ready to overwrite `target`: what is read of tensors is read now, what is written is written by the returned
 * function.
 */
function copier(target: Tensor, entry: StateEntry, scratch: Scratch): () => void {
  if (entry === target) return () => {};
  if (!(entry instanceof Tensor)) {
    const late = lateDataOf(entry);
    if (target.dtype !== 'int64') {
      return () => target.write(late === undefined ? entry.data : late.decodeInto(scratch.get()));
    }
    const { data } = entry;
    const exact = BigInt64Array.from(Array.from<number | bigint>(data).map((v) => BigInt(v)));
    return () => target.write(exact);
  }
  if (entry instanceof Counter) {
    const value = [entry.value];
    return () => target.write(value);
  }
  if (entry.device.readSync || entry.device !== target.device || target.dtype !== target.device.dtype) {
    const data = entry.dataSync();
    return () => target.write(data);
  }
  // Memory that the CPU does not see is copied where it is.
  const { kernels } = target.device;
  return () => kernels.expand({ x: entry.buffer, out: target.buffer, shape: [target.size], xStrides: [1], divisor: 1 });
}

/** What names of a state dict did not agree with a model's. */
export interface Disagreement {
  /** The model has them and the state dict has not; they stay as they are. */
  readonly missing: readonly string[];
  /** The state dict has them and the model has not. */
  readonly unexpected: readonly string[];
}

/**
 * Copies `entries` into `targets` of the same names; the tensors keep their identity.
 * @param strict whether a missing or an unexpected name is an error
 * @param mayLack names that are not missed; their tensors stay as they are
 * @throws StateDictError that names every missing, unexpected and misshapen entry; nothing has changed then
 */
export function copyStateDict(
  op: string,
  targets: ReadonlyMap<string, Tensor>,
  entries: ReadonlyMap<string, StateEntry>,
  strict = true,
  mayLack: (name: string) => boolean = () => false,
): Disagreement {
  if (!(entries instanceof Map)) throw new ArgumentError(`${op}: entries is not a Map; want Map<string, Tensor>`);
  const missing = [...targets.keys()].filter((name) => !entries.has(name) && !mayLack(name));
  const unexpected = [...entries.keys()].filter((name) => !targets.has(name));
  const wrong: string[] = [];
  for (const [name, target] of targets) {
    const entry = entries.get(name);
    const why = entry === undefined ? null : complaint(target, entry);
    if (why !== null) wrong.push(`${name} ${why}`);
  }
  const parts: string[] = [];
  if (strict && missing.length > 0) parts.push(`missing: ${missing.join(', ')}`);
  if (strict && unexpected.length > 0) parts.push(`unexpected: ${unexpected.join(', ')}`);
  if (wrong.length > 0) parts.push(`wrong: ${wrong.join('; ')}`);
  if (parts.length > 0) throw new StateDictError(`${op}: ${parts.join('. ')}`);

  const loaded = [...targets].filter(([name]) => entries.has(name));
  const bytes = loaded.map(([name]) => lateDataOf(entries.get(name) as StateEntry)?.bytes ?? 0);
  const scratch = new Scratch(bytes.reduce((a, b) => Math.max(a, b), 0));
  const copies = loaded.map(([name, target]) => copier(target, entries.get(name) as StateEntry, scratch));
  for (const copy of copies) copy();
  return { missing, unexpected };
}
