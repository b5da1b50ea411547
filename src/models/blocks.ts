/** The blocks of He et al. 2016, "Deep Residual Learning", Figure 5, as torchvision has them, and their shortcuts. */
import { ArgumentError, show } from '../errors.js';
import { BatchNorm2d } from '../nn/batchNorm2d.js';
import { Conv2d } from '../nn/conv2d.js';
import { building, generatorOf, type Initializer, type InitOptions, whole } from '../nn/init.js';
import { Module } from '../nn/module.js';
import { Sequential } from '../nn/sequential.js';
import { pad } from '../ops/pad.js';
import { slice } from '../ops/slice.js';
import type { Tensor } from '../tensor.js';

/** He initialisation by the number of outputs, as torchvision's ResNets start. */
export const fanOutNormal: Initializer = (generator, shape) => generator.kaimingNormal(shape, 'fanOut');

export interface BlockOptions extends InitOptions {
  /** Of the block. Default 1. */
  readonly stride?: number;
  /** What brings x to the shape of the block's result; null where x has it. Default null. */
  readonly downsample?: Module | null;
  /** Of the 3×3 convolution of a bottleneck. Default 1. */
  readonly groups?: number;
  /** Channels of a bottleneck's group where the stage has 64. Default 64. */
  readonly widthPerGroup?: number;
  /** Where a bottleneck strides: on its 3×3 convolution, as torchvision, or on the first 1×1, as the paper. Default '3x3'. */
  readonly strideOn?: '3x3' | '1x1';
}

/** A kind of block: its result has `expansion` times `planes` channels. */
export interface BlockType {
  readonly expansion: number;
  readonly name: string;
  new (inPlanes: number, planes: number, o: BlockOptions): Module;
}

/**
 * relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut), both 3×3: x `[N, inPlanes, H, W]` to
 * `[N, planes, ⌈H/stride⌉, ⌈W/stride⌉]`.
 * @see https://arxiv.org/abs/1512.03385, Figure 5, left
 */
export class BasicBlock extends Module {
  static readonly expansion: number = 1;
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm2d;
  readonly downsample: Module | null;

  constructor(inPlanes: number, planes: number, o: BlockOptions) {
    super();
    const { device, stride = 1, downsample = null, groups = 1, widthPerGroup = 64 } = o ?? {};
    if (groups !== 1 || widthPerGroup !== 64) {
      throw new ArgumentError(
        `BasicBlock: groups is ${show(groups)} and widthPerGroup ${show(widthPerGroup)}; want 1 and 64: only a Bottleneck has others`,
      );
    }
    const conv = { device, generator: generatorOf('BasicBlock', o), padding: 1, bias: false, weightInit: fanOutNormal };
    [this.conv1, this.bn1, this.conv2, this.bn2] = building('BasicBlock', o, () => [
      new Conv2d(inPlanes, planes, 3, { ...conv, stride }),
      new BatchNorm2d(planes, { device }),
      new Conv2d(planes, planes, 3, conv),
      new BatchNorm2d(planes, { device }),
    ]);
    this.downsample = downsample;
  }

  override forward(x: Tensor): Tensor {
    const y = this.conv2.forward(this.bn1.forwardRelu(this.conv1.forward(x)));
    return this.bn2.forwardRelu(y, this.downsample === null ? x : this.downsample.forward(x));
  }
}

/**
 * 1×1, 3×3 and 1×1 convolutions, each with batch norm, ReLU after the first two, the shortcut, ReLU: x
 * `[N, inPlanes, H, W]` to `[N, 4·planes, ⌈H/stride⌉, ⌈W/stride⌉]`. The inner ones have
 * ⌊planes·widthPerGroup/64⌋·groups channels.
 * @see https://arxiv.org/abs/1512.03385, Figure 5, right; groups: https://arxiv.org/abs/1611.05431
 */
export class Bottleneck extends Module {
  static readonly expansion: number = 4;
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm2d;
  readonly conv3: Conv2d;
  readonly bn3: BatchNorm2d;
  readonly downsample: Module | null;

  constructor(inPlanes: number, planes: number, o: BlockOptions) {
    super();
    const { device, stride = 1, downsample = null, groups = 1, widthPerGroup = 64, strideOn = '3x3' } = o ?? {};
    const conv = { device, generator: generatorOf('Bottleneck', o), bias: false, weightInit: fanOutNormal };
    const first = strideOn === '1x1';
    [this.conv1, this.bn1, this.conv2, this.bn2, this.conv3, this.bn3] = building('Bottleneck', o, () => {
      const width = Math.floor((planes * widthPerGroup) / 64) * groups;
      whole('Bottleneck', 'planes · widthPerGroup / 64 · groups', width);
      const channels = planes * Bottleneck.expansion;
      return [
        new Conv2d(inPlanes, width, 1, { ...conv, stride: first ? stride : 1 }),
        new BatchNorm2d(width, { device }),
        new Conv2d(width, width, 3, { ...conv, stride: first ? 1 : stride, padding: 1, groups }),
        new BatchNorm2d(width, { device }),
        new Conv2d(width, channels, 1, conv),
        new BatchNorm2d(channels, { device }),
      ];
    });
    this.downsample = downsample;
  }

  override forward(x: Tensor): Tensor {
    const inner = this.bn1.forwardRelu(this.conv1.forward(x));
    const y = this.conv3.forward(this.bn2.forwardRelu(this.conv2.forward(inner)));
    return this.bn3.forwardRelu(y, this.downsample === null ? x : this.downsample.forward(x));
  }
}

/**
 * The paper's shortcut A, without parameters: every `stride`-th row and column of x `[N, C, H, W]`, channels of zeros
 * behind, up to `channels`.
 * @see https://arxiv.org/abs/1512.03385, section 3.3
 */
export class ZeroPadShortcut extends Module {
  constructor(
    readonly channels: number,
    readonly stride: number,
  ) {
    super();
  }

  override forward(x: Tensor): Tensor {
    const { stride, channels } = this;
    const sampled = stride === 1 ? x : slice(slice(x, 2, { step: stride }), 3, { step: stride });
    return pad(sampled, [0, 0, 0, 0, 0, channels - x.shape[1]]);
  }
}

/** Which shortcut a block has where its result has another shape than x: the paper's B, or A. */
export type ShortcutType = 'projection' | 'zeroPad';

/** What brings `[N, from, H, W]` to `[N, to, ⌈H/stride⌉, ⌈W/stride⌉]`; null where nothing is to do. */
export type MakeShortcut = (from: number, to: number, stride: number, o: InitOptions) => Module | null;

/** A 1×1 convolution and batch norm where the shape changes. */
export const projection: MakeShortcut = (from, to, stride, { device, generator }) =>
  from === to && stride === 1
    ? null
    : new Sequential(
        new Conv2d(from, to, 1, { device, generator, stride, bias: false, weightInit: fanOutNormal }),
        new BatchNorm2d(to, { device }),
      );

/** `ZeroPadShortcut` where the shape changes. */
export const zeroPad: MakeShortcut = (from, to, stride) =>
  from === to && stride === 1 ? null : new ZeroPadShortcut(to, stride);
