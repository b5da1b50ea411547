/** What the builds that train have besides. */
export {
  type BackwardContext,
  defineOp,
  detach,
  type ForwardContext,
  grad,
  type OpDefinition,
  type Plan,
} from '../autograd.js';
export { writeSafetensors } from '../io/safetensors.js';
export { initXavierUniform } from '../nn/xavier.js';
export { crossEntropy } from '../ops/crossEntropy.js';
export * from '../optim/index.js';
export { NonFiniteLossError } from '../train/nonFinite.js';
export { type FitOptions, type FitProgress, fit } from './fit.js';
