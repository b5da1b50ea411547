import { flat, shader } from '../shader.js';

/** One step of stochastic gradient descent, in place; as the contract's `sgd` has it. */
export const sgd = shader({
  name: 'sgd',
  buffers: { param: 'f32 out', grad: 'f32', velocity: 'f32 out' },
  params: { size: 'u32', lr: 'f32', momentum: 'f32', weightDecay: 'f32' },
  code: flat(`
  if (i >= p.size) { return; }
  let w = param[i];
  var g = grad[i];
  if (DECAYS) { g = g + p.weightDecay * w; }
  if (has_velocity) {
    var v = g;
    if (!FIRST) { v = p.momentum * velocity[i] + g; }
    velocity[i] = v;
    if (NESTEROV) { g = g + p.momentum * v; } else { g = v; }
  }
  param[i] = w - p.lr * g;`),
});

/** One step of Adam or, `DECOUPLED`, of AdamW, in place; `decay` is 1 − lr·weightDecay there. */
export const adam = shader({
  name: 'adam',
  buffers: { param: 'f32 out', grad: 'f32', m: 'f32 out', v: 'f32 out' },
  params: {
    ...{ size: 'u32', weightDecay: 'f32', decay: 'f32', beta1: 'f32', rest1: 'f32', beta2: 'f32', rest2: 'f32' },
    ...{ rate: 'f32', root: 'f32', eps: 'f32' },
  },
  code: flat(`
  if (i >= p.size) { return; }
  var w = param[i];
  var g = grad[i];
  if (DECAYS) {
    if (DECOUPLED) { w = w * p.decay; } else { g = g + p.weightDecay * w; }
  }
  let first = m[i] * p.beta1 + p.rest1 * g;
  let second = v[i] * p.beta2 + (p.rest2 * g) * g;
  m[i] = first;
  v[i] = second;
  param[i] = w - p.rate * (first / (sqrt(second) / p.root + p.eps));`),
});

/** One step of RMSprop, in place. */
export const rmsprop = shader({
  name: 'rmsprop',
  buffers: { param: 'f32 out', grad: 'f32', v: 'f32 out', velocity: 'f32 out' },
  params: { size: 'u32', lr: 'f32', alpha: 'f32', rest: 'f32', eps: 'f32', weightDecay: 'f32', momentum: 'f32' },
  code: flat(`
  if (i >= p.size) { return; }
  let w = param[i];
  var g = grad[i];
  if (DECAYS) { g = g + p.weightDecay * w; }
  let square = p.alpha * v[i] + (p.rest * g) * g;
  v[i] = square;
  var u = g / (sqrt(square) + p.eps);
  if (has_velocity) {
    u = p.momentum * velocity[i] + u;
    velocity[i] = u;
  }
  param[i] = w - p.lr * u;`),
});
