import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ArgumentError } from '../src/errors.js';
import { fans, fmix32, Generator } from '../src/random.js';

/** xoroshiro128+ (24, 16, 37) as its authors state it, in 64-bit arithmetic. */
function* xoroshiro([s01, s00, s11, s10]: number[]): Generator64 {
  const mask = (1n << 64n) - 1n;
  const join = (high: number, low: number) => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  const rotate = (x: bigint, by: bigint) => ((x << by) | (x >> (64n - by))) & mask;
  let a = join(s01, s00);
  let b = join(s11, s10);
  for (;;) {
    yield Number((a + b) & 0xffffffffn);
    b ^= a;
    a = rotate(a, 24n) ^ b ^ ((b << 16n) & mask);
    b = rotate(b, 37n);
  }
}
type Generator64 = globalThis.Generator<number, never>;

describe('fmix32', () => {
  test("MurmurHash3's finalizer", () => {
    expect([0, 1, 2, 0xffffffff].map(fmix32)).toEqual([0, 1364076727, 821347078, 2180083513]);
  });
});

describe('uint32', () => {
  test('golden values', () => {
    const g = new Generator(0);
    expect(g.state()).toEqual([-139769844, 1428736004, -1549327112, -1264277940, 0, 0]);
    expect([g.uint32(), g.uint32(), g.uint32()]).toEqual([164458064, 214000540, 4112813434]);
    expect(new Generator(1).uint32()).toBe(2878888378);
    expect(new Generator(2 ** 40 + 1).uint32()).toBe(438357757);
  });

  test('is the low word of xoroshiro128+, seeded by mixed words, 16 outputs on', () => {
    const words: number[] = [];
    let word = 7 ^ fmix32(0x9e3779b9);
    for (let i = 0; i < 4; i++) {
      word = fmix32(word + 0x9e3779b9);
      words.push(word);
    }
    const expected = xoroshiro(words);
    for (let i = 0; i < 16; i++) expected.next();
    const g = new Generator(7);
    for (let i = 0; i < 1000; i++) expect(g.uint32()).toBe(expected.next().value);
  });

  test('near seeds give unrelated streams: half of the bits differ', () => {
    for (const [a, b] of [
      [0, 1],
      [1, 2],
      [41, 42],
      [5, 5 + 2 ** 32],
      [2 ** 53 - 2, 2 ** 53 - 1],
    ]) {
      const [left, right] = [new Generator(a), new Generator(b)];
      let differing = 0;
      for (let i = 0; i < 1000; i++) {
        for (let x = (left.uint32() ^ right.uint32()) >>> 0; x > 0; x = Math.floor(x / 2)) differing += x % 2;
      }
      // 32,000 bits; the deviation of their count is 89.
      expect(Math.abs(differing - 16000)).toBeLessThan(450);
    }
  });

  test.each([-1, 0.5, Number.NaN, Infinity, 2 ** 53])('seed %d is refused', (seed) => {
    expect(() => new Generator(seed)).toThrow(ArgumentError);
    expect(() => new Generator(seed)).toThrow('Generator: seed is');
  });
});

describe('uniform', () => {
  test('golden values, from the high bits of two words', () => {
    const g = new Generator(0);
    for (let i = 0; i < 3; i++) g.uint32();
    expect([g.uniform(), g.uniform(-2, 3)]).toEqual([0.5351443530637188, 1.453530274908231]);
    const [words, unit] = [new Generator(3), new Generator(3)];
    expect(unit.uniform()).toBe(
      (Math.floor(words.uint32() / 32) * 2 ** 26 + Math.floor(words.uint32() / 64)) / 2 ** 53,
    );
  });

  test('mean 1/2, variance 1/12, inside the bounds', () => {
    const g = new Generator(11);
    let [sum, squares] = [0, 0];
    for (let i = 0; i < 20000; i++) {
      const u = g.uniform();
      if (u < 0 || u >= 1) expect.fail(`${u} is outside [0, 1)`);
      sum += u;
      squares += (u - 0.5) ** 2;
    }
    expect(sum / 20000).toBeCloseTo(0.5, 2);
    expect(squares / 20000).toBeCloseTo(1 / 12, 2);
  });

  test('bounds that are not finite are refused', () => {
    const g = new Generator(0);
    expect(() => g.uniform(Number.NaN)).toThrow('uniform: lo is NaN');
    expect(() => g.uniform(0, Infinity)).toThrow('uniform: hi is Infinity');
    expect(() => g.uniform(-1e308, 1e308)).toThrow('uniform: hi - lo is Infinity');
  });
});

