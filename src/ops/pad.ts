import { defineOp } from '../autograd.js';
import { ArgumentError, show } from '../errors.js';
import { formatShape, type Shape, stridesOf } from '../shape.js';
import type { Tensor } from '../tensor.js';

interface PadOptions {
  readonly padding: readonly number[];
  readonly value: number;
}

const op = defineOp({
  name: 'pad',
  inputs: ['x'],
  plan: ([x]: readonly [Tensor], { padding, value }: PadOptions) => {
    const from = x.shape;
    const rank = from.length;
    if (
      !Array.isArray(padding) ||
      padding.length % 2 !== 0 ||
      padding.length > 2 * rank ||
      !padding.every(Number.isInteger)
    ) {
      throw new ArgumentError(
        `pad: padding ${formatShape(padding)} for x ${formatShape(from)}; want whole numbers, two for each of up to ${rank} axes, the last axis first`,
      );
    }
    if (typeof value !== 'number') throw new ArgumentError(`pad: value is ${show(value)}; want a number`);
    const side = (i: number, after: 0 | 1): number => padding[2 * (rank - 1 - i) + after] ?? 0;
    const shape: Shape = from.map((extent, i) => extent + side(i, 0) + side(i, 1));
    if (shape.some((extent) => extent < 0)) {
      throw new ArgumentError(
        `pad: padding ${formatShape(padding)} takes more of x ${formatShape(from)} than there is`,
      );
    }
    // What stays: negative padding cuts.
    const kept: Shape = from.map((extent, i) =>
      Math.max(0, extent + Math.min(0, side(i, 0)) + Math.min(0, side(i, 1))),
    );
    const xStrides = stridesOf(from);
    const outStrides = stridesOf(shape);
    let xOffset = 0;
    let outOffset = 0;
    from.forEach((_, i) => {
      if (side(i, 0) < 0) xOffset -= side(i, 0) * xStrides[i];
      else outOffset += side(i, 0) * outStrides[i];
    });
    return { shape, value, kept, xOffset, xStrides, outOffset, outStrides };
  },
  forward({ kernels, inputs: [x], out }, { value, kept, xOffset, xStrides, outOffset, outStrides }) {
    kernels.fill({ out, value });
    kernels.copy({ x, out, shape: kept, xOffset, xStrides, outOffset, outStrides });
  },
  needs: { inputs: false, out: false },
  backward({ kernels, dy, grad }, { kept, xOffset, xStrides, outOffset, outStrides }) {
    const dx = grad(0);
    if (!dx) return;
    kernels.fill({ out: dx, value: 0 });
    kernels.copy({
      ...{ x: dy, out: dx, shape: kept },
      ...{ xOffset: outOffset, xStrides: outStrides, outOffset: xOffset, outStrides: xStrides },
    });
  },
});

/**
 * x with `value` around it. `padding` counts from the last axis, before and after: `[left, right, top, bottom, …]`; negative
 * numbers cut instead.
 * @throws ArgumentError when padding is not pairs of whole numbers, or cuts off more than there is
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.pad.html
 */
export function pad(x: Tensor, padding: readonly number[], value = 0): Tensor {
  return op([x], { padding, value });
}
