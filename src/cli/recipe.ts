/** Optimizer and learning rate of a run's settings. Without Node: the page in `web/` trains by it too, to the same bits. */
import type { Module } from '../nn/module.js';
import { adam, adamw } from '../optim/adam.js';
import type { Optimizer } from '../optim/optimizer.js';
import { rmsprop } from '../optim/rmsprop.js';
import { sgd } from '../optim/sgd.js';
import { noDecayGroups } from '../train/noDecay.js';
import { type Schedule, type ScheduleName, scheduleOf, withWarmup } from '../train/schedule.js';
import type { TrainConfig } from './config.js';

/** The course of the learning rate that the config asks for, whose epochs have so many steps. */
export function makeSchedule(config: TrainConfig, batchesPerEpoch: number): Schedule {
  const { schedule, stepSize, milestones, gamma, warmup } = config;
  const epochs = milestones === '' ? [] : milestones.split(',').map(Number);
  const inSteps = { stepSize: stepSize * batchesPerEpoch, milestones: epochs.map((e) => e * batchesPerEpoch), gamma };
  const main = scheduleOf(schedule as ScheduleName, inSteps);
  return warmup === 0 ? main : withWarmup(main, warmup);
}

/** The optimizer that the config asks for, over all parameters of `model`. */
export function makeOptimizer(model: Module, config: TrainConfig): Optimizer {
  const { optimizer, lr, momentum, weightDecay } = config;
  const parameters = config.decay === 'all' ? model.parameters() : noDecayGroups(model);
  switch (optimizer) {
    case 'adam':
      return adam(parameters, { lr, weightDecay });
    case 'adamw':
      return adamw(parameters, { lr, weightDecay });
    case 'rmsprop':
      return rmsprop(parameters, { lr, momentum, weightDecay });
    default:
      return sgd(parameters, { lr, momentum, weightDecay });
  }
}
