import { defineOp } from '../autograd.js';
import type { Tensor } from '../tensor.js';

const op = defineOp({
  name: 'relu',
  inputs: ['x'],
  plan: ([x]: readonly [Tensor]) => ({ shape: x.shape }),
  forward({ kernels, inputs: [x], out }) {
    kernels.relu({ x, out });
  },
  // The mask comes from the result, so the input may be gone by then.
  needs: { inputs: false },
  backward({ kernels, out, dy, grad }) {
    const dx = grad(0);
    if (dx) kernels.reluBackward({ y: out, dy, dx });
  },
});

/**
 * max(x, 0), elementwise; any shape. NaN stays NaN, −0 becomes +0, and the gradient at 0 is 0.
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.relu.html
 */
export function relu(x: Tensor): Tensor {
  return op([x], undefined);
}
