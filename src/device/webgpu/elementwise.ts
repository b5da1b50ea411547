/** Elementwise kernels, reductions and the optimizers. */
import { ArgumentError } from '../../errors.js';
import { reach, sizeOf, stridesOf } from '../../shape.js';
import { type Axis, joinAxes } from '../axes.js';
import type { BinaryOperator, Buffer, Kernels } from '../device.js';
import { MOST_GROUPS, type WebgpuContext } from './context.js';
import { accumulate } from './shaders/accumulate.js';
import { binary, binaryBroadcast } from './shaders/binary.js';
import { copy } from './shaders/copy.js';
import { expand } from './shaders/expand.js';
import { fill } from './shaders/fill.js';
import { adam, rmsprop, sgd } from './shaders/optimizers.js';
import { relu, reluBackward } from './shaders/relu.js';
import { MOST_AXES } from './shaders/strided.js';
import { sum } from './shaders/sum.js';

const OPERATOR: Readonly<Record<BinaryOperator, number>> = { add: 0, sub: 1, mul: 2, div: 3 };

/** Terms of a sum for each of several workgroups that share it, for a processor and for a GPU, and how many of them at most. */
const SHARED_TERMS = 16384;
const SHARED_TERMS_BUSY = 1024;
const MOST_PARTS = 64;

const bitsOf = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0];

/** One field of all axes as two vectors, the last axis last. */
function halves(
  kernel: string,
  axes: readonly Axis[],
  field: (axis: Axis) => number,
  none: number,
): [number[], number[]] {
  if (axes.length > MOST_AXES) {
    throw new ArgumentError(
      `webgpu: ${kernel}: ${axes.length} axes that cannot be joined; want at most ${MOST_AXES}, so reshape or make it contiguous first`,
    );
  }
  const all = [...new Array<number>(MOST_AXES - axes.length).fill(none), ...axes.map(field)];
  return [all.slice(0, 4), all.slice(4)];
}

export function elementwiseKernels(
  g: WebgpuContext,
): Pick<
  Kernels,
  'fill' | 'copy' | 'binary' | 'accumulate' | 'relu' | 'reluBackward' | 'sum' | 'expand' | 'sgd' | 'adam' | 'rmsprop'
