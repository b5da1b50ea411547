/** The devices by name, as the command line makes them. */
import { type Device, reference, type WasmMath, wasm, webgpu } from 'atalho';
import type { DeviceName, Threads } from './messages.js';
import { autoThreads } from './threads.js';

/** A real GPU; a software one is slower than wasm. */
async function hasGpu(): Promise<boolean> {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  // Not every browser tells of it.
  return adapter != null && !adapter.info?.isFallbackAdapter;
}

export async function makeDevice(
  name: DeviceName,
  threads: Threads,
  math: string,
  onWarning: (message: string) => void,
): Promise<Device> {
  if (name === 'webgpu' || (name === 'auto' && math !== 'relaxed' && (await hasGpu()))) {
    return webgpu({ math: math === 'fast' ? 'fast' : 'direct' });
  }
  if (name === 'reference') return reference({ math: math === 'fast' ? 'fast' : 'exact' });
  // Where there can be only one, the library's own 'auto' says why. So a run saved with more goes on there: the bits are the same.
  const own = !crossOriginIsolated ? 'auto' : threads === 'auto' ? autoThreads() : threads;
  return wasm({ threads: own, math: math as WasmMath, onWarning });
}

/** A device in words: "wasm, 2 threads", "webgpu (SwiftShader)". */
export function describeDevice(device: Device): string {
  if ('adapter' in device) return `${device.name} (${String(device.adapter)})`;
  if ('threads' in device) {
    const math = 'math' in device && device.math !== 'exact' ? `, ${String(device.math)}` : '';
    return `${device.name}${math}, ${device.threads === 1 ? '1 thread' : `${String(device.threads)} threads`}`;
  }
  return device.name;
}
