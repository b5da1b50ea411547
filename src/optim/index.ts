/** Optimizers: PyTorch 1.13's arithmetic, updates in place. */
export { type AdamOptions, adam, adamw } from './adam.js';
export {
  type GroupState,
  Optimizer,
  type OptimizerOptions,
  type ParamGroup,
  type Params,
  type Update,
} from './optimizer.js';
export { type RmspropOptions, rmsprop } from './rmsprop.js';
export { type SgdOptions, sgd } from './sgd.js';
