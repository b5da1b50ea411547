/**
 * Convolutions by Winograd's F(m × m, 3 × 3): transforms of tiles and filters around (m+2)² matrix products, which are the
 * batch of one call. What they take beside is bounded: images are taken in chunks.
 */
import type { ConvGeometry } from '../../shape.js';
import type { Buffer } from '../device.js';
import { type ConvDirection, MOST_PLANES, winogradTiles } from '../winograd.js';
import { grid, type WebgpuContext } from './context.js';
import { product } from './matmul.js';
import { DEPTH } from './shaders/block.js';
import { FINISH_LANES, finishParts } from './shaders/finishParts.js';
import { TRANSFORM_LANES } from './shaders/transform.js';
import { winogradFilter } from './shaders/winogradFilter.js';
import { winogradFilterGradient } from './shaders/winogradFilterGradient.js';
import { winogradInput } from './shaders/winogradInput.js';
import { winogradOutput } from './shaders/winogradOutput.js';

/** Tiles that a part of a weight gradient's sum should at least see. */
const LEAST_TILES = 64;
/** Results of a workgroup of the products, when the parts are counted: of registers' tiles, and of blocks. */
const GROUP_RESULTS = 8 * 8 * 32;
const BLOCK_RESULTS = 64 * 64;

const lanes = (size: number) => ({ groups: grid(Math.ceil(size / TRANSFORM_LANES)) });

/** How far matrices of so many elements lie apart: an odd number of 64 bytes, lest a tile's elements meet in one set of a cache. */
const pitchOf = (matrix: number): number => 16 * (2 * Math.floor(Math.ceil(matrix / 16) / 2) + 1);

/** Elements of a convolution's filters once they are transformed. */
export const filterElements = (m: number, o: ConvGeometry): number =>
  (m + 2) ** 2 * o.groups * pitchOf((o.inChannels * o.outChannels) / o.groups ** 2);

/** What a convolution ends with. */
export interface Epilogue {
  readonly residual: Buffer | null;
  readonly relu: boolean;
}

/** Which of a convolution's tensors is the source of a pass, and which its result. */
function sides(direction: 'forward' | 'input', o: ConvGeometry) {
  const input = { channels: o.inChannels, height: o.inHeight, width: o.inWidth };
  const output = { channels: o.outChannels, height: o.outHeight, width: o.outWidth };
  // The input's gradient is a convolution of the output's, with the filters turned by half a turn.
  return direction === 'forward'
    ? { source: input, result: output, padTop: o.padTop, padLeft: o.padLeft }
    : { source: output, result: input, padTop: 2 - o.padTop, padLeft: 2 - o.padLeft };
}

/** Chunks of images, [first, count], none of which has more than `MOST_PLANES` elements of the larger side. */
function chunks(m: number, direction: ConvDirection, o: ConvGeometry): (readonly [number, number])[] {
  const [high, wide] = winogradTiles(m, direction, o);
  const ofImage = (m + 2) ** 2 * high * wide * Math.max(o.inChannels, o.outChannels);
  const count = Math.max(1, Math.min(o.batch, Math.floor(MOST_PLANES / ofImage)));
  return Array.from({ length: Math.ceil(o.batch / count) }, (_, i) => [
    i * count,
    Math.min(count, o.batch - i * count),
  ]);
}

/** `out` = the transformed filters, as `winogradConvolve` takes them. */
export function winogradFilters(
  g: WebgpuContext,
  m: number,
  direction: 'forward' | 'input',
  o: ConvGeometry,
  weight: Buffer,
  out: Buffer,
): void {
  const { source, result } = sides(direction, o);
  const [terms, rows] = [source.channels / o.groups, result.channels / o.groups];
  const [rowStride, termStride] = direction === 'forward' ? [terms, 1] : [1, rows];
  const planes = { size: rows * terms * o.groups, matrix: rows * terms, pitch: pitchOf(rows * terms) };
  const params = { ...planes, rows, terms, rowStride, termStride };
  g.dispatch(winogradFilter, { weight, out }, params, lanes(planes.size), { M: m, FLIPPED: direction === 'input' });
}

