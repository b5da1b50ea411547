/** The chapter's network (d2l.ai, section "Residual Networks", PyTorch tab). */
import { ArgumentError } from '../errors.js';
import { BatchNorm2d } from '../nn/batchNorm2d.js';
import { Conv2d } from '../nn/conv2d.js';
import { generatorOf, type InitOptions, whole } from '../nn/init.js';
import { Linear } from '../nn/linear.js';
import { resnetBlock } from '../nn/residual.js';
import { Sequential } from '../nn/sequential.js';
import { AdaptiveAvgPool2d, Flatten, MaxPool2d, ReLU } from '../nn/stateless.js';

export interface D2lResnetOptions extends InitOptions {
  /** Channels of the images. Default 1. */
  readonly inChannels?: number;
  /** Default 10. */
  readonly numClasses?: number;
  /** Channels of each stage; the stem has the first stage's. Default [64, 128, 256, 512]. */
  readonly channels?: readonly number[];
  /** Residual blocks of each stage. Default [2, 2, 2, 2]. */
  readonly blocks?: readonly number[];
}

/**
 * The chapter's network with any number of stages: x `[N, inChannels, H, W]` to logits `[N, numClasses]`. A 7×7 stem
 * with stride 2, batch norm, ReLU and 3×3 max pooling with stride 2; stages of residual blocks, each but the first
 * halving height and width; global average pooling; one linear layer. Parameters are drawn from one generator in the
 * order of the state dict's layers, weight then bias.
 * @throws ArgumentError when channels and blocks are not equally long lists of positive whole numbers
 * @see https://d2l.ai/chapter_convolutional-modern/resnet.html
 */
export function d2lResnet(o: D2lResnetOptions): Sequential {
  const { device, inChannels = 1, numClasses = 10, channels = [64, 128, 256, 512], blocks = [2, 2, 2, 2] } = o;
  if (channels.length === 0 || channels.length !== blocks.length) {
    throw new ArgumentError(
      `d2lResnet: channels has ${channels.length} stages and blocks ${blocks.length}; want equally many, at least one`,
    );
  }
  for (const [i, c] of channels.entries()) {
    whole('d2lResnet', `channels[${i}]`, c);
    whole('d2lResnet', `blocks[${i}]`, blocks[i]);
  }
  const init = { device, generator: generatorOf('d2lResnet', o) };
  const stem = new Sequential(
    new Conv2d(inChannels, channels[0], 7, { ...init, stride: 2, padding: 3 }),
    new BatchNorm2d(channels[0], { device }),
    new ReLU(),
    new MaxPool2d(3, { stride: 2, padding: 1 }),
  );
  const stages = channels.map((c, i) =>
    resnetBlock(i === 0 ? c : channels[i - 1], c, blocks[i], { ...init, firstBlock: i === 0 }),
  );
  const head = new Linear(channels[channels.length - 1], numClasses, init);
  return new Sequential(stem, ...stages, new AdaptiveAvgPool2d([1, 1]), new Flatten(), head);
}

/**
 * The chapter's ResNet-18: `d2lResnet` with stages of 64, 128, 256 and 512 channels, two blocks each; 11.2 million
 * parameters. State-dict names are those of the chapter's nn.Sequential: "0.0.weight", "1.0.conv1.weight", ...
 * @see https://d2l.ai/chapter_convolutional-modern/resnet.html
 */
export function d2lResnet18(o: InitOptions & { inChannels?: number; numClasses?: number }): Sequential {
  const { device, generator, seed, inChannels, numClasses } = o;
  return d2lResnet({ device, generator, seed, inChannels, numClasses });
}
