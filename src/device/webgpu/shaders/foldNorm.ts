import { flat, shader } from '../shader.js';

/**
 * Batch norm by given statistics as part of the convolution before it: filters times their channel's scale, and the bias
 * (bias − mean)·scale + shift. One invocation a weight, the first of each filter for the bias too.
 */
export const foldNorm = shader({
  name: 'foldNorm',
  buffers: {
    ...{ weight: 'f32', bias: 'f32', mean: 'f32', variance: 'f32', normWeight: 'f32', normBias: 'f32' },
    ...{ foldedWeight: 'f32 out', foldedBias: 'f32 out' },
  },
  params: { size: 'u32', weights: 'u32', filterSize: 'u32', eps: 'f32' },
  code: flat(`
  if (i >= p.size) { return; }
  let channel = i / p.filterSize;
  var scale = 1.0 / sqrt(variance[channel] + p.eps);
  if (has_normWeight) { scale = normWeight[channel] * scale; }
  if (i < p.weights) { foldedWeight[i] = weight[i] * scale; }
  if (i % p.filterSize == 0u) {
    var own = 0.0;
    if (has_bias) { own = bias[channel]; }
    var shift = 0.0;
    if (has_normBias) { shift = normBias[channel]; }
    foldedBias[channel] = (own - mean[channel]) * scale + shift;
  }`),
});
