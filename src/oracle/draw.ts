/**
 * Where cases get their choices and their numbers from. `Draw` is small enough for any source to implement:
 * the seeded one below, or fast-check's generator in tests. Numbers follow from a salt and a name alone, so
 * that a printed case is a reproducible case.
 */

import { fmix32, Generator } from '../random.js';

/** A source of choices. */
export interface Draw {
  /** A whole number from min to max, both included. */
  int(min: number, max: number): number;
  /** False or true. */
  bool(): boolean;
  /** An element of the list. */
  pick<T>(list: readonly T[]): T;
}

/** A `Draw` from anything that gives whole numbers from min to max. */
export function drawFrom(int: (min: number, max: number) => number): Draw {
  return {
    int,
    bool: () => int(0, 1) === 1,
    pick: (list) => list[int(0, list.length - 1)],
  };
}

function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** Choices that follow from a whole number of 32 bits and a name: the same in every engine. */
export function seededDraw(seed: number, name = ''): Draw {
  const generator = new Generator((seed ^ hashName(name)) >>> 0);
  return drawFrom((min, max) => min + generator.int(max - min + 1));
}

/**
 * How an input is filled, in [low, high]:
 * - `uniform`;
 * - `awayFromZero`: uniform, but at least 1/32 from 0, so that ReLU's kink is out of reach of a finite difference;
 * - `distinct`: evenly spaced and shuffled, so that no two are close enough to swap order;
 * - `halves`: uniform, then rounded to multiples of 1/2, so that there are ties.
 */
export type Fill = 'uniform' | 'awayFromZero' | 'distinct' | 'halves';

/** `size` float32 numbers for the input called `name`; each follows from (salt, name, position) alone. */
export function numbers(salt: number, name: string, size: number, low: number, high: number, fill: Fill = 'uniform') {
  const key = fmix32(salt ^ hashName(name));
  const at = (i: number): number => fmix32(i + key) / 2 ** 32;
  const out = new Float32Array(size);
  if (fill === 'distinct') {
    const order = Array.from(out, (_, i) => i).sort((i, j) => at(i) - at(j) || i - j);
    order.forEach((place, rank) => {
      out[place] = low + ((high - low) * (rank + 0.5)) / size;
    });
    return out;
  }
  for (let i = 0; i < size; i++) {
    let v = low + (high - low) * at(i);
    if (fill === 'halves') v = Math.round(2 * v) / 2;
    if (fill === 'awayFromZero' && Math.abs(v) < 1 / 32) v = v < 0 ? -1 / 32 : 1 / 32;
    out[i] = v;
  }
  return out;
}

/** `size` whole numbers from 0 to count − 1. */
export function labelsOf(salt: number, size: number, count: number): Int32Array {
  const draw = seededDraw(salt, 'labels');
  return Int32Array.from({ length: size }, () => draw.int(0, count - 1));
}
