/** Where a GPU comes from: the page's own, or in Node the package `webgpu` (Dawn), where it is installed. */
import { DeviceError } from '../../errors.js';

/** Dawn's package, as far as it is used. */
interface Dawn {
  create(options: string[]): GPU;
}

/**
 * Dawn's instance, one for the process and for good: each holds threads, and to let go of one while what it made is still
 * ending takes the process down with it.
 */
let dawn: GPU | null = null;

/**
 * The host's entry to its GPUs.
 * @throws DeviceError where there is none, saying what would make one
 */
export async function hostGpu(): Promise<GPU> {
  const own = globalThis.navigator?.gpu;
  if (own !== undefined) return own;
  if (typeof process === 'undefined' || process.versions?.node === undefined) {
    throw new DeviceError(
      'webgpu: this host has no navigator.gpu (a browser has it in a secure context only); use wasm(), or pass { device }',
    );
  }
  try {
    // Not told to bundlers: few want Dawn, and none in a page.
    const name = 'webgpu';
    dawn ??= ((await import(/* @vite-ignore */ name)) as Dawn).create([]);
    return dawn;
  } catch (error) {
    throw new DeviceError(
      `webgpu: Node has no GPU of its own, and the package webgpu (Dawn) could not be loaded (${error instanceof Error ? error.message : String(error)}); run npm install webgpu, or pass { device }`,
    );
  }
}
