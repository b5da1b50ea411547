/** Learning-rate schedules, label smoothing, parameter groups, early stopping, frozen layers: against hand-worked numbers. */
import { describe, expect, it } from 'vitest';
import {
  cosineSchedule,
  linearSchedule,
  multiStepSchedule,
  type Schedule,
  scheduleOf,
  stepSchedule,
  withWarmup,
} from '../src/train/index.js';

const factors = (schedule: Schedule, total: number): number[] =>
  Array.from({ length: total }, (_, step) => schedule(step, total));

describe('schedules', () => {
  it('step: times gamma after every stepSize steps', () => {
    expect(factors(stepSchedule(2, 0.5), 7)).toEqual([1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]);
    expect(factors(stepSchedule(1), 3)).toEqual([1, 0.1, 0.1 * 0.1]);
    expect(factors(scheduleOf('step', { stepSize: 2, gamma: 0.5 }), 3)).toEqual([1, 1, 0.5]);
    // A long run ends: the power stops once it is 0.
    expect(stepSchedule(1, 0.5)(2 ** 50, 2 ** 51)).toBe(0);
  });

  it('multiStep: times gamma at each milestone, twice where it stands twice, in any order', () => {
    expect(factors(multiStepSchedule([2, 5], 0.5), 7)).toEqual([1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]);
    expect(factors(multiStepSchedule([3, 1, 3], 0.5), 5)).toEqual([1, 0.5, 0.5, 0.125, 0.125]);
    expect(factors(scheduleOf('multiStep', { milestones: [1], gamma: 0.25 }), 3)).toEqual([1, 0.25, 0.25]);
    const milestones = [1];
    const schedule = multiStepSchedule(milestones, 0.5);
    milestones[0] = 100;
    expect(schedule(1, 2)).toBe(0.5);
  });

  it('warm-up rises in equal parts to the schedule, which then has the rest of the steps', () => {
    expect(factors(withWarmup(linearSchedule, 3), 7)).toEqual([0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25]);
    expect(factors(withWarmup(multiStepSchedule([1], 0.5), 1), 4)).toEqual([0.5, 1, 0.5, 0.5]);
    const cosine = withWarmup(cosineSchedule, 1);
    expect(factors(cosine, 5).slice(1)).toEqual(factors(cosineSchedule, 4));
    expect(factors(withWarmup(cosineSchedule, 0), 5)).toEqual(factors(cosineSchedule, 5));
    // Shorter than its warm-up.
    expect(factors(withWarmup(cosineSchedule, 3), 2)).toEqual([0.25, 0.5]);
  });

  it('refuses options out of range, by name', () => {
    expect(() => stepSchedule(0)).toThrow(/stepSize is 0; want a whole number of at least 1/);
    expect(() => scheduleOf('step')).toThrow(/stepSize is NaN/);
    expect(() => stepSchedule(1, 0)).toThrow(/gamma is 0; want a number above 0, at most 1/);
    expect(() => stepSchedule(1, 1.5)).toThrow(/gamma is 1.5/);
    expect(() => multiStepSchedule([1, -1])).toThrow(/milestones\[1\] is -1; want a whole number of at least 0/);
    expect(() => withWarmup(linearSchedule, 0.5)).toThrow(/warm-up steps is 0.5; want a whole number of at least 0/);
  });
});