describe('normal', () => {
  test('golden values', () => {
    const g = new Generator(0);
    for (let i = 0; i < 7; i++) g.uint32();
    expect([g.normal(), g.normal(), g.normal(10, 2)]).toEqual([
      -0.22916039688981812, 0.817227410345849, 9.64055057571987,
    ]);
  });

  test('two values from two uniform ones, by Box and Muller', () => {
    const [u, g] = [new Generator(8), new Generator(8)];
    const radius = Math.sqrt(-2 * Math.log(1 - u.uniform()));
    const angle = 2 * Math.PI * u.uniform();
    expect(g.normal()).toBeCloseTo(radius * Math.cos(angle), 14);
    expect(g.normal()).toBeCloseTo(radius * Math.sin(angle), 14);
  });

  test('moments of 40,000', () => {
    const g = new Generator(5);
    const moments = [0, 0, 0, 0];
    for (let i = 0; i < 40000; i++) {
      const z = g.normal();
      for (let p = 0; p < 4; p++) moments[p] += z ** (p + 1) / 40000;
    }
    [0, 1, 0, 3].forEach((wanted, p) => {
      expect(Math.abs(moments[p] - wanted)).toBeLessThan(0.1);
    });
  });
});

describe('int', () => {
  test('every value equally often (chi-square)', () => {
    const g = new Generator(2);
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 20000; i++) counts[g.int(10)]++;
    // 9 degrees of freedom: above 27.9 once in a thousand seeds.
    expect(counts.reduce((sum, c) => sum + (c - 2000) ** 2 / 2000, 0)).toBeLessThan(27.9);
  });

  test('no bias where n is near 2^32: without rejection a third of the range would come up twice as often', () => {
    const g = new Generator(2);
    const n = 3 * 2 ** 30;
    const thirds = [0, 0, 0];
    for (let i = 0; i < 9000; i++) thirds[Math.floor(g.int(n) / 2 ** 30)]++;
    for (const count of thirds) expect(Math.abs(count - 3000)).toBeLessThan(200);
  });

  test('bounds', () => {
    const g = new Generator(1);
    expect(g.int(1)).toBe(0);
    expect(g.int(2 ** 32)).toBeLessThan(2 ** 32);
    for (const n of [0, -1, 1.5, Number.NaN, 2 ** 32 + 1]) expect(() => g.int(n)).toThrow('int: n is');
  });
});

