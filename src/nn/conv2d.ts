import { ArgumentError } from '../errors.js';
import { type Conv2dOptions, conv2d } from '../ops/conv2d.js';
import { checkPadding } from '../ops/padding.js';
import { type Pair, pair } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { generatorOf, type InitOptions, type LayerInit, weightAndBias, whole } from './init.js';
import { Module } from './module.js';

export interface Conv2dLayerOptions extends Conv2dOptions, InitOptions, LayerInit {
  /** Whether to add a bias. Default true. */
  readonly bias?: boolean;
}

/**
 * 2-d convolution: x `[N, inChannels, H, W]` to `[N, outChannels, H', W']`; weight
 * `[outChannels, inChannels / groups, kh, kw]`, bias `[outChannels]`. Starts as PyTorch's: weight, then bias, uniform
 * in ±1/√(inChannels/groups·kh·kw).
 * @see https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html
 */
export class Conv2d extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  readonly options: Conv2dOptions;

  constructor(
    readonly inChannels: number,
    readonly outChannels: number,
    kernelSize: Pair,
    o: Conv2dLayerOptions,
  ) {
    super();
    const { stride = 1, padding = 0, dilation = 1, groups = 1 } = o ?? {};
    whole('Conv2d', 'inChannels', inChannels);
    whole('Conv2d', 'outChannels', outChannels);
    whole('Conv2d', 'groups', groups);
    if (inChannels % groups !== 0 || outChannels % groups !== 0) {
      throw new ArgumentError(
        `Conv2d: groups is ${groups}; want a divisor of inChannels ${inChannels} and outChannels ${outChannels}`,
      );
    }
    const steps = pair('Conv2d', 'stride', stride, 1);
    pair('Conv2d', 'dilation', dilation, 1);
    checkPadding('Conv2d', padding, steps);
    const kernel = pair('Conv2d', 'kernelSize', kernelSize, 1);

    const generator = generatorOf('Conv2d', o);
    const shape = [outChannels, inChannels / groups, ...kernel];
    const { weight, bias } = weightAndBias(shape, o.bias ?? true, o, generator);
    this.weight = weight;
    this.bias = bias;
    this.options = { stride, padding, dilation, groups };
  }

  override forward(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.bias, this.options);
  }
}
