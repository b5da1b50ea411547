/** Layers: modules with PyTorch's names, defaults and state dicts. */

export type { Counter } from '../counter.js';
export { BatchNorm2d, type BatchNorm2dOptions } from './batchNorm2d.js';
export { ChannelsLast } from './channelsLast.js';
export { CompiledModel, type CompileOptions, compile } from './compile.js';
export { Conv2d, type Conv2dLayerOptions } from './conv2d.js';
export { DEFAULT_SEED, type Initializer, type InitOptions, type LayerInit } from './init.js';
export { Lazy, LazyBatchNorm2d, LazyConv2d, LazyLinear, type LazyLinearOptions } from './lazy.js';
export { LazyResidual, type LazyResidualOptions } from './lazyResidual.js';
export { Linear, type LinearOptions } from './linear.js';
export { Module } from './module.js';
export {
  Residual,
  type ResidualOptions,
  type ResnetBlockOptions,
  resnetBlock,
} from './residual.js';
export { type Layer, Sequential } from './sequential.js';
export { AdaptiveAvgPool2d, AvgPool2d, Flatten, Identity, MaxPool2d, ReLU } from './stateless.js';
export { type LayerSummary, type SummarizeOptions, type Summary, summarize } from './summarize.js';
export { initXavierUniform } from './xavier.js';
