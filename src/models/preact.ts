/** Pre-activation residual networks: He et al. 2016b, "Identity Mappings in Deep Residual Networks", Figure 1 (b). */
import { ArgumentError } from '../errors.js';
import { BatchNorm2d } from '../nn/batchNorm2d.js';
import { Conv2d } from '../nn/conv2d.js';
import { building, generatorOf, type InitOptions, whole } from '../nn/init.js';
import { Linear } from '../nn/linear.js';
import { Module } from '../nn/module.js';
import { Sequential } from '../nn/sequential.js';
import { AdaptiveAvgPool2d, Flatten, ReLU } from '../nn/stateless.js';
import { add } from '../ops/arithmetic.js';
import type { Tensor } from '../tensor.js';
import { fanOutNormal, type MakeShortcut, type ShortcutType, zeroPad } from './blocks.js';
import { type ResnetConfig, type ResnetOptions, stages, stemLayers } from './resnet.js';

/**
 * What the first batch norm and ReLU of a block act on: the convolutions alone; the shortcut too, where a stage begins;
 * nothing, in the block after a stem that ends with them.
 */
export type Preactivation = 'branch' | 'both' | 'none';

/** Options of a pre-activation block. */
export interface PreactBlockOptions extends InitOptions {
  /** Of the block. Default 1. */
  readonly stride?: number;
  /** What brings the shortcut to the shape of the result; null where it has it. Default null. */
  readonly downsample?: Module | null;
  /** Default 'branch'. */
  readonly preactivation?: Preactivation;
}

/** A kind of block: its result has `expansion` times `planes` channels. */
export interface PreactBlockType {
  readonly expansion: number;
  readonly name: string;
  new (inPlanes: number, planes: number, o: PreactBlockOptions): Module;
}

/** The first batch norm where there is one, and what goes into the convolutions and into the shortcut. */
function enter(x: Tensor, bn1: BatchNorm2d | null, preactivation: Preactivation): { branch: Tensor; skip: Tensor } {
  const branch = bn1 === null ? x : bn1.forwardRelu(x);
  return { branch, skip: preactivation === 'branch' ? x : branch };
}

/**
 * conv2(relu(bn2(conv1(relu(bn1(x)))))) + shortcut, both 3×3: x `[N, inPlanes, H, W]` to
 * `[N, planes, ⌈H/stride⌉, ⌈W/stride⌉]`. Nothing follows the addition.
 * @see https://arxiv.org/abs/1603.05027, Figure 1 (b)
 */
export class PreactBasicBlock extends Module {
  static readonly expansion: number = 1;
  readonly bn1: BatchNorm2d | null;
  readonly conv1: Conv2d;
  readonly bn2: BatchNorm2d;
  readonly conv2: Conv2d;
  readonly downsample: Module | null;
  readonly preactivation: Preactivation;

  constructor(inPlanes: number, planes: number, o: PreactBlockOptions) {
    super();
    const { device, stride = 1, downsample = null, preactivation = 'branch' } = o ?? {};
    const generator = generatorOf('PreactBasicBlock', o);
    const conv = { device, generator, padding: 1, bias: false, weightInit: fanOutNormal };
    [this.bn1, this.conv1, this.bn2, this.conv2] = building('PreactBasicBlock', o, () => [
      preactivation === 'none' ? null : new BatchNorm2d(inPlanes, { device }),
      new Conv2d(inPlanes, planes, 3, { ...conv, stride }),
      new BatchNorm2d(planes, { device }),
      new Conv2d(planes, planes, 3, conv),
    ]);
    this.downsample = downsample;
    this.preactivation = preactivation;
  }

  override forward(x: Tensor): Tensor {
    const { branch, skip } = enter(x, this.bn1, this.preactivation);
    const y = this.conv2.forward(this.bn2.forwardRelu(this.conv1.forward(branch)));
    return add(y, this.downsample === null ? skip : this.downsample.forward(skip));
  }
}

/**
 * The same with 1×1, 3×3 (which strides) and 1×1 convolutions: x `[N, inPlanes, H, W]` to
 * `[N, 4·planes, ⌈H/stride⌉, ⌈W/stride⌉]`.
 * @see https://arxiv.org/abs/1603.05027
 */
export class PreactBottleneck extends Module {
  static readonly expansion: number = 4;
  readonly bn1: BatchNorm2d | null;
  readonly conv1: Conv2d;
  readonly bn2: BatchNorm2d;
  readonly conv2: Conv2d;
  readonly bn3: BatchNorm2d;
  readonly conv3: Conv2d;
  readonly downsample: Module | null;
  readonly preactivation: Preactivation;

  constructor(inPlanes: number, planes: number, o: PreactBlockOptions) {
    super();
    const { device, stride = 1, downsample = null, preactivation = 'branch' } = o ?? {};
    const generator = generatorOf('PreactBottleneck', o);
    const conv = { device, generator, bias: false, weightInit: fanOutNormal };
    [this.bn1, this.conv1, this.bn2, this.conv2, this.bn3, this.conv3] = building('PreactBottleneck', o, () => [
      preactivation === 'none' ? null : new BatchNorm2d(inPlanes, { device }),
      new Conv2d(inPlanes, planes, 1, conv),
      new BatchNorm2d(planes, { device }),
      new Conv2d(planes, planes, 3, { ...conv, stride, padding: 1 }),
      new BatchNorm2d(planes, { device }),
      new Conv2d(planes, planes * PreactBottleneck.expansion, 1, conv),
    ]);
    this.downsample = downsample;
    this.preactivation = preactivation;
  }

