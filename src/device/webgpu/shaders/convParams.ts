/** Geometry of a convolution, as its shaders take it: sizes as parameters, the window as constants. */
import type { ConvGeometry } from '../../../shape.js';
import { params } from '../shader.js';

export const CONV_PARAMS = params({
  ...{ batch: 'u32', inChannels: 'u32', inHeight: 'u32', inWidth: 'u32', outChannels: 'u32', outHeight: 'u32' },
  ...{ outWidth: 'u32', padTop: 'u32', padLeft: 'u32', inGroup: 'u32', outGroup: 'u32' },
});

/** Parameters: the geometry, and the channels of one group. */
export function convParams(o: ConvGeometry): Record<keyof typeof CONV_PARAMS, number> {
  const { batch, inChannels, inHeight, inWidth, outChannels, outHeight, outWidth, padTop, padLeft } = o;
  return {
    ...{ batch, inChannels, inHeight, inWidth, outChannels, outHeight, outWidth, padTop, padLeft },
    ...{ inGroup: inChannels / o.groups, outGroup: outChannels / o.groups },
  };
}

export function windowConstants(o: ConvGeometry): Record<string, number> {
  return {
    ...{ KERNEL_HEIGHT: o.kernelHeight, KERNEL_WIDTH: o.kernelWidth },
    ...{ STRIDE_HEIGHT: o.strideHeight, STRIDE_WIDTH: o.strideWidth },
    ...{ DILATION_HEIGHT: o.dilationHeight, DILATION_WIDTH: o.dilationWidth },
  };
}

/** Every parameter as a value of its own, to be read once and not in each turn of a loop. */
export const GEOMETRY = Object.keys(CONV_PARAMS)
  .map((name) => `  let ${name} = p.${name};`)
  .join('\n');

/** `TAPS`: positions in the window. */
export const WINDOW = `
const TAPS = u32(KERNEL_HEIGHT * KERNEL_WIDTH);
`;
