/** Learning-rate schedules: a factor for each step, from exact arithmetic and the project's own cosine. */
import { ArgumentError } from '../errors.js';
import { cos } from '../math.js';

/** What the learning rate of step `step` (counted from 0) of `totalSteps` is multiplied by. */
export type Schedule = (step: number, totalSteps: number) => number;

/** The same rate throughout: the chapter's. */
export const constantSchedule: Schedule = () => 1;

/** From 1 at the first step down in equal parts; it would reach 0 one step after the last. */
export const linearSchedule: Schedule = (step, totalSteps) => 1 - step / totalSteps;

/**
 * Half a cosine from 1 towards 0, as PyTorch's CosineAnnealingLR with T_max = totalSteps and eta_min = 0.
 * @see https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.CosineAnnealingLR.html
 */
export const cosineSchedule: Schedule = (step, totalSteps) => (1 + cos((Math.PI * step) / totalSteps)) / 2;

/** factor^times by repeated multiplication: the same bits in every engine, unlike `Math.pow`. */
function power(factor: number, times: number): number {
  let product = 1;
  // Past underflow no further multiplication changes it.
  for (let i = 0; i < times && product !== 0; i++) product *= factor;
  return product;
}

function checkGamma(gamma: number): void {
  if (!(gamma > 0 && gamma <= 1)) {
    throw new ArgumentError(`schedule: gamma is ${gamma}; want a number above 0, at most 1`);
  }
}

function checkSteps(option: string, value: number, min: number): void {
  if (!Number.isSafeInteger(value) || value < min) {
    throw new ArgumentError(`schedule: ${option} is ${value}; want a whole number of at least ${min}`);
  }
}

/**
 * Times `gamma` (0.1 by default) after every `stepSize` steps, as PyTorch's StepLR. Counted in steps: for epochs,
 * multiply by the batches an epoch has.
 * @throws ArgumentError when an option is out of its range
 * @see https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.StepLR.html
 */
export function stepSchedule(stepSize: number, gamma = 0.1): Schedule {
  checkSteps('stepSize', stepSize, 1);
  checkGamma(gamma);
  return (step) => power(gamma, Math.floor(step / stepSize));
}

/**
 * Times `gamma` (0.1 by default) at each milestone, a step counted from 0, as PyTorch's MultiStepLR; one that stands
 * twice counts twice.
 * @throws ArgumentError when an option is out of its range
 * @see https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.MultiStepLR.html
 */
export function multiStepSchedule(milestones: readonly number[], gamma = 0.1): Schedule {
  milestones.forEach((milestone, i) => {
    checkSteps(`milestones[${i}]`, milestone, 0);
  });
  checkGamma(gamma);
  const passed = [...milestones];
  return (step) => power(gamma, passed.filter((milestone) => milestone <= step).length);
}

/**
 * `schedule` after a linear warm-up of `steps` steps, which take (i + 1)/(steps + 1) of its first rate. The schedule
 * then begins at its own step 0 and has the rest of the steps to run, as under PyTorch's SequentialLR with
 * LinearLR(start_factor=1/(steps + 1), total_iters=steps); its milestones count from there too.
 * @throws ArgumentError when `steps` is no whole number of at least 0
 * @see https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LinearLR.html
 */
export function withWarmup(schedule: Schedule, steps: number): Schedule {
  checkSteps('warm-up steps', steps, 0);
  return (step, totalSteps) => {
    // A run may be shorter than its warm-up.
    const rest = Math.max(1, totalSteps - steps);
    return step < steps ? (schedule(0, rest) * (step + 1)) / (steps + 1) : schedule(step - steps, rest);
  };
}

/** What `scheduleOf` takes for the schedules that have options. All in steps. */
export interface ScheduleOptions {
  /** Of 'step'. */
  readonly stepSize?: number;
  /** Of 'multiStep'. None by default. */
  readonly milestones?: readonly number[];
  /** Of both. Default 0.1. */
  readonly gamma?: number;
}

const SCHEDULES = {
  constant: () => constantSchedule,
  linear: () => linearSchedule,
  cosine: () => cosineSchedule,
  step: ({ stepSize = Number.NaN, gamma }: ScheduleOptions) => stepSchedule(stepSize, gamma),
  multiStep: ({ milestones = [], gamma }: ScheduleOptions) => multiStepSchedule(milestones, gamma),
} as const;

/** Names of the schedules that `scheduleOf` makes. */
export type ScheduleName = keyof typeof SCHEDULES;

/** All of them. */
export const scheduleNames = Object.keys(SCHEDULES) as readonly ScheduleName[];

/** The schedule of that name. Throws `ArgumentError`, listing what there is, for any other, or for a bad option. */
export function scheduleOf(name: ScheduleName, o: ScheduleOptions = {}): Schedule {
  if (!scheduleNames.includes(name)) {
    throw new ArgumentError(`schedule: name is ${JSON.stringify(name)}; want one of ${scheduleNames.join(', ')}`);
  }
  return SCHEDULES[name](o);
}
