/**
 * The seeded generator behind every random choice, and the initialisers of weights. Same seed, same numbers, in every
 * engine: integers from xoroshiro128+, everything else from `math.ts` and exact float64 operations.
 */
import { xoroshiro128plusFromState } from 'pure-rand/generator/xoroshiro128plus';
import { ArgumentError, show } from './errors.js';
import { cos, log, sin } from './math.js';
import { checkShape, formatShape, type Shape, sizeOf } from './shape.js';

/** MurmurHash3's 32-bit finalizer: a bijection of 32-bit words that spreads every input bit over the output. */
export function fmix32(x: number): number {
  let h = x ^ (x >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** The odd 32-bit number nearest 2^32 / golden ratio: the step between the words that a seed is mixed into. */
const GOLDEN = 0x9e3779b9;

const TWO_26 = 0x4000000;
const TWO_32 = 0x100000000;
const TWO_53 = 0x20000000000000;

/** Outputs thrown away after seeding. */
const WARM_UP = 16;

export interface Fans {
  /** Terms that each output of the layer sums. */
  fanIn: number;
  /** Outputs that each input of the layer takes part in. */
  fanOut: number;
}

/**
 * Fan-in and fan-out of a weight [out, in, ...kernel] by PyTorch's rule: in and out channels, each times the size
 * of the kernel.
 * @throws ArgumentError when the shape has fewer than 2 axes
 * @see https://pytorch.org/docs/stable/nn.init.html
 */
export function fans(shape: Shape, op = 'fans'): Fans {
  checkShape(op, 'shape', shape);
  if (shape.length < 2) {
    throw new ArgumentError(
      `${op}: shape is ${formatShape(shape)}; fan-in and fan-out want at least 2 axes [out, in, ...kernel]`,
    );
  }
  const kernel = sizeOf(shape.slice(2));
  return { fanIn: shape[1] * kernel, fanOut: shape[0] * kernel };
}

function checkFinite(op: string, argument: string, value: number): void {
  if (!Number.isFinite(value)) throw new ArgumentError(`${op}: ${argument} is ${show(value)}; want a finite number`);
}

/** A seeded stream of random numbers. Each call takes the next ones; `state` and `fromState` stop and resume it. */
export class Generator {
  private source: ReturnType<typeof xoroshiro128plusFromState>;
  /** Second value of the last Box-Muller pair, if not yet given out. */
  private spare: number | null = null;

  /**
   * @param seed a whole number from 0 to 2^53 − 1; near seeds give unrelated streams
   * @throws ArgumentError when it is not
   */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new ArgumentError(`Generator: seed is ${show(seed)}; want a whole number from 0 to 2^53 - 1`);
    }
    const high = Math.floor(seed / TWO_32);
    const low = seed >>> 0;
    let word = low ^ fmix32(high ^ GOLDEN);
    const words: number[] = [];
    for (let i = 0; i < 4; i++) {
      word = fmix32(word + GOLDEN);
      words.push(word | 0);
    }
    this.source = xoroshiro128plusFromState(words);
    for (let i = 0; i < WARM_UP; i++) this.source.next();
  }

  /** A whole number from 0 to 2^32 − 1, all equally likely. */
  uint32(): number {
    return this.source.next() >>> 0;
  }

  /**
   * A float64 from `lo` (included) to `hi` (reached only where rounding does it), of 53 random bits.
   * @throws ArgumentError when a bound or their distance is not finite
   */
  uniform(lo = 0, hi = 1): number {
    checkFinite('uniform', 'lo', lo);
    checkFinite('uniform', 'hi', hi);
    checkFinite('uniform', 'hi - lo', hi - lo);
    return lo + (hi - lo) * this.unit();
  }

  /** A float64 of the normal distribution, in pairs by Box and Muller. */
  normal(mean = 0, std = 1): number {
    checkFinite('normal', 'mean', mean);
    checkFinite('normal', 'std', std);
    let z = this.spare;
    if (z === null) {
      // 1 − u lies in (0, 1], so its logarithm is finite.
      const radius = Math.sqrt(-2 * log(1 - this.unit()));
      const angle = 2 * Math.PI * this.unit();
      z = radius * cos(angle);
      this.spare = radius * sin(angle);
    } else {
      this.spare = null;
    }
    return mean + std * z;
  }

  /**
   * A whole number from 0 to n − 1, all exactly equally likely.
   * @param n from 1 to 2^32
   * @throws ArgumentError when n is not
   */
  int(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > TWO_32) {
      throw new ArgumentError(`int: n is ${show(n)}; want a whole number from 1 to 2^32`);
    }
    // Values share the 2^32 words in equal runs; the words left over are drawn again.
    const run = Math.floor(TWO_32 / n);
    let word = this.uint32();
    while (word >= run * n) word = this.uint32();
    return Math.floor(word / run);
  }

  /**
   * The numbers 0 … n − 1 in random order, every order equally likely as far as 128 bits of state reach (Fisher and
   * Yates, from the back).
   * @throws ArgumentError when n is not a whole number from 0 to 2^26, which takes a second
   */
  permutation(n: number): Uint32Array {
    if (!Number.isInteger(n) || n < 0 || n > TWO_26) {
      throw new ArgumentError(`permutation: n is ${show(n)}; want a whole number from 0 to 2^26`);
    }
    const order = new Uint32Array(n);
    for (let i = 0; i < n; i++) order[i] = i;
    for (let i = n - 1; i > 0; i--) {
      const j = this.int(i + 1);
      const moved = order[i];
      order[i] = order[j];
      order[j] = moved;
    }
    return order;
  }

  /** Six numbers that `fromState` resumes from; they survive JSON. */
  state(): number[] {
    return [...this.source.getState(), this.spare === null ? 0 : 1, this.spare ?? 0];
  }

  /**
   * The generator that `state()` was taken of; it goes on with the same bits.
   * @throws ArgumentError when the numbers are not what `state()` gives
   */
  static fromState(state: readonly number[]): Generator {
    const words = Array.isArray(state) ? state.slice(0, 4) : [];
    const valid =
      state?.length === 6 &&
      words.length === 4 &&
      words.every((word) => Number.isInteger(word) && word === (word | 0)) &&
      words.some((word) => word !== 0) &&
      (state[4] === 1 ? Number.isFinite(state[5]) : state[4] === 0);
    if (!valid) {
      throw new ArgumentError(
        `fromState: state is ${show(state)}; want the 6 numbers that state() gives: 4 int32 words, not all 0, then 0 or 1, then the spare normal value`,
      );
    }
    const generator = new Generator(0);
    generator.source = xoroshiro128plusFromState(words);
    generator.spare = state[4] === 1 ? state[5] : null;
    return generator;
  }

  /**
   * Uniform in ±bound, row-major, each value rounded once to float32.
   * @throws ArgumentError when the shape is not one, or bound is negative or not finite
   */
  uniformArray(shape: Shape, bound: number): Float32Array {
    checkShape('uniformArray', 'shape', shape);
    checkFinite('uniformArray', 'bound', bound);
    if (bound < 0) throw new ArgumentError(`uniformArray: bound is ${bound}; want at least 0`);
    const values = new Float32Array(sizeOf(shape));
    for (let i = 0; i < values.length; i++) values[i] = this.uniform(-bound, bound);
    return values;
  }

  /**
   * Normal with mean 0 and deviation `std`, row-major, each value rounded once to float32.
   * @throws ArgumentError when the shape is not one, or std is negative or not finite
   */
  normalArray(shape: Shape, std: number): Float32Array {
    checkShape('normalArray', 'shape', shape);
    checkFinite('normalArray', 'std', std);
    if (std < 0) throw new ArgumentError(`normalArray: std is ${std}; want at least 0`);
    const values = new Float32Array(sizeOf(shape));
    for (let i = 0; i < values.length; i++) values[i] = this.normal(0, std);
    return values;
  }

  /**
   * He initialisation, uniform in ±√(6 / ((1 + a²)·fanIn)). With the default a = √5 that is ±1/√fanIn: what PyTorch's
   * Conv2d and Linear start from.
   * @param shape [out, in, ...kernel]
   * @param a negative slope of the rectifier that follows
   * @see https://pytorch.org/docs/stable/nn.init.html#torch.nn.init.kaiming_uniform_
   */
  kaimingUniform(shape: Shape, a = Math.sqrt(5)): Float32Array {
    const { fanIn } = fans(shape, 'kaimingUniform');
    checkFinite('kaimingUniform', 'a', a);
    return this.uniformArray(shape, fanIn === 0 ? 0 : Math.sqrt(6 / ((1 + a * a) * fanIn)));
  }

  /**
   * He initialisation, normal with deviation √(2 / ((1 + a²)·fan)). torchvision's ResNets use `'fanOut'`.
   * @param shape [out, in, ...kernel]
   * @param mode which fan keeps its variance: `'fanIn'` that of activations, `'fanOut'` that of gradients
   * @param a negative slope of the rectifier that follows
   * @see https://pytorch.org/docs/stable/nn.init.html#torch.nn.init.kaiming_normal_
   */
  kaimingNormal(shape: Shape, mode: 'fanIn' | 'fanOut' = 'fanIn', a = 0): Float32Array {
    if (mode !== 'fanIn' && mode !== 'fanOut') {
      throw new ArgumentError(`kaimingNormal: mode is ${show(mode)}; want 'fanIn' or 'fanOut'`);
    }
    const fan = fans(shape, 'kaimingNormal')[mode];
    checkFinite('kaimingNormal', 'a', a);
    return this.normalArray(shape, fan === 0 ? 0 : Math.sqrt(2 / ((1 + a * a) * fan)));
  }

  /**
   * Glorot initialisation, uniform in ±gain·√(6 / (fanIn + fanOut)).
   * @param shape [out, in, ...kernel]
   * @see https://pytorch.org/docs/stable/nn.init.html#torch.nn.init.xavier_uniform_
   */
  xavierUniform(shape: Shape, gain = 1): Float32Array {
    const { fanIn, fanOut } = fans(shape, 'xavierUniform');
    checkFinite('xavierUniform', 'gain', gain);
    return this.uniformArray(shape, fanIn + fanOut === 0 ? 0 : gain * Math.sqrt(6 / (fanIn + fanOut)));
  }

  /** 53 random bits as a float64 in [0, 1): the high bits of two words, since xoroshiro's lowest are weak. */
  private unit(): number {
    const high = this.uint32() >>> 5;
    const low = this.uint32() >>> 6;
    return (high * TWO_26 + low) / TWO_53;
  }
}
