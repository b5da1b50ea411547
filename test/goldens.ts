/**
 * Golden values of PyTorch 1.13 and the formula that their inputs follow; and how a difference is judged.
 */
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { type Device, type Module, readSafetensors, type Shape } from '../src/index.js';
import { sizeOf } from '../src/shape.js';

export interface Golden {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export interface GoldenFile {
  readonly tensors: ReadonlyMap<string, Golden>;
  readonly metadata: Readonly<Record<string, string>>;
  get(name: string): Golden;
}

export function goldens(file: string): GoldenFile {
  const bytes = readFileSync(new URL(`./goldens/${file}.safetensors`, import.meta.url));
  const entries = readSafetensors(bytes);
  const tensors = new Map(
    [...entries].map(([name, e]) => [name, { shape: e.shape, data: Float64Array.from(e.data, Number) }]),
  );
  return {
    tensors,
    metadata: entries.metadata,
    get(name) {
      const found = tensors.get(name);
      if (!found) throw new Error(`${file} has no tensor ${name}`);
      return found;
    },
  };
}

function crc32(text: string): number {
  let crc = 0xffffffff;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** Element i is lo + (hi − lo)·fmix32(i XOR crc32(name)) / 2³², rounded once to float32. */
export function formula(name: string, shape: Shape, lo = -1, hi = 1): Float32Array {
  const salt = crc32(name);
  const values = new Float32Array(sizeOf(shape));
  for (let i = 0; i < values.length; i++) {
    let x = i ^ salt;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    values[i] = lo + ((hi - lo) * ((x ^ (x >>> 16)) >>> 0)) / 2 ** 32;
  }
  return values;
}

/** What the formula gives a network's parameter or buffer of this state-dict name. */
export function stateFormula(name: string, shape: Shape): Float32Array {
  if (name.endsWith('num_batches_tracked')) return new Float32Array(1);
  if (name.endsWith('running_mean')) return formula(name, shape, -0.1, 0.1);
  if (name.endsWith('running_var')) return formula(name, shape, 0.5, 1.5);
  if (shape.length === 1 && name.endsWith('weight')) return formula(name, shape, 0.8, 1.2);
  if (shape.length === 1) return formula(name, shape, -0.1, 0.1);
  const bound = Math.sqrt((shape.length === 2 ? 1 : 6) / sizeOf(shape.slice(1)));
  return formula(name, shape, -bound, bound);
}

export function loadFormula(net: Module): void {
  const state = [...net.stateDict()];
  net.loadStateDict(new Map(state.map(([name, t]) => [name, { shape: t.shape, data: stateFormula(name, t.shape) }])));
}

/** Of any tensor's values; what is compared may have millions. */
export function doubles(values: ArrayLike<number> | ArrayLike<bigint>): Float64Array {
  return ArrayBuffer.isView(values) && !(values instanceof BigInt64Array)
    ? new Float64Array(values as Float32Array)
    : Float64Array.from(values as ArrayLike<bigint>, Number);
}

export function norm(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * values[i];
  return Math.sqrt(sum);
}

/** Labels 3·i mod 10. */
export function labelsFor(rows: number): Int32Array {
  return Int32Array.from({ length: rows }, (_, i) => (3 * i) % 10);
}

/** Unit roundoff of the device's element type. */
export function roundoff(device: Device): number {
  return device.dtype === 'float32' ? 2 ** -24 : 2 ** -53;
}

/**
 * Bound of a sum of `n` products in any order, each operation rounded with unit roundoff `u`, against PyTorch's
 * float64 sum in an order of its own; `terms` is the sum of the products' absolute values.
 */
export function sumBound(n: number, terms: number, u: number): number {
  const gamma = (v: number): number => (n * v) / (1 - n * v);
  return (gamma(u) + gamma(2 ** -53)) * terms + n * 2 ** -149;
}

/** Expects |actual − expected| ≤ bound at every element; the message shows the worst. */
export function expectWithin(
  label: string,
  actual: ArrayLike<number> | ArrayLike<bigint>,
  expected: ArrayLike<number>,
  bound: number | ((i: number) => number),
): void {
  expect(actual.length, `${label}: number of elements`).toBe(expected.length);
  let worst = { excess: 0, text: '' };
  for (let i = 0; i < expected.length; i++) {
    const limit = typeof bound === 'number' ? bound : bound(i);
    const error = Math.abs(Number(actual[i]) - expected[i]);
    const excess = error <= limit ? 0 : Number.isFinite(error) ? error / limit : Number.POSITIVE_INFINITY;
    if (excess > worst.excess) {
      worst = { excess, text: `${label}[${i}] is ${actual[i]}, want ${expected[i]} within ${limit}` };
    }
  }
  expect(worst.text).toBe('');
}
