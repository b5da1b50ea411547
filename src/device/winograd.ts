/**
 * Where the fast modes use Winograd's convolution F(m × m, 3 × 3), stride 1 or 2, and with which m. It follows from the shape and the
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

/** Products of one channel with another by F(m, 3) on a map of outputs. */
const products = (m: number, stride: number, height: number, width: number): number =>
  Math.ceil(height / m) * Math.ceil(width / m) * (stride === 2 ? 2 * m + 1 : m + 2) ** 2;

/**
 * The tile for a convolution's direction: for 3×3 kernels without dilation, at least 8 channels a group on both sides, and stride 1
 * with padding of at most 2, or stride 2 with padding 1 (m 3 or 4), the one with the fewest products. A tie goes to the smaller,
 * which errs less.
 */
export function winogradTile(direction: ConvDirection, g: ConvGeometry): WinogradTile {
  const stride = g.strideHeight;
  const plain =
    g.kernelHeight === 3 &&
    g.kernelWidth === 3 &&
    g.strideWidth === stride &&
    g.dilationHeight === 1 &&
    g.dilationWidth === 1;
  if (!plain || Math.min(g.inChannels, g.outChannels) / g.groups < LEAST_CHANNELS) return 0;
  if (stride === 1 ? g.padTop > 2 || g.padLeft > 2 : stride !== 2 || g.padTop !== 1 || g.padLeft !== 1) return 0;
  const ofInput = direction === 'input' && stride === 1;
  const [height, width] = ofInput ? [g.inHeight, g.inWidth] : [g.outHeight, g.outWidth];
  // The last stage of a network for 224 pixels: its 512² filters by F(4, 3) are 38 MB, of which an image has four tiles.
  if (direction === 'forward' && height === 7 && width === 7) return stride === 1 ? 2 : 0;
  let best: WinogradTile = 0;
  let least = (9 * height * width) / LEAST_GAIN;
  for (const m of stride === 1 ? ([2, 3, 4] as const) : ([3, 4] as const)) {
    const count = products(m, stride, height, width);
    if (count < least) {
      best = m;
      least = count;
    }
  }
  return best;
}

/** Rows and columns of tiles, on the map that the direction computes (`weight`: sums over). */
export function winogradTiles(m: number, direction: ConvDirection, g: ConvGeometry): readonly [number, number] {
  const step = m * g.strideHeight;
  return direction === 'input'
    ? [Math.ceil(g.inHeight / step), Math.ceil(g.inWidth / step)]
    : [Math.ceil(g.outHeight / m), Math.ceil(g.outWidth / m)];
}
