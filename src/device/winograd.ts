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

/** 3×3 without dilation, one stride both ways, enough channels. */
const isPlain = (g: ConvGeometry): boolean =>
  g.kernelHeight === 3 &&
  g.kernelWidth === 3 &&
  g.strideWidth === g.strideHeight &&
  g.dilationHeight === 1 &&
  g.dilationWidth === 1 &&
  Math.min(g.inChannels, g.outChannels) / g.groups >= LEAST_CHANNELS;

/**
 * The tile for a convolution's direction: for 3×3 kernels without dilation, at least 8 channels a group on both sides, and stride 1
 * with padding of at most 2, or stride 2 with padding 1 (m 3 or 4), the one with the fewest products. A tie goes to the smaller,
 * which errs less.
 */
export function winogradTile(direction: ConvDirection, g: ConvGeometry): WinogradTile {
  const stride = g.strideHeight;
  if (!isPlain(g)) return 0;
  if (stride === 1 ? g.padTop > 2 || g.padLeft > 2 : stride !== 2 || g.padTop !== 1 || g.padLeft !== 1) return 0;
  const ofInput = direction === 'input' && stride === 1;
  const [height, width] = ofInput ? [g.inHeight, g.inWidth] : [g.outHeight, g.outWidth];
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

/** Most elements of the planes that the WebGPU device makes of a side's tiles, or of filters, at once; every adapter binds twice as many. */
export const MOST_PLANES = 2 ** 24;
/** What a product's 8 × 8 sums in registers, and a transform, take to load or store a number, in multiply-adds. */
const [LOAD, TRAFFIC] = [4, 8];
/** A direct sum looks for the edges as it goes: so much longer it takes than a product. */
const EDGES = 1.5;
/** Most planes of all groups: a call's workgroups along an axis. */
const MOST_PRODUCTS = 65_535;

/** Cost of a product of rows × terms by terms × columns. */
const productCost = (rows: number, columns: number, terms: number): number =>
  rows * columns * (terms * (1 + LOAD / Math.min(rows, 8) + LOAD / Math.min(columns, 8)) + LOAD);

/**
 * The tile for a convolution on the WebGPU device in math `fast`: 3×3, stride 1, no dilation, padding of at most 2, at least 8
 * channels a group. What F(m, 3) saves in products it pays in traffic, a tile of each channel and a filter at a time: a
 * processor takes long to load a number, a GPU's memory is slow. So large maps get m = 4, and where filters outweigh the
 * tiles (small maps of small batches) the sum stays direct.
 */
export function webgpuWinogradTile(direction: ConvDirection, g: ConvGeometry): WinogradTile {
  if (!isPlain(g) || g.strideHeight !== 1 || g.padTop > 2 || g.padLeft > 2) return 0;
  const [height, width] = direction === 'input' ? [g.inHeight, g.inWidth] : [g.outHeight, g.outWidth];
  const [inGroup, outGroup] = [g.inChannels / g.groups, g.outChannels / g.groups];
  const filters = inGroup * outGroup;
  /** Products of a group over so many places, `taps` of each filter at once. */
  const products = (places: number, taps: number): number => {
    if (direction === 'weight') return productCost(outGroup, inGroup * taps, places);
    return direction === 'forward'
      ? productCost(outGroup, places, inGroup * taps)
      : productCost(inGroup, places, outGroup * taps);
  };
  let best: WinogradTile = 0;
  let least = (EDGES * products(g.batch * height * width, 9)) / LEAST_GAIN;
  for (const m of [2, 3, 4] as const) {
    const [ofImage, planes] = [Math.ceil(height / m) * Math.ceil(width / m), (m + 2) ** 2];
    const largest = planes * g.groups * Math.max(filters, ofImage * Math.max(inGroup, outGroup));
    if (largest > MOST_PLANES || planes * g.groups > MOST_PRODUCTS) continue;
    const tiles = g.batch * ofImage;
    const traffic = (tiles * (inGroup + outGroup) * (3 * planes + m * m)) / 2 + filters * (planes + 9);
    const cost = planes * products(tiles, 1) + TRAFFIC * traffic;
    if (cost < least) {
      best = m;
      least = cost;
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
