/** One number for all weights: equal hashes mean equal bits. */
import { hexSha256, joinBytes } from '../bytes.js';
import type { Module } from '../nn/module.js';
import { formatShape } from '../shape.js';

/**
 * SHA-256, in hexadecimal, of everything in the state dict, parameters and buffers, in its order. Each entry adds the
 * UTF-8 line `name dtype [shape]\n`, such as `0.0.weight float32 [64, 1, 7, 7]`, and then its elements' little-endian
 * bytes, row-major. The same in every engine that has `crypto.subtle`.
 */
export async function hashWeights(model: Module): Promise<string> {
  const parts: Uint8Array[] = [];
  for (const [name, t] of model.stateDict()) {
    const data = await t.data();
    parts.push(new TextEncoder().encode(`${name} ${t.dtype} ${formatShape(t.shape)}\n`));
    // Typed arrays are little-endian wherever WebAssembly runs.
    parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hexSha256(joinBytes(parts));
}
