/** The chapter's network (d2l.ai, section "Residual Networks"), as its PyTorch tab builds it; d2lTabs.ts has the two others. */
import { ArgumentError } from '../errors.js';
import { BatchNorm2d } from '../nn/batchNorm2d.js';
import type { ChannelsLast } from '../nn/channelsLast.js';
import { Conv2d } from '../nn/conv2d.js';
import { generatorOf, type InitOptions, whole } from '../nn/init.js';
import { Linear } from '../nn/linear.js';
import { resnetBlock } from '../nn/residual.js';
import { Sequential } from '../nn/sequential.js';
import { AdaptiveAvgPool2d, Flatten, MaxPool2d, ReLU } from '../nn/stateless.js';
import { mxnetResnet, tensorflowResnet } from './d2lTabs.js';

/** The frameworks that the chapter is written for. */
export type D2lTab = 'pytorch' | 'mxnet' | 'tensorflow';

export interface D2lResnetOptions extends InitOptions {
  /** Channels of the images. Default 1. The tabs 'mxnet' and 'tensorflow' take them from the first x. */
  readonly inChannels?: number;
  /** Whose layers: `mxnetResnet` and `tensorflowResnet` tell how these differ. Default 'pytorch'. */
  readonly tab?: D2lTab;
  /** Default 10. */
  readonly numClasses?: number;
  /** Channels of each stage; the stem has the first stage's. Default [64, 128, 256, 512]. */
  readonly channels?: readonly number[];
  /** Residual blocks of each stage. Default [2, 2, 2, 2]. */
  readonly blocks?: readonly number[];
}

export type D2lResnet18Options = Omit<D2lResnetOptions, 'channels' | 'blocks'>;

/** Channels and blocks of each stage, or an error. */
function stagesOf({ channels = [64, 128, 256, 512], blocks = [2, 2, 2, 2] }: D2lResnetOptions): [number, number][] {
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
 * The chapter's network with any number of stages: x `[N, inChannels, H, W]` to logits `[N, numClasses]`. A 7×7 stem
 * with stride 2, batch norm, ReLU and 3×3 max pooling with stride 2; stages of residual blocks, each but the first
 * halving height and width; global average pooling; one linear layer. Parameters are drawn from one generator in the
 * order of the state dict's layers, weight then bias.
 * @throws ArgumentError when channels and blocks are not equally long lists of positive whole numbers
 * @see https://d2l.ai/chapter_convolutional-modern/resnet.html
 */
export function d2lResnet(o: D2lResnetOptions & { readonly tab?: 'pytorch' | 'mxnet' }): Sequential;
export function d2lResnet(o: D2lResnetOptions & { readonly tab: 'tensorflow' }): ChannelsLast<Sequential>;
export function d2lResnet(o: D2lResnetOptions): Sequential | ChannelsLast<Sequential>;
export function d2lResnet(o: D2lResnetOptions): Sequential | ChannelsLast<Sequential> {
  const { device, inChannels = 1, numClasses = 10, tab = 'pytorch' } = o;
  const stages = stagesOf(o);
  const init = { device, generator: generatorOf('d2lResnet', o) };
  if (tab !== 'pytorch') {
    if (o.inChannels !== undefined) {
      throw new ArgumentError(
        `d2lResnet: inChannels is ${o.inChannels} with tab '${tab}', which takes the channels from the first x; want none`,
      );
    }
    if (tab === 'mxnet') return mxnetResnet(stages, numClasses, init);
    if (tab === 'tensorflow') return tensorflowResnet(stages, numClasses, init);
    throw new ArgumentError(`d2lResnet: tab is ${JSON.stringify(tab)}; want 'pytorch', 'mxnet' or 'tensorflow'`);
  }
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
}

/**
 * The chapter's ResNet-18: `d2lResnet` with stages of 64, 128, 256 and 512 channels, two blocks each; 11.2 million
 * parameters. State-dict names are those of the chapter's nn.Sequential: "0.0.weight", "1.0.conv1.weight", ...
 * @see https://d2l.ai/chapter_convolutional-modern/resnet.html
 */
export function d2lResnet18(o: D2lResnet18Options & { readonly tab?: 'pytorch' | 'mxnet' }): Sequential;
export function d2lResnet18(o: D2lResnet18Options & { readonly tab: 'tensorflow' }): ChannelsLast<Sequential>;
export function d2lResnet18(o: D2lResnet18Options): Sequential | ChannelsLast<Sequential>;
export function d2lResnet18(o: D2lResnet18Options): Sequential | ChannelsLast<Sequential> {
  const { device, generator, seed, inChannels, numClasses, tab } = o;
  return d2lResnet({ device, generator, seed, inChannels, numClasses, tab });
}
