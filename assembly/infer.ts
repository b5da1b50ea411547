/** The ABI of the build that only infers: what a forward pass in eval mode calls. */
import { Pool, maxPool2d as maxPool2dAndIndices } from './pool';

export { batchNormEval } from './batchnorm';
export { implicitGemm, implicitGemmScratch } from './conv2d';
export { copy } from './copy';
export { binary, fill, relu } from './elementwise';
export { padPlanes, subsamplePlanes } from './im2col';
export { matmul, matmulScratch } from './matmul';
export { packRows } from './pack';
export { adaptiveAvgPool2d, avgPool2d } from './pool';
export { expand, sum } from './reduce';
export { softmax } from './softmax';
export { winogradColumns, winogradConv, winogradFilterBytes, winogradFilters, winogradFilterXi, winogradScratch } from './winograd';

// @ts-ignore: what trains.ts looks for
@global const INFERS = true;

/** No gradient will ask where a maximum was. */
export function maxPool2d(g: Pool, x: usize, out: usize, _indices: usize): void {
  maxPool2dAndIndices(g, x, out, 0);
}
