/** The chapter's network (d2l.ai, section "Residual Networks"), as its PyTorch tab builds it. */
import { ArgumentError } from '../errors.js';
import { BatchNorm2d } from '../nn/batchNorm2d.js';
import { Conv2d } from '../nn/conv2d.js';
import { building, generatorOf, type InitOptions, whole } from '../nn/init.js';
import { Linear } from '../nn/linear.js';
import { resnetBlock } from '../nn/residual.js';
import { Sequential } from '../nn/sequential.js';
import { AdaptiveAvgPool2d, Flatten, MaxPool2d, ReLU } from '../nn/stateless.js';

export interface PytorchResnetOptions extends InitOptions {
  /** Channels of the images. Default 1. */
  readonly inChannels?: number;
  /** Default 10. */
  readonly numClasses?: number;
  /** Channels of each stage; the stem has the first stage's. Default [64, 128, 256, 512]. */
  readonly channels?: readonly number[];
  /** Residual blocks of each stage. Default [2, 2, 2, 2]. */
  readonly blocks?: readonly number[];
}

/** Channels and blocks of each stage, or an error. */
export function stagesOf({
  channels = [64, 128, 256, 512],
  blocks = [2, 2, 2, 2],
}: PytorchResnetOptions): [number, number][] {
  if (channels.length === 0 || channels.length !== blocks.length) {
    throw new ArgumentError(
      `d2lResnet: channels has ${channels.length} stages and blocks ${blocks.length}; want equally many, at least one`,
    );
  }
  return channels.map((c, i) => {
    whole('d2lResnet', `channels[${i}]`, c);
    whole('d2lResnet', `blocks[${i}]`, blocks[i]);
    return [c, blocks[i]];
  });
}

/**
 * `d2lResnet` with the PyTorch tab's layers: x `[N, inChannels, H, W]` to logits `[N, numClasses]`. A 7×7 stem with stride 2, batch
 * norm, ReLU and 3×3 max pooling with stride 2; stages of residual blocks, each but the first halving height and width; global
 * average pooling; one linear layer. Parameters are drawn from one generator in the order of the state dict's layers, weight
 * then bias.
 * @throws ArgumentError when channels and blocks are not equally long lists of positive whole numbers
 * @see https://d2l.ai/chapter_convolutional-modern/resnet.html
 */
export function pytorchResnet(o: PytorchResnetOptions): Sequential {
  return building('d2lResnet', o, () => {
    const { device, inChannels = 1, numClasses = 10 } = o;
    const stages = stagesOf(o);
    const init = { device, generator: generatorOf('d2lResnet', o) };
    const [[first]] = stages;
    const stem = new Sequential(
      new Conv2d(inChannels, first, 7, { ...init, stride: 2, padding: 3 }),
      new BatchNorm2d(first, { device }),
      new ReLU(),
      new MaxPool2d(3, { stride: 2, padding: 1 }),
    );
    const middle = stages.map(([c, blocks], i) =>
      resnetBlock(i === 0 ? c : stages[i - 1][0], c, blocks, { ...init, firstBlock: i === 0 }),
    );
    const head = new Linear(stages[stages.length - 1][0], numClasses, init);
    return new Sequential(stem, ...middle, new AdaptiveAvgPool2d([1, 1]), new Flatten(), head);
  });
}

/** `d2lResnet18` with the PyTorch tab's layers: stages of 64, 128, 256 and 512 channels, two blocks each. */
export function pytorchResnet18(o: Omit<PytorchResnetOptions, 'channels' | 'blocks'>): Sequential {
  const { device, generator, seed, initWeights, inChannels, numClasses } = o ?? {};
  return pytorchResnet({ device, generator, seed, initWeights, inChannels, numClasses });
}
