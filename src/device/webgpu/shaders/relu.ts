import { flat, shader } from '../shader.js';

/** x > 0 ? x : +0; NaN stays NaN. */
export const relu = shader({
  name: 'relu',
  buffers: { x: 'f32', out: 'f32 out' },
  params: { size: 'u32' },
  code: flat(`
  if (i >= p.size) { return; }
  let v = x[i];
  out[i] = select(0.0, v, v > 0.0 || isNan(v));`),
});

/** dx = y > 0 ? dy : +0; where y is NaN, dy. */
export const reluBackward = shader({
  name: 'reluBackward',
  buffers: { y: 'f32', dy: 'f32', dx: 'f32 out' },
  params: { size: 'u32' },
  code: flat(`
  if (i >= p.size) { return; }
  let v = y[i];
  dx[i] = select(0.0, dy[i], v > 0.0 || isNan(v));`),
});
