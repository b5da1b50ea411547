/** The steps of the optimizers in balls, an element at a time: every operation rounded, scalars once when received. */
import type { Ball, Balls } from '../bounds.js';

type Values = ArrayLike<number>;

export interface SgdStep {
  readonly first: boolean;
  readonly lr: number;
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
}

/** The contract's formula; fused operations round less. Without a velocity, `velocity` is the gradient. */
export function sgdStep(
  balls: Balls,
  o: SgdStep,
  param: Values,
  grad: Values,
  velocity: Values | null,
  i: number,
): Readonly<Record<'param' | 'velocity', Ball>> {
  const lr = balls.scalar(o.lr);
  const momentum = balls.scalar(o.momentum);
  const p = balls.exact(param[i]);
  let g = balls.exact(grad[i]);
  if (o.weightDecay !== 0) g = balls.add(g, balls.mul(balls.scalar(o.weightDecay), p));
  let v = g;
  if (velocity) {
    if (!o.first) v = balls.add(balls.mul(momentum, balls.exact(velocity[i])), g);
    g = o.nesterov ? balls.add(g, balls.mul(momentum, v)) : v;
  }
  return { param: balls.sub(p, balls.mul(lr, g)), velocity: v };
}

export interface AdamStep {
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  readonly decoupled: boolean;
  readonly correction1: number;
  readonly correction2: number;
}

/** The contract's formula. 1 − β is taken from the rounded β or rounded itself: either way one more. */
export function adamStep(
  balls: Balls,
  o: AdamStep,
  param: Values,
  grad: Values,
  m: Values,
  v: Values,
  i: number,
): Readonly<Record<'param' | 'm' | 'v', Ball>> {
  const [beta1, beta2, lr] = [balls.scalar(o.beta1), balls.scalar(o.beta2), balls.scalar(o.lr)];
  const one = balls.exact(1);
  const decay = balls.scalar(o.weightDecay);
  let p = balls.exact(param[i]);
  let g = balls.exact(grad[i]);
  if (o.weightDecay !== 0) {
    if (o.decoupled) p = balls.mul(p, balls.sub(one, balls.mul(lr, decay)));
    else g = balls.add(g, balls.mul(decay, p));
  }
  const newM = balls.add(balls.mul(balls.exact(m[i]), beta1), balls.mul(balls.sub(one, beta1), g));
  const gg = balls.mul(balls.mul(balls.sub(one, beta2), g), g);
  const newV = balls.add(balls.mul(balls.exact(v[i]), beta2), gg);
  const rate = balls.div(lr, balls.scalar(o.correction1));
  const root = balls.sqrt(balls.scalar(o.correction2));
  const deviation = balls.add(balls.div(balls.sqrt(newV), root), balls.scalar(o.eps));
  return { param: balls.sub(p, balls.mul(rate, balls.div(newM, deviation))), m: newM, v: newV };
}

export interface RmspropStep {
  readonly lr: number;
  readonly alpha: number;
  readonly eps: number;
  readonly weightDecay: number;
  readonly momentum: number;
}

/** The contract's formula. Without a velocity, `velocity` is the scaled gradient. */
export function rmspropStep(
  balls: Balls,
  o: RmspropStep,
  param: Values,
  grad: Values,
  v: Values,
  velocity: Values | null,
  i: number,
): Readonly<Record<'param' | 'v' | 'velocity', Ball>> {
  const alpha = balls.scalar(o.alpha);
  const p = balls.exact(param[i]);
  let g = balls.exact(grad[i]);
  if (o.weightDecay !== 0) g = balls.add(g, balls.mul(balls.scalar(o.weightDecay), p));
  const gg = balls.mul(balls.mul(balls.sub(balls.exact(1), alpha), g), g);
  const newV = balls.add(balls.mul(alpha, balls.exact(v[i])), gg);
  const scaled = balls.div(g, balls.add(balls.sqrt(newV), balls.scalar(o.eps)));
  const b = velocity ? balls.add(balls.mul(balls.scalar(o.momentum), balls.exact(velocity[i])), scaled) : scaled;
  return { param: balls.sub(p, balls.mul(balls.scalar(o.lr), b)), v: newV, velocity: b };
}
