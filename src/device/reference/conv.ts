/** 2-d convolution, NCHW and OIHW, and its two gradients: seven loops each, in the order that all devices keep. */
import type { ConvGeometry } from '../../shape.js';
import type { Kernels } from '../device.js';
import { addProduct, type Host } from './host.js';

const { isInteger } = Number;

/** Consecutive positions of the output that the weight gradient sums in the device's dtype. */
const WEIGHT_BLOCK = 512;

const inputSize = (g: ConvGeometry) => g.batch * g.inChannels * g.inHeight * g.inWidth;
const outputSize = (g: ConvGeometry) => g.batch * g.outChannels * g.outHeight * g.outWidth;
const weightSize = (g: ConvGeometry) => g.outChannels * (g.inChannels / g.groups) * g.kernelHeight * g.kernelWidth;

export function conv(host: Host): Pick<Kernels, 'conv2d' | 'conv2dBackwardInput' | 'conv2dBackwardWeight'> {
  const { single } = host;
  return {
    conv2d(o) {
      const { batch, inChannels, inHeight, inWidth, outChannels, outHeight, outWidth } = o;
      const { kernelHeight, kernelWidth, strideHeight, strideWidth, dilationHeight, dilationWidth, groups } = o;
      const x = host.floats('conv2d', 'x', o.x, inputSize(o));
      const weight = host.floats('conv2d', 'weight', o.weight, weightSize(o));
      const bias = o.bias && host.floats('conv2d', 'bias', o.bias, outChannels);
      const out = host.floats('conv2d', 'out', o.out, outputSize(o));
      const groupIn = inChannels / groups;
      const groupOut = outChannels / groups;

      let at = 0;
      for (let image = 0; image < batch; image++) {
        for (let oc = 0; oc < outChannels; oc++) {
          const firstChannel = Math.floor(oc / groupOut) * groupIn;
          for (let oh = 0; oh < outHeight; oh++) {
            for (let ow = 0; ow < outWidth; ow++) {
              let sum = 0;
              let tap = oc * groupIn * kernelHeight * kernelWidth;
              const left = ow * strideWidth - o.padLeft;
              for (let c = 0; c < groupIn; c++) {
                const plane = (image * inChannels + firstChannel + c) * inHeight * inWidth;
                for (let i = 0; i < kernelHeight; i++) {
                  const ih = oh * strideHeight - o.padTop + i * dilationHeight;
                  const row = plane + ih * inWidth;
                  const rowInside = ih >= 0 && ih < inHeight;
                  for (let j = 0; j < kernelWidth; j++) {
                    const iw = left + j * dilationWidth;
                    const value = rowInside && iw >= 0 && iw < inWidth ? x[row + iw] : 0;
                    sum = addProduct(sum, weight[tap], value, single);
                    tap++;
                  }
                }
              }
              out[at] = bias ? sum + bias[oc] : sum;
              at++;
            }
          }
        }
      }
    },

    conv2dBackwardInput(o) {
      const { batch, inChannels, inHeight, inWidth, outChannels, outHeight, outWidth } = o;
      const { kernelHeight, kernelWidth, strideHeight, strideWidth, dilationHeight, dilationWidth, groups } = o;
      const dy = host.floats('conv2dBackwardInput', 'dy', o.dy, outputSize(o));
      const weight = host.floats('conv2dBackwardInput', 'weight', o.weight, weightSize(o));
      const dx = host.floats('conv2dBackwardInput', 'dx', o.dx, inputSize(o));
      const groupIn = inChannels / groups;
      const groupOut = outChannels / groups;

      let at = 0;
      for (let image = 0; image < batch; image++) {
        for (let channel = 0; channel < inChannels; channel++) {
          const group = Math.floor(channel / groupIn);
          const c = channel - group * groupIn;
          for (let ih = 0; ih < inHeight; ih++) {
            for (let iw = 0; iw < inWidth; iw++) {
              let sum = 0;
              for (let oc = group * groupOut; oc < (group + 1) * groupOut; oc++) {
                const plane = (image * outChannels + oc) * outHeight * outWidth;
                const taps = (oc * groupIn + c) * kernelHeight * kernelWidth;
                for (let i = 0; i < kernelHeight; i++) {
                  // The output row that sees this input through kernel row i, if there is one.
                  const oh = (ih + o.padTop - i * dilationHeight) / strideHeight;
                  if (oh < 0 || oh >= outHeight || !isInteger(oh)) continue;
                  for (let j = 0; j < kernelWidth; j++) {
                    const ow = (iw + o.padLeft - j * dilationWidth) / strideWidth;
                    if (ow < 0 || ow >= outWidth || !isInteger(ow)) continue;
                    const tap = taps + i * kernelWidth + j;
                    sum = addProduct(sum, weight[tap], dy[plane + oh * outWidth + ow], single);
                  }
                }
              }
              dx[at] = sum;
              at++;
            }
          }
        }
      }
    },

    conv2dBackwardWeight(o) {
      const { batch, inChannels, inHeight, inWidth, outChannels, outHeight, outWidth } = o;
      const { kernelHeight, kernelWidth, strideHeight, strideWidth, dilationHeight, dilationWidth, groups } = o;
      const x = host.floats('conv2dBackwardWeight', 'x', o.x, inputSize(o));
      const dy = host.floats('conv2dBackwardWeight', 'dy', o.dy, outputSize(o));
      const dweight = host.floats('conv2dBackwardWeight', 'dweight', o.dweight, weightSize(o));
      const groupIn = inChannels / groups;
      const groupOut = outChannels / groups;

      let at = 0;
      for (let oc = 0; oc < outChannels; oc++) {
        const firstChannel = Math.floor(oc / groupOut) * groupIn;
        for (let c = 0; c < groupIn; c++) {
          for (let i = 0; i < kernelHeight; i++) {
            for (let j = 0; j < kernelWidth; j++) {
              const left = j * dilationWidth - o.padLeft;
              let total = 0;
              let block = 0;
              let q = 0;
              for (let image = 0; image < batch; image++) {
                const plane = (image * inChannels + firstChannel + c) * inHeight * inWidth;
                let atDy = (image * outChannels + oc) * outHeight * outWidth;
                for (let oh = 0; oh < outHeight; oh++) {
                  const ih = oh * strideHeight - o.padTop + i * dilationHeight;
                  const row = plane + ih * inWidth;
                  const rowInside = ih >= 0 && ih < inHeight;
                  for (let ow = 0; ow < outWidth; ow++) {
                    const iw = left + ow * strideWidth;
                    if (rowInside && iw >= 0 && iw < inWidth) {
                      block = addProduct(block, x[row + iw], dy[atDy], single);
                    }
                    atDy++;
                    q++;
                    if (q % WEIGHT_BLOCK === 0) {
                      total += block;
                      block = 0;
                    }
                  }
                }
              }
              dweight[at] = total + block;
              at++;
            }
          }
        }
      }
    },
  };
}
