/** What a model says of images, in eval mode. */
import { inferenceMode } from '../autograd.js';
import type { Device } from '../device/device.js';
import { ArgumentError } from '../errors.js';
import type { Module } from '../nn/module.js';
import type { Shape } from '../shape.js';
import { tensor } from '../tensor.js';

/** The device that the model's parameters are on. */
export function deviceOf(model: Module): Device {
  const [first] = model.stateDict().values();
  if (first === undefined) throw new ArgumentError('deviceOf: the model has no parameter; want one with weights');
  return first.device;
}

/**
 * The result of `model` in eval mode on pixels `[N, C, H, W]`, row-major, as plain numbers; each module's mode
 * is restored and everything made on the way freed.
 */
export async function predictLogits(model: Module, images: Float32Array, shape: Shape): Promise<ArrayLike<number>> {
  const device = deviceOf(model);
  const logits = model.inMode(false, () =>
    device.scope(() => inferenceMode(device, () => model.forward(tensor(images, shape, { device })))),
  );
  try {
    return (await logits.data()) as Float32Array;
  } finally {
    logits.dispose();
  }
}
