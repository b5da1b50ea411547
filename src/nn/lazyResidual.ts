/** The residual block of the tabs whose layers learn their input channels from the first x. */
import type { Padding } from '../ops/padding.js';
import type { Tensor } from '../tensor.js';
import type { BatchNorm2dOptions } from './batchNorm2d.js';
import { generatorOf, type LayerInit, whole } from './init.js';
import { LazyBatchNorm2d, LazyConv2d } from './lazy.js';
import { Module } from './module.js';
import { type ResidualOptions, residual } from './residual.js';

export interface LazyResidualOptions extends ResidualOptions, LayerInit {
  /** Of the 3×3 convolutions. Default 1; TensorFlow's tab has `'SAME'`. */
  readonly padding?: Padding;
  /** Of both batch norms. */
  readonly norm?: Omit<BatchNorm2dOptions, 'device'>;
}

/**
 * `Residual` whose input channels are those of the first x, as in the MXNet and the TensorFlow tab of the chapter.
 * @see https://d2l.ai/chapter_convolutional-modern/resnet.html
 */
export class LazyResidual extends Module {
  readonly conv1: LazyConv2d;
  readonly conv2: LazyConv2d;
  readonly conv3: LazyConv2d | null;
  readonly bn1: LazyBatchNorm2d;
  readonly bn2: LazyBatchNorm2d;

  constructor(numChannels: number, o: LazyResidualOptions) {
    super();
    whole('LazyResidual', 'numChannels', numChannels);
    const { device, strides = 1, padding = 1, weightInit, biasInit, norm } = o ?? {};
    const init = { device, generator: generatorOf('LazyResidual', o), weightInit, biasInit };
    this.conv1 = new LazyConv2d(numChannels, 3, { ...init, padding, stride: strides });
    this.conv2 = new LazyConv2d(numChannels, 3, { ...init, padding });
    this.conv3 = o.use1x1conv ? new LazyConv2d(numChannels, 1, { ...init, stride: strides }) : null;
    this.bn1 = new LazyBatchNorm2d({ device, ...norm });
    this.bn2 = new LazyBatchNorm2d({ device, ...norm });
  }

  override forward(x: Tensor): Tensor {
    return residual('LazyResidual', this, x);
  }
}
