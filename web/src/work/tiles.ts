/** Numbers as gray pictures. */
import type { Tiles } from './messages.js';

/** Most pictures of one kind that are sent to the page. */
export const MOST_TILES = 32;

/** Planes `[count, height, width]` of numbers from 0 up, each brightened by its own largest; single pixels by the largest of all. */
export function mapTiles(values: ArrayLike<number>, of: number, height: number, width: number): Tiles {
  const count = Math.min(of, MOST_TILES);
  const size = height * width;
  const pixels = new Uint8Array(count * size);
  const largest = (from: number, to: number): number => {
    let most = 0;
    for (let i = from; i < to; i++) most = Math.max(most, values[i]);
    return most;
  };
  for (let c = 0; c < count; c++) {
    const most = size === 1 ? largest(0, of) : largest(c * size, (c + 1) * size);
    const scale = most > 0 ? 255 / most : 0;
    for (let i = 0; i < size; i++) pixels[c * size + i] = Math.max(0, values[c * size + i]) * scale;
  }
  return { count, width, height, pixels, signed: false, of };
}

/** The first plane of each filter of `weight` `[O, I, h, w]`, around 0. */
export function filterTiles(weight: ArrayLike<number>, shape: readonly number[]): Tiles {
  const [of, inChannels, height, width] = shape;
  const count = Math.min(of, MOST_TILES);
  const size = height * width;
  const pixels = new Uint8Array(count * size);
  for (let o = 0; o < count; o++) {
    const from = o * inChannels * size;
    let most = 0;
    for (let i = 0; i < size; i++) most = Math.max(most, Math.abs(weight[from + i]));
    for (let i = 0; i < size; i++) pixels[o * size + i] = 128 + (most > 0 ? (127 * weight[from + i]) / most : 0);
  }
  return { count, width, height, pixels, signed: true, of };
}

/** Images of the data set as they are. */
export function imageTiles(images: Uint8Array, count: number, height = 28, width = 28): Tiles {
  const pixels = images.slice(0, count * height * width);
  return { count, width, height, pixels, signed: false, of: count };
}
