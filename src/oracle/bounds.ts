/**
 * How far a float32 device may be from float64, proved and not guessed. Sums of products have a closed
 * formula; composed ops are evaluated in `Balls`, which carries a bound through every operation.
 *
 * Notation: u is a unit roundoff (half the distance from 1 to the next number), γ_n(u) = n·u/(1 − n·u). A
 * product of n factors (1 + δ), |δ| ≤ u, lies within γ_n(u) of 1.
 * @see Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., lemma 3.1 and section 3.3
 */
import { webgpuWinogradTile, winogradTile } from '../device/winograd.js';
import type { ConvGeometry } from '../shape.js';
import type { Sums } from './naive.js';
import type { Paths, Tile } from './winograd.js';

/** Numbers that are narrower than those that are computed with. */
export interface Format {
  /** Unit roundoff. */
  readonly unit: number;
  /** The smallest normal number, and the smallest subnormal one. */
  readonly normal: number;
  readonly tiny: number;
  /** From here on numbers are rounded to infinity. */
  readonly infinite: number;
}

/** IEEE halves. */
export const BINARY16: Format = { unit: 2 ** -11, normal: 2 ** -14, tiny: 2 ** -24, infinite: 65_520 };

/** What a device's arithmetic is assumed to be. */
export interface Precision {
  /** Unit roundoff of stored values and of f32 steps. */
  readonly unit: number;
  /** Unit roundoff inside what the contract calls wide: batch norm, softmax, cross-entropy. */
  readonly wide: number;
  /** What one underflowing operation may lose: the smallest subnormal, or the smallest normal number with `flush`. */
  readonly tiny: number;
  /** Subnormal operands and results may be taken as 0. */
  readonly flush: boolean;
  /** Unit roundoffs that a quotient may be off: 1 where it is rounded correctly. */
  readonly quotient: number;
  /** The same for a square root. */
  readonly root: number;
  /** Unit roundoff of the factors of products, where they are rounded before they are multiplied. Default 0. */
  readonly factor?: number;
  /** What results are rounded to when stored, if narrower than `unit` says. */
  readonly result?: { readonly unit: number; readonly tiny: number };
  /** A batch's variance is E[x²] − mean², which cancels where the mean is large. Default false. */
  readonly onePass?: boolean;
  /** A prepared convolution folds batch norm into its weights, rounding them once more. */
  readonly folds?: boolean;
  /** What a prepared convolution's weights are rounded to, to nearest, once the norm is in them; by Winograd's algorithm, once they are transformed. */
  readonly weights?: Format;
  /** In a convolution's gradients a tap that misses adds the product with a zero, so that NaN and infinities spread. */
  readonly missesAdd?: boolean;
  /** Which convolutions are Winograd's F(m × m, 3 × 3), and with which m; 0 for a direct sum. None by default. */
  readonly winograd?: (direction: 'forward' | 'input' | 'weight', g: ConvGeometry) => 0 | Tile;
}

/** A float32 device that keeps the contract: wide work in float64, rounded once when stored. */
export const WIDE: Precision = {
  unit: 2 ** -24,
  wide: 2 ** -53,
  tiny: 2 ** -149,
  flush: false,
  quotient: 1,
  root: 1,
};

/**
 * A float32 device without float64, such as WebGPU: everything in float32, quotients to 2.5 ulp (an ulp being at
 * most two units), roots as 1/inverseSqrt with 2 ulp of its own, subnormals taken as 0 or not.
 * @see https://www.w3.org/TR/WGSL/#floating-point-accuracy
 */
export const NARROW: Precision = {
  unit: 2 ** -24,
  wide: 2 ** -24,
  tiny: 2 ** -126,
  flush: true,
  quotient: 5,
  root: 10,
};

/** `webgpu()`: all in float32, gradients of convolutions by implicit im2col, batch norm folded where weights stay. */
export const WEBGPU: Precision = { ...NARROW, folds: true, missesAdd: true };

