/** The devices that golden values, gradients and training are checked on. */
import { setFlagsFromString } from 'node:v8';
import { type Device, reference, type WasmMath, wasm } from '../src/index.js';
import { DOUBLE, FAST, type Precision, WIDE } from '../src/oracle/index.js';

// Node 20 has relaxed SIMD behind a flag.
if (Number(process.versions.node.split('.')[0]) < 22) setFlagsFromString('--experimental-wasm-relaxed-simd');

export interface DeviceMaker {
  readonly name: string;
  readonly make: () => Promise<Device>;
  /** False where whole networks at full size would take minutes. */
  readonly fast: boolean;
  /** The reference whose bits the device promises; none where it promises a bound alone. */
  readonly against?: () => Device;
  /** What its bounds assume. */
  readonly precision: Precision;
}

/** Three threads that share even the least work. */
async function threads(math: WasmMath = 'exact'): Promise<Device> {
  const device = await wasm({ threads: 3, math });
  (device as unknown as { context: { grain: number } }).context.grain = 1;
  return device;
}

/** Those in the order of sums that the contract has. */
export const devices: readonly DeviceMaker[] = [
  { name: 'reference float32', make: async () => reference(), fast: false, precision: WIDE },
  { name: 'wasm', make: () => wasm(), fast: true, against: () => reference(), precision: WIDE },
  { name: 'wasm, 3 threads', make: () => threads(), fast: true, against: () => reference(), precision: WIDE },
  {
    name: 'reference float64',
    make: async () => reference({ dtype: 'float64' }),
    fast: false,
    precision: DOUBLE,
  },
];

const fastReference = (): Device => reference({ math: 'fast' });

/** Those that may use other algorithms. */
export const fastDevices: readonly DeviceMaker[] = [
  { name: 'reference float32, fast', make: async () => fastReference(), fast: false, precision: FAST },
  { name: 'wasm, fast', make: () => wasm({ math: 'fast' }), fast: true, against: fastReference, precision: FAST },
  { name: 'wasm, fast, 3 threads', make: () => threads('fast'), fast: true, against: fastReference, precision: FAST },
  { name: 'wasm, relaxed', make: () => wasm({ math: 'relaxed' }), fast: true, precision: FAST },
];
