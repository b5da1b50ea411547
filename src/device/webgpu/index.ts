/** The WebGPU device: the whole contract in WGSL, one shader a file, in a browser or on Dawn in Node. */
import { ArgumentError, DeviceError, show } from '../../errors.js';
import type { GPUDevice } from '../../hostTypes.js';
import type { Buffer, Device, DType, Kernels, MemoryUse, TypedArray } from '../device.js';
import { ScopeStack } from '../scope.js';
import { webgpuWinogradTile } from '../winograd.js';
import { type AdapterKind, WebgpuContext, type WebgpuCounts } from './context.js';
import { convKernels } from './conv2d.js';
import { elementwiseKernels } from './elementwise.js';
import { hostGpu } from './host.js';
import { matmulKernels } from './matmul.js';
import { normalizationKernels } from './normalization.js';
import { poolKernels } from './pool.js';
import { Profiler, type ShaderTime } from './profile.js';

export type { AdapterKind, WebgpuCounts } from './context.js';
export type { ShaderTime } from './profile.js';

/** `'fast'`: convolutions by Winograd's algorithm where that is less work; within an error bound of its own. */
export type WebgpuMath = 'direct' | 'fast';

/**
 * What prepared convolutions keep their weights as: what `compile` lays out. `'float16'`: IEEE halves, half the bytes and a
 * rounding of 2^-11 a weight; arithmetic is float32 all the same. Packed in words and unpacked by core WGSL, so it asks nothing of
 * an adapter, and the feature `shader-f16`, which makes half arithmetic, would add nothing. A weight from 65520 on is infinite.
 */
export type WebgpuStorage = 'float32' | 'float16';

/** How a WebGPU device computes, and on which GPU. */
export interface WebgpuOptions {
  /** How convolutions are computed. Default `'direct'`. */
  math?: WebgpuMath;
  /** What prepared convolutions keep their weights as; nothing else is changed. Default `'float32'`. */
  storage?: WebgpuStorage;
  /** A device of the caller's own, which stays theirs: `dispose` leaves it be. Default: one of the host's first adapter. */
  device?: GPUDevice;
  /** Which adapter to ask the host for. */
  powerPreference?: 'low-power' | 'high-performance';
  /**
   * What kernels are chosen for: `'gpu'` shares what is loaded in workgroup memory and spreads sums over many workgroups, `'software'`
   * suits a processor that acts as a GPU, to which a barrier is dear. The results' bits differ. Default: what the adapter says it is.
   */
  adapterKind?: AdapterKind;
  /** Most memory that the device may take, in bytes; the default is no limit but the GPU's. */
  maxMemoryBytes?: number;
  /** Measures the time on the GPU by shader, which `profile()` tells; takes the feature `timestamp-query`. Default false. */
  profile?: boolean;
}

/** A device on a GPU. */
export interface WebgpuDevice extends Device {
  /** What computes, as the adapter tells: vendor, architecture, description. */
  readonly adapter: string;
  /** Calls, submits and reads since it was made. */
  readonly counts: Readonly<WebgpuCounts>;
  /** Waits until the GPU has done what was asked. @throws the first error that it tells of */
  finished(): Promise<void>;
  /** Time on the GPU by shader since it was last asked, the longest first; null unless it was made to measure. */
  profile(): Promise<ReadonlyMap<string, ShaderTime> | null>;
}

class GpuDevice implements WebgpuDevice {
  readonly name = 'webgpu';
  readonly dtype = 'float32';
  readonly scopes = new ScopeStack();
  readonly kernels: Kernels;
  private depth = 0;

  constructor(
    private readonly context: WebgpuContext,
    readonly adapter: string,
    private readonly owned: boolean,
    math: WebgpuMath,
    storage: WebgpuStorage,
  ) {
    this.kernels = {
      ...convKernels(context, math === 'fast' ? webgpuWinogradTile : () => 0, storage),
      ...elementwiseKernels(context),
      ...matmulKernels(context),
      ...normalizationKernels(context),
      ...poolKernels(context),
    };
  }

  get counts(): Readonly<WebgpuCounts> {
    return { ...this.context.counts };
  }

