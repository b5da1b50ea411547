import { shader } from '../shader.js';
import { eachOf, oneEach, PLANES, squareOf, transformed } from './transform.js';

/**
 * Filters to (m+2)² planes of `size` elements, G g Gᵀ: each a matrix [term][row] for each group, rows being the channels of
 * the result, terms those that are summed over. FLIPPED turns filters by half a turn. One invocation a filter.
 */
export const winogradFilter = shader({
  name: 'winogradFilter',
  buffers: { weight: 'f32', out: 'f32 out' },
  params: { ...PLANES, rows: 'u32', terms: 'u32', rowStride: 'u32', termStride: 'u32' },
  code({ M, FLIPPED }) {
    const source = squareOf('g', 3);
    const { code, values } = transformed('filter', M, source);
    return oneEach(`
  let row = i % p.rows;
  let term = (i / p.rows) % p.terms;
  let first = 9u * (i / (p.rows * p.terms) * p.rows * p.terms + row * p.rowStride + term * p.termStride);
  ${eachOf(source, (g, _, __, k) => `let ${g} = weight[first + ${FLIPPED === true ? 8 - k : k}u];`)}
  ${code}
  ${eachOf(values, (v, _, __, k) => `out[at + ${k}u * step] = ${v};`)}`);
  },
});
