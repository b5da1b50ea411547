/** Elementwise kernels and reductions on linear memory; the loops are in assembly/. */
import { reach, sizeOf } from '../../shape.js';
import { joinAxes } from '../axes.js';
import type { BinaryOperator, Kernels } from '../device.js';
import type { WasmContext } from './context.js';

const OPERATOR: Record<BinaryOperator, number> = { add: 0, sub: 1, mul: 2, div: 3 };

/** Bytes of the lanes of a sum. */
const LANES = 64;

/** Calls for ranges of `n` elements, for the threads; `call` says them for one, given its first byte and its length. */
export const rangesOf = (w: WasmContext, n: number, call: (offset: number, count: number) => number[]): number[][] =>
  w.split(n, n / 3, 16, 2).map(([from, to]) => call(4 * from, to - from));

export function elementwiseKernels(
  w: WasmContext,
): Pick<Kernels, 'fill' | 'copy' | 'binary' | 'relu' | 'sum' | 'expand'> {
  return {
    fill({ out, value }) {
      w.call('fill', w.address(out), value, out.size);
    },

    copy({ x, out, shape, xOffset, xStrides, outOffset, outStrides }) {
      const size = sizeOf(shape);
      if (size === 0) return;
      const from = w.input(x, xOffset + reach(shape, xStrides)) + 4 * xOffset;
      const to = w.address(out, outOffset + reach(shape, outStrides)) + 4 * outOffset;
      const [first, ...rest] = joinAxes(shape, xStrides, outStrides);
      const [xStep, outStep] = first.strides;
      const parts = w.split(first.extent, size);
      const rank = rest.length + 1;
      w.parallel(
        'copy',
        parts.map(([begin, end]) => {
          // Extents, both strides, counters.
          const table = w.tables.write(
            [end - begin, ...rest.map((axis) => axis.extent)],
            [xStep, ...rest.map((axis) => axis.strides[0])],
            [outStep, ...rest.map((axis) => axis.strides[1])],
            new Array<number>(2 * rank).fill(0),
          );
          return [from + 4 * begin * xStep, to + 4 * begin * outStep, rank, table];
        }),
      );
    },

    binary({ operator, a, b, out, shape, aStrides, bStrides }) {
      if (out.size === 0) return;
      const axes = joinAxes(shape, aStrides, bStrides);
      if (axes.length === 1 && axes[0].strides[0] === 1 && axes[0].strides[1] === 1) {
        const [left, right, to] = [w.input(a, out.size), w.input(b, out.size), w.address(out)];
        const parts = rangesOf(w, out.size, (at, n) => [at, n]);
        w.parallel(
          'binary',
          parts.map(([at, n]) => [
            ...[OPERATOR[operator], left + at, right + at, to + at, 1],
            // An axis: its extent, both strides, a counter.
            w.tables.write([n, 1, 1, 0]),
          ]),
        );
        return;
      }
      const table = w.tables.write(
        axes.map((axis) => axis.extent),
        axes.map((axis) => axis.strides[0]),
        axes.map((axis) => axis.strides[1]),
        axes.map(() => 0),
      );
      w.call('binary', OPERATOR[operator], w.input(a), w.input(b), w.address(out), axes.length, table);
    },

    relu({ x, out }) {
      const [from, to] = [w.input(x, out.size), w.address(out)];
      w.parallel(
        'relu',
        rangesOf(w, out.size, (at, n) => [from + at, to + at, n]),
      );
    },

    sum({ x, out, shape, reduce, divisor }) {
      if (out.size === 0) return;
      const kept: [number, number][] = [];
      const reduced: [number, number][] = [];
      let stride = 1;
      // Innermost first: neighbours of one kind join.
      for (let i = shape.length - 1; i >= 0; i--) {
        if (shape[i] !== 1) {
          const list = reduce[i] ? reduced : kept;
          const outer = list[0];
          if (outer !== undefined && outer[0] * outer[1] === stride) outer[0] *= shape[i];
          else list.unshift([shape[i], stride]);
        }
        stride *= shape[i];
      }
      if (reduced.length === 0) reduced.push([1, 1]);
      if (kept.length === 0) kept.push([1, 0]);
      // Threads share the outermost axis that is kept.
      const [[extent, keptStride], ...inner] = kept;
      const perStep = out.size / extent;
      const [from, to] = [w.input(x), w.address(out)];
      const parts = w.split(extent, sizeOf(shape) / 2, 1, 2);
      w.parallel(
        'sum',
        parts.map(([first, last]) => {
          const own: [number, number][] = [[last - first, keptStride], ...inner];
          // Extents and strides, a counter of each axis.
          const table = w.tables.write(
            [own, reduced].flatMap((list) => [...list.map((axis) => axis[0]), ...list.map((axis) => axis[1])]),
            [...own, ...reduced].map(() => 0),
          );
          return [
            from + 4 * first * keptStride,
            to + 4 * first * perStep,
            kept.length,
            reduced.length,
            table,
            divisor,
            w.tables.take(LANES),
          ];
        }),
      );
    },

    expand({ x, out, shape, xStrides, divisor }) {
      if (out.size === 0) return;
      const axes = joinAxes(shape, xStrides);
      const table = w.tables.write(
        axes.map((axis) => axis.extent),
        axes.map((axis) => axis.strides[0]),
        axes.map(() => 0),
      );
      w.call('expand', w.input(x), w.address(out), axes.length, table, divisor);
    },
  };
}
