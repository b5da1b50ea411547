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
const ROUNDINGS = {
  2: { input: 1, filter: 2, output: 2, outputGradient: 1, filterGradient: 2 },
  3: { input: 3, filter: 4, output: 3, outputGradient: 2, filterGradient: 5 },
  4: { input: 4, filter: 4, output: 5, outputGradient: 4, filterGradient: 5 },
} as const;

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

/** |Aᵀ|, |G| and |Bᵀ| of F(m, 3). */
export function absoluteMatrices(m: Tile): { at: Matrix; g: Matrix; bt: Matrix } {
  const points = POINTS[m];
  const size = points.length + 1;
  const others = (i: number): number[] => points.filter((_, j) => j !== i);
  const scale = points.map((p, i) => others(i).reduce((product, q) => product * (p - q), 1));
  const row = (c: number[]): number[] => [...c, ...new Array<number>(size - c.length).fill(0)];
  const absolute = (rows: number[][]): Matrix => rows.map((line) => line.map(Math.abs));
  return {
    at: absolute(Array.from({ length: m }, (_, i) => [...points.map((p) => p ** i), i === m - 1 ? 1 : 0])),
    g: absolute([...points.map((p, i) => [1, p, p * p].map((v) => v / scale[i])), [0, 0, 1]]),
    bt: absolute([...points.map((_, i) => row(polynomial(others(i)))), row(polynomial(points))]),
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

/** A stride-1 3×3 convolution of `source` into maps of `height` × `width`; `filter(row, k)` has nine taps. */
function convolved(
  m: Tile,
  batch: number,
  groups: number,
  source: Map,
  pad: readonly [number, number],
  rows: number,
  height: number,
  width: number,
  filter: (group: number, row: number, k: number) => Matrix,
  bias: Values | null,
): Paths {
  const { at, g, bt } = absoluteMatrices(m);
  const k = source.channels / groups;
  const n = m + 2;
  const out = new Float64Array(batch * groups * rows * height * width);
  const lost = new Float64Array(out.length);
  for (let group = 0; group < groups; group++) {
    const filters = Array.from({ length: rows }, (_, row) =>
      Array.from({ length: k }, (__, c) => around(g, filter(group, row, c))),
    );
    for (let image = 0; image < batch; image++) {
      for (let top = 0; top < height; top += m) {
        for (let left = 0; left < width; left += m) {
          const inputs = Array.from({ length: k }, (_, c) => {
            const plane = (image * source.channels + group * k + c) * source.height * source.width;
            const d = window(source.values, plane, source.height, source.width, top - pad[0], left - pad[1], n);
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
            for (let i = 0; i < Math.min(m, height - top); i++) {
              for (let j = 0; j < Math.min(m, width - left); j++) {
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
  const { input, filter: filterRoundings, output } = ROUNDINGS[m];
  const roundings = 2 * (input + filterRoundings + output) + 1 + k + (bias ? 1 : 0);
  return { roundings, magnitude: out, underflows: lost };
}

const taps = (weight: Values, at: number, flipped: boolean): Matrix =>
  [0, 1, 2].map((i) => [0, 1, 2].map((j) => Math.abs(weight[at + (flipped ? 8 - 3 * i - j : 3 * i + j)])));

const extents = (g: NaiveConv): [number, number] => [
  g.inHeight + g.padding[0] + g.padding[1] - 2,
  g.inWidth + g.padding[2] + g.padding[3] - 2,
];

export function forwardPaths(m: Tile, x: Values, weight: Values, bias: Values | null, g: NaiveConv): Paths {
  const [k, rows] = [g.inChannels / g.groups, g.outChannels / g.groups];
  const source = { values: x, channels: g.inChannels, height: g.inHeight, width: g.inWidth };
  const filter = (group: number, row: number, c: number): Matrix =>
    taps(weight, ((group * rows + row) * k + c) * 9, false);
  return convolved(m, g.batch, g.groups, source, [g.padding[0], g.padding[2]], rows, ...extents(g), filter, bias);
}

/** The input gradient: the output's gradient convolved with the filters turned by half a turn. */
export function inputGradientPaths(m: Tile, dy: Values, weight: Values, g: NaiveConv): Paths {
  const [rows, k] = [g.inChannels / g.groups, g.outChannels / g.groups];
  const [height, width] = extents(g);
  const source = { values: dy, channels: g.outChannels, height, width };
  const filter = (group: number, row: number, c: number): Matrix =>
    taps(weight, ((group * k + c) * rows + row) * 9, true);
  const pad = [2 - g.padding[0], 2 - g.padding[2]] as const;
  return convolved(m, g.batch, g.groups, source, pad, rows, g.inHeight, g.inWidth, filter, null);
}

/** The weight gradient: Gᵀ [Σ over tiles (Bᵀ d B) ⊙ (A dy Aᵀ)] G. */
export function weightGradientPaths(m: Tile, x: Values, dy: Values, g: NaiveConv): Paths {
  const { at, g: filter, bt } = absoluteMatrices(m);
  const [a, gt] = [transposed(at), transposed(filter)];
  const [channels, rows] = [g.inChannels / g.groups, g.outChannels / g.groups];
  const [height, width] = extents(g);
  const n = m + 2;
  const corners: [number, number, number][] = [];
  for (let image = 0; image < g.batch; image++) {
    for (let top = 0; top < height; top += m) {
      for (let left = 0; left < width; left += m) corners.push([image, top, left]);
    }
  }
  const tiles = (values: Values, plane: (image: number) => number, h: number, w: number, pad: number[], line: Matrix) =>
    corners.map(([image, top, left]) =>
      around(line, window(values, plane(image), h, w, top - pad[0], left - pad[1], line[0].length)),
    );
  const out = new Float64Array(g.outChannels * channels * 9);
  const lost = new Float64Array(out.length);
  for (let group = 0; group < g.groups; group++) {
    const inputs = Array.from({ length: channels }, (_, c) => {
      const plane = (image: number) => (image * g.inChannels + group * channels + c) * g.inHeight * g.inWidth;
      return tiles(x, plane, g.inHeight, g.inWidth, [g.padding[0], g.padding[2]], bt);
    });
    for (let row = 0; row < rows; row++) {
      const o = group * rows + row;
      const gradients = tiles(dy, (image) => (image * g.outChannels + o) * height * width, height, width, [0, 0], a);
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
  const { input, outputGradient, filterGradient } = ROUNDINGS[m];
  // A tile's product is added within its block, and that to the sums of the blocks before.
  const roundings = 2 * (input + outputGradient + filterGradient) + 2 + corners.length;
  return { roundings, magnitude: out, underflows: lost };
}
