/** Softmax and the log of a sum of exponentials in balls, a line at a time. */
import type { Ball, Balls } from '../bounds.js';
import * as naive from '../naive.js';

/** Evaluates `line` for the positions of every line along the axis, and puts its balls back in place. */
export function alongLines(g: naive.NaiveAxis, line: (at: readonly number[]) => readonly Ball[]): Ball[] {
  const all = new Array<Ball>(g.outer * g.extent * g.inner);
  for (let o = 0; o < g.outer; o++)
    for (let i = 0; i < g.inner; i++) {
      const at = Array.from({ length: g.extent }, (_, k) => (o * g.extent + k) * g.inner + i);
      line(at).forEach((ball, k) => {
        all[at[k]] = ball;
      });
    }
  return all;
}

export function expOf(balls: Balls, t: Ball): Ball {
  return balls.exp(t, naive.exp(t.value));
}

/** x − max for one line, and Σ exp(x − max): the max is one of the numbers, so exact. */
function shifted(balls: Balls, x: readonly number[]): { shifts: Ball[]; exps: Ball[]; total: Ball } {
  const max = balls.exact(x.reduce((a, b) => Math.max(a, b), -Infinity));
  const shifts = x.map((v) => balls.sub(balls.exact(v), max));
  const exps = shifts.map((t) => expOf(balls, t));
  return { shifts, exps, total: balls.sum(exps) };
}

export function softmaxLine(balls: Balls, x: readonly number[]): Ball[] {
  const { exps, total } = shifted(balls, x);
  return exps.map((e) => balls.div(e, total));
}

export function logSoftmaxLine(balls: Balls, x: readonly number[]): Ball[] {
  const { shifts, total } = shifted(balls, x);
  const logTotal = balls.log(total, naive.log(total.value));
  return shifts.map((t) => balls.sub(t, logTotal));
}

/** max + log Σ exp(x − max) of one row. */
export function logSumExp(balls: Balls, x: readonly number[]): Ball {
  const { total } = shifted(balls, x);
  const max = x.reduce((a, b) => Math.max(a, b), -Infinity);
  return balls.add(balls.exact(max), balls.log(total, naive.log(total.value)));
}
