import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';
import { beforeAll, describe, expect, test } from 'vitest';
import { cos, exp, log, sin } from '../src/math.js';

const math = { exp, log, sin, cos };
type Name = keyof typeof math;

/** An oracle of 256 fractional bits in BigInt, which shares nothing with the code it judges. */
const BITS = 256n;
const ONE = 1n << BITS;

/** x as whole·2^exponent. */
function decode(x: number): { whole: bigint; exponent: number } {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, x);
  const bits = view.getBigUint64(0);
  const biased = Number((bits >> 52n) & 0x7ffn);
  const fraction = bits & ((1n << 52n) - 1n);
  const whole = biased === 0 ? fraction : fraction | (1n << 52n);
  return { whole: x < 0 ? -whole : whole, exponent: Math.max(biased, 1) - 1075 };
}

function shift(value: bigint, by: number): bigint {
  return by >= 0 ? value << BigInt(by) : value >> BigInt(-by);
}

function fixed(x: number): bigint {
  const { whole, exponent } = decode(x);
  return shift(whole, exponent + Number(BITS));
}

/** Σ over odd powers of t/n, alternating for arctangent. */
function arc(t: bigint, alternate: boolean): bigint {
  let power = t;
  let sum = 0n;
  for (let n = 1n; power !== 0n; n += 2n) {
    sum += alternate && n % 4n === 3n ? -power / n : power / n;
    power = (((power * t) >> BITS) * t) >> BITS;
  }
  return sum;
}

const LN2 = 2n * arc(ONE / 3n, false);
const HALF_PI = 2n * (4n * arc(ONE / 5n, true) - arc(ONE / 239n, true));

/** A value·2^scale in fixed point. */
interface Exact {
  value: bigint;
  scale: number;
}

function taylor(x: bigint, first: bigint, from: bigint, step: bigint, negate: boolean): bigint {
  let term = first;
  let sum = first;
  for (let n = from; term !== 0n; n += step) {
    for (let i = 0n; i < step; i++) term = ((term * x) >> BITS) / (n + i);
    if (negate) term = -term;
    // An arithmetic shift takes a negative term to −1 and never to 0.
    if (term === -1n) break;
    sum += term;
  }
  return sum;
}

const exact: Record<Name, (x: number) => Exact> = {
  exp(x) {
    const k = Math.round(x / Math.LN2);
    return { value: taylor(fixed(x) - BigInt(k) * LN2, ONE, 1n, 1n, false), scale: k };
  },
  log(x) {
    const { whole, exponent } = decode(x);
    const length = whole.toString(2).length;
    const m = shift(whole, Number(BITS) - length);
    return { value: 2n * arc(((m - ONE) << BITS) / (m + ONE), false) + BigInt(exponent + length) * LN2, scale: 0 };
  },
  sin: (x) => turned(x, 0),
  cos: (x) => turned(x, 1),
};

function turned(x: number, quarters: number): Exact {
  const n = Math.round(x / (Math.PI / 2));
  const r = fixed(x) - BigInt(n) * HALF_PI;
  const quadrant = (((n + quarters) % 4) + 4) % 4;
  const value = quadrant % 2 === 0 ? taylor(r, r, 2n, 2n, true) : taylor(r, ONE, 1n, 2n, true);
  return { value: quadrant < 2 ? value : -value, scale: 0 };
}

/** |y − exact| in units of y's last place. */
function ulps(y: number, { value, scale }: Exact): number {
  const { whole, exponent } = decode(y);
  const difference = shift(value, scale - exponent) - (whole << BITS);
  return Math.abs(Number(difference >> (BITS - 40n))) / 2 ** 40;
}

/** Points from a small linear congruential generator: the tests must not lean on what random.ts does. */
function points(count: number, map: (u: number, i: number) => number): number[] {
  let s = 20151210;
  return Array.from({ length: count }, (_, i) => {
    s = (Math.imul(s, 1664525) + 1013904223) | 0;
    return map((s >>> 0) / 2 ** 32, i);
  });
}

const worst = (name: Name, xs: number[]) =>
  xs.reduce((max, x) => Math.max(max, ulps(math[name](x), exact[name](x))), 0);

describe('the oracle', () => {
  test('knows ln 2, π/2, e and a sine', () => {
    expect(ulps(Math.LN2, exact.log(2))).toBeLessThan(0.5);
    expect(ulps(Math.E, exact.exp(1))).toBeLessThanOrEqual(0.5);
    expect(ulps(0.479425538604203, exact.sin(0.5))).toBeLessThanOrEqual(0.5);
    expect(ulps(0.8775825618903728, exact.cos(0.5))).toBeLessThanOrEqual(0.5);
    expect(ulps(2, exact.exp(1))).toBeGreaterThan(1e15);
  });
});

describe('exp', () => {
  test('error under 1 ulp on the whole range, subnormal results included', () => {
    expect(
      worst(
        'exp',
        points(1500, (u) => -745.13 + u * 1454.9),
      ),
    ).toBeLessThan(1);
    expect(
      worst(
        'exp',
        points(1500, (u) => u * 2 - 1),
      ),
    ).toBeLessThan(1);
    expect(
      worst(
        'exp',
        points(200, (u) => -745.13 + u * 37),
      ),
    ).toBeLessThan(1);
    expect(worst('exp', [1e-300, -1e-20, 5e-324, 709.782712893384, -708.4, -745.1332191019411])).toBeLessThan(1);
  });
  test('special values', () => {
    expect(math.exp(Number.NaN)).toBeNaN();
    expect(math.exp(Infinity)).toBe(Infinity);
    expect(math.exp(-Infinity)).toBe(0);
    expect(math.exp(0)).toBe(1);
    expect(math.exp(-0)).toBe(1);
    expect(math.exp(709.782712893384)).toBe(1.7976931348622732e308);
    expect(math.exp(709.7827128933841)).toBe(Infinity);
    expect(math.exp(-745.1332191019411)).toBe(5e-324);
    expect(math.exp(-745.1332191019412)).toBe(0);
  });
});

