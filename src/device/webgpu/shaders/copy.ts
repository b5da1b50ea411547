import { flat, shader } from '../shader.js';
import { offsets } from './strided.js';

/** out[outOffset + i·outStrides] = x[xOffset + i·xStrides] over a shape, words as they are. */
export const copy = shader({
  name: 'copy',
  buffers: { x: 'words', out: 'words out' },
  params: {
    ...{ shapeLow: 'vec4u', shapeHigh: 'vec4u', xLow: 'vec4u', xHigh: 'vec4u', outLow: 'vec4u', outHigh: 'vec4u' },
    ...{ size: 'u32', xOffset: 'u32', outOffset: 'u32' },
  },
  code: ({ AXES }) =>
    `${offsets(AXES)}${flat(`
  if (i >= p.size) { return; }
  out[p.outOffset + at(i, p.outLow, p.outHigh)] = x[p.xOffset + at(i, p.xLow, p.xHigh)];`)}`,
});