/** `webgpu({ math: 'fast' })`: Winograd's convolution where `webgpuWinogradTile` says so. */
export const WEBGPU_FAST: Precision = { ...WEBGPU, winograd: webgpuWinogradTile };

/** `webgpu({ storage: 'float16' })`: prepared convolutions keep halves. */
export const WEBGPU_HALF: Precision = { ...WEBGPU, weights: BINARY16 };

/** `webgpu({ math: 'fast', storage: 'float16' })`. */
export const WEBGPU_FAST_HALF: Precision = { ...WEBGPU_FAST, weights: BINARY16 };

/** Float32 whose batch norm reads its input once: variances as E[x²] − mean², with the error that this has. */
export const ONE_PASS: Precision = { ...NARROW, onePass: true };

/** Float32 whose products take TF32 factors, rounded or cut to ten bits behind the point, as tensor cores do. */
export const TF32: Precision = { ...NARROW, factor: 2 ** -10 };

/** Float16 in and out, sums in float32. The inputs must be float16 numbers: `SuiteOptions.numbers`. */
export const FLOAT16: Precision = { ...NARROW, result: { unit: 2 ** -11, tiny: 2 ** -24 } };

/** The same in bfloat16, with 8 bits in the place of 11 and the exponents of float32. */
export const BFLOAT16: Precision = { ...NARROW, result: { unit: 2 ** -8, tiny: 2 ** -126 } };

/** A float32 device in a fast mode: Winograd's convolution where `winogradTile` says so; else as WIDE. */
export const FAST: Precision = { ...WIDE, folds: true, winograd: winogradTile };

/** A float64 device; also the naive functions themselves. */
export const DOUBLE: Precision = {
  unit: 2 ** -53,
  wide: 2 ** -53,
  tiny: 2 ** -1074,
  flush: false,
  quotient: 1,
  root: 1,
};

/** γ_n(u). Infinite when n·u reaches 1. */
export function gamma(n: number, u: number): number {
  return n * u < 1 ? (n * u) / (1 - n * u) : Infinity;
}

/**
 * An expected result: what the naive function found, and how far each element may be from it on a device of
 * a given precision. `error` leaves out the naive function's own rounding; `allowance` adds it.
 */
export interface Expected {
  readonly value: Float64Array;
  /** How far each element may be off, absolutely, in arithmetic of this precision. */
  error(precision: Precision): Float64Array;
  /** A bound that holds with high probability, where there is one smaller than `error`: see `LAMBDA`. */
  probable?(precision: Precision): Float64Array;
  /** True where NaN and infinities among the operands reach results that do not depend on them, as in a shared tile. */
  spreads?(precision: Precision): boolean;
}

/** |computed − naive| may be this large: the device's error, and that of the naive float64 loops. */
export function allowance(expected: Expected, precision: Precision): Float64Array {
  return allowed(expected, precision, expected.error(precision));
}

function allowed(expected: Expected, { result }: Precision, found: Float64Array): Float64Array {
  const { value } = expected;
  const own = expected.error(DOUBLE);
  return found.map((e, i) => {
    // Rounded once more when it is stored.
    const stored = result ? result.unit * (Math.abs(value[i]) + e) + result.tiny : 0;
    return e + stored + own[i];
  });
}

/** The same by the probabilistic bound, where there is one. */
export function probableAllowance(expected: Expected, precision: Precision): Float64Array {
  return allowed(expected, precision, expected.probable?.(precision) ?? expected.error(precision));
}

/**
 * The probabilistic bound of a sum of k products: LAMBDA·√k·u·max(‖products‖₂, |sum|). It takes roundings as independent
 * and of mean 0, as Higham and Mary do, and terms as varying, so that partial sums grow as a walk to at most max(‖products‖₂, |sum|). A
 * rounding's standard deviation is at most u/√3 of the partial sum that it rounds, so one of the whole is at most √(k/3)·u·max(…): 3.5
 * are 6 of them, which an element is beyond with a probability below 2e-9. The suites' terms are such. Equal terms, which are all
 * rounded alike, terms in long runs of one sign, and orders chosen by the values are not: for these there is the strict bound.
 * @see Higham and Mary, A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41(5), 2019, theorem 3.1
 */
