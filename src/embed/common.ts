/** What every build for sandboxes has. */
export { inferenceMode } from '../autograd.js';
export type { Device, DType, FloatType, MemoryUse, TypedArray } from '../device/device.js';
export {
  AbortedError,
  ArgumentError,
  AtalhoError,
  AutogradError,
  DeviceError,
  FormatError,
  OutOfMemoryError,
  StateDictError,
} from '../errors.js';
export { readSafetensors } from '../io/safetensors.js';
export { BatchNorm2d, type BatchNorm2dOptions } from '../nn/batchNorm2d.js';
export { Conv2d, type Conv2dLayerOptions } from '../nn/conv2d.js';
export { Linear, type LinearOptions } from '../nn/linear.js';
export { Module } from '../nn/module.js';
export { Residual, type ResidualOptions, type ResnetBlockOptions, resnetBlock } from '../nn/residual.js';
export { Sequential } from '../nn/sequential.js';
export { AdaptiveAvgPool2d, AvgPool2d, Flatten, Identity, MaxPool2d, ReLU } from '../nn/stateless.js';
export { NUMERICS_VERSION } from '../numerics.js';
export { adaptiveAvgPool2d } from '../ops/adaptiveAvgPool2d.js';
export { add, div, mul, sub } from '../ops/arithmetic.js';
export { avgPool2d } from '../ops/avgPool2d.js';
export { batchNorm, batchNormRelu } from '../ops/batchNorm.js';
export { conv2d } from '../ops/conv2d.js';
export { linear } from '../ops/linear.js';
export { maxPool2d } from '../ops/maxPool2d.js';
export { mean, sum } from '../ops/reduce.js';
export { relu } from '../ops/relu.js';
export { flatten, reshape } from '../ops/reshape.js';
export { logSoftmax, softmax } from '../ops/softmax.js';
export { Generator } from '../random.js';
export type { Pair, Shape } from '../shape.js';
export type { Disagreement, StateEntry } from '../stateDict.js';
export { keep, type NestedArray, Tensor, type TensorData, type TensorOptions, tensor } from '../tensor.js';
export type { Abort, Bounds, Progress } from './bounds.js';
export type { Images } from './images.js';
export { type PredictOptions, predict } from './predict.js';
