/** The residual networks of He et al. 2016, Table 1, and their widened and grouped kin, with torchvision's names. */
import { ArgumentError, show } from '../errors.js';
import { BatchNorm2d } from '../nn/batchNorm2d.js';
import { Conv2d } from '../nn/conv2d.js';
import { building, generatorOf, type InitOptions, whole } from '../nn/init.js';
import { Linear } from '../nn/linear.js';
import type { Module } from '../nn/module.js';
import { Sequential } from '../nn/sequential.js';
import { AdaptiveAvgPool2d, Flatten, MaxPool2d, ReLU } from '../nn/stateless.js';
import {
  BasicBlock,
  type BlockOptions,
  type BlockType,
  Bottleneck,
  fanOutNormal,
  projection,
  type ShortcutType,
  zeroPad,
} from './blocks.js';

/** What all named networks take. */
export interface ResnetOptions extends InitOptions {
  /** Default 1000. */
  readonly numClasses?: number;
  /** Channels of the images. Default 3. */
  readonly inChannels?: number;
  /** Whether the last batch norm of each block starts at 0, so that blocks start as identities. Default false. */
  readonly zeroInitResidual?: boolean;
  /** Where a bottleneck strides: on its 3×3 convolution, as torchvision, or on the first 1×1, as the paper. Default '3x3'. */
  readonly strideOn?: '3x3' | '1x1';
}

export interface ResnetConfig extends ResnetOptions {
  /** `BasicBlock`, `Bottleneck`, or a class of one's own. */
  readonly block: BlockType;
  /** Blocks of each stage; each stage but the first halves height and width and doubles the planes. */
  readonly layers: readonly number[];
  /** Of a bottleneck's 3×3 convolution: ResNeXt's cardinality. Default 1. */
  readonly groups?: number;
  /** Channels of a group where the stage has 64 planes. Default 64. */
  readonly widthPerGroup?: number;
  /** Planes of the first stage, and channels of the stem. Default 64. */
  readonly planes?: number;
  /** 7×7 with stride 2 and 3×3 max pooling with stride 2, as for ImageNet, or one 3×3 convolution, as for CIFAR. Default '7x7'. */
  readonly stem?: '7x7' | '3x3';
  /** Where a block changes the shape: a 1×1 convolution and batch norm, or sampling and zeros. Default 'projection'. */
  readonly shortcut?: ShortcutType;
}

/** Stages of blocks, named layer1, layer2, …, and the channels of the last one's result. */
export function stages(
  { block, layers, planes = 64 }: Pick<ResnetConfig, 'block' | 'layers' | 'planes'>,
  make: (inPlanes: number, planes: number, stride: number, first: { stage: number; block: number }) => Module,
): { stages: Record<string, Sequential>; channels: number } {
  if (!Array.isArray(layers) || layers.length === 0)
    throw new ArgumentError(`resnet: layers is ${show(layers)}; want the number of blocks of each stage`);
  let channels = planes;
  const named: Record<string, Sequential> = {};
  layers.forEach((count, stage) => {
    whole('resnet', `layers[${stage}]`, count);
    const own = planes * 2 ** stage;
    const blocks = Array.from({ length: count }, (_, i) => {
      const one = make(channels, own, i === 0 && stage > 0 ? 2 : 1, { stage, block: i });
      channels = own * block.expansion;
      return one;
    });
    named[`layer${stage + 1}`] = new Sequential(...blocks);
  });
  return { stages: named, channels };
}

/** The first layers: from images to the first stage's input. */
export function stemLayers(
  inChannels: number,
  planes: number,
  stem: '7x7' | '3x3',
  init: InitOptions,
): {
  conv1: Conv2d;
  pool: Record<string, Module>;
} {
  const wide = stem === '7x7';
  if (!wide && stem !== '3x3') {
    throw new ArgumentError(`resnet: stem is ${JSON.stringify(stem)}; want '7x7' or '3x3'`);
  }
  const size = wide ? { stride: 2, padding: 3 } : { padding: 1 };
  const conv = { ...init, ...size, bias: false, weightInit: fanOutNormal };
  const pool: Record<string, Module> = {};
  if (wide) pool.maxpool = new MaxPool2d(3, { stride: 2, padding: 1 });
  return { conv1: new Conv2d(inChannels, planes, wide ? 7 : 3, conv), pool };
}

