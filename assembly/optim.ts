/** Optimizer steps in place: every operation rounded to float32, scalars too. */

/** Loads four floats, or the `n` < 4 that are left. */
@inline
function loadSome(p: usize, n: i32): v128 {
  if (n >= 4) return v128.load(p);
  let v = v128.load32_zero(p);
  if (n > 1) v = f32x4.replace_lane(v, 1, load<f32>(p, 4));
  if (n > 2) v = f32x4.replace_lane(v, 2, load<f32>(p, 8));
  return v;
}

@inline
function storeSome(p: usize, v: v128, n: i32): void {
  if (n >= 4) {
    v128.store(p, v);
    return;
  }
  store<f32>(p, f32x4.extract_lane(v, 0));
  if (n > 1) store<f32>(p, f32x4.extract_lane(v, 1), 4);
  if (n > 2) store<f32>(p, f32x4.extract_lane(v, 2), 8);
}

export function sgd(
  param: usize,
  grad: usize,
  velocity: usize,
  n: i32,
  first: i32,
  nesterov: i32,
  lr: f32,
  momentum: f32,
  weightDecay: f32,
): void {
  const lr4 = f32x4.splat(lr);
  const momentum4 = f32x4.splat(momentum);
  const decay4 = f32x4.splat(weightDecay);
  for (let left = n; left > 0; left -= 4) {
    const p = loadSome(param, left);
    let g = loadSome(grad, left);
    if (weightDecay !== 0) g = f32x4.add(g, f32x4.mul(decay4, p));
    if (velocity !== 0) {
      const v = first ? g : f32x4.add(f32x4.mul(momentum4, loadSome(velocity, left)), g);
      storeSome(velocity, v, left);
      g = nesterov ? f32x4.add(g, f32x4.mul(momentum4, v)) : v;
      velocity += 16;
    }
    storeSome(param, f32x4.sub(p, f32x4.mul(lr4, g)), left);
    param += 16;
    grad += 16;
  }
}

/** `shrink` = 1 − lr·weightDecay, `step` = lr/c1, `root` = √c2, each computed in float64 and rounded. */
export function adam(
  param: usize,
  grad: usize,
  m: usize,
  v: usize,
  n: i32,
  decoupled: i32,
  weightDecay: f32,
  shrink: f32,
  beta1: f32,
  rest1: f32,
  beta2: f32,
  rest2: f32,
  step: f32,
  root: f32,
  eps: f32,
): void {
  const decay4 = f32x4.splat(weightDecay);
  const shrink4 = f32x4.splat(shrink);
  const beta14 = f32x4.splat(beta1);
  const rest14 = f32x4.splat(rest1);
  const beta24 = f32x4.splat(beta2);
  const rest24 = f32x4.splat(rest2);
  const step4 = f32x4.splat(step);
  const root4 = f32x4.splat(root);
  const eps4 = f32x4.splat(eps);
  for (let left = n; left > 0; left -= 4) {
    let p = loadSome(param, left);
    let g = loadSome(grad, left);
    if (weightDecay !== 0) {
      if (decoupled) p = f32x4.mul(p, shrink4);
      else g = f32x4.add(g, f32x4.mul(decay4, p));
    }
    const first = f32x4.add(f32x4.mul(loadSome(m, left), beta14), f32x4.mul(rest14, g));
    const second = f32x4.add(f32x4.mul(loadSome(v, left), beta24), f32x4.mul(f32x4.mul(rest24, g), g));
    storeSome(m, first, left);
    storeSome(v, second, left);
    const denominator = f32x4.add(f32x4.div(f32x4.sqrt(second), root4), eps4);
    storeSome(param, f32x4.sub(p, f32x4.mul(step4, f32x4.div(first, denominator))), left);
    param += 16;
    grad += 16;
    m += 16;
    v += 16;
  }
}

export function rmsprop(
  param: usize,
  grad: usize,
  v: usize,
  velocity: usize,
  n: i32,
  lr: f32,
  alpha: f32,
  rest: f32,
  eps: f32,
  weightDecay: f32,
  momentum: f32,
): void {
  const lr4 = f32x4.splat(lr);
  const alpha4 = f32x4.splat(alpha);
  const rest4 = f32x4.splat(rest);
  const eps4 = f32x4.splat(eps);
  const decay4 = f32x4.splat(weightDecay);
  const momentum4 = f32x4.splat(momentum);
  for (let left = n; left > 0; left -= 4) {
    const p = loadSome(param, left);
    let g = loadSome(grad, left);
    if (weightDecay !== 0) g = f32x4.add(g, f32x4.mul(decay4, p));
    const second = f32x4.add(f32x4.mul(alpha4, loadSome(v, left)), f32x4.mul(f32x4.mul(rest4, g), g));
    storeSome(v, second, left);
    let u = f32x4.div(g, f32x4.add(f32x4.sqrt(second), eps4));
    if (velocity !== 0) {
      u = f32x4.add(f32x4.mul(momentum4, loadSome(velocity, left)), u);
      storeSome(velocity, u, left);
      velocity += 16;
    }
    storeSome(param, f32x4.sub(p, f32x4.mul(lr4, u)), left);
    param += 16;
    grad += 16;
    v += 16;
  }
}
