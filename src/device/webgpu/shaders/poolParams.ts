/** Geometry of pooling, as its shaders take it. */
import { params } from '../shader.js';

export const POOL_PARAMS = params({
  ...{ size: 'u32', inHeight: 'u32', inWidth: 'u32', outHeight: 'u32', outWidth: 'u32', kernelHeight: 'u32' },
  ...{ kernelWidth: 'u32', strideHeight: 'u32', strideWidth: 'u32', padTop: 'u32', padLeft: 'u32', padBottom: 'u32' },
  ...{ padRight: 'u32', dilationHeight: 'u32', dilationWidth: 'u32' },
});

export const ADAPTIVE_PARAMS = params({
  ...{ size: 'u32', inHeight: 'u32', inWidth: 'u32', outHeight: 'u32', outWidth: 'u32' },
});

/**
 * The first and the last output along an axis whose windows may cover an input: window o covers input i with tap
 * k = (i + pad − o·stride)/dilation, 0 ≤ k < kernel.
 */
export const COVERING = `
fn firstCovering(i: u32, pad: u32, span: u32, stride: u32) -> u32 {
  let end = i + pad + 1u;
  return select((end - span + stride - 1u) / stride, 0u, end <= span);
}
`;
