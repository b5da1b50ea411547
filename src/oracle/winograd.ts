/**
 * How far a convolution by Winograd's F(m × m, 3 × 3) may be from the true sum, proved. Each result is a sum over paths from the
 * operands through the transforms, the products and back; a path's coefficient is a product of entries of A, B and G, and
 * it is rounded at most n times, so |computed − true| ≤ γ_n(u)·Σ over paths |coefficient·x·w|, in any order of the channels,
 * fused or not. With the absolute values of the matrices that sum is a Winograd convolution itself.
 *
 * Nothing of the devices' code is used: the matrices come from their points by Toom and Cook's construction.
 * @see Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., lemma 3.1
 * @see Barabasz, Anderson, Soodhalter, Gregg, "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep
 * Neural Networks", ACM TOMS 46, 2020, https://arxiv.org/abs/1803.10986
 */
import type { NaiveConv } from './naive.js';

type Matrix = readonly (readonly number[])[];
type Values = ArrayLike<number>;

/** m of F(m, 3). */
export type Tile = 2 | 3 | 4;

/** The finite points; ∞ is one more. */
const POINTS: Readonly<Record<Tile, readonly number[]>> = {
  2: [0, 1, -1],
  3: [0, 1, -1 / 2, -2],
  4: [0, Math.SQRT1_2, -Math.SQRT1_2, Math.SQRT2, -Math.SQRT2],
};

/**
 * Roundings of one path through each one-dimensional transform, the longest; a constant that is no float32 counts as one, a
 * multiplication by a power of two as none. docs/NUMERICS.md has the formulas.
 */
interface Roundings {
  readonly input: number;
  readonly filter: number;
  readonly output: number;
  readonly outputGradient: number;
  readonly filterGradient: number;
}

const ROUNDINGS: Readonly<Record<Tile, Roundings>> = {
  2: { input: 1, filter: 2, output: 2, outputGradient: 1, filterGradient: 2 },
  3: { input: 3, filter: 4, output: 3, outputGradient: 2, filterGradient: 5 },
  4: { input: 4, filter: 4, output: 5, outputGradient: 4, filterGradient: 5 },
};

/** The same for a stride of 2. */
const STRIDED_ROUNDINGS: Readonly<Record<3 | 4, Roundings>> = {
  3: { input: 1, filter: 1, output: 3, outputGradient: 2, filterGradient: 2 },
  4: { input: 3, filter: 3, output: 4, outputGradient: 3, filterGradient: 5 },
};

/** Coefficients, lowest first, of the product of (x − root). */
function polynomial(roots: readonly number[]): number[] {
  let c = [1];
  for (const root of roots) {
    const next = [...c.map((v) => -root * v), 0];
    c.forEach((v, i) => {
      next[i + 1] += v;
    });
    c = next;
  }
  return c;
}

/** |Aᵀ|, |G| and |Bᵀ| of F(m, r) by the given finite points and ∞. */
function toomCook(m: number, r: number, points: readonly number[]): { at: number[][]; g: number[][]; bt: number[][] } {
  const size = points.length + 1;
  const others = (i: number): number[] => points.filter((_, j) => j !== i);
  const scale = points.map((p, i) => others(i).reduce((product, q) => product * (p - q), 1));
  const row = (c: number[]): number[] => [...c, ...new Array<number>(size - c.length).fill(0)];
  const absolute = (rows: number[][]): number[][] => rows.map((line) => line.map(Math.abs));
  const last = new Array<number>(r).fill(0).fill(1, r - 1);
  return {
    at: absolute(Array.from({ length: m }, (_, i) => [...points.map((p) => p ** i), i === m - 1 ? 1 : 0])),
    g: absolute([...points.map((p, i) => last.map((_, j) => p ** j / scale[i])), last]),
    bt: absolute([...points.map((_, i) => row(polynomial(others(i)))), row(polynomial(points))]),
  };
}

