/**
 * Winograd's convolution F(m × m, 3 × 3) in plain loops: the bits of the fast modes, operation by operation. Each line is a
 * one-dimensional transform; a tile is transformed along its rows, then along its columns.
 * @see Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks", https://arxiv.org/abs/1509.09308
 */
import { convSizes } from '../../shape.js';
import type { Kernels } from '../device.js';
import { WEIGHT_TILES, winogradTile, winogradTiles } from '../winograd.js';
import { type Arithmetic, type Line, square, type Transforms, transforms } from '../winogradLines.js';
import { type Host, round } from './host.js';

type NumberLine = Line<number>;

/** With a stride of 2 the input gradient has lines of its own: m + 1 output gradients to n, n sums to 2m inputs. */
interface StridedTransforms extends Transforms<number> {
  readonly gradientInput: NumberLine;
  readonly gradientOutput: NumberLine;
}

/** In float32 (`single`) or float64: every operation is rounded, constants once. */
function rounding(single: boolean): Arithmetic<number> {
  const r = (value: number): number => round(value, single);
  return { add: (a, b) => r(a + b), sub: (a, b) => r(a - b), times: (a, b) => r(r(a) * b) };
}

/**
 * Stride 2, m 3 or 4: the filter's outer taps meet every second input, by F(m, 2) on the points of F(m − 1, 3); its middle tap
 * meets the others, m products as they are.
 */
function stridedTransforms(m: number, single: boolean): StridedTransforms {
  const arithmetic = rounding(single);
  const { add, sub, times } = arithmetic;
  const { input } = transforms(m - 1, arithmetic);
  /** Aᵀ of F(m, 2). */
  const sums: NumberLine =
    m === 4
      ? ([a, b, c, d, e]) => [
          add(add(add(a, b), c), d),
          sub(sub(b, times(0.5, c)), add(d, d)),
          add(add(b, times(0.25, c)), times(4, d)),
          add(sub(sub(b, times(0.125, c)), times(8, d)), e),
        ]
      : ([a, b, c, d]) => [add(add(a, b), c), sub(b, c), add(add(b, c), d)];
  return {
    input: (d) => [...input(d.filter((_, i) => i % 2 === 0)), ...d.filter((_, i) => i % 2 === 1)],
    gradientInput: (d) => [...input(d), ...d.slice(0, m)],
    filter([a, middle, b]) {
      const outer =
        m === 4
          ? [a, times(2 / 9, add(a, b)), times(2 / 9, sub(times(4, a), add(b, b))), times(1 / 9, sub(add(b, b), a)), b]
          : [a, times(0.5, add(a, b)), times(0.5, sub(a, b)), b];
      return [...outer, ...new Array<number>(m).fill(middle)];
    },
    output(v) {
      const middle = v.slice(m + 1);
      return sums(v.slice(0, m + 1)).map((y, i) => add(y, middle[i]));
    },
    gradientOutput(v) {
      const outer = sums(v.slice(0, m + 1));
      return v.slice(m + 1).flatMap((middle, i) => [middle, outer[i]]);
    },
    outputGradient(y) {
      const [a, b, c, d] = y;
      const outer =
        m === 4
          ? [
              a,
              add(add(add(a, b), c), d),
              sub(add(sub(a, times(0.5, b)), times(0.25, c)), times(0.125, d)),
              sub(add(sub(a, add(b, b)), times(4, c)), times(8, d)),
              d,
            ]
          : [a, add(add(a, b), c), add(sub(a, b), c), c];
      return [...outer, ...y];
    },
    filterGradient(v) {
      const [a, b, c, d, e] = v;
      const middle = v.slice(m + 1).reduce(add);
      return m === 4
        ? [
            add(a, sub(times(2 / 9, add(b, times(4, c))), times(1 / 9, d))),
            middle,
            add(sub(times(2 / 9, add(b, d)), times(4 / 9, c)), e),
          ]
        : [add(a, times(0.5, add(b, c))), middle, add(times(0.5, sub(b, c)), d)];
    },
  };
}

/** A window of a plane; +0 outside of it. */
function window(
  plane: ArrayLike<number>,
  from: number,
  [height, width]: readonly [number, number],
  [top, left]: readonly [number, number],
  size: number,
): number[][] {
  return Array.from({ length: size }, (_, i) =>
    Array.from({ length: size }, (__, j) => {
      const [row, column] = [top + i, left + j];
      const inside = row >= 0 && row < height && column >= 0 && column < width;
      return inside ? plane[from + row * width + column] : 0;
    }),
  );
}

type ConvKernels = Pick<Kernels, 'conv2d' | 'conv2dBackwardInput' | 'conv2dBackwardWeight'>;

