/** `atalho/embed/reference`: infers and trains where there is no WebAssembly, with the same bits. */
import type { Device } from '../device/device.js';
import { conv } from '../device/reference/conv.js';
import { checkReference, kernelsOn, type ReferenceBounds, ReferenceDevice } from '../device/reference/device.js';
import { DeviceError } from '../errors.js';

export type { ReferenceBounds } from '../device/reference/device.js';
export * from './common.js';
export * from './d2l.js';
export * from './training.js';

function refuse(kernel: string): never {
  throw new DeviceError(`${kernel}: not in this build; use atalho/embed`);
}

/**
 * A device of plain loops, in exact mode: `float32` (the default) gives the bits that the exact mode of every other device gives,
 * `float64` the same sums nearly without rounding.
 * @throws ArgumentError when an option is out of its range
 */
export function reference(o: ReferenceBounds = {}): Device {
  const options = o ?? {};
  checkReference(options);
  const { dtype = 'float32', maxMemoryBytes = Number.POSITIVE_INFINITY } = options;
  return new ReferenceDevice(dtype, maxMemoryBytes, (host) => ({
    ...kernelsOn(host, conv(host)),
    prepareConv2d: () => refuse('prepareConv2d'),
    copy: () => refuse('copy'),
    rmsprop: () => refuse('rmsprop'),
  }));
}