/** The forward pass or the input's gradient by transformed filters. */
export function winogradConvolve(
  g: WebgpuContext,
  m: number,
  direction: 'forward' | 'input',
  o: ConvGeometry,
  buffers: { readonly x: Buffer; readonly filters: Buffer; readonly bias: Buffer | null; readonly out: Buffer },
  { residual, relu }: Epilogue,
): void {
  const { x, filters, bias, out } = buffers;
  const { source, result, padTop, padLeft } = sides(direction, o);
  const [terms, rows] = [source.channels / o.groups, result.channels / o.groups];
  const [tilesHigh, tilesWide] = winogradTiles(m, direction, o);
  const batch = (m + 2) ** 2 * o.groups;
  const all = chunks(m, direction, o);
  const most = all[0][1] * tilesHigh * tilesWide;
  g.withScratch((take) => {
    const inputs = take(batch * pitchOf(terms * most));
    const products = take(batch * pitchOf(rows * most));
    for (const [firstImage, count] of all) {
      const tiles = count * tilesHigh * tilesWide;
      const place = { tiles, firstImage, tilesHigh, tilesWide };
      const [aBatch, bBatch, outBatch] = [rows * terms, terms * tiles, rows * tiles].map(pitchOf);
      const inPlanes = { size: source.channels * tiles, matrix: terms * tiles, pitch: bBatch };
      const outPlanes = { size: result.channels * tiles, matrix: rows * tiles, pitch: outBatch };
      g.dispatch(
        winogradInput,
        { x, out: inputs },
        { ...inPlanes, ...place, ...source, padded: tiles, inGroup: terms, padTop, padLeft },
        lanes(inPlanes.size),
        { M: m, ALONG_TILES: true, OF_GRADIENT: false },
      );
      const steps = { aRow: 1, aStep: rows, bColumn: 1, bStep: tiles, aBatch, bBatch, outBatch };
      product(
        g,
        { a: filters, b: inputs, bias: null, out: products },
        { batch, m: rows, n: tiles, k: terms, ...steps },
      );
      g.dispatch(
        winogradOutput,
        { products, bias, residual, out },
        { ...outPlanes, ...place, ...result },
        lanes(outPlanes.size),
        { M: m, RELU: relu },
      );
    }
  });
}

/** The weights' gradient: products of transformed inputs and output gradients, summed over all tiles, in parts. */
export function winogradWeightGradient(
  g: WebgpuContext,
  m: number,
  o: ConvGeometry,
  { x, dy, dweight }: { readonly x: Buffer; readonly dy: Buffer; readonly dweight: Buffer },
): void {
  const input = { channels: o.inChannels, inGroup: o.inChannels / o.groups, height: o.inHeight, width: o.inWidth };
  const output = { channels: o.outChannels, inGroup: o.outChannels / o.groups, height: o.outHeight, width: o.outWidth };
  const [rows, columns] = [output.inGroup, input.inGroup];
  const [tilesHigh, tilesWide] = winogradTiles(m, 'weight', o);
  const batch = (m + 2) ** 2 * o.groups;
  const all = chunks(m, 'weight', o);
  const most = all[0][1] * tilesHigh * tilesWide;
  const blocked = Math.min(rows, columns) >= g.leastBlocked;
  const results = blocked ? BLOCK_RESULTS : GROUP_RESULTS;
  const wanted = Math.ceil(((blocked ? 2 : 1) * g.busy) / (batch * Math.ceil((rows * columns) / results)));
  const parts = Math.max(1, Math.min(wanted, Math.floor(most / LEAST_TILES)));
  // Of as many as the product takes a turn, or a step.
  const turn = blocked ? DEPTH : 2;
  const share = turn * Math.ceil(most / parts / turn);
  const padded = share * parts;
  const [aBatch, bBatch, outBatch] = [share * rows, share * columns, rows * columns].map(pitchOf);
  g.withScratch((take) => {
    const gradients = take(batch * parts * aBatch);
    const inputs = take(batch * parts * bBatch);
    const products = take(batch * parts * outBatch);
    for (const [firstImage, count] of all) {
      const place = { tiles: count * tilesHigh * tilesWide, padded, firstImage, tilesHigh, tilesWide };
      const transform = (
        from: Buffer,
        out: Buffer,
        side: typeof input,
        pitch: number,
        OF_GRADIENT: boolean,
        [padTop, padLeft] = OF_GRADIENT ? [0, 0] : [o.padTop, o.padLeft],
      ): void => {
        const planes = { size: side.channels * padded, matrix: side.inGroup * share, pitch };
        const params = { ...planes, ...place, ...side, padTop, padLeft };
        const constants = { M: m, ALONG_TILES: false, OF_GRADIENT };
        g.dispatch(winogradInput, { x: from, out }, params, lanes(planes.size), constants);
      };
      transform(dy, gradients, output, aBatch, true);
      transform(x, inputs, input, bBatch, false);
      const steps = { aRow: 1, aStep: rows, bColumn: 1, bStep: columns, aBatch, bBatch, outBatch };
      const buffers = { a: gradients, b: inputs, bias: null, out: products };
      product(g, buffers, { batch: batch * parts, m: rows, n: columns, k: share, ...steps });
      const planes = { size: rows * columns * o.groups, matrix: rows * columns, pitch: outBatch };
      // Few filters of many parts: their elements are added by more invocations than there are filters.
      const summed = blocked && parts > 1 ? take(batch * outBatch) : null;
      if (summed !== null) {
        const size = batch * outBatch;
        const groups = grid(Math.ceil(size / FINISH_LANES));
        const params = { size, parts, inner: outBatch, plane: 1, channels: 1 };
        const ends = { x: products, bias: null, residual: null, out: summed };
        g.dispatch(finishParts, ends, params, { groups }, { RELU: false });
      }
      const constants = { M: m, SPLIT: parts > 1 && summed === null, ADDS: firstImage > 0 };
      g.dispatch(
        winogradFilterGradient,
        { products: summed ?? products, out: dweight },
        { ...planes, parts },
        lanes(planes.size),
        constants,
      );
    }
  });
}
