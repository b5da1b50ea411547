import { defineOp } from '../autograd.js';
import { ArgumentError, show } from '../errors.js';
import { axis, formatShape, type Shape, stridesOf } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** `values` of the axes in a new order. */
const ordered = (values: readonly number[], dims: readonly number[]): number[] => dims.map((dim) => values[dim]);

const op = defineOp({
  name: 'permute',
  inputs: ['x'],
  plan: ([x]: readonly [Tensor], { dims }: { dims: readonly number[] }) => {
    const rank = x.shape.length;
    if (!Array.isArray(dims)) throw new ArgumentError(`permute: dims is ${show(dims)}; want an array of axes`);
    const order = dims.map((dim) => axis('permute', 'dims', dim, rank));
    if (order.length !== rank || new Set(order).size !== rank) {
      throw new ArgumentError(
        `permute: dims ${formatShape(dims)} for x ${formatShape(x.shape)}; want each of its ${rank} axes once`,
      );
    }
    const shape: Shape = ordered(x.shape, order);
    return { shape, dense: stridesOf(shape), strides: ordered(stridesOf(x.shape), order) };
  },
  forward({ kernels, inputs: [x], out }, { shape, dense, strides }) {
    kernels.copy({ x, out, shape, xOffset: 0, xStrides: strides, outOffset: 0, outStrides: dense });
  },
  needs: { inputs: false, out: false },
  backward({ kernels, dy, grad }, { shape, dense, strides }) {
    const dx = grad(0);
    if (dx) kernels.copy({ x: dy, out: dx, shape, xOffset: 0, xStrides: dense, outOffset: 0, outStrides: strides });
  },
});

/**
 * The axes of x in another order: axis i of the result is axis `dims[i]` of x (negative ones count from the back). A copy,
 * not a view.
 * @throws ArgumentError when dims does not name each axis once
 * @see https://pytorch.org/docs/stable/generated/torch.permute.html
 */
export function permute(x: Tensor, dims: readonly number[]): Tensor {
  return op([x], { dims });
}