> {
  return {
    fill({ out, value }) {
      g.expect('fill', 'out', out, 0);
      g.dispatch(fill, { out }, { size: out.size, bits: bitsOf(value) }, { elements: out.size });
    },

    copy({ x, out, shape, xOffset, xStrides, outOffset, outStrides }) {
      const size = sizeOf(shape);
      if (size === 0) return;
      g.expect('copy', 'x', x, xOffset + reach(shape, xStrides));
      g.expect('copy', 'out', out, outOffset + reach(shape, outStrides));
      const axes = joinAxes(shape, xStrides, outStrides);
      const [shapeLow, shapeHigh] = halves('copy', axes, (axis) => axis.extent, 1);
      const [xLow, xHigh] = halves('copy', axes, (axis) => axis.strides[0], 0);
      const [outLow, outHigh] = halves('copy', axes, (axis) => axis.strides[1], 0);
      const params = { shapeLow, shapeHigh, xLow, xHigh, outLow, outHigh, size, xOffset, outOffset };
      g.dispatch(copy, { x, out }, params, { elements: size }, { AXES: axes.length });
    },

    binary({ operator, a, b, out, shape, aStrides, bStrides }) {
      const { size } = out;
      if (size === 0) return;
      g.expect('binary', 'a', a, reach(shape, aStrides));
      g.expect('binary', 'b', b, reach(shape, bStrides));
      const constants = { OPERATOR: OPERATOR[operator] };
      const axes = joinAxes(shape, aStrides, bStrides);
      if (axes.length === 1 && axes[0].strides[0] === 1 && axes[0].strides[1] === 1) {
        g.dispatch(binary, { a, b, out }, { size }, { elements: size }, constants);
        return;
      }
      const [shapeLow, shapeHigh] = halves('binary', axes, (axis) => axis.extent, 1);
      const [aLow, aHigh] = halves('binary', axes, (axis) => axis.strides[0], 0);
      const [bLow, bHigh] = halves('binary', axes, (axis) => axis.strides[1], 0);
      const params = { shapeLow, shapeHigh, aLow, aHigh, bLow, bHigh, size };
      g.dispatch(binaryBroadcast, { a, b, out }, params, { elements: size }, { ...constants, AXES: axes.length });
    },

    accumulate({ x, out }) {
      g.expect('accumulate', 'x', x, out.size);
      g.dispatch(accumulate, { x, out }, { size: out.size }, { elements: out.size });
    },
    relu({ x, out }) {
      g.expect('relu', 'x', x, out.size);
      g.dispatch(relu, { x, out }, { size: out.size }, { elements: out.size });
    },
    reluBackward({ y, dy, dx }) {
      g.expect('reluBackward', 'y', y, dx.size);
      g.expect('reluBackward', 'dy', dy, dx.size);
      g.dispatch(reluBackward, { y, dy, dx }, { size: dx.size }, { elements: dx.size });
    },

    sum({ x, out, shape, reduce, divisor }) {
      const results = out.size;
      if (results === 0) return;
      const terms = shape.reduce((product, extent, i) => (reduce[i] ? product * extent : product), 1);
      g.expect('sum', 'x', x, sizeOf(shape));
      const strides = stridesOf(shape);
      const pick = (kind: boolean): Axis[] =>
        joinAxes(
          shape.filter((_, i) => reduce[i] === kind),
          strides.filter((_, i) => reduce[i] === kind),
        );
      const kept = pick(false);
      const reduced = pick(true);
      const [shapeLow, shapeHigh] = halves('sum', kept, (axis) => axis.extent, 1);
      const [keptLow, keptHigh] = halves('sum', kept, (axis) => axis.strides[0], 0);
      const [reducedLow, reducedHigh] = halves('sum', reduced, (axis) => axis.extent, 1);
      const [strideLow, strideHigh] = halves('sum', reduced, (axis) => axis.strides[0], 0);
      const axes = { shapeLow, shapeHigh, keptLow, keptHigh, reducedLow, reducedHigh, strideLow, strideHigh };
      const counts = { KEPT_AXES: kept.length, REDUCED_AXES: reduced.length };
      const parts = Math.min(
        MOST_PARTS,
        Math.max(1, Math.floor(terms / (g.busyReducing > 1 ? SHARED_TERMS_BUSY : SHARED_TERMS))),
        // Of 64 lanes each.
        Math.max(1, Math.floor(Math.max(1024, 4 * g.busyReducing) / results)),
      );
      const run = (
        from: Buffer,
        to: Buffer,
        params: typeof axes,
        count: number,
        share: number,
        by: number,
        constants = { KEPT_AXES: 1, REDUCED_AXES: 1 },
      ): void => {
        const groups = results * share;
        const rows = Math.ceil(groups / MOST_GROUPS);
        const sizes = { results, terms: count, parts: share, divisor: by };
        g.dispatch(
          sum,
          { x: from, out: to },
          { ...params, ...sizes },
          { groups: [Math.ceil(groups / rows), rows, 1] },
          constants,
        );
      };
      if (parts === 1) {
        run(x, out, axes, terms, 1, divisor, counts);
        return;
      }
      g.withScratch((take) => {
        const partial = take(results * parts);
        run(x, partial, axes, terms, parts, 1, counts);
        // The second level: rows of `parts` numbers.
        const [one, zero] = [
          [1, 1, 1, 1],
          [0, 0, 0, 0],
        ];
        const rows = {
          ...{ shapeLow: one, shapeHigh: [1, 1, 1, results], keptLow: zero, keptHigh: [0, 0, 0, parts] },
          ...{ reducedLow: one, reducedHigh: [1, 1, 1, parts], strideLow: zero, strideHigh: [0, 0, 0, 1] },
        };
        run(partial, out, rows, parts, 1, divisor);
      });
    },

    expand({ x, out, shape, xStrides, divisor }) {
      if (out.size === 0) return;
      g.expect('expand', 'x', x, reach(shape, xStrides));
      const axes = joinAxes(shape, xStrides);
      const [shapeLow, shapeHigh] = halves('expand', axes, (axis) => axis.extent, 1);
      const [xLow, xHigh] = halves('expand', axes, (axis) => axis.strides[0], 0);
      const params = { shapeLow, shapeHigh, xLow, xHigh, size: out.size, divisor };
      g.dispatch(expand, { x, out }, params, { elements: out.size }, { AXES: axes.length });
    },

    sgd({ param, grad, velocity, first, lr, momentum, nesterov, weightDecay }) {
      g.expect('sgd', 'grad', grad, param.size);
      g.expect('sgd', 'velocity', velocity, param.size);
      const constants = { DECAYS: weightDecay !== 0, FIRST: first, NESTEROV: nesterov };
      const params = { size: param.size, lr, momentum, weightDecay };
      g.dispatch(sgd, { param, grad, velocity }, params, { elements: param.size }, constants);
    },
    adam({ param, grad, m, v, lr, beta1, beta2, eps, weightDecay, decoupled, correction1, correction2 }) {
      g.expect('adam', 'grad', grad, param.size);
      g.expect('adam', 'm', m, param.size);
      g.expect('adam', 'v', v, param.size);
      const params = {
        ...{ size: param.size, weightDecay, decay: 1 - lr * weightDecay, beta1, rest1: 1 - beta1 },
        ...{ beta2, rest2: 1 - beta2, rate: lr / correction1, root: Math.sqrt(correction2), eps },
      };
      const constants = { DECAYS: weightDecay !== 0, DECOUPLED: decoupled };
      g.dispatch(adam, { param, grad, m, v }, params, { elements: param.size }, constants);
    },
    rmsprop({ param, grad, v, velocity, lr, alpha, eps, weightDecay, momentum }) {
      g.expect('rmsprop', 'grad', grad, param.size);
      g.expect('rmsprop', 'v', v, param.size);
      g.expect('rmsprop', 'velocity', velocity, param.size);
      const params = { size: param.size, lr, alpha, rest: 1 - alpha, eps, weightDecay, momentum };
      const constants = { DECAYS: weightDecay !== 0 };
      g.dispatch(rmsprop, { param, grad, v, velocity }, params, { elements: param.size }, constants);
    },
  };
}
