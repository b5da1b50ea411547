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
export { type AdamOptions, adam, adamw } from '../optim/adam.js';
export {
  type GroupState,
  Optimizer,
  type OptimizerOptions,
  type ParamGroup,
  type Params,
} from '../optim/optimizer.js';
export { type SgdOptions, sgd } from '../optim/sgd.js';
export { NonFiniteLossError } from '../train/nonFinite.js';
export { type FitOptions, type FitProgress, fit } from './fit.js';
