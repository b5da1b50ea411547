/** One array of results beside what it should be: within its bound or not, how far, in how many of its elements. */
import type { TypedArray } from '../device/device.js';
import { formatShape, type Shape, sizeOf } from '../shape.js';
import { show } from './special.js';
import { shareOf } from './worst.js';

/** `strict`: proved, whatever the order of sums. `probable`: smaller, see `LAMBDA`. */
export type BoundKind = 'strict' | 'probable';

/** What an array should be. */
export interface Wanted {
  /** `y`, `grad.x`, `new.runningMean`. */
  readonly name: string;
  readonly shape: Shape;
  readonly value: Float64Array;
  readonly strict: ArrayLike<number>;
  readonly probable: ArrayLike<number>;
  /** The bits of exact mode; null where they are not known. */
  readonly bits: Float32Array | null;
}

/** The element that is farthest off, by its share of the bound. */
export interface WorstElement {
  readonly index: readonly number[];
  readonly got: number;
  readonly want: number;
  readonly bound: number;
  readonly ulps: number;
}

/** How one output was judged. */
export interface OutputVerdict {
  readonly name: string;
  readonly shape: Shape;
  readonly passed: boolean;
  /** What was wrong before any number was looked at: missing, or of another size. */
  readonly problem: string | null;
  /** The largest |result − truth| as a share of the strict bound, and of the probable one. */
  readonly strictShare: number;
  readonly probableShare: number;
  /** Elements beyond the bound that counts. */
  readonly wrong: number;
  readonly elements: number;
  /** Elements off by at most 0.5, 1, 2, 4, … 2¹⁵ units in the last place of float32, and by more. */
  readonly ulps: readonly number[];
  /** Elements with the bits of exact mode; null where these are not known. */
  readonly equalBits: number | null;
  readonly worst: WorstElement | null;
}

/** Upper edges of the histogram of `OutputVerdict.ulps`; the last one counts what is beyond. */
export const ULP_EDGES: readonly number[] = [0.5, ...Array.from({ length: 16 }, (_, i) => 2 ** i), Infinity];

/** Distance of float32 numbers around `value`. */
function ulpOf(value: number): number {
  const size = Math.abs(value);
  if (!(size < Infinity)) return Number.NaN;
  return 2 ** (Math.max(Math.floor(Math.log2(Math.max(size, 2 ** -126))), -126) - 23);
}

function unravel(at: number, shape: Shape): number[] {
  const index = new Array<number>(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = at % shape[axis];
    at = Math.floor(at / shape[axis]);
  }
  return index;
}

function refused(wanted: Wanted, problem: string): OutputVerdict {
  const { name, shape } = wanted;
  return {
    ...{ name, shape, passed: false, problem, strictShare: Infinity, probableShare: Infinity },
    ...{ wrong: sizeOf(shape), elements: sizeOf(shape), ulps: ULP_EDGES.map(() => 0), equalBits: null, worst: null },
  };
}

/** `got` lies as `wanted` does; its shape is looked at where it is known. */
export function judgeArray(
  got: TypedArray | ArrayLike<number> | null,
  gotShape: Shape | null,
  wanted: Wanted,
  bound: BoundKind,
): OutputVerdict {
  const { name, shape, value } = wanted;
  if (got === null) return refused(wanted, 'missing');
  const fits = gotShape === null || formatShape(gotShape) === formatShape(shape);
  if (!fits || got.length !== value.length) {
    const is = gotShape && !fits ? `shape ${formatShape(gotShape)}` : `${got.length} elements`;
    return refused(wanted, `has ${is}; want ${formatShape(shape)}`);
  }
  const ulps = ULP_EDGES.map(() => 0);
  let [strictShare, probableShare, wrong, equalBits, at, most] = [0, 0, 0, 0, 0, -1];
  for (let i = 0; i < value.length; i++) {
    const own = Number(got[i]);
    const strict = shareOf(own, value[i], wanted.strict[i]);
    const probable = shareOf(own, value[i], wanted.probable[i]);
    strictShare = Math.max(strictShare, strict);
    probableShare = Math.max(probableShare, probable);
    const share = bound === 'strict' ? strict : probable;
    if (share > 1) wrong++;
    if (share > most) {
      most = share;
      at = i;
    }
    if (wanted.bits && Object.is(own, Number(wanted.bits[i]))) equalBits++;
    const off = own === value[i] ? 0 : Math.abs(own - value[i]) / ulpOf(value[i]);
    ulps[Number.isNaN(off) ? ULP_EDGES.length - 1 : ULP_EDGES.findIndex((edge) => off <= edge)]++;
  }
  const bounds = bound === 'strict' ? wanted.strict : wanted.probable;
  return {
    ...{ name, shape, passed: wrong === 0, problem: null, strictShare, probableShare, wrong },
    ...{ elements: value.length, ulps, equalBits: wanted.bits ? equalBits : null },
    worst: {
      index: unravel(at, shape),
      got: Number(got[at]),
      want: value[at],
      bound: bounds[at],
      ulps: Math.abs(Number(got[at]) - value[at]) / ulpOf(value[at]),
    },
  };
}

/** One line about an array of results. */
export function describeOutput(o: OutputVerdict): string {
  if (o.problem !== null) return `${o.name} ${o.problem}`;
  const percent = (share: number): string =>
    share === Infinity ? 'beyond any share' : `${(100 * share).toPrecision(3)} %`;
  const head = `${o.name}: ${percent(o.probableShare)} of the probable bound, ${percent(o.strictShare)} of the strict one`;
  if (o.worst === null || o.probableShare === 0) return `${o.name} exact`;
  const { index, got, want, bound, ulps } = o.worst;
  const worst = `worst at ${formatShape(index)}: ${show(got)} for ${show(want)}, ${ulps.toPrecision(3)} ulp, allowed ${bound.toPrecision(3)}`;
  return o.passed ? `${head}; ${worst}` : `${head}; ${o.wrong} of ${o.elements} outside; ${worst}`;
}
