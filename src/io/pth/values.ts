/** What a PyTorch file can hold once it is read, and the items that the reader meets on the way there. */
import { FormatError } from '../../errors.js';
import type { SafetensorsEntry } from '../safetensors.js';

/** The element types that are read, by their names in safetensors. */
export type PthDtype = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'I16' | 'I8' | 'U8' | 'BOOL';

/** One tensor, row-major, in the form of `readSafetensors`: F16 and BF16 as float32, BOOL one byte an element. */
export type PthTensor = Extract<SafetensorsEntry, { readonly dtype: PthDtype }>;

/**
 * A value of a PyTorch file. A dict or OrderedDict is a `Map`, a list, tuple or torch.Size an array, bytes a
 * `Uint8Array`, None null; an int is a number, or a bigint beyond ±(2^53 − 1); a dtype or device is its name.
 */
export type PthValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PthTensor
  | PthValue[]
  | Map<PthValue, PthValue>;

/** A name that a pickle refers to: a function or a type of Python's. Nothing of Python's is run for it. */
export class Global {
  constructor(
    readonly name: string,
    /** What calling it with these arguments gives; absent for what is not called. */
    readonly call?: (args: readonly Item[]) => Item,
  ) {}
}

/** A storage, or a part of one: what tensors are windows of. Offset and numel count elements. */
export class StorageView {
  constructor(
    readonly storage: Storage,
    readonly offset: number,
    readonly numel: number,
  ) {}
}

/** The elements of one storage of the file. */
export interface Storage {
  readonly key: string;
  readonly dtype: PthDtype;
  /** Elements. */
  readonly numel: number;
}

/** What stands on the unpickler's stack. */
export type Item =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PthTensor
  | Item[]
  | Map<Item, Item>
  | Global
  | StorageView;

export function isTensor(item: Item): item is PthTensor {
  return typeof item === 'object' && item !== null && 'dtype' in item && 'data' in item;
}

/** A short description for errors: `a string`, `a dict of 3`, ... */
export function describe(item: Item): string {
  if (item === null) return 'None';
  if (typeof item === 'number') return `${item}`;
  if (typeof item === 'bigint') return 'an int beyond 2^53 - 1';
  if (typeof item === 'boolean') return item ? 'True' : 'False';
  if (typeof item === 'string') return 'a string';
  if (item instanceof Uint8Array) return 'bytes';
  if (item instanceof Map) return `a dict of ${item.size}`;
  if (Array.isArray(item)) return `a list or tuple of ${item.length}`;
  if (item instanceof Global) return item.name;
  if (item instanceof StorageView) return 'a bare storage';
  return `a tensor (${item.dtype} of shape [${item.shape.slice(0, 8).join(', ')}])`;
}

/** Deepest nesting of containers. CPython's pickler stops at about as much. */
export const MAX_DEPTH = 1000;
/** Most values in a file when what is shared counts each time it is met, as it does for whoever walks through it. */
export const MAX_VALUES = 10_000_000;

interface Frame {
  readonly container: Item[] | Map<Item, Item>;
  readonly children: readonly Item[];
  next: number;
  depth: number;
  values: number;
}

/**
 * Throws unless `root` is a tree, or shares parts without a cycle, within the two limits above, of values alone. It
 * does not recurse.
 */
export function checkValue(root: Item): asserts root is PthValue {
  const open = new Set<Item>();
  const done = new Map<Item, { readonly depth: number; readonly values: number }>();
  const stack: Frame[] = [];
  const fail = (problem: string): never => {
    throw new FormatError(`pth: ${problem}`);
  };
  const enter = (container: Item[] | Map<Item, Item>): void => {
    if (open.has(container)) fail('a container holds itself');
    if (stack.length >= MAX_DEPTH) fail(`containers nest deeper than ${MAX_DEPTH}`);
    open.add(container);
    const children = Array.isArray(container) ? container : [...container.keys(), ...container.values()];
    stack.push({ container, children, next: 0, depth: 1, values: 1 });
  };
  const visit = (item: Item, frame?: Frame): void => {
    if (item instanceof Global) fail(`${item.name} stands where a value should`);
    if (item instanceof StorageView) fail('a bare storage stands where a value should; want tensors');
    if (!Array.isArray(item) && !(item instanceof Map)) {
      if (frame) frame.values++;
      return;
    }
    const seen = done.get(item);
    if (!seen) {
      enter(item);
    } else if (frame) {
      frame.depth = Math.max(frame.depth, seen.depth + 1);
      frame.values += seen.values;
    }
  };

  visit(root);
  for (let frame = stack.at(-1); frame; frame = stack.at(-1)) {
    if (frame.next < frame.children.length) {
      visit(frame.children[frame.next++], frame);
    } else {
      stack.pop();
      open.delete(frame.container);
      done.set(frame.container, { depth: frame.depth, values: frame.values });
      const parent = stack.at(-1);
      if (parent) {
        parent.depth = Math.max(parent.depth, frame.depth + 1);
        parent.values += frame.values;
      }
    }
    if (frame.depth > MAX_DEPTH) fail(`containers nest deeper than ${MAX_DEPTH}`);
    if (frame.values > MAX_VALUES) fail(`more than ${MAX_VALUES} values, those shared counted each time`);
  }
}
