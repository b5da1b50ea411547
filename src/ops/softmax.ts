/** softmax and logSoftmax along one axis, in float64 with the project's own exp and log. */
import { defineOp } from '../autograd.js';
import type { AxisGeometry } from '../device/device.js';
import { ArgumentError } from '../errors.js';
import { axis, formatShape, type Shape, sizeOf } from '../shape.js';
import type { Tensor } from '../tensor.js';

function along(op: string, x: Tensor, dim: number): { shape: Shape; geometry: AxisGeometry } {
  const { shape } = x;
  // A scalar is its own axis, as in PyTorch.
  const own = shape.length === 0 ? [1] : shape;
  const at = axis(op, 'dim', dim, own.length);
  if (own[at] === 0) throw new ArgumentError(`${op}: x ${formatShape(shape)} has no elements along dim ${dim}`);
  return { shape, geometry: { outer: sizeOf(own.slice(0, at)), extent: own[at], inner: sizeOf(own.slice(at + 1)) } };
}

const softmaxOp = defineOp({
  name: 'softmax',
  inputs: ['x'],
  plan: ([x]: readonly [Tensor], dim: number) => along('softmax', x, dim),
  forward({ kernels, inputs: [x], out }, { geometry }) {
    kernels.softmax({ x, out, ...geometry });
  },
  needs: { inputs: false },
  backward({ kernels, out, dy, grad }, { geometry }) {
    const dx = grad(0);
    if (dx) kernels.softmaxBackward({ y: out, dy, dx, ...geometry });
  },
});

const logSoftmaxOp = defineOp({
  name: 'logSoftmax',
  inputs: ['x'],
  plan: ([x]: readonly [Tensor], dim: number) => along('logSoftmax', x, dim),
  forward({ kernels, inputs: [x], out }, { geometry }) {
    kernels.logSoftmax({ x, out, ...geometry });
  },
  needs: { inputs: false },
  backward({ kernels, out, dy, grad }, { geometry }) {
    const dx = grad(0);
    if (dx) kernels.logSoftmaxBackward({ y: out, dy, dx, ...geometry });
  },
});

/**
 * exp(x) / Σ exp(x) along axis `dim` (the last by default); any shape, the result has it too.
 * @throws ArgumentError when dim is out of range or empty
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.softmax.html
 */
export function softmax(x: Tensor, dim = -1): Tensor {
  return softmaxOp([x], dim);
}

/**
 * x − log Σ exp(x) along axis `dim` (the last by default); any shape, the result has it too.
 * @throws ArgumentError when dim is out of range or empty
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.log_softmax.html
 */
export function logSoftmax(x: Tensor, dim = -1): Tensor {
  return logSoftmaxOp([x], dim);
}
