/**
 * `atalho/io`: file formats, bytes in and bytes out, no file system. (`atomic.ts` and `readFile.ts`, which need
 * Node, stay inside.)
 */
export { type GunzipOptions, gunzip } from './gzip.js';
export { type Idx, readIdx } from './idx.js';
export {
  readSafetensors,
  type Safetensors,
  type SafetensorsData,
  type SafetensorsDtype,
  type SafetensorsEntry,
  type SafetensorsInput,
  writeSafetensors,
} from './safetensors.js';
