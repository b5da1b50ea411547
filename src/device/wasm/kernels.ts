/** The whole contract on linear memory. */
import type { Kernels } from '../device.js';
import { Besides } from './beside.js';
import type { WasmContext } from './context.js';
import { convForward } from './conv2d.js';
import { convBackward } from './conv2dBackward.js';
import { elementwiseKernels } from './elementwise.js';
import type { WasmMath } from './linearMemoryDevice.js';
import { matmulKernels } from './matmul.js';
import { normalizationKernels } from './normalization.js';
import { normalizationTraining } from './normalizationTraining.js';
import { poolKernels } from './pool.js';
import { poolBackward } from './poolBackward.js';
import { preparedKernels } from './prepared.js';
import { updateKernels } from './update.js';
import { winogradForward } from './winograd.js';
import { winogradBackward } from './winogradBackward.js';

/** What a forward pass in eval mode takes. */
export function inferenceKernels(w: WasmContext, math: WasmMath) {
  const direct = convForward(w);
  const { planConv, ...forward } = math === 'exact' ? direct : winogradForward(w, direct);
  return {
    ...forward,
    ...preparedKernels(w, planConv, math !== 'exact'),
    ...elementwiseKernels(w),
    ...matmulKernels(w),
    ...normalizationKernels(w),
    ...poolKernels(w),
  };
}

export function allKernels(w: WasmContext, math: WasmMath): Kernels {
  if (w.team !== null) w.besides = new Besides(w, w.team);
  const direct = convBackward(w);
  return {
    ...inferenceKernels(w, math),
    ...(math === 'exact' ? direct : winogradBackward(w, direct)),
    ...normalizationTraining(w),
    ...poolBackward(w),
    ...updateKernels(w),
  };
}