  alloc(size: number, dtype: DType = this.dtype): Buffer {
    return this.context.alloc(size, dtype);
  }

  write(buffer: Buffer, data: ArrayLike<number> | ArrayLike<bigint>): void {
    this.context.write(buffer, data);
  }

  read(buffer: Buffer): Promise<TypedArray> {
    return this.context.read(buffer);
  }

  /** What was recorded inside goes to the GPU when the outermost scope ends: a training step is one submit. */
  scope<T>(fn: () => T): T {
    this.depth++;
    try {
      return this.scopes.run(fn);
    } finally {
      if (--this.depth === 0) this.context.submit();
    }
  }

  finished(): Promise<void> {
    return this.context.finished();
  }

  profile(): Promise<ReadonlyMap<string, ShaderTime> | null> {
    return this.context.profile();
  }

  memory(): MemoryUse {
    return this.context.memory.use();
  }

  dispose(): void {
    this.context.dispose(this.owned);
  }
}

/** What an adapter says of itself, in words. */
function describe(info: GPUAdapterInfo | undefined): string {
  const { vendor = '', architecture = '', device = '', description = '' } = info ?? {};
  const words = description === '' ? [vendor, architecture, device] : [description];
  return words.filter((word) => word !== '').join(' ') || 'an adapter that does not tell its name';
}

/**
 * A device on a GPU: the same contract in float32, judged by the error bound, since WGSL fixes no rounding of its own and has no
 * float64. Two runs on one GPU give the same bits.
 * @throws DeviceError where the host has no WebGPU or no adapter, or the adapter refuses
 */
export async function webgpu(o: WebgpuOptions = {}): Promise<WebgpuDevice> {
  const { math = 'direct', storage = 'float32', device, powerPreference } = o ?? {};
  const { maxMemoryBytes = Infinity, profile = false, adapterKind } = o ?? {};
  if (math !== 'direct' && math !== 'fast') {
    throw new ArgumentError(`webgpu: math is ${show(math)}; want 'direct' or 'fast'`);
  }
  if (storage !== 'float32' && storage !== 'float16') {
    throw new ArgumentError(`webgpu: storage is ${show(storage)}; want 'float32' or 'float16'`);
  }
  if (adapterKind !== undefined && adapterKind !== 'gpu' && adapterKind !== 'software') {
    throw new ArgumentError(`webgpu: adapterKind is ${show(adapterKind)}; want 'gpu', 'software' or none`);
  }
  if (!(typeof maxMemoryBytes === 'number' && maxMemoryBytes > 0)) {
    throw new ArgumentError(`webgpu: maxMemoryBytes is ${show(maxMemoryBytes)}; want more than 0`);
  }
  if (device !== undefined && typeof device?.createComputePipeline !== 'function') {
    throw new ArgumentError('webgpu: device is no GPUDevice; want what adapter.requestDevice() gave, or none');
  }
  const contextOf = (gpu: GPUDevice, host: unknown): WebgpuContext => {
    if (!profile) return new WebgpuContext(gpu, maxMemoryBytes, host, null, adapterKind);
    if (!gpu.features.has('timestamp-query')) {
      throw new DeviceError('webgpu: profile takes the feature timestamp-query, which this device lacks');
    }
    return new WebgpuContext(gpu, maxMemoryBytes, host, new Profiler(gpu), adapterKind);
  };
  if (device !== undefined) {
    return new GpuDevice(contextOf(device, null), describe(device.adapterInfo), false, math, storage);
  }
  const gpu = await hostGpu();
  const adapter = await gpu.requestAdapter({ powerPreference });
  if (adapter === null) {
    throw new DeviceError(
      'webgpu: this host offers no adapter (no GPU, or none that its driver or its browser allows; in Node on Linux VK_ICD_FILENAMES may name a software one); use wasm()',
    );
  }
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  let own: GPUDevice;
  try {
    own = await adapter.requestDevice({
      requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
      requiredFeatures: profile && adapter.features.has('timestamp-query') ? ['timestamp-query'] : [],
    });
  } catch (error) {
    throw new DeviceError(
      `webgpu: the adapter gives no device: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  return new GpuDevice(contextOf(own, gpu), describe(adapter.info), true, math, storage);
}
