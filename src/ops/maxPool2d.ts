import { defineOp } from '../autograd.js';
import { type Pair, sizeOf } from '../shape.js';
import type { Tensor } from '../tensor.js';
import type { Padding } from './padding.js';
import { poolPlan, type WindowOptions } from './poolGeometry.js';

/** How the window moves. */
export interface MaxPool2dOptions {
  /** Default: the kernel size. */
  readonly stride?: Pair;
  /** Positions on each side that never win; at most half of the kernel. Default 0. */
  readonly padding?: Padding;
  /** Distance between taps. Default 1. */
  readonly dilation?: Pair;
  /** Round the output extent up. Default false. */
  readonly ceilMode?: boolean;
}

const op = defineOp({
  name: 'maxPool2d',
  inputs: ['x'],
  plan: ([x]: readonly [Tensor], o: WindowOptions) => poolPlan('maxPool2d', x.shape, o),
  forward({ kernels, inputs: [x], out, recorded, save }, { shape, geometry }) {
    kernels.maxPool2d({ x, out, indices: recorded ? save(sizeOf(shape), 'int32') : null, ...geometry });
  },
  needs: { inputs: false, out: false },
  backward({ kernels, saved: [indices], dy, grad }, { geometry }) {
    const dx = grad(0);
    if (dx) kernels.maxPool2dBackward({ dy, indices, dx, ...geometry });
  },
});

/**
 * Maximum of each window: x `[N, C, H, W]`, result `[N, C, H', W']`. Of equal values the first in row order gets the
 * gradient; NaN wins over everything.
 * @throws ArgumentError when the padding exceeds half of the kernel or the output would be empty
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.max_pool2d.html
 */
export function maxPool2d(x: Tensor, kernelSize: Pair, o: MaxPool2dOptions = {}): Tensor {
  const { stride, padding = 0, dilation = 1, ceilMode = false } = o ?? {};
  return op([x], { kernelSize, stride, padding, dilation, ceilMode });
}
