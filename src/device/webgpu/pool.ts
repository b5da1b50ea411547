/** Pooling, one invocation an element of the result. Gradients gather from the windows that cover an input: no atomics. */
import type { AdaptivePoolGeometry, Kernels } from '../device.js';
import type { WebgpuContext } from './context.js';
import { adaptiveAvgPool2d, adaptiveAvgPool2dBackward } from './shaders/adaptiveAvgPool2d.js';
import { avgPool2d, avgPool2dBackward } from './shaders/avgPool2d.js';
import { maxPool2d, maxPool2dBackward } from './shaders/maxPool2d.js';

const inputSize = (o: AdaptivePoolGeometry): number => o.planes * o.inHeight * o.inWidth;
const outputSize = (o: AdaptivePoolGeometry): number => o.planes * o.outHeight * o.outWidth;

export function poolKernels(
  g: WebgpuContext,
): Pick<
  Kernels,
  | 'maxPool2d'
  | 'maxPool2dBackward'
  | 'avgPool2d'
  | 'avgPool2dBackward'
  | 'adaptiveAvgPool2d'
  | 'adaptiveAvgPool2dBackward'
> {
  return {
    maxPool2d({ x, out, indices, ...o }) {
      const size = outputSize(o);
      g.expect('maxPool2d', 'x', x, inputSize(o));
      g.expect('maxPool2d', 'out', out, size);
      g.expect('maxPool2d', 'indices', indices, size, 'int32');
      g.dispatch(maxPool2d, { x, out, indices }, { ...o, size }, { elements: size });
    },
    maxPool2dBackward({ dy, indices, dx, ...o }) {
      const size = inputSize(o);
      g.expect('maxPool2dBackward', 'dy', dy, outputSize(o));
      g.expect('maxPool2dBackward', 'indices', indices, outputSize(o), 'int32');
      g.expect('maxPool2dBackward', 'dx', dx, size);
      g.dispatch(maxPool2dBackward, { dy, indices, dx }, { ...o, size }, { elements: size });
    },
    avgPool2d({ x, out, countIncludePad, ...o }) {
      const size = outputSize(o);
      g.expect('avgPool2d', 'x', x, inputSize(o));
      g.expect('avgPool2d', 'out', out, size);
      const constants = { COUNT_INCLUDE_PAD: countIncludePad };
      g.dispatch(avgPool2d, { x, out }, { ...o, size }, { elements: size }, constants);
    },
    avgPool2dBackward({ dy, dx, countIncludePad, ...o }) {
      const size = inputSize(o);
      g.expect('avgPool2dBackward', 'dy', dy, outputSize(o));
      g.expect('avgPool2dBackward', 'dx', dx, size);
      const constants = { COUNT_INCLUDE_PAD: countIncludePad };
      g.dispatch(avgPool2dBackward, { dy, dx }, { ...o, size }, { elements: size }, constants);
    },
    adaptiveAvgPool2d({ x, out, ...o }) {
      const size = outputSize(o);
      g.expect('adaptiveAvgPool2d', 'x', x, inputSize(o));
      g.expect('adaptiveAvgPool2d', 'out', out, size);
      g.dispatch(adaptiveAvgPool2d, { x, out }, { ...o, size }, { elements: size });
    },
    adaptiveAvgPool2dBackward({ dy, dx, ...o }) {
      const size = inputSize(o);
      g.expect('adaptiveAvgPool2dBackward', 'dy', dy, outputSize(o));
      g.expect('adaptiveAvgPool2dBackward', 'dx', dx, size);
      g.dispatch(adaptiveAvgPool2dBackward, { dy, dx }, { ...o, size }, { elements: size });
    },
  };
}
