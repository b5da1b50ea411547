/** The chapter's network (d2l.ai, section "Residual Networks") as any of its three tabs builds it. */
import { ArgumentError, reading, show } from '../errors.js';
import type { ChannelsLast } from '../nn/channelsLast.js';
import { generatorOf } from '../nn/init.js';
import type { Sequential } from '../nn/sequential.js';
import { type PytorchResnetOptions, pytorchResnet, stagesOf } from './d2lPytorch.js';
import { mxnetResnet, tensorflowResnet } from './d2lTabs.js';

/** The frameworks that the chapter is written for. */
export type D2lTab = 'pytorch' | 'mxnet' | 'tensorflow';

/** Options of `d2lResnet`. */
export interface D2lResnetOptions extends PytorchResnetOptions {
  /** Channels of the images. Default 1. The tabs 'mxnet' and 'tensorflow' take them from the first x. */
  readonly inChannels?: number;
  /** Whose layers: `mxnetResnet` and `tensorflowResnet` tell how these differ. Default 'pytorch'. */
  readonly tab?: D2lTab;
}

/** Options of `d2lResnet18`: the stages are fixed. */
export type D2lResnet18Options = Omit<D2lResnetOptions, 'channels' | 'blocks'>;

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
  return reading('d2lResnet', () => build(o));
}

function build(o: D2lResnetOptions): Sequential | ChannelsLast<Sequential> {
  const { device, numClasses = 10, tab = 'pytorch' } = o ?? {};
  if (tab === 'pytorch') return pytorchResnet(o);
  if (o.inChannels !== undefined) {
    throw new ArgumentError(
      `d2lResnet: inChannels is ${o.inChannels} with tab '${tab}', which takes the channels from the first x; want none`,
    );
  }
  const stages = stagesOf(o);
  const init = { device, generator: generatorOf('d2lResnet', o) };
  if (tab === 'mxnet') return mxnetResnet(stages, numClasses, init);
  if (tab === 'tensorflow') return tensorflowResnet(stages, numClasses, init);
  throw new ArgumentError(`d2lResnet: tab is ${show(tab)}; want 'pytorch', 'mxnet' or 'tensorflow'`);
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
  const { device, generator, seed, initWeights, inChannels, numClasses, tab } = o ?? {};
  return d2lResnet({ device, generator, seed, initWeights, inChannels, numClasses, tab });
}
