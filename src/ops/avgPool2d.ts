import { defineOp } from '../autograd.js';
import type { Pair } from '../shape.js';
import type { Tensor } from '../tensor.js';
import type { Padding } from './padding.js';
import { poolPlan, type WindowOptions } from './poolGeometry.js';

/** The window's steps, and what counts in its average. */
export interface AvgPool2dOptions {
  /** Default: the kernel size. */
  readonly stride?: Pair;
  /** Zeros on each side; at most half of the kernel. Default 0. */
  readonly padding?: Padding;
  /** Round the output extent up. Default false. */
  readonly ceilMode?: boolean;
  /** Whether padding counts in the divisor. Default true, as PyTorch; with padding `'SAME'` false, as TensorFlow. */
  readonly countIncludePad?: boolean;
}

const op = defineOp({
  name: 'avgPool2d',
  inputs: ['x'],
  plan: ([x]: readonly [Tensor], o: WindowOptions & { countIncludePad: boolean }) => ({
    ...poolPlan('avgPool2d', x.shape, o),
    countIncludePad: o.countIncludePad,
  }),
  forward({ kernels, inputs: [x], out }, { geometry, countIncludePad }) {
    kernels.avgPool2d({ x, out, countIncludePad, ...geometry });
  },
  needs: { inputs: false, out: false },
  backward({ kernels, dy, grad }, { geometry, countIncludePad }) {
    const dx = grad(0);
    if (dx) kernels.avgPool2dBackward({ dy, dx, countIncludePad, ...geometry });
  },
});

/**
 * Mean of each window: x `[N, C, H, W]`, result `[N, C, H', W']`.
 * @throws ArgumentError when the padding exceeds half of the kernel or the output would be empty
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.avg_pool2d.html
 */
export function avgPool2d(x: Tensor, kernelSize: Pair, o: AvgPool2dOptions = {}): Tensor {
  const { stride, padding = 0, ceilMode = false } = o ?? {};
  const { countIncludePad = padding !== 'SAME' } = o ?? {};
  return op([x], { kernelSize, stride, padding, dilation: 1, ceilMode, countIncludePad: Boolean(countIncludePad) });
}
