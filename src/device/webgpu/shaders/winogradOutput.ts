import { shader } from '../shader.js';
import { FINISH } from './conv2d.js';
import { eachOf, oneEach, PLANES, squareOf, transformed } from './transform.js';

/**
 * Products, (m+2)² planes of [channel][tile], to tiles of m × m results, Aᵀ y A; then bias, residual and relu. What lies
 * beyond the map is dropped. One invocation a tile of a channel.
 */
export const winogradOutput = shader({
  name: 'winogradOutput',
  buffers: { products: 'f32', bias: 'f32', residual: 'f32', out: 'f32 out' },
  params: {
    ...{ ...PLANES, tiles: 'u32', firstImage: 'u32', tilesHigh: 'u32', tilesWide: 'u32' },
    ...{ channels: 'u32', height: 'u32', width: 'u32' },
  },
  code({ M }) {
    const source = squareOf('y', Number(M) + 2);
    const { code, values } = transformed('output', M, source);
    return `${FINISH}${oneEach(`
  let tile = i % p.tiles;
  let channel = i / p.tiles;
  let height = p.height;
  let width = p.width;
  let of_image = p.tilesHigh * p.tilesWide;
  let image = p.firstImage + tile / of_image;
  let place = tile % of_image;
  let top = (place / p.tilesWide) * ${M}u;
  let left = (place % p.tilesWide) * ${M}u;
  let first = ((image * p.channels + channel) * height + top) * width + left;
  ${eachOf(source, (y, _, __, k) => `let ${y} = products[at + ${k}u * step];`)}
  ${code}
  ${eachOf(values, (v, r, s) => `if (top + ${r}u < height && left + ${s}u < width) { finish(${v}, channel, first + ${r}u * width + ${s}u); }`)}`)}`;
  },
});
