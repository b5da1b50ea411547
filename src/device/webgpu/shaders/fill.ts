import { flat, shader } from '../shader.js';

/** out = value, given by its bits. */
export const fill = shader({
  name: 'fill',
  buffers: { out: 'words out' },
  params: { size: 'u32', bits: 'u32' },
  code: flat('if (i < p.size) { out[i] = p.bits; }'),
});
