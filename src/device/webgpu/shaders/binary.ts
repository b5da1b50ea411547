import { flat, shader } from '../shader.js';
import { offsets } from './strided.js';

const OPERATIONS = `
fn operate(a: f32, b: f32) -> f32 {
  switch (OPERATOR) {
    case 0: { return a + b; }
    case 1: { return a - b; }
    case 2: { return a * b; }
    default: { return a / b; }
  }
}
`;

/** out = a ⊙ b, all of one shape. */
export const binary = shader({
  name: 'binary',
  buffers: { a: 'f32', b: 'f32', out: 'f32 out' },
  params: { size: 'u32' },
  code: `${OPERATIONS}${flat('if (i < p.size) { out[i] = operate(a[i], b[i]); }')}`,
});

/** out = a ⊙ b over a shape; strides are 0 along broadcast axes. */
export const binaryBroadcast = shader({
  name: 'binaryBroadcast',
  buffers: { a: 'f32', b: 'f32', out: 'f32 out' },
  params: {
    ...{ shapeLow: 'vec4u', shapeHigh: 'vec4u', aLow: 'vec4u', aHigh: 'vec4u', bLow: 'vec4u', bHigh: 'vec4u' },
    size: 'u32',
  },
  code: ({ AXES }) =>
    `${OPERATIONS}${offsets(AXES)}${flat(`
  if (i >= p.size) { return; }
  out[i] = operate(a[at(i, p.aLow, p.aHigh)], b[at(i, p.bLow, p.bHigh)]);`)}`,
});
