/**
 * Special values among the inputs, and how a device that does not claim the reference's bits is judged on them: by class.
 * NaN where the reference has NaN, infinities where it has them and of the same sign, finite numbers elsewhere and within
 * the bound of the witness.
 */
import type { TypedArray } from '../device/device.js';
import { allowance, type Expected, type Precision } from './bounds.js';
import { seededDraw } from './draw.js';

/** From here on how soon a sum overflows depends on its order. */
const HUGE = 2 ** 100;
const SMALLEST_NORMAL = 2 ** -126;

/** What goes wrong in kernels, a kind at a time: NaN would hide the rest. */
const SPECIALS: readonly (readonly number[])[] = [
  [Number.NaN],
  [Infinity],
  [-Infinity],
  [-0, 0],
  [2 ** -149, -(2 ** -149), 2 ** -140, -(2 ** -127), 2 ** -126],
  [Number.NaN, Infinity, -Infinity, -0, 0, 2 ** -149, -(2 ** -130), 1e38, -1e38],
  [3.4028234663852886e38, -3.4028234663852886e38, 1e38],
];

/** The kind that a salt picks. Huge numbers come only where bits are compared: elsewhere their order is free. */
export function specialsFor(salt: number, huge: boolean): readonly number[] {
  if (huge) return SPECIALS[salt % SPECIALS.length];
  return SPECIALS[salt % (SPECIALS.length - 1)].filter((v) => !(Math.abs(v) > HUGE && Math.abs(v) < Infinity));
}

/**
 * A copy of `data` with about one element in `every` replaced by a special value, and every other time the last one,
 * which vector kernels take apart.
 */
export function withSpecials(
  data: Float32Array,
  specials: readonly number[],
  salt: number,
  every: number,
): Float32Array {
  const draw = seededDraw(salt, 'special');
  const last = draw.bool() ? data.length - 1 : -1;
  return data.map((v, i) => {
    const hit = draw.int(1, every) === 1 || i === last;
    const value = draw.pick(specials);
    return hit ? value : v;
  });
}

/**
 * A copy with every subnormal number taken as 0, as a device of `Precision.flush` may: a zero of the number's sign, or
 * `positive`.
 * @see https://www.w3.org/TR/WGSL/#flush-to-zero
 */
export function flushed(data: Float32Array, positive = false): Float32Array {
  return data.map((v) => (Math.abs(v) >= SMALLEST_NORMAL || Number.isNaN(v) ? v : positive ? 0 : 0 * v));
}

/** What one array of results may be: the reference's, for the class of each element, and the witness's. */
export interface Candidate {
  readonly reference: TypedArray;
  readonly expected: Expected;
}

export function show(value: number | bigint): string {
  return Object.is(value, -0) ? '-0' : String(value);
}

/**
 * `largest`: the greatest finite number of the device's dtype; past it, within the bound, a result may overflow. Where
 * the witness has no finite bound, only the class counts; where special values spread, only that a result that is not finite
 * does not become finite.
 */
function accepts(
  got: number,
  reference: number,
  value: number,
  allowed: number,
  largest: number,
  spreads: boolean,
): boolean {
  if (got === reference) return true;
  if (spreads && !Number.isFinite(allowed)) return Number.isFinite(reference) || !Number.isFinite(got);
  if (Number.isNaN(got) || Number.isNaN(reference)) return Number.isNaN(got) && Number.isNaN(reference);
  if (!Number.isFinite(value) || !Number.isFinite(allowed)) return Number.isFinite(got) && Number.isFinite(reference);
  if (Number.isFinite(got)) return Math.abs(got - value) <= allowed;
  return Math.sign(got) === Math.sign(value) && Math.abs(value) + allowed >= largest;
}

/** The first element that none of the candidates allows, and how many there are; null when all are allowed. */
export function classDifference(
  what: string,
  got: TypedArray | null | undefined,
  candidates: readonly Candidate[],
  precision: Precision,
  largest: number,
): string | null {
  const [{ reference, expected }] = candidates;
  if (!got || got.length !== reference.length) {
    return `${what} has ${got?.length ?? 'no'} elements; the reference has ${reference.length}`;
  }
  const allowed = candidates.map((c) => allowance(c.expected, precision));
  const spreads = candidates.map((c) => c.expected.spreads?.(precision) ?? false);
  let count = 0;
  let first = -1;
  for (let i = 0; i < got.length; i++) {
    const own = Number(got[i]);
    const taken = candidates.some((c, k) =>
      accepts(own, Number(c.reference[i]), c.expected.value[i], allowed[k][i], largest, spreads[k]),
    );
    if (!taken && count++ === 0) first = i;
  }
  if (count === 0) return null;
  return `${what}[${first}] is ${show(got[first])}; the reference has ${show(reference[first])}, the witness ${show(expected.value[first])} to within ${allowed[0][first].toPrecision(3)}; ${count} of ${got.length} elements differ`;
}
