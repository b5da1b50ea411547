import { flat, shader } from '../shader.js';

/** out = out + x. */
export const accumulate = shader({
  name: 'accumulate',
  buffers: { x: 'f32', out: 'f32 out' },
  params: { size: 'u32' },
  code: flat('if (i < p.size) { out[i] = out[i] + x[i]; }'),
});
