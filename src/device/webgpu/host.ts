/** Where a GPU comes from: the page's own, or in Node the package `webgpu` (Dawn), where it is installed. */
import { DeviceError } from '../../errors.js';

/** Dawn's package, as far as it is used. */
interface Dawn {
  create(options: string[]): GPU;
}

/** Its package by runtime: a name that a bundler knows before it runs it would want in every page. */
const DAWN: Readonly<Record<string, string>> = { node: 'webgpu' };

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
  const runtime =
    typeof process === 'undefined' ? undefined : Object.keys(process.versions ?? {}).find((key) => key in DAWN);
  if (runtime === undefined) {
    throw new DeviceError(
      'webgpu: this host has no navigator.gpu (a browser has it in a secure context only); use wasm(), or pass { device }',
    );
  }
  try {
    dawn ??= ((await import(/* @vite-ignore */ DAWN[runtime])) as Dawn).create([]);
    return dawn;
  } catch (error) {
    throw new DeviceError(
      `webgpu: Node has no GPU of its own, and the package webgpu (Dawn) could not be loaded (${error instanceof Error ? error.message : String(error)}); run npm install webgpu, or pass { device }`,
    );
  }
}
