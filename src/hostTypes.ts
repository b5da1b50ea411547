/**
 * Types of the host's globals, for declarations that a user's compiler reads: the host's own where its library (`DOM`,
 * `@types/node`, `@webgpu/types`) declares them, something harmless where it does not. So they need no such library.
 */
type Host<Name extends string, Fallback> = typeof globalThis extends { readonly [K in Name]: { prototype: infer T } }
  ? T
  : Fallback;
type Wasm<Name extends string> = typeof globalThis extends { readonly WebAssembly: infer W }
  ? W extends { readonly [K in Name]: { prototype: infer T } }
    ? T
    : object
  : object;

/** An AbortSignal, or whatever else says that it is aborted. */
export interface AbortSignalLike {
  readonly aborted: boolean;
}

export type HostUrl = Host<'URL', { readonly href: string }>;
export type WasmBytes = ArrayBufferView<ArrayBuffer> | ArrayBuffer;
export type WasmModule = Wasm<'Module'>;
export type WasmMemory = Wasm<'Memory'>;
export type GPUDevice = Host<'GPUDevice', object>;
export type GPUBuffer = Host<'GPUBuffer', object>;
export type GPUCommandEncoder = Host<'GPUCommandEncoder', object>;
export type GPUComputePassEncoder = Host<'GPUComputePassEncoder', object>;
