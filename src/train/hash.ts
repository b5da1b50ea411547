/** One number for all weights: equal hashes mean equal bits. */
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
  const bytes = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
