import { shader } from '../shader.js';
import { eachOf, oneEach, PLANES, squareOf, transformed } from './transform.js';

/**
 * Products to the gradients of filters, Gᵀ u G: (m+2)² planes, of each group a matrix, or, SPLIT, `parts` of them, which are
 * added in their order. Where ADDS, the result is added to what is there. One invocation a filter.
 */
export const winogradFilterGradient = shader({
  name: 'winogradFilterGradient',
  buffers: { products: 'f32', out: 'f32 out' },
  params: { ...PLANES, parts: 'u32' },
  code({ M, SPLIT, ADDS }) {
    const source = squareOf('u', Number(M) + 2);
    const { code, values } = transformed('filterGradient', M, source);
    return oneEach(`
  ${
    SPLIT === true
      ? `
  let first = (i / p.matrix) * p.pitch * p.parts + i % p.matrix;
  let far = step * p.parts;
  ${eachOf(source, (u) => `var ${u} = 0.0;`)}
  for (var part = 0u; part < p.parts; part++) {
    let here = first + part * p.pitch;
    ${eachOf(source, (u, _, __, k) => `${u} += products[here + ${k}u * far];`)}
  }`
      : eachOf(source, (u, _, __, k) => `let ${u} = products[at + ${k}u * step];`)
  }
  ${code}
  ${eachOf(values, (v, _, __, k) => `out[i * 9u + ${k}u] = ${ADDS === true ? `out[i * 9u + ${k}u] + ${v}` : v};`)}`);
  },
});
