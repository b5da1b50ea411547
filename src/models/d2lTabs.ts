/** The chapter's network as its MXNet and its TensorFlow tab build it, with the semantics of these frameworks. */
import type { Device } from '../device/device.js';
import type { BatchNorm2dOptions } from '../nn/batchNorm2d.js';
import { ChannelsLast } from '../nn/channelsLast.js';
import type { Initializer } from '../nn/init.js';
import { LazyBatchNorm2d, LazyConv2d, LazyLinear } from '../nn/lazy.js';
import { LazyResidual, type LazyResidualOptions } from '../nn/lazyResidual.js';
import { checkModule, type Module } from '../nn/module.js';
import { Sequential } from '../nn/sequential.js';
import { AdaptiveAvgPool2d, Flatten, MaxPool2d, ReLU } from '../nn/stateless.js';
import type { Generator } from '../random.js';

/** Channels and blocks of each stage. */
type Stages = readonly (readonly [channels: number, blocks: number])[];

interface Init {
  readonly device: Device;
  readonly generator: Generator;
}

const zeroBias: Initializer = (_, weightShape) => new Float32Array(weightShape[0]);

/** `mx.init.Uniform()`, what `net.initialize()` draws from: ±0.07. */
const uniform: Initializer = (generator, shape) => generator.uniformArray(shape, 0.07);

/** Keras's default: Glorot and Bengio's uniform, ±√(6 / (fanIn + fanOut)). */
const glorotUniform: Initializer = (generator, shape) => generator.xavierUniform(shape);

/** As MXNet, which counts the share that the running statistics keep, 0.9; its CPU kernel stores the biased variance. */
const MXNET_NORM: Omit<BatchNorm2dOptions, 'device'> = { eps: 1e-5, momentum: 1 - 0.9, unbiasedRunningVar: false };

/** As Keras 2, which counts the share that they keep too, 0.99; the fused kernel stores the unbiased variance. */
const KERAS_NORM: Omit<BatchNorm2dOptions, 'device'> = { eps: 1e-3, momentum: 1 - 0.99 };

/** The residual blocks of every stage; the first stage keeps extents and channels. */
function stagesOf(stages: Stages, o: LazyResidualOptions): Sequential[] {
  return stages.map(([channels, blocks], stage) => {
    const halves = (i: number): Partial<LazyResidualOptions> =>
      i === 0 && stage > 0 ? { use1x1conv: true, strides: 2 } : {};
    return new Sequential(
      ...Array.from({ length: blocks }, (_, i) => new LazyResidual(channels, { ...o, ...halves(i) })),
    );
  });
}

/**
 * The MXNet tab: x `[N, C, H, W]`, channels taken from the first x; layers in one Sequential, under the names that
 * Gluon gives them in a fresh process, "conv0", "batchnorm0", …; a Dense that flattens what the pool leaves,
 * `[N, C, 1, 1]`. Weights uniform in ±0.07, biases 0; batch norm with eps 1e-5, of which the running statistics keep 0.9 and
 * take the biased variance.
 * @see https://mxnet.apache.org/versions/1.9.1/api/python/docs/api/gluon/nn/index.html
 * @see https://github.com/apache/mxnet/blob/1.9.1/src/operator/nn/batch_norm.cc
 */
export function mxnetResnet(stages: Stages, numClasses: number, { device, generator }: Init): Sequential {
  const init = { device, generator, weightInit: uniform, biasInit: zeroBias };
  const [[first]] = stages;
  const residuals = stagesOf(stages, { ...init, norm: MXNET_NORM });
  return new Sequential({
    conv0: new LazyConv2d(first, 7, { ...init, stride: 2, padding: 3 }),
    batchnorm0: new LazyBatchNorm2d({ device, ...MXNET_NORM }),
    relu0: new ReLU(),
    pool0: new MaxPool2d(3, { stride: 2, padding: 1 }),
    ...Object.fromEntries(residuals.map((stage, i) => [`sequential${i + 1}`, stage])),
    pool1: new AdaptiveAvgPool2d([1, 1]),
    dense0: new LazyLinear(numClasses, { ...init, flatten: true }),
  });
}

/**
 * The TensorFlow tab: x `[N, H, W, C]`, channels taken from the first x; `padding='same'`, which at stride 2 adds the odd zero
 * below and to the right; layers under the names that Keras gives them, "conv2d", "batch_normalization", …; global pooling
 * leaves `[N, C]`. Weights Glorot uniform, biases 0; batch norm with eps 1e-3, of which the running statistics keep 0.99 and take
 * the unbiased variance. Weights are held as PyTorch's, `[O, C, kh, kw]` and `[out, in]`.
 * @see https://www.tensorflow.org/versions/r2.15/api_docs/python/tf/keras/layers/BatchNormalization
 * @see https://github.com/tensorflow/tensorflow/blob/v2.15.0/tensorflow/core/kernels/fused_batch_norm_op.cc
 */
export function tensorflowResnet(
  stages: Stages,
  numClasses: number,
  { device, generator }: Init,
): ChannelsLast<Sequential> {
  const init = { device, generator, weightInit: glorotUniform, biasInit: zeroBias };
  const [[first]] = stages;
  const residuals = stagesOf(stages, { ...init, padding: 'SAME', norm: KERAS_NORM });
  return new ChannelsLast(
    new Sequential({
      conv2d: new LazyConv2d(first, 7, { ...init, stride: 2, padding: 'SAME' }),
      batch_normalization: new LazyBatchNorm2d({ device, ...KERAS_NORM }),
      activation: new ReLU(),
      max_pooling2d: new MaxPool2d(3, { stride: 2, padding: 'SAME' }),
      ...Object.fromEntries(residuals.map((stage, i) => [i === 0 ? 'resnet_block' : `resnet_block_${i}`, stage])),
      global_average_pooling2d: new Sequential(new AdaptiveAvgPool2d([1, 1]), new Flatten()),
      dense: new LazyLinear(numClasses, init),
    }),
  );
}

const KERAS_CLASSES: Readonly<Record<string, string>> = {
  conv2d: 'Conv2D',
  batch_normalization: 'BatchNormalization',
  activation: 'Activation',
  max_pooling2d: 'MaxPooling2D',
  resnet_block: 'ResnetBlock',
  global_average_pooling2d: 'GlobalAveragePooling2D',
  dense: 'Dense',
};

/**
 * What the chapter's tour prints for each layer of a network that `d2lResnet` made: the class in PyTorch and TensorFlow, MXNet's name.
 */
export function d2lLayerNames(net: Module & Iterable<Module>): string[] {
  checkModule('d2lLayerNames', net);
  if (net instanceof ChannelsLast) {
    return [...net.inner.children().keys()].map((name) => KERAS_CLASSES[name.replace(/_\d+$/, '')] ?? name);
  }
  const named = [...net.children()];
  return named.map(([name, layer]) => (/^\d+$/.test(name) ? layer.constructor.name : name));
}
