/**
 * Entries of a file whose data is decoded when it is asked for. Who has to decode many of them, one after another, can do so
 * into the same memory.
 */

type Data = ArrayLike<number> | ArrayLike<bigint>;

export interface LateData {
  /** Elements, and the bytes that they take when decoded. */
  readonly length: number;
  readonly bytes: number;
  /** Whether the elements are bigints. */
  readonly bigints: boolean;
  /** Decodes at the beginning of `memory`, which has at least `bytes` bytes; a view of it. */
  decodeInto(memory: ArrayBuffer): Data;
}

const known = new WeakMap<object, LateData>();

/** Registers that `entry.data` makes a new array each time. Returns `entry`. */
export function hasLateData<E extends object>(entry: E, late: LateData): E {
  known.set(entry, late);
  return entry;
}

/** How the data of `entry` is decoded; undefined for one whose data is there. */
export function lateDataOf(entry: object): LateData | undefined {
  return known.get(entry);
}
