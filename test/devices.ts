/** The devices that golden values, gradients and training are checked on. */
import { type Device, reference, wasm } from '../src/index.js';

export interface DeviceMaker {
  readonly name: string;
  readonly make: () => Promise<Device>;
  /** False where whole networks at full size would take minutes. */
  readonly fast: boolean;
  /** True where the device promises the bits of the reference of its dtype. */
  readonly exact?: boolean;
}

/** Three threads that share even the least work. */
async function threads(): Promise<Device> {
  const device = await wasm({ threads: 3 });
  (device as unknown as { context: { grain: number } }).context.grain = 1;
  return device;
}

export const devices: readonly DeviceMaker[] = [
  { name: 'reference float32', make: async () => reference(), fast: false },
  { name: 'wasm', make: () => wasm(), fast: true, exact: true },
  { name: 'wasm, 3 threads', make: threads, fast: true, exact: true },
  { name: 'reference float64', make: async () => reference({ dtype: 'float64' }), fast: false },
];
