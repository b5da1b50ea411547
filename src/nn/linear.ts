import { linear } from '../ops/linear.js';
import type { Tensor } from '../tensor.js';
import { generatorOf, type InitOptions, type LayerInit, weightAndBias, whole } from './init.js';
import { Module } from './module.js';

export interface LinearOptions extends InitOptions, LayerInit {
  /** Whether to add a bias. Default true. */
  readonly bias?: boolean;
}

/**
 * x·weightᵀ + bias: x `[..., inFeatures]` to `[..., outFeatures]`; weight `[outFeatures, inFeatures]`. Starts as
 * PyTorch's: weight, then bias, uniform in ±1/√inFeatures.
 * @see https://pytorch.org/docs/stable/generated/torch.nn.Linear.html
 */
export class Linear extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor | null;

  constructor(
    readonly inFeatures: number,
    readonly outFeatures: number,
    o: LinearOptions,
  ) {
    super();
    whole('Linear', 'inFeatures', inFeatures);
    whole('Linear', 'outFeatures', outFeatures);
    const generator = generatorOf('Linear', o);
    const shape = [outFeatures, inFeatures];
    const { weight, bias } = weightAndBias(shape, o.bias ?? true, o, generator);
    this.weight = weight;
    this.bias = bias;
  }

  override forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }
}
