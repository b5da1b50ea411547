/**
 * `atalho/io`: file formats, bytes in and bytes out, no file system. (`atomic.ts` and `readFile.ts`, which need
 * Node, stay inside.)
 */
export { type GunzipOptions, gunzip } from './gzip.js';
export { type Idx, readIdx } from './idx.js';
export { type ReadPthOptions, readPth } from './pth/readPth.js';
export { pthStateDict } from './pth/stateDict.js';
export type { PthDtype, PthTensor, PthValue } from './pth/values.js';
export {
  readSafetensors,
  type Safetensors,
  type SafetensorsData,
  type SafetensorsDtype,
  type SafetensorsEntry,
  type SafetensorsInput,
  writeSafetensors,
} from './safetensors.js';
