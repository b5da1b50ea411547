/**
 * Counter: an int64 scalar whose value the host knows too, so that counting never waits for a device.
 */
import type { Device } from './device/device.js';
import { reading } from './errors.js';
import { keep, Tensor } from './tensor.js';

/** A kept int64 tensor of shape `[]`. */
export class Counter extends Tensor {
  private current = 0n;

  constructor(device: Device) {
    super(device, [], device.alloc(1, 'int64'));
    keep(this);
    this.value = 0n;
  }

  /** The count, known without asking the device. */
  get value(): bigint {
    return this.current;
  }

  /** Sets the count, here and in the device's memory. */
  set value(value: bigint) {
    this.write([value]);
  }

  override async to(device: Device): Promise<Counter> {
    if (device === this.device) return this;
    const copy = new Counter(device);
    copy.value = this.value;
    return copy;
  }

  override write(data: ArrayLike<number> | ArrayLike<bigint>): void {
    const exact = reading('write', () => BigInt64Array.of(BigInt(data[0])));
    super.write(exact);
    this.current = exact[0];
  }
}
