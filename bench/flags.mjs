/** Node 20 has relaxed SIMD behind a flag; to be imported before anything is compiled. */
import { setFlagsFromString } from 'node:v8';

if (Number(process.versions.node.split('.')[0]) < 22) setFlagsFromString('--experimental-wasm-relaxed-simd');
