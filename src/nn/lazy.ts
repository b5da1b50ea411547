/** Layers that learn how many channels they get from the first x that they see, as MXNet's and TensorFlow's do. */
import { StateDictError } from '../errors.js';
import { flatten } from '../ops/reshape.js';
import { checkRank, formatShape, type Pair } from '../shape.js';
import type { StateEntry } from '../stateDict.js';
import type { Tensor } from '../tensor.js';
import { BatchNorm2d, type BatchNorm2dOptions } from './batchNorm2d.js';
import { Conv2d, type Conv2dLayerOptions } from './conv2d.js';
import { generatorOf, type Initializer, type LayerInit, whole } from './init.js';
import { Linear, type LinearOptions } from './linear.js';
import { Module } from './module.js';

const zeros: Initializer = (_, shape) => new Float32Array(shape.reduce((a, b) => a * b, 1));
const zeroBias: Initializer = (_, shape) => new Float32Array(shape[0]);
/** For weights that are about to be overwritten: draws nothing. */
const NOTHING_DRAWN: LayerInit = { weightInit: zeros, biasInit: zeroBias };

/**
 * A layer that is made at the first forward pass, or by `loadStateDict` from the entries' shapes. Until then it has no
 * parameters, and asking for them is an error; afterwards it is the layer, under the same state-dict names. Weights are drawn
 * when the layer is made: layers that share a generator are drawn in the order in which they are called first.
 * @see https://pytorch.org/docs/stable/generated/torch.nn.modules.lazy.LazyModuleMixin.html
 */
export abstract class Lazy<M extends Module> extends Module {
  #made: M | null = null;

  /** The layer, once it is made. */
  get made(): M | null {
    return this.#made;
  }

  /** The layer for x, made now if it was not. */
  protected of(x: Tensor): M {
    if (this.#made === null) {
      this.#made = this.make(this.inputsOf(x), {});
      this.#made.train(this.training);
    }
    return this.#made;
  }

  override forward(x: Tensor): Tensor {
    return this.of(x).forward(x);
  }

  override children(): Map<string, Module> {
    return new Map(this.#made === null ? [] : [['', this.#made]]);
  }

  /** The layer for as many inputs; `init` takes the place of its own. */
  protected abstract make(inputs: number, init: LayerInit): M;

  /** Channels or features of x. */
  protected abstract inputsOf(x: Tensor): number;

  /** The same by a weight's shape; undefined where that cannot be. */
  protected abstract inputsOfWeight(shape: readonly number[]): number | undefined;

  protected override checkMade(name: string): void {
    if (this.#made === null) {
      throw new StateDictError(
        `${this.constructor.name}${name === '' ? '' : ` ${name}`}: has no parameters before the first forward pass, which tells its channels; run one, or loadStateDict`,
      );
    }
  }

  protected override makeFrom(entries: ReadonlyMap<string, StateEntry>, prefix: string): (() => void) | null {
    if (this.#made !== null) return null;
    const name = `${prefix}weight`;
    const entry = entries.get(name);
    const inputs = entry && this.inputsOfWeight(entry.shape);
    if (inputs === undefined || !(inputs >= 1)) {
      const why = entry ? `has shape ${formatShape(entry.shape)}, which fits no such layer` : 'is missing';
      throw new StateDictError(
        `loadStateDict: ${name} ${why}; want it, for ${this.constructor.name} to learn its channels from`,
      );
    }
    const made = this.make(inputs, NOTHING_DRAWN);
    made.train(this.training);
    this.#made = made;
    return () => {
      this.#made = null;
      made.dispose();
    };
  }
}

/**
 * `Conv2d` whose inChannels are those of the first x `[N, C, H, W]`.
 * @see https://pytorch.org/docs/stable/generated/torch.nn.LazyConv2d.html
 */
export class LazyConv2d extends Lazy<Conv2d> {
  readonly #o: Conv2dLayerOptions;

  constructor(
    readonly outChannels: number,
    readonly kernelSize: Pair,
    o: Conv2dLayerOptions,
  ) {
    super();
    // The generator is asked for now, so that layers made of one seed stay alike.
    const { seed: _, ...rest } = o ?? {};
    this.#o = { ...rest, generator: generatorOf('LazyConv2d', o) };
    whole('LazyConv2d', 'outChannels', outChannels);
  }

  protected override make(inputs: number, init: LayerInit): Conv2d {
    return new Conv2d(inputs, this.outChannels, this.kernelSize, { ...this.#o, ...init });
  }

  protected override inputsOf(x: Tensor): number {
    checkRank('LazyConv2d', 'x', x.shape, 4, '[N, C, H, W]');
    return x.shape[1];
  }

  protected override inputsOfWeight(shape: readonly number[]): number | undefined {
    return shape.length === 4 ? shape[1] * (this.#o.groups ?? 1) : undefined;
  }
}

export interface LazyLinearOptions extends LinearOptions {
  /** Whether all axes of x but the first are one, as in MXNet's Dense. Default false. */
  readonly flatten?: boolean;
}

/**
 * `Linear` whose inFeatures are the last extent of the first x `[..., F]`.
 * @see https://pytorch.org/docs/stable/generated/torch.nn.LazyLinear.html
 */
export class LazyLinear extends Lazy<Linear> {
  readonly #o: LinearOptions;
  readonly flatten: boolean;

  constructor(
    readonly outFeatures: number,
    o: LazyLinearOptions,
  ) {
    super();
    const { seed: _, flatten = false, ...rest } = o ?? {};
    this.#o = { ...rest, generator: generatorOf('LazyLinear', o) };
    this.flatten = flatten;
    whole('LazyLinear', 'outFeatures', outFeatures);
  }

  override forward(x: Tensor): Tensor {
    return super.forward(this.flatten ? flatten(x, 1) : x);
  }

  protected override make(inputs: number, init: LayerInit): Linear {
    return new Linear(inputs, this.outFeatures, { ...this.#o, ...init });
  }

  protected override inputsOf(x: Tensor): number {
    if (x.shape.length === 0) checkRank('LazyLinear', 'x', x.shape, 1, '[..., F]');
    return x.shape[x.shape.length - 1];
  }

  protected override inputsOfWeight(shape: readonly number[]): number | undefined {
    return shape.length === 2 ? shape[1] : undefined;
  }
}

/**
 * `BatchNorm2d` whose numFeatures are the channels of the first x `[N, C, H, W]`. With `affine: false` it cannot be loaded
 * before.
 * @see https://pytorch.org/docs/stable/generated/torch.nn.LazyBatchNorm2d.html
 */
export class LazyBatchNorm2d extends Lazy<BatchNorm2d> {
  readonly #o: BatchNorm2dOptions;

  constructor(o: BatchNorm2dOptions) {
    super();
    this.#o = o;
  }

  /** Not of classes derived from this one, which may do something else. */
  override get resolved(): Module {
    return this.constructor === LazyBatchNorm2d ? (this.made ?? this) : this;
  }

  /** relu(forward(x) + residual), as BatchNorm2d's. */
  forwardRelu(x: Tensor, residual: Tensor | null = null): Tensor {
    return this.of(x).forwardRelu(x, residual);
  }

  protected override make(inputs: number): BatchNorm2d {
    return new BatchNorm2d(inputs, this.#o);
  }

  protected override inputsOf(x: Tensor): number {
    checkRank('LazyBatchNorm2d', 'x', x.shape, 4, '[N, C, H, W]');
    return x.shape[1];
  }

  protected override inputsOfWeight(shape: readonly number[]): number | undefined {
    return shape.length === 1 ? shape[0] : undefined;
  }
}
