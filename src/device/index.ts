/** `atalho/device`: what a device of one's own is made of, and the devices of the package. */

export type { ConvGeometry, PoolGeometry, Shape } from '../shape.js';
export {
  type AdaptivePoolGeometry,
  type AxisGeometry,
  type BatchNormGeometry,
  type BinaryOperator,
  Buffer,
  type ChannelNorm,
  type Device,
  type DType,
  type FloatType,
  type Kernels,
  type MemoryUse,
  type Prepared,
  type TypedArray,
} from './device.js';
export { checkSize, copyInto } from './hostData.js';
export { meta } from './meta.js';
export { type ReferenceOptions, reference } from './reference.js';
export { type Resource, ScopeStack } from './scope.js';
export {
  type CreateWorker,
  type WasmDevice,
  type WasmMath,
  type WasmOptions,
  type WorkerLike,
  wasm,
} from './wasm/index.js';
export {
  type AdapterKind,
  type ShaderTime,
  type WebgpuCounts,
  type WebgpuDevice,
  type WebgpuMath,
  type WebgpuOptions,
  type WebgpuStorage,
  webgpu,
} from './webgpu/index.js';
