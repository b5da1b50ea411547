/** The devices that the command knows by name. */
import type { Device } from '../device/device.js';
import { reference } from '../device/reference.js';
import { wasm } from '../device/wasm/index.js';
import { ArgumentError } from '../errors.js';

/** Threads of the device: a number, or one for each processor. */
export type Threads = number | 'auto';

const DEVICES: ReadonlyMap<string, (threads: Threads) => Promise<Device>> = new Map([
  ['wasm', (threads: Threads) => wasm({ threads })],
  ['reference', async () => reference()],
]);

export const deviceNames: readonly string[] = [...DEVICES.keys()];

export const DEFAULT_DEVICE = 'wasm';

/** The device of that name. Throws `ArgumentError`, listing what there is. */
export async function makeDevice(name: string, threads: Threads = 'auto'): Promise<Device> {
  const make = DEVICES.get(name);
  if (make === undefined) {
    throw new ArgumentError(`there is no device ${JSON.stringify(name)}; want one of ${deviceNames.join(', ')}`);
  }
  return make(threads);
}
