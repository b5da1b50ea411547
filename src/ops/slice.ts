import { defineOp } from '../autograd.js';
import { ArgumentError } from '../errors.js';
import { axis, formatShape, type Shape, stridesOf } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** Which indices are taken, as in Python. */
export interface SliceOptions {
  /** First index; negative ones count from the back. Default 0. */
  readonly start?: number;
  /** Index behind the last; negative ones count from the back. Default: the extent. */
  readonly end?: number;
  /** Distance between indices, at least 1. Default 1. */
  readonly step?: number;
}

const op = defineOp({
  name: 'slice',
  inputs: ['x'],
  plan: ([x]: readonly [Tensor], { dim, start = 0, end, step = 1 }: SliceOptions & { dim: number }) => {
    const at = axis('slice', 'dim', dim, x.shape.length);
    const extent = x.shape[at];
    const index = (option: string, value: number): number => {
      if (!Number.isInteger(value)) throw new ArgumentError(`slice: ${option} is ${value}; want a whole number`);
      return Math.min(Math.max(value < 0 ? value + extent : value, 0), extent);
    };
    const first = index('start', start);
    const behind = index('end', end ?? extent);
    if (!Number.isInteger(step) || step < 1) {
      throw new ArgumentError(
        `slice: step is ${step}, of x ${formatShape(x.shape)}; want a whole number of at least 1`,
      );
    }
    const count = Math.max(0, Math.ceil((behind - first) / step));
    const strides = stridesOf(x.shape);
    const shape: Shape = x.shape.map((e, i) => (i === at ? count : e));
    return {
      shape,
      dense: stridesOf(shape),
      offset: first * strides[at],
      strides: strides.map((stride, i) => (i === at ? stride * step : stride)),
    };
  },
  forward({ kernels, inputs: [x], out }, { shape, dense, offset, strides }) {
    kernels.copy({ x, out, shape, xOffset: offset, xStrides: strides, outOffset: 0, outStrides: dense });
  },
  needs: { inputs: false, out: false },
  backward({ kernels, dy, grad }, { shape, dense, offset, strides }) {
    const dx = grad(0);
    if (!dx) return;
    kernels.fill({ out: dx, value: 0 });
    kernels.copy({ x: dy, out: dx, shape, xOffset: 0, xStrides: dense, outOffset: offset, outStrides: strides });
  },
});

/**
 * The indices start, start + step, … before end of one axis, as x[:, start:end:step] has them in Python: indices beyond
 * the extent are cut to it, and none may be left. A copy, not a view.
 * @throws ArgumentError when dim is no axis, an index is not whole, or step is below 1
 * @see https://pytorch.org/docs/stable/generated/torch.narrow.html
 */
export function slice(x: Tensor, dim: number, o: SliceOptions = {}): Tensor {
  return op([x], { ...o, dim });
}
