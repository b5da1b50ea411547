import { flat, shader } from '../shader.js';
import { offsets } from './strided.js';

/** out[i] = x[broadcast index of i] / divisor. */
export const expand = shader({
  name: 'expand',
  buffers: { x: 'f32', out: 'f32 out' },
  params: { shapeLow: 'vec4u', shapeHigh: 'vec4u', xLow: 'vec4u', xHigh: 'vec4u', size: 'u32', divisor: 'f32' },
  code: ({ AXES }) => `${offsets(AXES)}${flat('if (i < p.size) { out[i] = x[at(i, p.xLow, p.xHigh)] / p.divisor; }')}`,
});
