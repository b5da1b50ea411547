/** Pooling on linear memory. */
import type { PoolGeometry } from '../../shape.js';
import type { AdaptivePoolGeometry, Kernels } from '../device.js';
import type { WasmContext } from './context.js';
import type { Kernel } from './team.js';

/** Bytes of eight float64 lanes. */
const LANES = 64;

/** Elements of a plane of the input and of the output. */
export const planes = (g: {
  inHeight: number;
  inWidth: number;
  outHeight: number;
  outWidth: number;
}): [number, number] => [g.inHeight * g.inWidth, g.outHeight * g.outWidth];

/**
 * Runs a pooling kernel by ranges of planes: a struct for each, with the fields of Pool in their order, `buffers` advanced
 * to the first plane, the arguments in `rest`, and `bytes` of scratch for each thread where it takes any.
 */
export const pool = (
  w: WasmContext,
  kernel: Kernel,
  g: PoolGeometry,
  buffers: readonly (readonly [address: number, planeElements: number])[],
  rest: readonly number[] = [],
  bytes = 0,
): void => {
  const parts = w.split(g.planes, g.planes * (g.inHeight * g.inWidth + g.outHeight * g.outWidth), 1, 4);
  const lanes = bytes > 0 ? w.scratch(w.threads * bytes) : 0;
  w.parallel(
    kernel,
    parts.map(([from, to]) => {
      const struct = w.tables.write(
        [to - from, g.inHeight, g.inWidth, g.outHeight, g.outWidth, g.kernelHeight, g.kernelWidth],
        [g.strideHeight, g.strideWidth, g.padTop, g.padLeft, g.padBottom, g.padRight],
        [g.dilationHeight, g.dilationWidth],
      );
      const addresses = buffers.map(([address, elements]) => address + 4 * from * elements);
      return [struct, ...addresses, ...rest, ...(bytes > 0 ? [lanes] : [])];
    }),
  );
};
export const window = (g: AdaptivePoolGeometry): PoolGeometry => {
  const none = { kernelHeight: 0, kernelWidth: 0, strideHeight: 0, strideWidth: 0 };
  return { ...g, ...none, padTop: 0, padLeft: 0, padBottom: 0, padRight: 0, dilationHeight: 1, dilationWidth: 1 };
};

export function poolKernels(w: WasmContext): Pick<Kernels, 'maxPool2d' | 'avgPool2d' | 'adaptiveAvgPool2d'> {
  return {
    maxPool2d(o) {
      const [inPlane, outPlane] = planes(o);
      pool(w, 'maxPool2d', o, [
        [w.input(o.x, o.planes * inPlane), inPlane],
        [w.address(o.out, o.planes * outPlane), outPlane],
        // At address 0 there are none.
        [
          o.indices === null ? 0 : w.address(o.indices, o.planes * outPlane, 'int32'),
          o.indices === null ? 0 : outPlane,
        ],
      ]);
    },
    avgPool2d(o) {
      const [inPlane, outPlane] = planes(o);
      const buffers = [
        [w.input(o.x, o.planes * inPlane), inPlane],
        [w.address(o.out, o.planes * outPlane), outPlane],
      ] as const;
      pool(w, 'avgPool2d', o, buffers, [Number(o.countIncludePad)]);
    },
    adaptiveAvgPool2d(o) {
      const [inPlane, outPlane] = planes(o);
      const buffers = [
        [w.input(o.x, o.planes * inPlane), inPlane],
        [w.address(o.out, o.planes * outPlane), outPlane],
      ] as const;
      pool(w, 'adaptiveAvgPool2d', window(o), buffers, [], LANES);
    },
  };
}
