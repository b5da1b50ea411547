import { shader } from '../shader.js';
import { block, DEPTH } from './block.js';
import { FINISH } from './conv2d.js';
import { CONV_PARAMS, GEOMETRY, WINDOW } from './convParams.js';
import { times } from './tile.js';

/**
 * `conv2d` by blocks in workgroup memory. `filters` as `layFilters` lays them. A step is DEPTH input channels of one tap; `share` steps
 * make a part, of which SPLIT ones are written as they are. group.z = (group of channels, part).
 */
export const conv2dBlock = shader({
  name: 'conv2dBlock',
  buffers: { x: 'f32', filters: 'f32', bias: 'f32', residual: 'f32', out: 'f32 out' },
  params: { ...CONV_PARAMS, parts: 'u32', share: 'u32', size: 'u32' },
  code({ ROWS, COLUMNS, RAGGED, SPLIT }) {
    const { a, b, ...text } = block(Number(ROWS), Number(COLUMNS));
    const term = (name: string, i: number, value: (term: string) => string): string =>
      RAGGED === true
        ? `next_${name}_${i} = select(0.0, ${value(`min(c_${name}_${i}, inGroup - 1u)`)}, c_${name}_${i} < inGroup);`
        : `next_${name}_${i} = ${value(`c_${name}_${i}`)};`;
    return `${WINDOW}${SPLIT === true ? '' : FINISH}${text.memory}
@compute @workgroup_size(${text.lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
${GEOMETRY}
  let plane = inHeight * inWidth;
  let outPlane = outHeight * outWidth;
  let pixels = batch * outPlane;
  let part = group.z % p.parts;
  let channels = group.z / p.parts;
  ${text.places}
  let filter_at = channels * TAPS * inGroup * outGroup + min(first_row + a_place, outGroup - 1u);
  let own = min(first_column + b_place, pixels - 1u);
  let pixel = own % outPlane;
  let top = (pixel / outWidth) * u32(STRIDE_HEIGHT) - padTop;
  let left = (pixel % outWidth) * u32(STRIDE_WIDTH) - padLeft;
  let image_at = ((own / outPlane) * inChannels + channels * inGroup) * plane;
  let turns = (inGroup + ${DEPTH - 1}u) / ${DEPTH}u;
  let first = part * p.share;
  let last = min(first + p.share, TAPS * turns);
  var tap = first / turns;
  var c = (first % turns) * ${DEPTH}u;
  ${text.loop(
    `
      // Rows above the input wrap around and are beyond it.
      let y = top + (tap / u32(KERNEL_WIDTH)) * u32(DILATION_HEIGHT);
      let z = left + (tap % u32(KERNEL_WIDTH)) * u32(DILATION_WIDTH);
      let hits = y < inHeight && z < inWidth;
      let near = select(0u, image_at + y * inWidth + z, hits);
      let filter_from = filter_at + tap * inGroup * outGroup;
      ${times(a.length, (i) => `let c_a_${i} = c + ${a[i].term};\n${term('a', i, (at) => `filters[filter_from + ${at} * outGroup]`)}`)}
      ${times(b.length, (i) => `let c_b_${i} = c + ${b[i].term};\n${term('b', i, (at) => `select(0.0, x[near + ${at} * plane], hits)`)}`)}`,
    `
      c += ${DEPTH}u;
      if (c >= inGroup) {
        c = 0u;
        tap++;
      }`,
  )}
  ${text.results(
    { rowCount: 'outGroup', columnCount: 'pixels' },
    `let at = ((n / outPlane) * outChannels + channels * outGroup) * outPlane + n % outPlane;`,
    (value) =>
      SPLIT === true
        ? `out[part * p.size + at + row * outPlane] = ${value};`
        : `finish(${value}, channels * outGroup + row, at + row * outPlane);`,
  )}
}`;
  },
});
