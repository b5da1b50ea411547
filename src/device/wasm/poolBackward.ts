/** Gradients of pooling on linear memory. */
import type { Kernels } from '../device.js';
import type { WasmContext } from './context.js';
import { planes, pool, window } from './pool.js';

export function poolBackward(
  w: WasmContext,
): Pick<Kernels, 'maxPool2dBackward' | 'avgPool2dBackward' | 'adaptiveAvgPool2dBackward'> {
  return {
    maxPool2dBackward(o) {
      const [inPlane, outPlane] = planes(o);
      const dx = w.address(o.dx, o.planes * inPlane);
      w.parallel(
        'fill',
        w.split(o.dx.size, o.dx.size / 4, 16).map(([from, to]) => [dx + 4 * from, 0, to - from]),
      );
      pool(w, 'maxPool2dBackward', o, [
        [w.input(o.dy, o.planes * outPlane), outPlane],
        [w.input(o.indices, o.planes * outPlane, 'int32'), outPlane],
        [dx, inPlane],
      ]);
    },
    avgPool2dBackward(o) {
      const [inPlane, outPlane] = planes(o);
      const buffers = [
        [w.input(o.dy, o.planes * outPlane), outPlane],
        [w.address(o.dx, o.planes * inPlane), inPlane],
      ] as const;
      pool(w, 'avgPool2dBackward', o, buffers, [Number(o.countIncludePad)], inPlane * 8);
    },
    adaptiveAvgPool2dBackward(o) {
      const [inPlane, outPlane] = planes(o);
      const buffers = [
        [w.input(o.dy, o.planes * outPlane), outPlane],
        [w.address(o.dx, o.planes * inPlane), inPlane],
      ] as const;
      pool(w, 'adaptiveAvgPool2dBackward', window(o), buffers, [], inPlane * 8);
    },
  };
}