/** |Aᵀ|, |G| and |Bᵀ| of F(m, 3). */
export const absoluteMatrices = (m: Tile): { at: Matrix; g: Matrix; bt: Matrix } => toomCook(m, 3, POINTS[m]);

/**
 * The same for a stride of 2: F(m, 2) between the outer taps and every second input, and the middle tap times the others.
 * `gradientInput` and `gradientOutput`: Bᵀ and Aᵀ of the input gradient, from m + 1 to 2m.
 */
function stridedMatrices(m: 3 | 4) {
  const { at, g, bt } = toomCook(m, 2, POINTS[(m - 1) as Tile]);
  const unit = (size: number, i: number): number[] => Array.from({ length: size }, (_, j) => Number(i === j));
  const each = Array.from({ length: m }, (_, i) => i);
  const spread = (row: number[]): number[] => row.flatMap((v, i) => (i === m ? [v] : [v, 0]));
  return {
    bt: [...bt.map(spread), ...each.map((i) => unit(2 * m + 1, 2 * i + 1))],
    g: [...g.map(([a, b]) => [a, 0, b]), ...each.map(() => [0, 1, 0])],
    at: at.map((row, i) => [...row, ...unit(m, i)]),
    gradientInput: [...bt, ...each.map((i) => unit(m + 1, i))],
    gradientOutput: each.flatMap((i) => [unit(2 * m + 1, m + 1 + i), [...at[i], ...each.map(() => 0)]]),
  };
}

const product = (a: Matrix, b: Matrix): number[][] =>
  a.map((row) => b[0].map((_, j) => row.reduce((sum, v, k) => sum + v * b[k][j], 0)));
const transposed = (a: Matrix): number[][] => a[0].map((_, j) => a.map((row) => row[j]));
/** a·x·aᵀ. */
const around = (a: Matrix, x: Matrix): number[][] => product(product(a, x), transposed(a));

/** |values| of a plane's window; 0 outside. */
function window(values: Values, plane: number, height: number, width: number, top: number, left: number, n: number) {
  return Array.from({ length: n }, (_, i) =>
    Array.from({ length: n }, (__, j) => {
      const [h, w] = [top + i, left + j];
      return h < 0 || h >= height || w < 0 || w >= width ? 0 : Math.abs(values[plane + h * width + w]);
    }),
  );
}

/** What the bound of a result is made of: |error| ≤ γ_n·magnitude + underflows·tiny. */
export interface Paths {
  readonly roundings: number;
  readonly magnitude: Float64Array;
  /** Underflowing operations, each with what it is multiplied by on its way. */
  readonly underflows: Float64Array;
}

/** Operations of one element's two transforms that may underflow, counted with their largest factors. */
const UNDERFLOWS = 64;

