/** All ops. Each stands whole in its own file: shape rule, forward, backward. */
export { type AdaptiveSize, adaptiveAvgPool2d } from './adaptiveAvgPool2d.js';
export { add, div, mul, sub } from './arithmetic.js';
export { type AvgPool2dOptions, avgPool2d } from './avgPool2d.js';
export { type BatchNormOptions, type BatchNormReluOptions, batchNorm, batchNormRelu } from './batchNorm.js';
export { cat } from './cat.js';
export { type Conv2dOptions, conv2d } from './conv2d.js';
export { crossEntropy } from './crossEntropy.js';
export { linear } from './linear.js';
export { matmul } from './matmul.js';
export { type MaxPool2dOptions, maxPool2d } from './maxPool2d.js';
export { pad } from './pad.js';
export type { Padding } from './padding.js';
export { permute } from './permute.js';
export { mean, sum } from './reduce.js';
export { relu } from './relu.js';
export { flatten, reshape } from './reshape.js';
export { type SliceOptions, slice } from './slice.js';
export { logSoftmax, softmax } from './softmax.js';