export const LAMBDA = 3.5;

/** Results that only choose or copy: no error at all, but that a subnormal number may be taken as 0 where they are flushed. */
export function exact(value: Float64Array): Expected {
  return {
    value,
    error: ({ flush, tiny }) => value.map((v) => (flush && Math.abs(v) < tiny ? Math.abs(v) : 0)),
  };
}

/**
 * 0 or an element of `taken`, as a comparison of x with 0 chooses: exact, but that where x is subnormal and may be taken as 0 the
 * choice may be the other one.
 */
export function chosen(value: Float64Array, x: Float64Array, taken: Float64Array): Expected {
  const { error } = exact(value);
  return {
    value,
    error: (p) => error(p).map((e, i) => (p.flush && x[i] !== 0 && Math.abs(x[i]) < p.tiny ? Math.abs(taken[i]) : e)),
  };
}

/** One rounding. */
export function rounded(value: Float64Array): Expected {
  return { value, error: ({ unit, tiny }) => value.map((v) => unit * Math.abs(v) + tiny) };
}

/** One quotient. */
export function quotient(value: Float64Array): Expected {
  return { value, error: ({ unit, tiny, quotient }) => value.map((v) => quotient * unit * Math.abs(v) + tiny) };
}

/**
 * Sums of n products (the bias is one more, with factor 1), added in any order, fused or not:
 * |computed − true| ≤ γ_n(u)·Σ|products| + n·tiny, since no product passes through more than n roundings (its
 * own, and n − 1 additions) and each may underflow once; where subnormals may become 0, so may each addition. `extra` counts further roundings of each term, say of a
 * quotient. Assumes nothing of the order, and that no partial sum overflows.
 * @see Higham, section 3.1
 */
export function sumOfProducts(sums: Sums, extra: (precision: Precision) => number = () => 0): Expected {
  const error = (precision: Precision): Float64Array => {
    const more = extra(precision);
    return sums.magnitude.map((magnitude, i) => {
      if (sums.terms[i] === 0 || (more === 0 && isWhole(sums, i, precision))) return 0;
      const n = sums.terms[i] + more;
      const losses = precision.flush ? 2 * n : n;
      return (gamma(n, precision.unit) + factors(precision)) * magnitude + losses * precision.tiny;
    });
  };
  return {
    value: sums.value,
    error,
    probable(precision) {
      const more = extra(precision);
      return error(precision).map((strict, i) => {
        const n = sums.terms[i] + more;
        const size = Math.max(Math.sqrt(sums.squares[i]), Math.abs(sums.value[i]));
        const losses = precision.flush ? 2 * n : n;
        // What rounded factors do to the products adds up as a walk, or, where they are cut, is a share of the sum.
        const rounded = LAMBDA * (Math.sqrt(n) * precision.unit + factors(precision)) * size;
        return Math.min(strict, rounded + losses * precision.tiny);
      });
    },
  };
}

/** What rounded factors do to a product: (1 + δ)² − 1, and what the roundings of the sum do to that. */
const factors = ({ factor = 0 }: Precision): number => 2.01 * factor + factor * factor;

/** Whole terms whose sum in any order stays below the first whole number that is not representable: no rounding at all. */
const isWhole = (sums: Sums, i: number, { unit, factor = 0 }: Precision): boolean =>
  sums.whole[i] === 1 && sums.magnitude[i] * Math.max(unit, factor) <= 1;

/**
 * The sums of a convolution: as `sumOfProducts`, or by Winograd's algorithm, of which `paths` tells how far it may be off,
 * where the device's precision says so. `misses`: what products with zero come to where the precision has them; 0 or NaN.
 */
