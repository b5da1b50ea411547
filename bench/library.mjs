/**
 * What the bench takes from the built library, in one place. Run `npm run build` first (`npm run bench` does).
 * WASM_TEXT is the binary that the device itself runs: the bench takes the micro-kernel out of the same bytes.
 */

export { WASM_TEXT } from '../dist/device/wasm/binary.gen.js';
export { decodeBinary } from '../dist/device/wasm/binary.js';
export { wasm } from '../dist/device/wasm/index.js';
export { winogradTile } from '../dist/device/winograd.js';
export * from '../dist/index.js';
export { exportOnnx } from '../dist/onnx/index.js';
export * as oracle from '../dist/oracle/index.js';
