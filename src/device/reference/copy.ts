/** Copies between strided tensors, what pad, slice, cat and permute are made of; in a file of its own for builds without them. */
import { reach, sizeOf } from '../../shape.js';
import type { Kernels } from '../device.js';
import { type Host, Walk } from './host.js';

export function copy(host: Host): Pick<Kernels, 'copy'> {
  return {
    copy({ shape, xOffset, xStrides, outOffset, outStrides, ...o }) {
      const size = sizeOf(shape);
      const x = host.floats('copy', 'x', o.x, size === 0 ? 0 : xOffset + reach(shape, xStrides));
      const out = host.floats('copy', 'out', o.out, size === 0 ? 0 : outOffset + reach(shape, outStrides));
      const atX = new Walk(shape, xStrides);
      const atOut = new Walk(shape, outStrides);
      for (let i = 0; i < size; i++) {
        out[outOffset + atOut.offset] = x[xOffset + atX.offset];
        atX.next();
        atOut.next();
      }
    },
  };
}