interface Map {
  readonly values: Values;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** Matrices of a convolution by tiles, and how far its tiles are apart in the source and in the result. */
interface Algorithm {
  readonly at: Matrix;
  readonly g: Matrix;
  readonly bt: Matrix;
  readonly sourceStep: number;
  readonly step: number;
  readonly roundings: Roundings;
}

/**
 * A 3×3 convolution of `source` into maps of `height` × `width`; `filter(row, k)` has nine taps. `of`: what is to be multiplied in the place
 * of a transformed filter's element of that size.
 */
function convolved(
  { at, g, bt, sourceStep, step, roundings: own }: Algorithm,
  batch: number,
  groups: number,
  source: Map,
  pad: readonly [number, number],
  rows: number,
  height: number,
  width: number,
  filter: (group: number, row: number, k: number) => Matrix,
  bias: Values | null,
  of?: (size: number) => number,
): Paths {
  const k = source.channels / groups;
  const n = bt[0].length;
  const out = new Float64Array(batch * groups * rows * height * width);
  const lost = new Float64Array(out.length);
  for (let group = 0; group < groups; group++) {
    const filters = Array.from({ length: rows }, (_, row) =>
      Array.from({ length: k }, (__, c) => {
        const transformed = around(g, filter(group, row, c));
        return of ? transformed.map((line) => line.map(of)) : transformed;
      }),
    );
    for (let image = 0; image < batch; image++) {
      for (let top = 0; top < height; top += step) {
        for (let left = 0; left < width; left += step) {
          const inputs = Array.from({ length: k }, (_, c) => {
            const plane = (image * source.channels + group * k + c) * source.height * source.width;
            const [y, x] = [(top / step) * sourceStep - pad[0], (left / step) * sourceStep - pad[1]];
            const d = window(source.values, plane, source.height, source.width, y, x, n);
            return around(bt, d);
          });
          filters.forEach((list, row) => {
            const sums = inputs[0].map((line, i) =>
              line.map((_, j) => list.reduce((sum, u, c) => sum + u[i][j] * inputs[c][i][j], 0)),
            );
            const losses = inputs[0].map((line, i) =>
              line.map((_, j) => list.reduce((sum, u, c) => sum + UNDERFLOWS * (u[i][j] + inputs[c][i][j] + 1), 1)),
            );
            const [y, l] = [around(at, sums), around(at, losses)];
            for (let i = 0; i < Math.min(step, height - top); i++) {
              for (let j = 0; j < Math.min(step, width - left); j++) {
                const o = group * rows + row;
                const to = ((image * groups * rows + o) * height + top + i) * width + left + j;
                out[to] = y[i][j] + (bias ? Math.abs(bias[o]) : 0);
                lost[to] = l[i][j];
              }
            }
          });
        }
      }
    }
  }
  const roundings = 2 * (own.input + own.filter + own.output) + 1 + k + (bias ? 1 : 0);
  return { roundings, magnitude: out, underflows: lost };
}

const taps = (weight: Values, at: number, flipped: boolean): Matrix =>
  [0, 1, 2].map((i) => [0, 1, 2].map((j) => Math.abs(weight[at + (flipped ? 8 - 3 * i - j : 3 * i + j)])));

const extents = (g: NaiveConv): [number, number] => [
  Math.floor((g.inHeight + g.padding[0] + g.padding[1] - 3) / g.stride[0]) + 1,
  Math.floor((g.inWidth + g.padding[2] + g.padding[3] - 3) / g.stride[1]) + 1,
];

const isStrided = (g: NaiveConv): boolean => g.stride[0] === 2;

/** `of`, in the place of transformed weights: what comes of errors that they have, by their size. */
export function forwardPaths(
  m: Tile,
  x: Values,
  weight: Values,
  bias: Values | null,
  g: NaiveConv,
  of?: (size: number) => number,
): Paths {
  const [k, rows] = [g.inChannels / g.groups, g.outChannels / g.groups];
  const source = { values: x, channels: g.inChannels, height: g.inHeight, width: g.inWidth };
  const filter = (group: number, row: number, c: number): Matrix =>
    taps(weight, ((group * rows + row) * k + c) * 9, false);
  const strided = m as 3 | 4;
  const algorithm = isStrided(g)
    ? { ...stridedMatrices(strided), sourceStep: 2 * m, step: m, roundings: STRIDED_ROUNDINGS[strided] }
    : { ...absoluteMatrices(m), sourceStep: m, step: m, roundings: ROUNDINGS[m] };
  const pad = [g.padding[0], g.padding[2]] as const;
  return convolved(algorithm, g.batch, g.groups, source, pad, rows, ...extents(g), filter, bias, of);
}

/** The input gradient: the output's gradient convolved with the filters turned by half a turn. */
export function inputGradientPaths(m: Tile, dy: Values, weight: Values, g: NaiveConv): Paths {
  const [rows, k] = [g.inChannels / g.groups, g.outChannels / g.groups];
  const [height, width] = extents(g);
  const source = { values: dy, channels: g.outChannels, height, width };
  const filter = (group: number, row: number, c: number): Matrix =>
    taps(weight, ((group * k + c) * rows + row) * 9, true);
  if (isStrided(g)) {
    // An even input meets the middle tap alone, an odd one the outer two.
    const { gradientInput, gradientOutput, g: filters } = stridedMatrices(m as 3 | 4);
    const roundings = STRIDED_ROUNDINGS[m as 3 | 4];
    const algorithm = { at: gradientOutput, g: filters, bt: gradientInput, sourceStep: m, step: 2 * m, roundings };
    return convolved(algorithm, g.batch, g.groups, source, [0, 0], rows, g.inHeight, g.inWidth, filter, null);
  }
  const algorithm = { ...absoluteMatrices(m), sourceStep: m, step: m, roundings: ROUNDINGS[m] };
  const pad = [2 - g.padding[0], 2 - g.padding[2]] as const;
  return convolved(algorithm, g.batch, g.groups, source, pad, rows, g.inHeight, g.inWidth, filter, null);
}

/** The weight gradient: Gᵀ [Σ over tiles (Bᵀ d B) ⊙ (A dy Aᵀ)] G. */
export function weightGradientPaths(m: Tile, x: Values, dy: Values, g: NaiveConv): Paths {
  const stride = g.stride[0];
  const { at, g: filter, bt } = isStrided(g) ? stridedMatrices(m as 3 | 4) : absoluteMatrices(m);
  const [a, gt] = [transposed(at), transposed(filter)];
  const [channels, rows] = [g.inChannels / g.groups, g.outChannels / g.groups];
  const [height, width] = extents(g);
  const n = bt.length;
  const corners: [number, number, number][] = [];
  for (let image = 0; image < g.batch; image++) {
    for (let top = 0; top < height; top += m) {
      for (let left = 0; left < width; left += m) corners.push([image, top, left]);
    }
  }
  const tiles = (
    values: Values,
    plane: (image: number) => number,
    [h, w]: readonly [number, number],
    [padTop, padLeft]: readonly [number, number],
    step: number,
    line: Matrix,
  ) =>
    corners.map(([image, top, left]) =>
      around(line, window(values, plane(image), h, w, top * step - padTop, left * step - padLeft, line[0].length)),
    );
  const out = new Float64Array(g.outChannels * channels * 9);
  const lost = new Float64Array(out.length);
  for (let group = 0; group < g.groups; group++) {
    const inputs = Array.from({ length: channels }, (_, c) => {
      const plane = (image: number) => (image * g.inChannels + group * channels + c) * g.inHeight * g.inWidth;
      return tiles(x, plane, [g.inHeight, g.inWidth], [g.padding[0], g.padding[2]], stride, bt);
    });
    for (let row = 0; row < rows; row++) {
      const o = group * rows + row;
      const plane = (image: number) => (image * g.outChannels + o) * height * width;
      const gradients = tiles(dy, plane, [height, width], [0, 0], 1, a);
      inputs.forEach((input, c) => {
        const square = (f: (u: number, v: number) => number, from: number): number[][] =>
          Array.from({ length: n }, (_, i) =>
            Array.from({ length: n }, (__, j) => input.reduce((s, v, t) => s + f(gradients[t][i][j], v[i][j]), from)),
          );
        const sums = around(
          gt,
          square((u, v) => u * v, 0),
        ).flat();
        const losses = around(
          gt,
          square((u, v) => UNDERFLOWS * (u + v + 1), 1),
        ).flat();
        out.set(sums, (o * channels + c) * 9);
        lost.set(losses, (o * channels + c) * 9);
      });
    }
  }
  const { input, outputGradient, filterGradient } = isStrided(g) ? STRIDED_ROUNDINGS[m as 3 | 4] : ROUNDINGS[m];
  // A tile's product is added within its block, and that to the sums of the blocks before.
  const roundings = 2 * (input + outputGradient + filterGradient) + 2 + corners.length;
  return { roundings, magnitude: out, underflows: lost };
}