describe('log', () => {
  test('error under 1 ulp on the whole range, subnormal arguments included', () => {
    expect(
      worst(
        'log',
        points(1000, (u) => 2 ** (u * 2097 - 1074)),
      ),
    ).toBeLessThan(1);
    expect(
      worst(
        'log',
        points(1500, (u) => 0.5 + u),
      ),
    ).toBeLessThan(1);
    expect(
      worst(
        'log',
        points(500, (u) => 1 + (u - 0.5) * 1e-6),
      ),
    ).toBeLessThan(1);
    expect(
      worst('log', [5e-324, 2.2250738585072014e-308, Number.MAX_VALUE, Math.SQRT1_2, Math.SQRT2, 1 + 2 ** -52]),
    ).toBeLessThan(1);
  });
  test('special values', () => {
    expect(math.log(Number.NaN)).toBeNaN();
    expect(math.log(-1)).toBeNaN();
    expect(math.log(-Infinity)).toBeNaN();
    expect(math.log(0)).toBe(-Infinity);
    expect(math.log(-0)).toBe(-Infinity);
    expect(math.log(Infinity)).toBe(Infinity);
    expect(math.log(1)).toBe(0);
  });
});

describe.each(['sin', 'cos'] as const)('%s', (name) => {
  test('error under 1 ulp up to 1,647,099', () => {
    expect(
      worst(
        name,
        points(1500, (u) => u * 2 * Math.PI),
      ),
    ).toBeLessThan(1);
    expect(
      worst(
        name,
        points(1000, (u) => (u - 0.5) * 3.29e6),
      ),
    ).toBeLessThan(1);
    // As close to multiples of π/2 as float64 comes: all leading digits cancel in the reduction.
    expect(
      worst(
        name,
        points(1000, (_, i) => (i * 1048 + 1) * (Math.PI / 2)),
      ),
    ).toBeLessThan(1);
    expect(worst(name, [573204, 1647099, -1647099, 1e-8, -3e-30])).toBeLessThan(1);
  });
  test('special values', () => {
    for (const x of [Number.NaN, Infinity, -Infinity, 1647100, -1e300]) expect(math[name](x)).toBeNaN();
    expect(math.sin(-0)).toBe(-0);
    expect(math.sin(0)).toBe(0);
    expect(math.sin(-5e-324)).toBe(-5e-324);
    expect(math.cos(-0)).toBe(1);
  });
});

test('golden bits: a change here is a new version of docs/NUMERICS.md', () => {
  expect((['exp', 'log', 'sin', 'cos'] as const).map((name) => math[name](2.5))).toEqual([
    12.182493960703473, 0.9162907318741551, 0.5984721441039564, -0.8011436155469337,
  ]);
  // FNV-1a over the bits of 10,000 results each.
  const hash = (name: Name, xs: number[]) => {
    const view = new DataView(new ArrayBuffer(8));
    let h = 0x811c9dc5;
    for (const x of xs) {
      view.setFloat64(0, math[name](x));
      for (let i = 0; i < 8; i++) h = Math.imul(h ^ view.getUint8(i), 0x01000193);
    }
    return (h >>> 0).toString(16);
  };
  const wide = points(10000, (u) => u * 1400 - 720);
  const turns = points(10000, (u) => u * 200 - 100);
  expect([
    hash('exp', wide),
    hash(
      'log',
      points(10000, (u) => u * 8),
    ),
    hash('sin', turns),
    hash('cos', turns),
  ]).toEqual(['2eeee659', '56a59fd5', 'acbc4f21', '7d76d86a']);
});

describe('compiled by AssemblyScript', () => {
  let compiled: Record<string, (x: number) => number>;
  beforeAll(async () => {
    const source = readFileSync(fileURLToPath(new URL('../src/math.ts', import.meta.url)), 'utf8');
    let binary: Uint8Array | undefined;
    const { error, stderr } = await asc.main(
      ['math.ts', '-O2', '--noAssert', '--runtime', 'stub', '-o', 'math.wasm', '--config', 'none.json'],
      {
        readFile: (file: string) => (file === 'math.ts' ? source : null),
        writeFile: (_file: string, contents: string | Uint8Array) => {
          if (typeof contents !== 'string') binary = contents;
        },
        listFiles: () => [],
      },
    );
    if (error || !binary) throw new Error(`asc failed: ${stderr.toString()}`);
    const { instance } = await WebAssembly.instantiate(binary as BufferSource, {});
    compiled = instance.exports as typeof compiled;
  }, 60_000);

  test('unchanged, it gives the same bits on 100,000 points and all specials', () => {
    const view = new DataView(new ArrayBuffer(8));
    const anyBits = points(50000, (u) => u * 2 ** 32).map((_, i, us) => {
      view.setUint32(0, us[i]);
      view.setUint32(4, us[(i * 7 + 1) % us.length]);
      return view.getFloat64(0);
    });
    const xs = [0, -0, Number.NaN, Infinity, -Infinity, 5e-324, 1, -1, 709.782712893384, -745.1332191019411, 1647099];
    xs.push(...anyBits, ...points(50000, (u, i) => (u - 0.5) * (i % 2 === 0 ? 1500 : 12)));
    const differing: string[] = [];
    for (const name of Object.keys(exact) as Name[]) {
      for (const x of xs) {
        if (!Object.is(compiled[name](x), math[name](x))) differing.push(`${name}(${x})`);
      }
    }
    expect(differing).toEqual([]);
  });
});
