/** The devices that the command knows by name. */
import { setFlagsFromString } from 'node:v8';
import type { Device } from '../device/device.js';
import { reference } from '../device/reference.js';
import { type WasmMath, wasm } from '../device/wasm/index.js';
import { webgpu } from '../device/webgpu/index.js';
import { ArgumentError, AtalhoError, DeviceError } from '../errors.js';
import { print, warn } from './output.js';

/** Threads of the device: a number, or one for each processor. */
export type Threads = number | 'auto';

type Make = (threads: Threads, math: WasmMath) => Promise<Device>;

const KNOWN: readonly [string, Make][] = [
  [
    'webgpu',
    async (_, math) => {
      if (math === 'relaxed') throw new ArgumentError("the webgpu device has no math 'relaxed'; want exact or fast");
      return webgpu({ math: math === 'fast' ? 'fast' : 'direct' });
    },
  ],
  ['wasm', (threads, math) => wasm({ threads, math, onWarning: warn })],
  [
    'reference',
    async (_, math) => {
      if (math === 'relaxed') throw new ArgumentError("the reference device has no math 'relaxed'; want exact or fast");
      return reference({ math });
    },
  ],
];

/** The first that this host has, in the order of speed; says which, and why not those before it. */
const auto: Make = async (threads, math) => {
  const reasons: string[] = [];
  for (const [name, make] of KNOWN) {
    try {
      const device = await make(threads, math);
      print(`device: ${describeDevice(device)}${reasons.length === 0 ? '' : `, since ${reasons.join('; ')}`}`);
      return device;
    } catch (error) {
      if (!(error instanceof AtalhoError)) throw error;
      reasons.push(error.message.startsWith(name) ? error.message : `${name}: ${error.message}`);
    }
  }
  throw new DeviceError(`no device: ${reasons.join('; ')}`);
};

const DEVICES: ReadonlyMap<string, Make> = new Map([...KNOWN, ['auto', auto]]);

/** A device's name, and of a GPU what computes. */
export function describeDevice(device: Device): string {
  return 'adapter' in device ? `${device.name} (${String(device.adapter)})` : device.name;
}

export const deviceNames: readonly string[] = [...DEVICES.keys()];

/** Not the fastest: what it computes is the same everywhere, to the last bit. */
export const DEFAULT_DEVICE = 'wasm';

/** Node 20 has relaxed SIMD behind a flag. */
function allowRelaxedSimd(): void {
  if (Number(process.versions.node.split('.')[0]) < 22) setFlagsFromString('--experimental-wasm-relaxed-simd');
}

/** The device of that name. Throws `ArgumentError`, listing what there is. */
export async function makeDevice(name: string, threads: Threads = 'auto', math = 'exact'): Promise<Device> {
  const make = DEVICES.get(name);
  if (make === undefined) {
    throw new ArgumentError(`there is no device ${JSON.stringify(name)}; want one of ${deviceNames.join(', ')}`);
  }
  if (math === 'relaxed') allowRelaxedSimd();
  return make(threads, math as WasmMath);
}
