/**
 * `atalho/train`: the chapter's training loop, checkpoints that resume bit for bit, and their parts. No file system, no
 * screen: the `atalho` command adds those.
 */
export { accuracy, countCorrect } from './accuracy.js';
export {
  type Checkpoint,
  decodeCheckpoint,
  encodeCheckpoint,
  loadModel,
  type RunConfig,
  restoreCheckpoint,
} from './checkpoint.js';
export { type EvaluateOptions, evaluateAccuracy } from './evaluate.js';
export { freeze } from './freeze.js';
export { hashWeights } from './hash.js';
export { type NoDecayGroup, noDecayGroups } from './noDecay.js';
export { finiteState, firstNonFinite, NonFiniteLossError, NonFiniteParameterError } from './nonFinite.js';
export { deviceOf, predictLogits } from './predict.js';
export { Replicas, replicas } from './replicas.js';
export {
  constantSchedule,
  cosineSchedule,
  linearSchedule,
  multiStepSchedule,
  type Schedule,
  type ScheduleName,
  type ScheduleOptions,
  scheduleNames,
  scheduleOf,
  stepSchedule,
  withWarmup,
} from './schedule.js';
export { bestPoint, epochsSinceBest, type HistoryPoint, type TrainerState } from './state.js';
export { type StepBatch, type StepOptions, type StepResult, trainStep } from './step.js';
export { type StepEvent, Trainer, type TrainerHooks, type TrainerOptions } from './trainer.js';
