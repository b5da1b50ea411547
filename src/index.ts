/**
 * atalho: residual networks in TypeScript, exact and fast. The public surface; sub-paths (`atalho/nn`, `atalho/optim`,
 * ...) hold the same names.
 */
export {
  type BackwardContext,
  defineOp,
  detach,
  type ForwardContext,
  grad,
  inferenceMode,
  noGrad,
  type OpDefinition,
  type Plan,
} from './autograd.js';
export type { Device, DType, FloatType, MemoryUse, TypedArray } from './device/device.js';
export { meta } from './device/meta.js';
export { reference } from './device/reference.js';
export {
  type CreateWorker,
  type WasmDevice,
  type WasmMath,
  type WasmOptions,
  type WorkerLike,
  wasm,
} from './device/wasm/index.js';
export {
  type AdapterKind,
  type ShaderTime,
  type WebgpuCounts,
  type WebgpuDevice,
  type WebgpuMath,
  type WebgpuOptions,
  type WebgpuStorage,
  webgpu,
} from './device/webgpu/index.js';
export {
  ArgumentError,
  AtalhoError,
  AutogradError,
  DeviceError,
  DeviceLostError,
  FormatError,
  OutOfMemoryError,
  StateDictError,
} from './errors.js';
export { readSafetensors, writeSafetensors } from './io/safetensors.js';
export * from './models/index.js';
export * from './nn/index.js';
export { NUMERICS_VERSION } from './numerics.js';
export * from './ops/index.js';
export * from './optim/index.js';
export { Generator } from './random.js';
export type { Pair, Shape } from './shape.js';
export type { Disagreement, StateEntry } from './stateDict.js';
export { keep, type NestedArray, Tensor, type TensorData, type TensorOptions, tensor } from './tensor.js';
