/**
 * A GPU for the tests in Node: Dawn, on SwiftShader where Debian's chromium has brought it; ATALHO_VULKAN_ICD names
 * another Vulkan driver's manifest. Without one the tests are skipped with the command that would get it; under CI that
 * is a failure.
 */
import { existsSync } from 'node:fs';
import { type WebgpuDevice, webgpu } from '../src/index.js';
import { WEBGPU, WEBGPU_FAST, WEBGPU_FAST_HALF, WEBGPU_HALF } from '../src/oracle/index.js';
import type { DeviceMaker } from './devices.js';

const icd = process.env.ATALHO_VULKAN_ICD ?? '/usr/lib/chromium/vk_swiftshader_icd.json';
export const gpuFound = existsSync(icd);
export const gpuHelp = `no Vulkan driver at ${icd}: apt-get install -y chromium libvulkan1, or ATALHO_VULKAN_ICD=/path/to/icd.json`;
if (gpuFound) process.env.VK_ICD_FILENAMES ??= icd;
else {
  if (process.env.CI === 'true') throw new Error(gpuHelp);
  console.warn(`skipped: ${gpuHelp}`);
}

/** None where there is no GPU. */
export const gpuDevices: readonly DeviceMaker[] = gpuFound
  ? [{ name: 'webgpu', make: () => webgpu(), fast: true, precision: WEBGPU }]
  : [];

/** Those with Winograd's convolution. */
export const fastGpuDevices: readonly DeviceMaker[] = gpuFound
  ? [{ name: 'webgpu, fast', make: () => webgpu({ math: 'fast' }), fast: true, precision: WEBGPU_FAST }]
  : [];

/** Those whose prepared convolutions keep halves. */
export const halfGpuDevices: readonly DeviceMaker[] = gpuFound
  ? [
      { name: 'webgpu, float16', make: () => webgpu({ storage: 'float16' }), fast: true, precision: WEBGPU_HALF },
      {
        name: 'webgpu, fast, float16',
        make: () => webgpu({ math: 'fast', storage: 'float16' }),
        fast: true,
        precision: WEBGPU_FAST_HALF,
      },
    ]
  : [];

/** With the shaders for a GPU, whatever this adapter is, and blocks of workgroup memory however small the product. */
async function blocked(): Promise<WebgpuDevice> {
  const device = await webgpu({ adapterKind: 'gpu' });
  (device as unknown as { context: { leastBlocked: number } }).context.leastBlocked = 1;
  return device;
}
export const blockedGpuDevices: readonly DeviceMaker[] = gpuFound
  ? [{ name: 'webgpu, blocks', make: blocked, fast: true, precision: WEBGPU }]
  : [];

/** Dawn's, for good: to let go of one takes the process down with it. */
let instance: GPU | null = null;

/** A device of the caller's own. */
export async function rawGpuDevice(): Promise<GPUDevice> {
  const { create } = (await import('webgpu')) as unknown as { create(options: string[]): GPU };
  instance ??= create([]);
  const adapter = await instance.requestAdapter();
  if (adapter === null) throw new Error('no adapter');
  return adapter.requestDevice();
}