export function convolution(
  sums: Sums,
  direction: 'forward' | 'input' | 'weight',
  geometry: ConvGeometry,
  paths: (m: Tile) => Paths,
  misses?: () => Float64Array,
): Expected {
  const direct = sumOfProducts(sums);
  const tile = (precision: Precision): 0 | Tile => precision.winograd?.(direction, geometry) ?? 0;
  return {
    value: sums.value,
    error(precision) {
      const m = tile(precision);
      if (m === 0) {
        const error = direct.error(precision);
        const added = precision.missesAdd ? misses?.() : undefined;
        return added === undefined ? error : error.map((e, i) => e + added[i]);
      }
      const { roundings, magnitude, underflows } = paths(m);
      const factor = gamma(roundings, precision.unit);
      return magnitude.map((v, i) => factor * v + underflows[i] * precision.tiny);
    },
    probable(precision) {
      return tile(precision) === 0 && direct.probable ? direct.probable(precision) : this.error(precision);
    },
    spreads: (precision) => tile(precision) !== 0 || (misses !== undefined && precision.missesAdd === true),
  };
}

/** Of a weight's size, how far what is multiplied may be from it. */
export type WeightError = (size: number) => number;

/** How far a folded or transformed weight may be from its true value before it is rounded to a format: more than any is. */
const LAID_OUT = 2 ** -16;

/**
 * How far what comes of a weight of size v may be from it. Rounded to nearest: unit·v where v is normal, and half of the smallest
 * subnormal number below, or v itself where that is less. A device that may take subnormal numbers as 0 may do so as it reads them:
 * then a weight below the normal numbers may be lost whole. `upTo`: the largest of this for any size up to v, where v is itself a bound.
 */
function formatErrors(
  { unit, normal, tiny, infinite }: Format,
  flush: boolean,
): { of: WeightError; upTo: WeightError } {
  const subnormal = (v: number): number => (flush ? v : Math.min(v, tiny / 2));
  const of = (v: number): number => {
    const most = v * (1 + LAID_OUT);
    if (most >= infinite) return Infinity;
    return v * (1 - LAID_OUT) < normal ? Math.max(subnormal(most), most < normal ? 0 : unit * most) : unit * most;
  };
  return { of, upTo: (v) => Math.max(of(v), subnormal(Math.min(v, normal))) };
}

/** What `normalisedConvolution` is about. */
export interface NormalisedConvolution {
  /** Sums without and with the convolution's bias. */
  readonly bare: Sums;
  readonly sums: Sums;
  readonly geometry: ConvGeometry;
  /** Of the bare sums, and of those with the bias. */
  readonly barePaths: (m: Tile) => Paths;
  readonly paths: (m: Tile) => Paths;
  /**
   * What errors of the weights come to in each result: Σ |x|·error(|weight·scale|), scale by channel or 1; by F(m, 3) of the transformed
   * weights, along all paths, `error` being given a bound of their size.
   */
  readonly weightErrors: (m: 0 | Tile, scale: ArrayLike<number> | null, error: WeightError) => Float64Array;
  /** By channel; `norm` as (y − mean)·scale + shift in float64, or null. */
  readonly bias: ArrayLike<number> | null;
  readonly norm: { mean: ArrayLike<number>; scale: ArrayLike<number>; shift: ArrayLike<number> } | null;
  readonly channelOf: (i: number) => number;
  readonly residual: ArrayLike<number> | null;
  readonly relu: boolean;
}

/**
 * A convolution, batch norm by given statistics, a residual, relu. Norm after the sum: its error times the scale, and one
 * rounding. Norm folded: each weight and the bias are rounded once more, so the paths of the sum have one rounding more, and
 * the bias joins it as one more term: γ_{n+2}·(|scale|·Σ|w·x| + |b'|).
 *
 * Weights rounded to a narrower format once they are laid out: the sum is that of other weights ŵ, |ŵ − w| ≤ e(w), and its value is
 * off by at most Σ|x|·e(w), while |ŵ| ≤ |w| + e(w) in the bound of its roundings adds γ times the same. For halves e(w) is
 * 2⁻¹¹·|w|, or 2⁻²⁵ where w is subnormal: Σ|x|·e(w) ≤ u₁₆·Σ|x·w| + 2⁻²⁵·Σ|x|, and it is |w| < 2⁻¹⁴ where subnormal numbers may
 * be flushed (`formatErrors`). By Winograd's algorithm a transformed weight is rounded, of at most |G||w||Gᵀ|, and its error takes every path from
 * there: |Aᵀ|·Σ(e(|G||w||Gᵀ|) ⊙ |Bᵀ||x||B|)·|A|. Of this e is the largest up to that size, which is only a bound.
 */