/**
 * A residual network: x `[N, inChannels, H, W]` to logits `[N, numClasses]`. Layers are called as torchvision calls them
 * (conv1, bn1, layer1.0.conv1, layer2.0.downsample.0, …, fc), so that its state dicts load. Convolutions start from
 * Kaiming normal (fan out), the linear layer as PyTorch's.
 * @throws ArgumentError when a number is not whole and positive, or a block of fewer channels than groups is asked for
 * @see https://pytorch.org/vision/stable/models/resnet.html
 */
export function resnet(o: ResnetConfig): Sequential {
  return building('resnet', o, () => build(o));
}

function build(o: ResnetConfig): Sequential {
  const { device, block, inChannels = 3, numClasses = 1000, planes = 64, stem = '7x7', shortcut = 'projection' } = o;
  const { zeroInitResidual = false, groups, widthPerGroup, strideOn } = o;
  whole('resnet', 'planes', planes);
  if (shortcut !== 'projection' && shortcut !== 'zeroPad') {
    throw new ArgumentError(`resnet: shortcut is ${JSON.stringify(shortcut)}; want 'projection' or 'zeroPad'`);
  }
  if (strideOn !== undefined && strideOn !== '3x3' && strideOn !== '1x1') {
    throw new ArgumentError(`resnet: strideOn is ${JSON.stringify(strideOn)}; want '3x3' or '1x1'`);
  }
  const init = { device, generator: generatorOf('resnet', o) };
  const makeShortcut = shortcut === 'projection' ? projection : zeroPad;
  const { conv1, pool } = stemLayers(inChannels, planes, stem, init);
  const { stages: named, channels } = stages(o, (from, own, stride) => {
    const downsample = makeShortcut(from, own * block.expansion, stride, init);
    const options: BlockOptions = { ...init, stride, downsample, groups, widthPerGroup, strideOn };
    return new block(from, own, options);
  });
  const net = new Sequential({
    conv1,
    bn1: new BatchNorm2d(planes, { device }),
    relu: new ReLU(),
    ...pool,
    ...named,
    avgpool: new AdaptiveAvgPool2d([1, 1]),
    flatten: new Flatten(),
    fc: new Linear(channels, numClasses, init),
  });
  if (zeroInitResidual) {
    net.apply((module) => {
      const last = module instanceof Bottleneck ? module.bn3 : module instanceof BasicBlock ? module.bn2 : null;
      last?.weight?.write(new Float32Array(last.numFeatures));
    });
  }
  return net;
}

/** A network of Table 1 by its name. */
function define(
  config: Pick<ResnetConfig, 'block' | 'layers' | 'groups' | 'widthPerGroup'>,
): (o: ResnetOptions) => Sequential {
  return (o) => resnet({ ...o, ...config });
}

const [SMALL, MEDIUM, LARGE, HUGE] = [
  [2, 2, 2, 2],
  [3, 4, 6, 3],
  [3, 4, 23, 3],
  [3, 8, 36, 3],
];

/** ResNet-18: 11,689,512 parameters. See `resnet`. */
export const resnet18 = define({ block: BasicBlock, layers: SMALL });
/** ResNet-34: 21,797,672 parameters. See `resnet`. */
export const resnet34 = define({ block: BasicBlock, layers: MEDIUM });
/** ResNet-50: 25,557,032 parameters. See `resnet`. */
export const resnet50 = define({ block: Bottleneck, layers: MEDIUM });
/** ResNet-101: 44,549,160 parameters. See `resnet`. */
export const resnet101 = define({ block: Bottleneck, layers: LARGE });
/** ResNet-152: 60,192,808 parameters. See `resnet`. */
export const resnet152 = define({ block: Bottleneck, layers: HUGE });
/** ResNeXt-50, 32 groups of 4: 25,028,904 parameters. See `resnet`, and https://arxiv.org/abs/1611.05431 */
export const resnext50_32x4d = define({ block: Bottleneck, layers: MEDIUM, groups: 32, widthPerGroup: 4 });
/** ResNeXt-101, 32 groups of 8: 88,791,336 parameters. See `resnet`, and https://arxiv.org/abs/1611.05431 */
export const resnext101_32x8d = define({ block: Bottleneck, layers: LARGE, groups: 32, widthPerGroup: 8 });
/** Wide ResNet-50, inner channels doubled: 68,883,240 parameters. See `resnet`, and https://arxiv.org/abs/1605.07146 */
export const wideResnet50_2 = define({ block: Bottleneck, layers: MEDIUM, widthPerGroup: 128 });
/** Wide ResNet-101, inner channels doubled: 126,886,696 parameters. See `resnet`, and https://arxiv.org/abs/1605.07146 */
export const wideResnet101_2 = define({ block: Bottleneck, layers: LARGE, widthPerGroup: 128 });
