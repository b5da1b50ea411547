import { defineOp } from '../autograd.js';
import type { AdaptivePoolGeometry } from '../device/device.js';
import { ArgumentError } from '../errors.js';
import { checkRank, formatShape, pair, type Shape } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** Height and width of the result, one number for both; null keeps the input's. */
export type AdaptiveSize = number | readonly [number | null, number | null];

function plan([x]: readonly [Tensor], outputSize: AdaptiveSize): { shape: Shape; geometry: AdaptivePoolGeometry } {
  checkRank('adaptiveAvgPool2d', 'x', x.shape, 4, '[N, C, H, W]');
  const [batch, channels, inHeight, inWidth] = x.shape;
  if (inHeight === 0 || inWidth === 0) {
    throw new ArgumentError(`adaptiveAvgPool2d: x has shape ${formatShape(x.shape)}; want pixels`);
  }
  const given: readonly (number | null)[] = typeof outputSize === 'number' ? [outputSize, outputSize] : outputSize;
  const filled = Array.isArray(given) ? given.map((extent, i) => extent ?? x.shape[2 + i]) : given;
  const [outHeight, outWidth] = pair('adaptiveAvgPool2d', 'outputSize', filled as unknown as [number, number], 1);
  return {
    shape: [batch, channels, outHeight, outWidth],
    geometry: { planes: batch * channels, inHeight, inWidth, outHeight, outWidth },
  };
}

const op = defineOp({
  name: 'adaptiveAvgPool2d',
  inputs: ['x'],
  plan,
  forward({ kernels, inputs: [x], out }, { geometry }) {
    kernels.adaptiveAvgPool2d({ x, out, ...geometry });
  },
  needs: { inputs: false, out: false },
  backward({ kernels, dy, grad }, { geometry }) {
    const dx = grad(0);
    if (dx) kernels.adaptiveAvgPool2dBackward({ dy, dx, ...geometry });
  },
});

/**
 * Means of windows chosen so that the result is `[N, C, h, w]` for x `[N, C, H, W]`: output row i covers rows
 * ⌊i·H/h⌋ … ⌈(i+1)·H/h⌉, columns alike.
 * @throws ArgumentError when the output size is not positive
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.adaptive_avg_pool2d.html
 */
export function adaptiveAvgPool2d(x: Tensor, outputSize: AdaptiveSize): Tensor {
  return op([x], outputSize);
}