export function normalisedConvolution(o: NormalisedConvolution): Expected {
  const { bare, sums, geometry, bias, norm, channelOf, residual, relu } = o;
  const after = (v: number, i: number): number => {
    const c = channelOf(i);
    const y = norm ? (v - norm.mean[c]) * norm.scale[c] + norm.shift[c] : v;
    const z = residual ? y + residual[i] : y;
    return relu ? Math.max(z, 0) : z;
  };
  const plain = convolution(sums, 'forward', geometry, o.paths);
  /** `error` with what the format of the weights adds to it; `n` roundings of a term. */
  const kept = (
    error: Float64Array,
    precision: Precision,
    scale: ArrayLike<number> | null,
    n: (i: number) => number,
  ) => {
    if (precision.weights === undefined) return error;
    const m = precision.winograd?.('forward', geometry) ?? 0;
    const { of, upTo } = formatErrors(precision.weights, precision.flush);
    const lost = o.weightErrors(m, scale, m === 0 ? of : upTo);
    // What meets a weight beyond the format has no bound, though it be 0 that meets it.
    return error.map((e, i) => (lost[i] < Infinity ? e + (1 + gamma(n(i), precision.unit)) * lost[i] : Infinity));
  };
  return {
    value: sums.value.map(after),
    spreads: (precision) => (plain.spreads?.(precision) ?? false) || (precision.folds ?? false),
    error(precision) {
      const { unit, wide, tiny } = precision;
      const balls = new Balls(precision, 'wide');
      const stored = new Balls(precision, 'stored');
      let before: Float64Array;
      if (norm && precision.folds) {
        const m = precision.winograd?.('forward', geometry) ?? 0;
        const found = m === 0 ? null : o.barePaths(m);
        before = bare.value.map((_, i) => {
          const c = channelOf(i);
          const scale = Math.abs(norm.scale[c]);
          const n = found ? found.roundings : bare.terms[i];
          const magnitude = scale * (found ? found.magnitude[i] : bare.magnitude[i]);
          // The folded bias, and what float64 rounds on the way to it and to the scale.
          const b = (bias ? bias[c] : 0) - norm.mean[c];
          const folded = Math.abs(b * norm.scale[c] + norm.shift[c]);
          const terms = (Math.abs(bias ? bias[c] : 0) + Math.abs(norm.mean[c])) * scale + Math.abs(norm.shift[c]);
          const lost = (found ? found.underflows[i] : n) * (1 + scale) + 2;
          return gamma(n + 2, unit) * (magnitude + folded) + 8 * wide * (magnitude + terms) + lost * tiny;
        });
        before = kept(before, precision, norm.scale, (i) => (found ? found.roundings : bare.terms[i]) + 2);
      } else {
        const m = precision.winograd?.('forward', geometry) ?? 0;
        const roundings = m === 0 ? null : o.paths(m).roundings;
        const error = kept(plain.error(precision), precision, null, (i) => roundings ?? sums.terms[i]);
        before = error.map((e, i) => {
          if (!norm) return e;
          const c = channelOf(i);
          const y = balls.sub({ value: sums.value[i], error: e }, balls.exact(norm.mean[c]));
          // The scale comes of a root, a quotient and a product.
          const scale = { value: norm.scale[c], error: 4 * wide * Math.abs(norm.scale[c]) };
          return balls.store(balls.add(balls.mul(y, scale), balls.exact(norm.shift[c]))).error;
        });
      }
      if (!residual) return before;
      return before.map((e, i) => {
        const c = channelOf(i);
        const y = norm ? (sums.value[i] - norm.mean[c]) * norm.scale[c] + norm.shift[c] : sums.value[i];
        return stored.add({ value: y, error: e }, stored.exact(residual[i])).error;
      });
    },
  };
}

