import { shader } from '../shader.js';
import { eachOf, oneEach, PLANES, squareOf, transformed } from './transform.js';

/**
 * Tiles of a map to (m+2)² planes of `size` elements, each a matrix for each group of channels: [channel][tile] where
 * ALONG_TILES, else [tile][channel], so that lanes write side by side. Bᵀ d B of overlapping windows, or, OF_GRADIENT,
 * A dy Aᵀ of squares of m. Tiles from `tiles` on are 0. One invocation a tile of a channel.
 */
export const winogradInput = shader({
  name: 'winogradInput',
  buffers: { x: 'f32', out: 'f32 out' },
  params: {
    ...{ ...PLANES, tiles: 'u32', padded: 'u32', firstImage: 'u32', tilesHigh: 'u32', tilesWide: 'u32' },
    ...{ channels: 'u32', inGroup: 'u32', height: 'u32', width: 'u32', padTop: 'u32', padLeft: 'u32' },
  },
  code({ M, ALONG_TILES, OF_GRADIENT }) {
    const extent = OF_GRADIENT === true ? Number(M) : Number(M) + 2;
    const source = squareOf('d', extent);
    const { code, values } = transformed(OF_GRADIENT === true ? 'outputGradient' : 'input', M, source);
    const rows = source.map((_, i) => i);
    return oneEach(`
  ${
    ALONG_TILES === true
      ? `
  let tile = i % p.padded;
  let channel = i / p.padded;`
      : `
  let tile = (i / p.inGroup) % p.padded;
  let channel = (i / (p.inGroup * p.padded)) * p.inGroup + i % p.inGroup;`
  }
  let height = p.height;
  let width = p.width;
  let of_image = p.tilesHigh * p.tilesWide;
  let image = p.firstImage + tile / of_image;
  let place = tile % of_image;
  // Rows above the map wrap around and are beyond it.
  let top = (place / p.tilesWide) * ${M}u - p.padTop;
  let left = (place % p.tilesWide) * ${M}u - p.padLeft;
  let first = (image * p.channels + channel) * height * width;
  ${rows
    .map(
      (k) => `
  let y_${k} = tile < p.tiles && top + ${k}u < height;
  let line_${k} = first + (top + ${k}u) * width + left;
  let z_${k} = left + ${k}u < width;`,
    )
    .join('')}
  ${eachOf(source, (d, r, s) => `let ${d} = select(0.0, x[select(0u, line_${r} + ${s}u, y_${r} && z_${s})], y_${r} && z_${s});`)}
  ${code}
  ${eachOf(values, (v, _, __, k) => `out[at + ${k}u * step] = ${v};`)}`);
  },
});
