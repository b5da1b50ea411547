/** Pooling on linear memory. */
import type { PoolGeometry } from '../../shape.js';
import type { AdaptivePoolGeometry, Kernels } from '../device.js';
import type { WasmContext } from './context.js';

/** The struct lies behind this much scratch for lanes. */
const LANES = 64;

export function poolKernels(
  w: WasmContext,
): Pick<
  Kernels,
  | 'maxPool2d'
  | 'maxPool2dBackward'
  | 'avgPool2d'
  | 'avgPool2dBackward'
  | 'adaptiveAvgPool2d'
  | 'adaptiveAvgPool2dBackward'
> {
  const { exports } = w;

  /** Writes the fields of Pool (assembly/pool.ts) in their order behind `bytes` of scratch; the scratch's address. */
  const pool = (g: PoolGeometry, bytes: number): { scratch: number; struct: number } => {
    const scratch = w.scratch(bytes + 64);
    w.writeInts(scratch + bytes, [
      ...[g.planes, g.inHeight, g.inWidth, g.outHeight, g.outWidth, g.kernelHeight, g.kernelWidth],
      ...[g.strideHeight, g.strideWidth, g.padHeight, g.padWidth, g.dilationHeight, g.dilationWidth],
    ]);
    return { scratch, struct: scratch + bytes };
  };
  const adaptive = (g: AdaptivePoolGeometry, bytes: number) => {
    const none = { kernelHeight: 0, kernelWidth: 0, strideHeight: 0, strideWidth: 0, padHeight: 0, padWidth: 0 };
    return pool({ ...g, ...none, dilationHeight: 1, dilationWidth: 1 }, bytes);
  };

  return {
    maxPool2d(o) {
      exports.maxPool2d(
        pool(o, 0).struct,
        w.address(o.x, o.planes * o.inHeight * o.inWidth),
        w.address(o.out, o.planes * o.outHeight * o.outWidth),
        w.address(o.indices, o.planes * o.outHeight * o.outWidth, 'int32'),
      );
    },
    maxPool2dBackward(o) {
      exports.fill(w.address(o.dx, o.planes * o.inHeight * o.inWidth), 0, o.dx.size);
      exports.maxPool2dBackward(
        pool(o, 0).struct,
        w.address(o.dy, o.planes * o.outHeight * o.outWidth),
        w.address(o.indices, o.planes * o.outHeight * o.outWidth, 'int32'),
        w.address(o.dx, o.planes * o.inHeight * o.inWidth),
      );
    },
    avgPool2d(o) {
      exports.avgPool2d(
        pool(o, 0).struct,
        w.address(o.x, o.planes * o.inHeight * o.inWidth),
        w.address(o.out, o.planes * o.outHeight * o.outWidth),
        Number(o.countIncludePad),
      );
    },
    avgPool2dBackward(o) {
      const { scratch, struct } = pool(o, o.inHeight * o.inWidth * 8);
      exports.avgPool2dBackward(
        struct,
        w.address(o.dy, o.planes * o.outHeight * o.outWidth),
        w.address(o.dx, o.planes * o.inHeight * o.inWidth),
        Number(o.countIncludePad),
        scratch,
      );
    },
    adaptiveAvgPool2d(o) {
      const { scratch, struct } = adaptive(o, LANES);
      exports.adaptiveAvgPool2d(
        struct,
        w.address(o.x, o.planes * o.inHeight * o.inWidth),
        w.address(o.out, o.planes * o.outHeight * o.outWidth),
        scratch,
      );
    },
    adaptiveAvgPool2dBackward(o) {
      const { scratch, struct } = adaptive(o, o.inHeight * o.inWidth * 8);
      exports.adaptiveAvgPool2dBackward(
        struct,
        w.address(o.dy, o.planes * o.outHeight * o.outWidth),
        w.address(o.dx, o.planes * o.inHeight * o.inWidth),
        scratch,
      );
    },
  };
}