/** The convolution kernels of the fast modes: `direct` ones where `winogradTile` says so. */
export function winograd(host: Host, direct: ConvKernels): ConvKernels {
  const { single } = host;

  /** One image's group: `k` source planes through k → rows filters. `steps`: of a tile, in the source and in the result. */
  const convolve = (
    lines: { readonly input: NumberLine; readonly output: NumberLine },
    size: number,
    steps: readonly [number, number],
    tiles: readonly [number, number],
    source: { data: ArrayLike<number>; at: number; size: readonly [number, number]; pad: readonly [number, number] },
    filters: readonly (readonly number[][][])[],
    bias: ArrayLike<number> | null,
    out: { data: Float32Array | Float64Array; at: number; size: readonly [number, number] },
  ): void => {
    const k = filters[0].length;
    const plane = source.size[0] * source.size[1];
    const outPlane = out.size[0] * out.size[1];
    for (let row = 0; row < tiles[0]; row++) {
      for (let column = 0; column < tiles[1]; column++) {
        const corner = [row * steps[0] - source.pad[0], column * steps[0] - source.pad[1]] as const;
        const inputs = Array.from({ length: k }, (_, c) =>
          square(lines.input, window(source.data, source.at + c * plane, source.size, corner, size)),
        );
        filters.forEach((filter, o) => {
          const sums = inputs[0].map((line, i) =>
            line.map((_, j) => {
              let sum = 0;
              for (let c = 0; c < k; c++) sum = round(sum + round(filter[c][i][j] * inputs[c][i][j], single), single);
              return sum;
            }),
          );
          square(lines.output, sums).forEach((line, i) => {
            line.forEach((value, j) => {
              const [y, x] = [row * steps[1] + i, column * steps[1] + j];
              if (y >= out.size[0] || x >= out.size[1]) return;
              out.data[out.at + o * outPlane + y * out.size[1] + x] = bias ? value + bias[o] : value;
            });
          });
        });
      }
    }
  };

  const taps = (weight: ArrayLike<number>, at: number, flipped: boolean): number[][] =>
    [0, 1, 2].map((i) => [0, 1, 2].map((j) => weight[at + (flipped ? 8 - 3 * i - j : 3 * i + j)]));

  return {
    conv2d(o) {
      const m = winogradTile('forward', o);
      if (m === 0) return direct.conv2d(o);
      const [inSize, outSize, weightSize] = convSizes(o);
      const x = host.floats('conv2d', 'x', o.x, inSize);
      const weight = host.floats('conv2d', 'weight', o.weight, weightSize);
      const bias = o.bias && host.floats('conv2d', 'bias', o.bias, o.outChannels);
      const out = host.floats('conv2d', 'out', o.out, outSize);
      const [channels, rows] = [o.inChannels / o.groups, o.outChannels / o.groups];
      const stride = o.strideHeight;
      const lines = stride === 1 ? transforms(m, rounding(single)) : stridedTransforms(m, single);
      const { filter } = lines;
      const tiles = winogradTiles(m, 'forward', o);
      for (let g = 0; g < o.groups; g++) {
        const filters = Array.from({ length: rows }, (_, row) =>
          Array.from({ length: channels }, (__, c) =>
            square(filter, taps(weight, ((g * rows + row) * channels + c) * 9, false)),
          ),
        );
        for (let n = 0; n < o.batch; n++) {
          convolve(
            lines,
            stride === 1 ? m + 2 : 2 * m + 1,
            [stride * m, m],
            tiles,
            {
              data: x,
              at: (n * o.inChannels + g * channels) * o.inHeight * o.inWidth,
              size: [o.inHeight, o.inWidth],
              pad: [o.padTop, o.padLeft],
            },
            filters,
            bias && bias.subarray(g * rows),
            {
              data: out,
              at: (n * o.outChannels + g * rows) * o.outHeight * o.outWidth,
              size: [o.outHeight, o.outWidth],
            },
          );
        }
      }
    },

    conv2dBackwardInput(o) {
      const m = winogradTile('input', o);
      if (m === 0) return direct.conv2dBackwardInput(o);
      const [inSize, outSize, weightSize] = convSizes(o);
      const dy = host.floats('conv2dBackwardInput', 'dy', o.dy, outSize);
      const weight = host.floats('conv2dBackwardInput', 'weight', o.weight, weightSize);
      const dx = host.floats('conv2dBackwardInput', 'dx', o.dx, inSize);
      const [channels, rows] = [o.inChannels / o.groups, o.outChannels / o.groups];
      const stride = o.strideHeight;
      const strided = stride === 1 ? null : stridedTransforms(m, single);
      const plain = strided ?? transforms(m, rounding(single));
      const lines = strided ? { input: strided.gradientInput, output: strided.gradientOutput } : plain;
      const { filter } = plain;
      const tiles = winogradTiles(m, 'input', o);
      for (let g = 0; g < o.groups; g++) {
        // A convolution of the output's gradient with the filters turned by half a turn, channels exchanged.
        const filters = Array.from({ length: channels }, (_, c) =>
          Array.from({ length: rows }, (__, row) =>
            square(filter, taps(weight, ((g * rows + row) * channels + c) * 9, true)),
          ),
        );
        for (let n = 0; n < o.batch; n++) {
          convolve(
            lines,
            stride === 1 ? m + 2 : m + 1,
            [m, stride * m],
            tiles,
            {
              data: dy,
              at: (n * o.outChannels + g * rows) * o.outHeight * o.outWidth,
              size: [o.outHeight, o.outWidth],
              pad: stride === 1 ? [2 - o.padTop, 2 - o.padLeft] : [0, 0],
            },
            filters,
            null,
            { data: dx, at: (n * o.inChannels + g * channels) * o.inHeight * o.inWidth, size: [o.inHeight, o.inWidth] },
          );
        }
      }
    },

    conv2dBackwardWeight(o) {
      const m = winogradTile('weight', o);
      if (m === 0) return direct.conv2dBackwardWeight(o);
      const [inSize, outSize, weightSize] = convSizes(o);
      const x = host.floats('conv2dBackwardWeight', 'x', o.x, inSize);
      const dy = host.floats('conv2dBackwardWeight', 'dy', o.dy, outSize);
      const dweight = host.floats('conv2dBackwardWeight', 'dweight', o.dweight, weightSize);
      const [channels, rows] = [o.inChannels / o.groups, o.outChannels / o.groups];
      const stride = o.strideHeight;
      const t = stride === 1 ? transforms(m, rounding(single)) : stridedTransforms(m, single);
      const side = stride === 1 ? m + 2 : 2 * m + 1;
      const [tilesHigh, tilesWide] = winogradTiles(m, 'weight', o);
      const block = Math.max(WEIGHT_TILES, tilesWide);

      // The blocks: runs of (image, row of tiles), a whole image where it fits.
      const blocks: [number, number][][] = [];
      let run: [number, number][] = [];
      for (let n = 0; n < o.batch; n++) {
        for (let row = 0; row < tilesHigh; row++) {
          const needed = tilesHigh * tilesWide <= block ? (row === 0 ? tilesHigh * tilesWide : 0) : tilesWide;
          const newImage = row === 0 && tilesHigh * tilesWide > block;
          if (run.length > 0 && (newImage || run.length * tilesWide + needed > block)) {
            blocks.push(run);
            run = [];
          }
          run.push([n, row]);
        }
      }
      if (run.length > 0) blocks.push(run);

      const transformed = (
        line: NumberLine,
        data: ArrayLike<number>,
        plane: (n: number) => number,
        size: readonly [number, number],
        pad: readonly [number, number],
        step: number,
        extent: number,
      ) =>
        blocks.map((rowsOfTiles) =>
          rowsOfTiles.flatMap(([n, row]) =>
            Array.from({ length: tilesWide }, (_, column) =>
              square(line, window(data, plane(n), size, [row * step - pad[0], column * step - pad[1]], extent)),
            ),
          ),
        );

      for (let g = 0; g < o.groups; g++) {
        const inputs = Array.from({ length: channels }, (_, c) =>
          transformed(
            t.input,
            x,
            (n) => (n * o.inChannels + g * channels + c) * o.inHeight * o.inWidth,
            [o.inHeight, o.inWidth],
            [o.padTop, o.padLeft],
            stride * m,
            side,
          ),
        );
        for (let row = 0; row < rows; row++) {
          const gradients = transformed(
            t.outputGradient,
            dy,
            (n) => (n * o.outChannels + g * rows + row) * o.outHeight * o.outWidth,
            [o.outHeight, o.outWidth],
            [0, 0],
            m,
            m,
          );
          for (let c = 0; c < channels; c++) {
            const sums = Array.from({ length: side }, (_, i) =>
              Array.from({ length: side }, (__, j) => {
                let total = 0;
                gradients.forEach((block, b) => {
                  let sum = 0;
                  block.forEach((tile, at) => {
                    sum = round(sum + round(tile[i][j] * inputs[c][b][at][i][j], single), single);
                  });
                  total = b === 0 ? sum : round(total + sum, single);
                });
                return total;
              }),
            );
            const at = ((g * rows + row) * channels + c) * 9;
            square(t.filterGradient, sums).forEach((line, i) => {
              line.forEach((value, j) => {
                dweight[at + 3 * i + j] = value;
              });
            });
          }
        }
      }
    },
  };
}
