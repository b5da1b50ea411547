/**
 * The reference device: the whole contract of `device.ts` in plain loops, the specification that every other device is
 * judged by. Its kernels stand in `reference/`, one file a family. In float32 each step is rounded by `Math.fround`;
 * in float64 the same loops run unrounded, for gradient checks and error bounds.
 */
import { ArgumentError, show } from '../errors.js';
import type { Device } from './device.js';
import { conv } from './reference/conv.js';
import { copy } from './reference/copy.js';
import { checkReference, kernelsOn, type ReferenceBounds, ReferenceDevice } from './reference/device.js';
import { prepared } from './reference/prepared.js';
import { rmsprop } from './reference/rmsprop.js';
import { winograd } from './reference/winograd.js';

/** The dtype, the mode and the memory of a reference device. */
export interface ReferenceOptions extends ReferenceBounds {
  /** `'fast'`: the bits of the fast mode of other devices, Winograd's convolution and all. `'exact'` by default. */
  math?: 'exact' | 'fast';
}

/**
 * A reference device: plain loops on the CPU that run in any JavaScript engine. `float32` (the default) gives the
 * bits that the exact mode of every other device gives; `float64` the same sums nearly without rounding.
 * @throws ArgumentError when an option is out of its range
 */
export function reference(o: ReferenceOptions = {}): Device {
  const { math = 'exact', ...options } = o ?? {};
  if (math !== 'exact' && math !== 'fast') {
    throw new ArgumentError(`reference: math is ${show(math)}; want 'exact' or 'fast'`);
  }
  checkReference(options);
  const { dtype = 'float32', maxMemoryBytes = Number.POSITIVE_INFINITY } = options;
  return new ReferenceDevice(dtype, maxMemoryBytes, (host) => {
    const direct = conv(host);
    const kernels = kernelsOn(host, math === 'exact' ? direct : winograd(host, direct));
    return { ...kernels, ...copy(host), ...rmsprop(host), ...prepared(host, kernels, math === 'fast') };
  });
}
