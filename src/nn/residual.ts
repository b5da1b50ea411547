/** The residual block of the chapter (d2l.ai, section "Residual Networks"), and a stage of them. */
import { ArgumentError } from '../errors.js';
import { formatShape, type Pair, sameShape } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { BatchNorm2d } from './batchNorm2d.js';
import { Conv2d } from './conv2d.js';
import { building, generatorOf, type InitOptions, whole } from './init.js';
import { Module } from './module.js';

/** Options of a residual block. */
export interface ResidualOptions extends InitOptions {
  /** Whether a 1×1 convolution brings the input to the result's shape. Default false. */
  readonly use1x1conv?: boolean;
  /** Stride of the first convolution and of the 1×1 one. Default 1. */
  readonly strides?: Pair;
}

/**
 * relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)): x `[N, inputChannels, H, W]` to
 * `[N, numChannels, ⌈H/strides⌉, ⌈W/strides⌉]`. The shortcut is x itself or a 1×1 convolution.
 * @see https://d2l.ai/chapter_convolutional-modern/resnet.html
 */
export class Residual extends Module {
  readonly conv1: Conv2d;
  readonly conv2: Conv2d;
  readonly conv3: Conv2d | null;
  readonly bn1: BatchNorm2d;
  readonly bn2: BatchNorm2d;

  constructor(inputChannels: number, numChannels: number, o: ResidualOptions) {
    super();
    whole('Residual', 'inputChannels', inputChannels);
    whole('Residual', 'numChannels', numChannels);
    const { device, strides = 1 } = o ?? {};
    const init = { device, generator: generatorOf('Residual', o) };
    [this.conv1, this.conv2, this.conv3, this.bn1, this.bn2] = building('Residual', o, () => [
      new Conv2d(inputChannels, numChannels, 3, { ...init, padding: 1, stride: strides }),
      new Conv2d(numChannels, numChannels, 3, { ...init, padding: 1 }),
      o.use1x1conv ? new Conv2d(inputChannels, numChannels, 1, { ...init, stride: strides }) : null,
      new BatchNorm2d(numChannels, { device }),
      new BatchNorm2d(numChannels, { device }),
    ]);
  }

  override forward(x: Tensor): Tensor {
    return residual('Residual', this, x);
  }
}

/** What both kinds of block are made of. */
interface ResidualLayers {
  readonly conv1: Module;
  readonly conv2: Module;
  readonly conv3: Module | null;
  readonly bn1: Pick<BatchNorm2d, 'forwardRelu'>;
  readonly bn2: Pick<BatchNorm2d, 'forwardRelu'>;
}

/** The forward pass of a residual block. */
export function residual(op: string, { conv1, conv2, conv3, bn1, bn2 }: ResidualLayers, x: Tensor): Tensor {
  const y = conv2.forward(bn1.forwardRelu(conv1.forward(x)));
  const shortcut = conv3 === null ? x : conv3.forward(x);
  if (!sameShape(y.shape, shortcut.shape)) {
    throw new ArgumentError(
      `${op}: the convolutions make ${formatShape(y.shape)} of x ${formatShape(x.shape)}, which cannot be added to it; want equal shapes, or use1x1conv: true`,
    );
  }
  return bn2.forwardRelu(y, shortcut);
}

/** Options of a stage. */
export interface ResnetBlockOptions extends InitOptions {
  /** True for the first stage, which keeps the number of channels and the extents. Default false. */
  readonly firstBlock?: boolean;
}

/**
 * A stage: `numResiduals` blocks with `numChannels` channels. Unless `firstBlock`, the first one halves height and
 * width and changes the channels through its 1×1 convolution. `Sequential` takes the array as it is.
 * @see https://d2l.ai/chapter_convolutional-modern/resnet.html
 */
export function resnetBlock(
  inputChannels: number,
  numChannels: number,
  numResiduals: number,
  o: ResnetBlockOptions,
): Residual[] {
  whole('resnetBlock', 'numResiduals', numResiduals);
  if (o?.firstBlock && inputChannels !== numChannels) {
    throw new ArgumentError(
      `resnetBlock: inputChannels ${inputChannels} and numChannels ${numChannels} with firstBlock, which keeps the number of channels; want equal`,
    );
  }
  const init = { device: o?.device, generator: generatorOf('resnetBlock', o) };
  const block = (i: number): Residual =>
    i === 0 && !o.firstBlock
      ? new Residual(inputChannels, numChannels, { ...init, use1x1conv: true, strides: 2 })
      : new Residual(numChannels, numChannels, init);
  return building('resnetBlock', o, () => Array.from({ length: numResiduals }, (_, i) => block(i)));
}
