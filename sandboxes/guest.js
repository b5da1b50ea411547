/**
 * What every sandbox does, with the build that it is given: a ResNet of 8-16-32-64 channels gets its weights from the bytes of a file,
 * classifies 16 images of 28×28 and trains three steps of four. Pixels and weights follow from a formula, so that no row needs a
 * file or a generator of its host.
 */
import { sha256 } from '@noble/hashes/sha2.js';

const [COUNT, SIDE] = [16, 28];

/** MurmurHash3's finalizer of i as a number from lo to hi. */
function spread(i, salt, lo, hi) {
  let h = Math.imul(i + 1, 0x9e3779b1) ^ salt;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return lo + ((hi - lo) * ((h ^ (h >>> 16)) >>> 0)) / 0x100000000;
}

const fill = (size, salt, lo, hi) => Float32Array.from({ length: size }, (_, i) => spread(i, salt, lo, hi));

const network = (atalho, device) =>
  atalho.d2lResnet({ device, seed: 0, channels: [8, 16, 32, 64], blocks: [2, 2, 2, 2] });

/** The weights as a safetensors file. */
export function weightsFile(atalho, device) {
  const entries = [];
  let salt = 0;
  for (const [name, { shape, size, dtype }] of network(atalho, device).stateDict()) {
    salt++;
    if (dtype === 'int64') entries.push([name, { shape, data: new BigInt64Array(1) }]);
    else if (name.endsWith('running_var')) entries.push([name, { shape, data: fill(size, salt, 0.5, 1.5) }]);
    else if (shape.length === 1)
      entries.push([name, { shape, data: fill(size, salt, -0.1, name.endsWith('weight') ? 1.2 : 0.1) }]);
    else {
      const bound = Math.sqrt(3 / (size / shape[0]));
      entries.push([name, { shape, data: fill(size, salt, -bound, bound) }]);
    }
  }
  return atalho.writeSafetensors(entries);
}

/** SHA-256 of arrays, one after another, the lowest byte of each number first. */
function hash(arrays) {
  const sum = sha256.create();
  const swap = new Uint8Array(new Uint16Array([1]).buffer)[0] === 0;
  for (const { buffer, byteOffset, byteLength, BYTES_PER_ELEMENT: size } of arrays) {
    const bytes = new Uint8Array(buffer.slice(byteOffset, byteOffset + byteLength));
    if (swap) for (let i = 0; i < byteLength; i += size) bytes.subarray(i, i + size).reverse();
    sum.update(bytes);
  }
  return Array.from(sum.digest(), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * @param atalho the build
 * @param device one of its devices
 * @param file the weights, for a build that cannot write them
 * @returns hashes of the logits and, of a build that trains, of all weights after the last step
 */
export async function classifyAndTrain(atalho, device, file = weightsFile(atalho, device)) {
  const net = network(atalho, device).loadStateDict(atalho.readSafetensors(file));
  const [images, shape] = [fill(COUNT * SIDE * SIDE, 7, 0, 1), [COUNT, 1, SIDE, SIDE]];
  const logits = hash([await atalho.predict(net, { images, shape, batchSize: 8 })]);
  if (atalho.fit === undefined) return { logits };
  const labels = Array.from({ length: COUNT }, (_, i) => (3 * i) % 10);
  const optimizer = atalho.sgd(net.parameters(), { lr: 0.05, momentum: 0.9 });
  const losses = await atalho.fit(net, optimizer, { images, shape, labels, batchSize: 4, steps: 3 });
  const state = [];
  for (const t of net.stateDict().values()) state.push(await t.data());
  return { logits, weights: hash([losses, ...state]) };
}
