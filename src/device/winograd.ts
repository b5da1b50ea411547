/**
 * Where the fast modes use Winograd's convolution F(m × m, 3 × 3), and with which m. It follows from the shape and the
 * direction alone: never from the batch, the number of threads, or a measurement. Part of the numerics.
 */
import type { ConvGeometry } from '../shape.js';

/** m of F(m, 3), or 0 for the direct sum. */
export type WinogradTile = 0 | 2 | 3 | 4;

export type ConvDirection = 'forward' | 'input' | 'weight';

/** Most tiles of a block of the weight gradient, but at least a row of them. */
export const WEIGHT_TILES = 128;

/** Below this many channels on a side, a group's transforms cost more than the products they save. */
const LEAST_CHANNELS = 8;
/** The products must be so many times fewer: the transforms take their share. */
const LEAST_GAIN = 1.25;

/** Products of one channel with another by F(m, 3) on a map. */
const products = (m: number, height: number, width: number): number =>
  Math.ceil(height / m) * Math.ceil(width / m) * (m + 2) ** 2;

/**
 * The tile for a convolution's direction: for 3×3 kernels with stride and dilation 1, padding of at most 2, and at least 8
 * channels a group on both sides, the one with the fewest products. A tie goes to the smaller, which errs less.
 */
export function winogradTile(direction: ConvDirection, g: ConvGeometry): WinogradTile {
  const plain =
    g.kernelHeight === 3 &&
    g.kernelWidth === 3 &&
    g.strideHeight === 1 &&
    g.strideWidth === 1 &&
    g.dilationHeight === 1 &&
    g.dilationWidth === 1;
  if (!plain || Math.min(g.inChannels, g.outChannels) / g.groups < LEAST_CHANNELS) return 0;
  if (g.padTop > 2 || g.padLeft > 2) return 0;
  const [height, width] = direction === 'input' ? [g.inHeight, g.inWidth] : [g.outHeight, g.outWidth];
  // The last stage of a network for 224 pixels: its 512² filters by F(4, 3) are 38 MB, of which an image has four tiles.
  if (direction === 'forward' && height === 7 && width === 7) return 2;
  let best: WinogradTile = 0;
  let least = (9 * height * width) / LEAST_GAIN;
  for (const m of [2, 3, 4] as const) {
    const count = products(m, height, width);
    if (count < least) {
      best = m;
      least = count;
    }
  }
  return best;
}

/** Rows and columns of tiles, on the map that the direction computes (`weight`: sums over). */
export function winogradTiles(m: number, direction: ConvDirection, g: ConvGeometry): readonly [number, number] {
  return direction === 'input'
    ? [Math.ceil(g.inHeight / m), Math.ceil(g.inWidth / m)]
    : [Math.ceil(g.outHeight / m), Math.ceil(g.outWidth / m)];
}
