/** The ABI of the build that only infers: what a forward pass in eval mode calls. */
export { batchNormEval } from './batchnorm';
export { implicitGemm, implicitGemmScratch } from './conv2d';
export { copy } from './copy';
export { binary, fill, relu } from './elementwise';
export { expandTaps, padPlanes, subsamplePlanes } from './im2col';
export { matmul, matmulScratch } from './matmul';
export { packRows } from './pack';
export { adaptiveAvgPool2d, avgPool2d, maxPool2d } from './pool';
export { expand, sum } from './reduce';
export { softmax } from './softmax';
export { winogradColumns, winogradConv, winogradFilterBytes, winogradFilters, winogradFilterXi, winogradScratch } from './winograd';
