/** The whole ABI: what `device/wasm` may call. Pointers are byte addresses, structs are read in field order. */
export { batchNormBackward, batchNormEval, batchNormTrain } from './batchnorm';
export { implicitGemm, implicitGemmScratch, repairInput } from './conv2d';
export { copy } from './copy';
export { repairWeight, weightGemm, weightGemmScratch, weightGemmSums } from './convWeight';
export { accumulate, binary, fill, relu, reluBackward } from './elementwise';
export { tilePeak } from './gemm';
export { mergePhases, padPlanes, subsamplePlanes } from './im2col';
export { matmul, matmulScratch } from './matmul';
export { adam, rmsprop, sgd } from './optim';
export { packFilters, packRows } from './pack';
export {
  adaptiveAvgPool2d,
  adaptiveAvgPool2dBackward,
  avgPool2d,
  avgPool2dBackward,
  maxPool2d,
  maxPool2dBackward,
} from './pool';
export { expand, sum } from './reduce';
export { crossEntropy, crossEntropyBackward, softmax, softmaxBackward } from './softmax';
export { winogradColumns, winogradConv, winogradFilterBytes, winogradFilters, winogradFilterXi, winogradScratch } from './winograd';
export { winogradFarFilters } from './winogradFar';
export { winogradWeight, winogradWeightScratch } from './winogradWeight';