/**
 * Sums that the contract calls wide: γ_n of the wide precision, then one rounding of the result. Before or after
 * adding, each term may be divided once.
 */
export function wideSum(sums: Sums): Expected {
  const bound = (precision: Precision, of: (n: number, i: number) => number): Float64Array => {
    const { unit, wide, tiny, quotient } = precision;
    return sums.value.map((value, i) => {
      // A quotient that is rounded correctly is exact where it is whole.
      if (sums.terms[i] === 0 || (quotient <= 1 && isWhole(sums, i, precision))) return 0;
      const n = sums.terms[i] + quotient;
      const sum = of(n, i);
      return sum + unit * (Math.abs(value) + sum) + (wide === unit ? n + 1 : 1) * tiny;
    });
  };
  const strict = (precision: Precision) => (n: number, i: number) => gamma(n, precision.wide) * sums.magnitude[i];
  return {
    value: sums.value,
    error: (precision) => bound(precision, strict(precision)),
    probable: (precision) =>
      bound(precision, (n, i) => {
        const size = Math.max(Math.sqrt(sums.squares[i]), Math.abs(sums.value[i]));
        return Math.min(strict(precision)(n, i), LAMBDA * Math.sqrt(n) * precision.wide * size);
      }),
  };
}

/** A number known to within `error`. */
export interface Ball {
  readonly value: number;
  readonly error: number;
}

/**
 * Arithmetic on balls: running error analysis. Each operation adds the error that its operands bring
 * (exactly, second order included) and one rounding of its own. exp and log are assumed to be at least as good as
 * WGSL's: (3 + 2|x|) ulp, and 3 ulp or 2⁻²¹.
 * @see Higham, section 3.3
 * @see https://www.w3.org/TR/WGSL/#floating-point-accuracy
 */
export class Balls {
  /** Unit roundoff of the operations. */
  readonly unit: number;
  /** What an operation may lose by underflow. */
  private readonly tiny: number;

  /** `inside`: operations are of the wide precision, else each is rounded to the stored one. */
  constructor(
    private readonly precision: Precision,
    inside: 'wide' | 'stored',
    /** Sums by the probabilistic bound, `LAMBDA`; single operations as ever. */
    private readonly probable = false,
  ) {
    this.unit = inside === 'wide' ? precision.wide : precision.unit;
    // Wide work in float64 is far from its underflow; work in the stored precision may lose `tiny` each time.
    this.tiny = this.unit === precision.unit ? precision.tiny : 0;
  }

  private round(value: number, error: number, units = 1): Ball {
    // An infinity that exact operands make, or bounded ones beside it, is not rounded.
    if (Math.abs(value) === Infinity) return { value, error: Number.isFinite(error) ? 0 : error };
    return { value, error: error + units * (this.unit * (Math.abs(value) + error) + this.tiny) };
  }

  /** How a variance is found. */
  get onePass(): boolean {
    return this.precision.onePass ?? false;
  }

  /** A stored number. */
  exact(value: number): Ball {
    return { value, error: 0 };
  }

  /** One rounding more, to the dtype that buffers hold. */
  store(a: Ball): Ball {
    const { unit, tiny } = this.precision.result ?? this.precision;
    if (Math.abs(a.value) === Infinity) return a;
    return { value: a.value, error: a.error + unit * (Math.abs(a.value) + a.error) + tiny };
  }

  /** A scalar, rounded once when the kernel receives it. */
  scalar(value: number): Ball {
    return this.round(value, 0);
  }

  /** a + b, rounded. */
  add(a: Ball, b: Ball): Ball {
    return this.round(a.value + b.value, a.error + b.error);
  }

  /** a − b, rounded. */
  sub(a: Ball, b: Ball): Ball {
    return this.round(a.value - b.value, a.error + b.error);
  }

  /** a · b, rounded. */
  mul(a: Ball, b: Ball): Ball {
    return this.round(a.value * b.value, Math.abs(a.value) * b.error + Math.abs(b.value) * a.error + a.error * b.error);
  }

