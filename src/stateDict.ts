/**
 * Copying a state dict into tensors that exist: all of it or nothing. Modules and optimizers share it.
 */
import { Counter } from './counter.js';
import { ArgumentError, StateDictError } from './errors.js';
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
  if (entry.data.length !== sizeOf(target.shape)) {
    return `has ${entry.data.length} elements for shape ${formatShape(entry.shape)}`;
  }
  if (target.dtype === 'int64') {
    if (!holdsBigints(entry.data) && !Array.from(entry.data).every(Number.isSafeInteger)) {
      return 'holds numbers that are not whole; want int64';
    }
  } else if (holdsBigints(entry.data)) {
    return `has dtype int64; want ${target.dtype}`;
  }
  return null;
}

/** Makes ready to overwrite `target`: what is read is read now, what is written is written by the returned function. */
function copier(target: Tensor, entry: StateEntry): () => void {
  if (entry === target) return () => {};
  if (!(entry instanceof Tensor)) {
    const { data } = entry;
    if (target.dtype !== 'int64') return () => target.write(data);
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

/**
 * Copies `entries` into `targets` of the same names; the tensors keep their identity.
 * @throws StateDictError that names every missing, unexpected and misshapen entry; nothing has changed then
 */
export function copyStateDict(
  op: string,
  targets: ReadonlyMap<string, Tensor>,
  entries: ReadonlyMap<string, StateEntry>,
): void {
  if (!(entries instanceof Map)) throw new ArgumentError(`${op}: entries is not a Map; want Map<string, Tensor>`);
  const missing = [...targets.keys()].filter((name) => !entries.has(name));
  const unexpected = [...entries.keys()].filter((name) => !targets.has(name));
  const wrong: string[] = [];
  for (const [name, target] of targets) {
    const entry = entries.get(name);
    const why = entry === undefined ? null : complaint(target, entry);
    if (why !== null) wrong.push(`${name} ${why}`);
  }
  const parts: string[] = [];
  if (missing.length > 0) parts.push(`missing: ${missing.join(', ')}`);
  if (unexpected.length > 0) parts.push(`unexpected: ${unexpected.join(', ')}`);
  if (wrong.length > 0) parts.push(`wrong: ${wrong.join('; ')}`);
  if (parts.length > 0) throw new StateDictError(`${op}: ${parts.join('. ')}`);

  const copies = [...targets].map(([name, target]) => copier(target, entries.get(name) as StateEntry));
  for (const copy of copies) copy();
}
