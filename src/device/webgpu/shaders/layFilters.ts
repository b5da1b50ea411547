import { flat, shader } from '../shader.js';

/**
 * Filters as the blocks of a convolution load them: by (group of channels, tap, term, row), rows side by side. Steps between a filter's rows
 * and terms in windows. One invocation a window, of which `size` are.
 */
export const layFilters = shader({
  name: 'layFilters',
  buffers: { weight: 'f32', out: 'f32 out' },
  params: { size: 'u32', rows: 'u32', terms: 'u32', rowStride: 'u32', termStride: 'u32' },
  code: flat(`
  if (i >= p.size) { return; }
  let row = i % p.rows;
  let term = (i / p.rows) % p.terms;
  let first = (i / (p.rows * p.terms)) * p.rows * p.terms;
  let source = (first + row * p.rowStride + term * p.termStride) * TAPS;
  let to = first * TAPS + term * p.rows + row;
  for (var tap = 0u; tap < TAPS; tap++) { out[to + tap * p.terms * p.rows] = weight[source + tap]; }`),
});