  override forward(x: Tensor): Tensor {
    const { branch, skip } = enter(x, this.bn1, this.preactivation);
    const inner = this.bn2.forwardRelu(this.conv1.forward(branch));
    const y = this.conv3.forward(this.bn3.forwardRelu(this.conv2.forward(inner)));
    return add(y, this.downsample === null ? skip : this.downsample.forward(skip));
  }
}

/** A 1×1 convolution alone: a batch norm would have nothing to undo, since the block begins with one. */
const projection: MakeShortcut = (from, to, stride, { device, generator }) =>
  from === to && stride === 1
    ? null
    : new Conv2d(from, to, 1, { device, generator, stride, bias: false, weightInit: fanOutNormal });

/** Blocks and stages of `preactResnet`. */
export interface PreactResnetConfig
  extends Omit<ResnetOptions, 'zeroInitResidual' | 'strideOn'>,
    Pick<ResnetConfig, 'layers' | 'planes' | 'stem'> {
  /** `PreactBasicBlock`, `PreactBottleneck`, or a class of one's own. */
  readonly block: PreactBlockType;
  /** Where a block changes the shape: a 1×1 convolution, or sampling and zeros. Default 'projection'. */
  readonly shortcut?: ShortcutType;
}

/**
 * A pre-activation network: x `[N, inChannels, H, W]` to logits `[N, numClasses]`. With the 7×7 stem, its batch norm and
 * ReLU come before the pooling and are the first block's; with the 3×3 stem the first block has them. The block that
 * begins a stage activates before the shortcut leaves. A batch norm, `norm`, and ReLU end the last stage.
 * @see https://arxiv.org/abs/1603.05027, section 3 and appendix; the authors' Torch code, preresnet.lua
 */
export function preactResnet(o: PreactResnetConfig): Sequential {
  return building('preactResnet', o, () => build(o));
}

function build(o: PreactResnetConfig): Sequential {
  const { device, block, inChannels = 3, numClasses = 1000, planes = 64, stem = '7x7', shortcut = 'projection' } = o;
  whole('preactResnet', 'planes', planes);
  if (shortcut !== 'projection' && shortcut !== 'zeroPad') {
    throw new ArgumentError(`preactResnet: shortcut is ${JSON.stringify(shortcut)}; want 'projection' or 'zeroPad'`);
  }
  const init = { device, generator: generatorOf('preactResnet', o) };
  const makeShortcut = shortcut === 'projection' ? projection : zeroPad;
  const { conv1, pool } = stemLayers(inChannels, planes, stem, init);
  const activated = stem === '7x7';
  const stemEnd: Record<string, Module> = {};
  if (activated) {
    stemEnd.bn1 = new BatchNorm2d(planes, { device });
    stemEnd.relu1 = new ReLU();
  }
  const { stages: named, channels } = stages({ ...o, planes }, (from, own, stride, at) => {
    const begins = at.stage === 0 && activated ? 'none' : 'both';
    const preactivation = at.block === 0 ? begins : 'branch';
    const downsample = makeShortcut(from, own * block.expansion, stride, init);
    return new block(from, own, { ...init, stride, downsample, preactivation });
  });
  return new Sequential({
    conv1,
    ...stemEnd,
    ...pool,
    ...named,
    norm: new BatchNorm2d(channels, { device }),
    relu: new ReLU(),
    avgpool: new AdaptiveAvgPool2d([1, 1]),
    flatten: new Flatten(),
    fc: new Linear(channels, numClasses, init),
  });
}

/** What the named pre-activation networks take. */
export type PreactResnetOptions = Omit<PreactResnetConfig, 'block' | 'layers' | 'planes' | 'stem' | 'shortcut'>;

function define(config: Pick<PreactResnetConfig, 'block' | 'layers'>): (o: PreactResnetOptions) => Sequential {
  return (o) => preactResnet({ ...o, ...config });
}

/** ResNet-18 with pre-activation. See `preactResnet`. */
export const preactResnet18 = define({ block: PreactBasicBlock, layers: [2, 2, 2, 2] });
/** ResNet-34 with pre-activation. See `preactResnet`. */
export const preactResnet34 = define({ block: PreactBasicBlock, layers: [3, 4, 6, 3] });
/** ResNet-50 with pre-activation. See `preactResnet`. */
export const preactResnet50 = define({ block: PreactBottleneck, layers: [3, 4, 6, 3] });
/** ResNet-101 with pre-activation. See `preactResnet`. */
export const preactResnet101 = define({ block: PreactBottleneck, layers: [3, 4, 23, 3] });
/** ResNet-152 with pre-activation. See `preactResnet`. */
export const preactResnet152 = define({ block: PreactBottleneck, layers: [3, 8, 36, 3] });
