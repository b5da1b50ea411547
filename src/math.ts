/**
 * exp, log, sin and cos with the same bits in every engine: engines differ in theirs, so nothing promised bit for bit
 * may use those. Only float64 + − × / in a stated order, Math.floor and comparisons, which are exact everywhere.
 * AssemblyScript compiles this same file: keep to `number`, and annotate whole-number variables, which it would
 * take for i32.
 *
 * Methods and coefficients: fdlibm's e_exp.c, e_log.c, k_sin.c, k_cos.c and e_rem_pio2.c (Copyright (C) 1993 by Sun
 * Microsystems, Inc., freely granted), without their bit tricks: exponents are taken off by exact powers of two.
 * @see https://www.netlib.org/fdlibm/
 */

// ln 2 = LN2_HIGH + LN2_LOW; the high part has 32 zero bits at its end, so k·LN2_HIGH is exact.
const LN2_HIGH: number = 0.6931471803691238;
const LN2_LOW: number = 1.9082149292705877e-10;
const EXP_OVERFLOW: number = 709.782712893384;
const EXP_UNDERFLOW: number = -745.1332191019411;

/** 2^k for whole k from −1022 to 1023: every product on the way is a power of two, hence exact. */
function powerOfTwo(k: number): number {
  let base: number = k < 0 ? 0.5 : 2;
  let left: number = k < 0 ? -k : k;
  let power: number = 1;
  while (left > 0) {
    const half: number = Math.floor(left * 0.5);
    if (left - half * 2 > 0) power *= base;
    base *= base;
    left = half;
  }
  return power;
}

/** eˣ, error under 1 ulp; subnormal results included. exp(−∞) = 0, exp(±0) = 1. */
export function exp(x: number): number {
  if (x > EXP_OVERFLOW) return Infinity;
  if (x < EXP_UNDERFLOW) return 0;
  // x = k·ln 2 + (high − low), the bracket at most ln 2 / 2 in size.
  const k: number = Math.floor(x * Math.LOG2E + 0.5);
  const high: number = x - k * LN2_HIGH;
  const low: number = k * LN2_LOW;
  const r: number = high - low;
  // c is r − r²·P(r²), the Remez form of r·(eʳ + 1)/(eʳ − 1).
  const t: number = r * r;
  const c: number =
    r -
    t *
      (0.16666666666666602 +
        t *
          (-0.0027777777777015593 +
            t * (6.613756321437934e-5 + t * (-1.6533902205465252e-6 + t * 4.1381367970572385e-8))));
  const y: number = 1 - (low - (r * c) / (2 - c) - high);
  // In two steps, since 2^k alone may leave the range of normal numbers; only the second can round.
  const first: number = Math.floor(k * 0.5);
  return y * powerOfTwo(first) * powerOfTwo(k - first);
}

/** ln x, error under 1 ulp; subnormal x included. log(±0) = −∞, log(x < 0) = NaN, log(1) = +0. */
export function log(x: number): number {
  if (x < 0) return NaN;
  if (x === 0) return -Infinity;
  if (x === Infinity) return x;
  // x = 2^k·m with √½ ≤ m < √2: every scaling is by a power of two, away from the subnormals, hence exact.
  let m: number = x;
  let k: number = 0;
  while (m < 2.3283064365386963e-10) {
    m *= 4294967296;
    k -= 32;
  }
  while (m > 4294967296) {
    m *= 2.3283064365386963e-10;
    k += 32;
  }
  while (m < Math.SQRT1_2) {
    m *= 2;
    k -= 1;
  }
  while (m >= Math.SQRT2) {
    m *= 0.5;
    k += 1;
  }
  // log(1 + f) = f − f²/2 + s·(f²/2 + R(s²)), s = f/(2 + f).
  const f: number = m - 1;
  const halfSquare: number = 0.5 * f * f;
  const s: number = f / (2 + f);
  const z: number = s * s;
  const w: number = z * z;
  const even: number = w * (0.3999999999940942 + w * (0.22222198432149784 + w * 0.15313837699209373));
  const odd: number =
    z * (0.6666666666666735 + w * (0.2857142874366239 + w * (0.1818357216161805 + w * 0.14798198605116586)));
  const r: number = odd + even;
  return k * LN2_HIGH - (halfSquare - (s * (halfSquare + r) + k * LN2_LOW) - f);
}

// π/2 = PIO2_1 + PIO2_2 + PIO2_3 + PIO2_TAIL, the first three of 33 bits: n times each is exact for |n| < 2^20.
const PIO2_1: number = 1.5707963267341256;
const PIO2_2: number = 6.077100506303966e-11;
const PIO2_3: number = 2.0222662487111665e-21;
const PIO2_TAIL: number = 8.4784276603689e-32;
const TWO_OVER_PI: number = 0.6366197723675814;
const TRIG_LIMIT: number = 1647099;

/** sin(x + y) for |x| up to about π/4, y the rounding error of x. */
function kernelSin(x: number, y: number): number {
  const z: number = x * x;
  const v: number = z * x;
  const r: number =
    0.00833333333332249 +
    z *
      (-0.0001984126982985795 + z * (2.7557313707070068e-6 + z * (-2.5050760253406863e-8 + z * 1.58969099521155e-10)));
  return x - (z * (0.5 * y - v * r) - y - v * -0.16666666666666632);
}

/** cos(x + y) for |x| up to about π/4, y the rounding error of x. */
function kernelCos(x: number, y: number): number {
  const z: number = x * x;
  const w: number = z * z;
  const r: number =
    z * (0.0416666666666666 + z * (-0.001388888888887411 + z * 2.480158728947673e-5)) +
    w * w * (-2.7557314351390663e-7 + z * (2.087572321298175e-9 + z * -1.1359647557788195e-11));
  const halfSquare: number = 0.5 * z;
  const one: number = 1 - halfSquare;
  return one + (1 - one - halfSquare + (z * r - x * y));
}

/** sin(x + quarterTurns·π/2). */
function sinTurned(x: number, quarterTurns: number): number {
  if (!(x >= -TRIG_LIMIT && x <= TRIG_LIMIT)) return NaN;
  // x − n·π/2 as head + tail; what each subtraction rounds off is carried along (Cody and Waite).
  const n: number = Math.floor(x * TWO_OVER_PI + 0.5);
  const first: number = x - n * PIO2_1;
  let w: number = n * PIO2_2;
  const second: number = first - w;
  let lost: number = first - second - w;
  w = n * PIO2_3;
  const third: number = second - w;
  lost += second - third - w;
  w = n * PIO2_TAIL - lost;
  const head: number = third - w;
  const tail: number = third - head - w;

  const turns: number = n + quarterTurns;
  const quadrant: number = turns - 4 * Math.floor(turns * 0.25);
  if (quadrant === 0) return kernelSin(head, tail);
  if (quadrant === 1) return kernelCos(head, tail);
  if (quadrant === 2) return -kernelSin(head, tail);
  return -kernelCos(head, tail);
}

/** sin x, x in radians, error under 1 ulp for |x| ≤ 1,647,099; NaN beyond, rather than a wrong number. sin(−0) = −0. */
export function sin(x: number): number {
  return sinTurned(x, 0);
}

/** cos x, x in radians, error under 1 ulp for |x| ≤ 1,647,099; NaN beyond, rather than a wrong number. */
export function cos(x: number): number {
  return sinTurned(x, 1);
}
