/** sum and mean over any axes: lane sums in float64, one rounding. */
import { defineOp } from '../autograd.js';
import { ArgumentError, show } from '../errors.js';
import { axis, broadcastStrides, type Shape, sizeOf } from '../shape.js';
import type { Tensor } from '../tensor.js';

interface ReduceOptions {
  readonly dim: number | readonly number[] | undefined;
  readonly keepdim: boolean;
}

function defineReduction(name: 'sum' | 'mean'): (inputs: readonly [Tensor], options: ReduceOptions) => Tensor {
  return defineOp({
    name,
    inputs: ['x'],
    plan: ([x]: readonly [Tensor], { dim, keepdim }: ReduceOptions) => {
      const rank = x.shape.length;
      const dims = dim === undefined ? [] : typeof dim === 'number' ? [dim] : dim;
      // No axis named means all, as in PyTorch.
      const reduce = x.shape.map(() => dims.length === 0);
      for (const one of dims) {
        const at = axis(name, 'dim', one, rank);
        if (reduce[at]) throw new ArgumentError(`${name}: dim ${show(dim)} names axis ${at} twice`);
        reduce[at] = true;
      }
      const kept: Shape = x.shape.map((extent, i) => (reduce[i] ? 1 : extent));
      const shape = keepdim ? kept : x.shape.filter((_, i) => !reduce[i]);
      const divisor = name === 'sum' ? 1 : sizeOf(x.shape.filter((_, i) => reduce[i]));
      return { shape, from: x.shape, kept, reduce, divisor };
    },
    forward({ kernels, inputs: [x], out }, { from, reduce, divisor }) {
      kernels.sum({ x, out, shape: from, reduce, divisor });
    },
    needs: { inputs: false, out: false },
    backward({ kernels, dy, grad }, { from, kept, divisor }) {
      const dx = grad(0);
      if (dx) kernels.expand({ x: dy, out: dx, shape: from, xStrides: broadcastStrides(kept, from), divisor });
    },
  });
}

const sumOp = defineReduction('sum');
const meanOp = defineReduction('mean');

/**
 * Sum over the axes `dim` (negative ones count from the back), or over all when none is given. `keepdim` leaves them with extent 1.
 * @throws ArgumentError when an axis is out of range or named twice
 * @see https://pytorch.org/docs/stable/generated/torch.sum.html
 */
export function sum(x: Tensor, dim?: number | readonly number[], o: { keepdim?: boolean } = {}): Tensor {
  return sumOp([x], { dim, keepdim: o?.keepdim ?? false });
}

/**
 * Mean over the axes `dim` (negative ones count from the back), or over all when none is given; NaN over nothing. `keepdim` leaves
 * them with extent 1.
 * @throws ArgumentError when an axis is out of range or named twice
 * @see https://pytorch.org/docs/stable/generated/torch.mean.html
 */
export function mean(x: Tensor, dim?: number | readonly number[], o: { keepdim?: boolean } = {}): Tensor {
  return meanOp([x], { dim, keepdim: o?.keepdim ?? false });
}
