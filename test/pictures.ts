/** Pictures that follow from a name, as the scripts in tools/ that write the golden values draw them. */
const CRC_TABLE = Int32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  return c;
});

/** Pixels by the formula of tools/pillow_resize_goldens.py and tools/torchvision_transform_goldens.py. */
export function pixels(name: string, count: number): Uint8Array {
  let salt = -1;
  for (const byte of Buffer.from(name)) salt = (salt >>> 8) ^ CRC_TABLE[(salt ^ byte) & 255];
  salt = ~salt;
  return Uint8Array.from({ length: count }, (_, i) => {
    let x = i ^ salt;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return (x ^ (x >>> 16)) >>> 24;
  });
}

/** [H, W, C], Pillow's order, to [C, H, W]. */
export function toPlanes(interleaved: Uint8Array, channels: number): Uint8Array {
  const size = interleaved.length / channels;
  return Uint8Array.from(interleaved, (_, i) => interleaved[(i % size) * channels + Math.floor(i / size)]);
}
