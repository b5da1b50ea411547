/** `atalho/embed`: one file for sandboxes, the WASM inside, that infers and trains. */
import { WASM_EXPORTS, WASM_TEXT } from '../device/wasm/binary.gen.js';
import { allKernels } from '../device/wasm/kernels.js';
import { embedWasm } from './wasm.js';

export { reference } from '../device/reference.js';
export type { WasmDevice } from '../device/wasm/linearMemoryDevice.js';
export type { WorkerLike } from '../device/wasm/team.js';
export * from '../models/index.js';
export * from '../nn/index.js';
export * from '../ops/index.js';
export * from '../optim/index.js';
export * from './common.js';
export * from './training.js';
export type { EmbedWasmOptions } from './wasm.js';

/**
 * A device on WebAssembly SIMD, of the same bits on any engine.
 * @throws ArgumentError when an option is out of its range, or `module` another binary
 * @throws DeviceError where the engine has no WebAssembly, or none with SIMD, or refuses to compile: use `reference()` there
 * @throws OutOfMemoryError when not even the first pages can be had
 */
export const wasm = embedWasm(WASM_TEXT, WASM_EXPORTS, allKernels);