describe('permutation', () => {
  test('golden values', () => {
    const g = new Generator(42);
    expect([...g.permutation(10)]).toEqual([2, 7, 5, 6, 0, 4, 9, 1, 8, 3]);
  });

  test('holds each number once', () => {
    fc.assert(
      fc.property(fc.nat(200), fc.nat(), (n, seed) => {
        const order = new Generator(seed).permutation(n);
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
      }),
      { numRuns: 100 },
    );
  });

  test('all 24 orders of 4 equally often', () => {
    const g = new Generator(9);
    const counts = new Map<string, number>();
    for (let i = 0; i < 24000; i++) {
      const key = g.permutation(4).join('');
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    expect(counts.size).toBe(24);
    // 23 degrees of freedom: above 49.7 once in a thousand seeds.
    expect([...counts.values()].reduce((sum, c) => sum + (c - 1000) ** 2 / 1000, 0)).toBeLessThan(49.7);
  });

  test('sizes that are none are refused', () => {
    for (const n of [-1, 0.5, Number.NaN]) expect(() => new Generator(0).permutation(n)).toThrow('permutation: n is');
  });
});

describe('state', () => {
  test('resumes with the same bits after any calls, through JSON', () => {
    const call = fc.constantFrom('uint32', 'uniform', 'normal', 'int', 'permutation');
    const run = (g: Generator, calls: string[]) =>
      calls.map((name) => {
        if (name === 'int') return g.int(1000);
        if (name === 'permutation') return [...g.permutation(5)];
        return g[name as 'uint32' | 'uniform' | 'normal']();
      });
    fc.assert(
      fc.property(fc.nat(), fc.array(call), fc.array(call, { minLength: 1 }), (seed, before, after) => {
        const g = new Generator(seed);
        run(g, before);
        const resumed = Generator.fromState(JSON.parse(JSON.stringify(g.state())));
        expect(run(resumed, after)).toEqual(run(g, after));
        expect(resumed.state()).toEqual(g.state());
      }),
      { numRuns: 200 },
    );
  });

  test('the second value of a normal pair is part of it', () => {
    const g = new Generator(1);
    g.normal();
    const resumed = Generator.fromState(g.state());
    expect(g.state()[4]).toBe(1);
    expect(resumed.normal()).toBe(g.normal());
    expect(g.state()[4]).toBe(0);
  });

  test('states that are none are refused', () => {
    for (const state of [
      [],
      [1, 2, 3, 4],
      [0, 0, 0, 0, 0, 0],
      [1, 2, 3, 2 ** 31, 0, 0],
      [1, 2, 3, 0.5, 0, 0],
      [1, 2, 3, 4, 2, 0],
      [1, 2, 3, 4, 1, Number.NaN],
      [1, 2, 3, 4, 0, 0, 0],
    ]) {
      expect(() => Generator.fromState(state)).toThrow('fromState: state is [');
    }
  });
});

describe('initialisers', () => {
  test("fan-in and fan-out by PyTorch's rule", () => {
    expect(fans([10, 20])).toEqual({ fanIn: 20, fanOut: 10 });
    expect(fans([64, 3, 7, 5])).toEqual({ fanIn: 105, fanOut: 2240 });
    expect(() => fans([3])).toThrow('fans: shape is [3]; fan-in and fan-out want at least 2 axes');
    expect(() => fans([3, -1])).toThrow(ArgumentError);
  });

  /** Largest size and deviation of the values. */
  const spread = (values: Float32Array) => ({
    most: values.reduce((m, v) => Math.max(m, Math.abs(v)), 0),
    deviation: Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length),
  });

  test.each([
    ['kaimingUniform', (g: Generator) => g.kaimingUniform([64, 16, 3, 3]), 1 / 12],
    ['kaimingUniform, a = 0', (g: Generator) => g.kaimingUniform([64, 16, 3, 3], 0), Math.sqrt(6) / 12],
    ['xavierUniform', (g: Generator) => g.xavierUniform([100, 50]), Math.sqrt(6 / 150)],
    ['xavierUniform, gain 2', (g: Generator) => g.xavierUniform([100, 50], 2), 2 * Math.sqrt(6 / 150)],
    ['uniformArray', (g: Generator) => g.uniformArray([5000], 0.25), 0.25],
  ])('%s fills its bound and no more', (_, make, bound) => {
    const { most, deviation } = spread(make(new Generator(3)));
    expect(most).toBeLessThanOrEqual(Math.fround(bound));
    expect(most).toBeGreaterThan(bound * 0.99);
    expect(deviation / (bound / Math.sqrt(3))).toBeCloseTo(1, 1);
  });

  test.each([
    ['fanIn', Math.sqrt(2 / 144)],
    ['fanOut', Math.sqrt(2 / 576)],
  ] as const)('kaimingNormal, %s', (mode, std) => {
    const values = new Generator(3).kaimingNormal([64, 16, 3, 3], mode);
    expect(values).toHaveLength(9216);
    expect(spread(values).deviation / std).toBeCloseTo(1, 1);
    expect(spread(values).most).toBeGreaterThan(3 * std);
  });

  test('golden values', () => {
    const g = new Generator(6);
    expect([...g.uniformArray([3], 0.5)]).toEqual([-0.35662296414375305, 0.35690248012542725, 0.16208972036838531]);
    expect([...g.kaimingUniform([1, 3])]).toEqual([-0.14043335616588593, 0.2588176131248474, -0.07237569987773895]);
    expect([...g.kaimingNormal([1, 3], 'fanOut')]).toEqual([0.2255975306034088, 2.16572642326355, -0.9690156579017639]);
    expect([...g.xavierUniform([2, 2])]).toEqual([
      -0.06310626119375229, 0.5359343886375427, -0.4579524099826813, 1.159760594367981,
    ]);
  });

  test('empty weights, and errors that name the argument', () => {
    const g = new Generator(0);
    expect(g.kaimingUniform([4, 0])).toHaveLength(0);
    expect(g.xavierUniform([0, 0])).toHaveLength(0);
    expect(() => g.kaimingUniform([4])).toThrow('kaimingUniform: shape is [4]');
    expect(() => g.kaimingNormal([4, 4], 'fan_out' as 'fanOut')).toThrow('kaimingNormal: mode is "fan_out"');
    expect(() => g.uniformArray([2], -1)).toThrow('uniformArray: bound is -1');
    expect(() => g.uniformArray([2], Number.NaN)).toThrow('uniformArray: bound is NaN');
    expect(() => g.xavierUniform([2, 2], Infinity)).toThrow('xavierUniform: gain is Infinity');
  });
});
