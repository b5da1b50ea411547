/** `atalho/embed/infer`: one file for sandboxes, the WASM inside, that only infers. */
import type { Kernels } from '../device/device.js';
import type { WasmContext } from '../device/wasm/context.js';
import { inferenceKernels } from '../device/wasm/kernels.js';
import type { WasmMath } from '../device/wasm/linearMemoryDevice.js';
import { DeviceError } from '../errors.js';
import { WASM_INFER_EXPORTS, WASM_INFER_TEXT } from './inferBinary.gen.js';
import { embedWasm } from './wasm.js';

export type { WasmDevice } from '../device/wasm/linearMemoryDevice.js';
export type { WorkerLike } from '../device/wasm/team.js';
export * from '../models/torchvision.js';
export { CompiledModel, type CompileOptions, compile } from '../nn/compile.js';
export { matmul } from '../ops/matmul.js';
export * from './common.js';
export * from './d2l.js';
export type { EmbedWasmOptions } from './wasm.js';

type Training = Exclude<keyof Kernels, keyof ReturnType<typeof inferenceKernels>>;

/** The kernels that the binary lacks. */
const TRAINING: Record<Training, null> = {
  ...{ batchNormTrain: null, batchNormBackward: null, accumulate: null, reluBackward: null },
  ...{ conv2dBackwardInput: null, conv2dBackwardWeight: null, maxPool2dBackward: null, avgPool2dBackward: null },
  ...{ adaptiveAvgPool2dBackward: null, softmaxBackward: null, logSoftmaxBackward: null },
  ...{ crossEntropy: null, crossEntropyBackward: null, sgd: null, adam: null, rmsprop: null },
};

function kernels(w: WasmContext, math: WasmMath): Kernels {
  const missing = Object.keys(TRAINING).map((name) => [
    name,
    () => {
      throw new DeviceError(`${name}: this build only infers; model.eval() first, and train with atalho/embed`);
    },
  ]);
  return { ...inferenceKernels(w, math), ...(Object.fromEntries(missing) as Record<Training, never>) };
}

/**
 * A device on WebAssembly SIMD that only infers, of the same bits on any engine; a kernel of training throws DeviceError.
 * @throws ArgumentError when an option is out of its range, or `module` another binary
 * @throws DeviceError where the engine has no WebAssembly, or none with SIMD, or refuses to compile
 * @throws OutOfMemoryError when not even the first pages can be had
 */
export const wasm = embedWasm(WASM_INFER_TEXT, WASM_INFER_EXPORTS, kernels);