  /** a / b, rounded; the error is infinite where b may be 0. */
  div(a: Ball, b: Ball): Ball {
    const value = a.value / b.value;
    const least = Math.abs(b.value) - b.error;
    return this.round(
      value,
      least > 0 ? (a.error + Math.abs(value) * b.error) / least : Infinity,
      this.precision.quotient,
    );
  }

  /** |√(a ± e) − √a| ≤ e/√a, and at most √e where a is near 0. */
  sqrt(a: Ball): Ball {
    const value = Math.sqrt(a.value);
    const least = Math.max(a.value - a.error, 0);
    const error = a.error === 0 ? 0 : a.error / (value + Math.sqrt(least));
    return this.round(value, error, this.precision.root);
  }

  /** `value` is eᵃ as the naive function has it. |e^(a ± e) − eᵃ| ≤ eᵃ·e/(1 − e). */
  exp(a: Ball, value: number): Ball {
    if (a.value === -Infinity) return { value, error: a.error };
    const brought = a.error < 1 ? a.error / (1 - a.error) : Infinity;
    return this.round(value, value * brought, 6 + 4 * (Math.abs(a.value) + a.error));
  }

  /** `value` is ln a as the naive function has it. |ln(a ± e) − ln a| ≤ e/(a − e). */
  log(a: Ball, value: number): Ball {
    const brought = a.error < a.value ? a.error / (a.value - a.error) : Infinity;
    return this.round(value, brought + 8 * this.unit, 6);
  }

  /** A sum in any order: γ_n(u)·Σ|terms| beside what the terms bring. Additions underflow exactly, or to 0 with `flush`. */
  sum(terms: readonly Ball[]): Ball {
    let value = 0;
    let error = 0;
    let magnitude = 0;
    let squares = 0;
    for (const term of terms) {
      value += term.value;
      error += term.error;
      magnitude += Math.abs(term.value) + term.error;
      squares += (Math.abs(term.value) + term.error) ** 2;
    }
    const n = terms.length;
    const lost = this.precision.flush ? n * this.tiny : 0;
    const strict = error + gamma(n, this.unit) * magnitude;
    if (!this.probable) return { value, error: strict + lost };
    const size = Math.max(Math.sqrt(squares), Math.abs(value));
    // What the terms bring may have one source, such as a mean: it adds up as ever.
    const likely = error + LAMBDA * Math.sqrt(n) * this.unit * size;
    return { value, error: Math.min(strict, likely) + lost };
  }
}

/** Results found by evaluating a formula in balls of the wide precision, rounded once when stored. */
export function wide(value: Float64Array, evaluate: (balls: Balls) => readonly Ball[]): Expected {
  const bound = (balls: Balls): Float64Array => Float64Array.from(evaluate(balls), (ball) => balls.store(ball).error);
  return {
    value,
    error: (precision) => bound(new Balls(precision, 'wide')),
    probable: (precision) => bound(new Balls(precision, 'wide', true)),
  };
}

/** Results found by evaluating a formula in balls of the stored precision: each operation rounded. */
export function stepwise(value: Float64Array, evaluate: (balls: Balls) => readonly Ball[]): Expected {
  return {
    value,
    error: (precision) => Float64Array.from(evaluate(new Balls(precision, 'stored')), (ball) => ball.error),
  };
}

/** As `wide`, the value being what the formula itself comes to in float64. */
export function wideFormula(evaluate: (balls: Balls) => readonly Ball[]): Expected {
  return wide(
    Float64Array.from(evaluate(new Balls(DOUBLE, 'wide')), (ball) => ball.value),
    evaluate,
  );
}

/** As `stepwise`, the value being what the formula itself comes to in float64. */
export function stepwiseFormula(evaluate: (balls: Balls) => readonly Ball[]): Expected {
  return stepwise(
    Float64Array.from(evaluate(new Balls(DOUBLE, 'stored')), (ball) => ball.value),
    evaluate,
  );
}
