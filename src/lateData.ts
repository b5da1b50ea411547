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

/** Where an entry keeps how it is decoded: on itself, so that the module holds no state. */
const LATE = Symbol('late data');

/** Registers that `entry.data` makes a new array each time. Returns `entry`. */
export function hasLateData<E extends object>(entry: E, late: LateData): E {
  return Object.defineProperty(entry, LATE, { value: late });
}

/** How the data of `entry` is decoded; undefined for one whose data is there. */
export function lateDataOf(entry: object): LateData | undefined {
  return (entry as { readonly [LATE]?: LateData })[LATE];
}
