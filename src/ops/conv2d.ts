import { defineOp } from '../autograd.js';
import { ArgumentError } from '../errors.js';
import { type ConvGeometry, checkRank, formatShape, type Pair, pair, type Shape, windowExtent } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { type Padding, paddingSides } from './padding.js';

/** How the window moves, and over which channels. */
export interface Conv2dOptions {
  /** Step of the window. Default 1. */
  readonly stride?: Pair;
  /** Zeros on each side. Default 0. */
  readonly padding?: Padding;
  /** Distance between taps. Default 1. */
  readonly dilation?: Pair;
  /** Channels are split into this many independent convolutions. Default 1. */
  readonly groups?: number;
}

function plan(
  [x, weight, bias]: readonly [Tensor, Tensor, Tensor | null],
  o: Conv2dOptions,
): { shape: Shape; geometry: ConvGeometry } {
  checkRank('conv2d', 'x', x.shape, 4, '[N, C, H, W]');
  checkRank('conv2d', 'weight', weight.shape, 4, '[out channels, in channels / groups, kernel height, kernel width]');
  const [batch, inChannels, inHeight, inWidth] = x.shape;
  const [outChannels, channelsPerGroup, kernelHeight, kernelWidth] = weight.shape;
  const stride = pair('conv2d', 'stride', o.stride ?? 1, 1);
  const dilation = pair('conv2d', 'dilation', o.dilation ?? 1, 1);
  const groups = o.groups ?? 1;
  if (weight.shape.some((extent) => extent === 0)) {
    throw new ArgumentError(`conv2d: weight has shape ${formatShape(weight.shape)}; want extents of at least 1`);
  }
  if (!Number.isInteger(groups) || groups < 1 || outChannels % groups !== 0) {
    throw new ArgumentError(
      `conv2d: groups is ${groups}; want a whole number that divides the ${outChannels} output channels of weight ${formatShape(weight.shape)}`,
    );
  }
  if (inChannels !== channelsPerGroup * groups) {
    throw new ArgumentError(
      `conv2d: x ${formatShape(x.shape)} has ${inChannels} channels; weight ${formatShape(weight.shape)} with groups ${groups} wants ${channelsPerGroup * groups}`,
    );
  }
  if (bias !== null && (bias.shape.length !== 1 || bias.shape[0] !== outChannels)) {
    throw new ArgumentError(`conv2d: bias has shape ${formatShape(bias.shape)}; want [${outChannels}]`);
  }
  const window = { kernel: [kernelHeight, kernelWidth], stride, dilation } as const;
  const { before, after } = paddingSides('conv2d', o.padding ?? 0, [inHeight, inWidth], window);
  const outHeight = windowExtent(inHeight, kernelHeight, stride[0], before[0], after[0], dilation[0]);
  const outWidth = windowExtent(inWidth, kernelWidth, stride[1], before[1], after[1], dilation[1]);
  if (outHeight < 1 || outWidth < 1 || inHeight === 0 || inWidth === 0) {
    const reach = [dilation[0] * (kernelHeight - 1) + 1, dilation[1] * (kernelWidth - 1) + 1];
    throw new ArgumentError(
      `conv2d: x ${formatShape(x.shape)} padded to ${inHeight + before[0] + after[0]}×${inWidth + before[1] + after[1]} is smaller than the kernel, which spans ${reach[0]}×${reach[1]}`,
    );
  }
  return {
    shape: [batch, outChannels, outHeight, outWidth],
    geometry: {
      batch,
      inChannels,
      inHeight,
      inWidth,
      outChannels,
      outHeight,
      outWidth,
      kernelHeight,
      kernelWidth,
      strideHeight: stride[0],
      strideWidth: stride[1],
      padTop: before[0],
      padLeft: before[1],
      dilationHeight: dilation[0],
      dilationWidth: dilation[1],
      groups,
    },
  };
}

const op = defineOp({
  name: 'conv2d',
  inputs: ['x', 'weight', 'bias?'],
  plan,
  forward({ kernels, inputs: [x, weight, bias], out }, { geometry }) {
    kernels.conv2d({ x, weight, bias, out, ...geometry });
  },
  needs: { out: false },
  backward({ kernels, inputs: [x, weight], dy, grad }, { geometry }) {
    const dx = grad(0);
    if (dx) kernels.conv2dBackwardInput({ dy, weight, dx, ...geometry });
    const dweight = grad(1);
    if (dweight) kernels.conv2dBackwardWeight({ x, dy, dweight, ...geometry });
    const dbias = grad(2);
    if (dbias) {
      const { batch, outChannels, outHeight, outWidth } = geometry;
      const shape = [batch, outChannels, outHeight * outWidth];
      kernels.sum({ x: dy, out: dbias, shape, reduce: [true, false, true], divisor: 1 });
    }
  },
});

/**
 * 2-d convolution (cross-correlation): x `[N, C, H, W]`, weight `[O, C/groups, kh, kw]`, bias `[O]` or null; result
 * `[N, O, H', W']`, H' = ⌊(H + padding − dilation·(kh − 1) − 1) / stride⌋ + 1.
 * @throws ArgumentError when channels, groups or extents do not fit, or padding is 'same' with a stride above 1
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.conv2d.html
 */
export function conv2d(x: Tensor, weight: Tensor, bias: Tensor | null = null, o: Conv2dOptions = {}): Tensor {
  return op([x, weight, bias], o ?? {});
}
