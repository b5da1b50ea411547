/** The element of an array of results that uses the largest share of its bound. */
import type { TypedArray } from '../device/device.js';
import { allowance, type Expected, type Precision } from './bounds.js';
import { show } from './special.js';

export interface Worst {
  readonly what: string;
  /** |got − expected| over what is allowed: at most 1 where the results are right. */
  readonly share: number;
  readonly text: string;
}

export function worse(a: Worst, b: Worst): Worst {
  return b.share > a.share ? b : a;
}

/** |got − value| over what is allowed. Infinite numbers must be equal, and NaN agrees with NaN alone. */
export function shareOf(got: number, value: number, allowed: number): number {
  if (got === value || (Number.isNaN(got) && Number.isNaN(value))) return 0;
  const share = Math.abs(got - value) / allowed;
  return Number.isNaN(share) ? Infinity : share;
}

export function worstOf(
  what: string,
  got: TypedArray,
  expected: Expected,
  precision: Precision,
  allowed: Float64Array = allowance(expected, precision),
): Worst {
  const { value } = expected;
  if (got.length !== value.length) {
    return { what, share: Infinity, text: `${what} has ${got.length} elements; want ${value.length}` };
  }
  let at = 0;
  let share = -1;
  for (let i = 0; i < value.length; i++) {
    const own = shareOf(Number(got[i]), value[i], allowed[i]);
    if (own > share) {
      share = own;
      at = i;
    }
  }
  if (share <= 0) return { what, share: 0, text: `${what} exact` };
  const off = Math.abs(Number(got[at]) - value[at]);
  return {
    what,
    share,
    text: `${what}[${at}] is ${show(got[at])}; want ${show(value[at])}; off by ${off.toPrecision(3)}, ${(100 * share).toPrecision(3)} % of the bound ${allowed[at].toPrecision(3)}`,
  };
}
