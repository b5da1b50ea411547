/** A model's forward pass in eval mode as a list of calls: what `compile` lays out and `exportOnnx` writes down. */
import { type OpNode, topologicalOrder } from '../autograd.js';
import type { Device } from '../device/device.js';
import { ArgumentError } from '../errors.js';
import { checkShape, formatShape, type Shape, sizeOf } from '../shape.js';
import { type Tensor, tensor } from '../tensor.js';
import type { Module } from './module.js';

/** The calls between x and y. */
export interface Recording {
  readonly device: Device;
  readonly x: Tensor;
  readonly y: Tensor;
  /** Each after all calls whose results it reads. Their other inputs live on: weights, and constants of the model. */
  readonly calls: readonly OpNode[];
}

/** The calls that made `y`, none of whose other inputs may die with the innermost scope. */
function callsBetween(op: string, x: Tensor, y: Tensor): OpNode[] {
  const calls: OpNode[] = [];
  for (const t of topologicalOrder(y)) {
    if (t.node !== null) calls.push(t.node as OpNode);
    else if (t !== x && t.device.scopes.ownsInnermost(t)) {
      throw new ArgumentError(
        `${op}: the forward pass made a tensor ${formatShape(t.shape)} that is not recorded, by tensor(), noGrad, inferenceMode or detach; want it kept in a field of the model, or computed by ops from x`,
      );
    }
  }
  return calls;
}

/**
 * Runs the model once in eval mode, on zeros of `inputShape`, and returns what `use` makes of the recording, whose tensors
 * are freed when `use` returns. `op`: who asks, for messages. `device`: for a model that has no tensors, so is on none.
 * @throws ArgumentError when the model is on no device, refuses the shape, or uses what is not recorded
 */
export function recordForward<T>(
  op: string,
  model: Module,
  inputShape: Shape,
  use: (recording: Recording) => T,
  device: Device | undefined = model.stateDict().values().next().value?.device,
): T {
  if (device === undefined) throw new ArgumentError(`${op}: the model has no parameters, so it is on no device`);
  checkShape(op, 'inputShape', inputShape);
  return device.scope(() => {
    const x = tensor(new Float32Array(sizeOf(inputShape)), inputShape, { device, requiresGrad: true });
    const y = model.inMode(false, () => model.forward(x));
    if (y.node === null && y !== x) {
      throw new ArgumentError(
        `${op}: the result does not depend on the input; inside noGrad and inferenceMode nothing is recorded`,
      );
    }
    return use({ device, x, y, calls: callsBetween(op, x, y) });
  });
}
