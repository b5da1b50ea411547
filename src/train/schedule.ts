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

const SCHEDULES = { constant: constantSchedule, linear: linearSchedule, cosine: cosineSchedule } as const;

export type ScheduleName = keyof typeof SCHEDULES;

export const scheduleNames = Object.keys(SCHEDULES) as readonly ScheduleName[];

/** The schedule of that name. Throws `ArgumentError`, listing what there is, for any other. */
export function scheduleOf(name: ScheduleName): Schedule {
  if (!scheduleNames.includes(name)) {
    throw new ArgumentError(`schedule: name is ${JSON.stringify(name)}; want one of ${scheduleNames.join(', ')}`);
  }
  return SCHEDULES[name];
}
