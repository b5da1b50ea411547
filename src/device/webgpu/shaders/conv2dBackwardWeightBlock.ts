import { shader } from '../shader.js';
import { block, DEPTH } from './block.js';
import { CONV_PARAMS, GEOMETRY, WINDOW } from './convParams.js';
import { times } from './tile.js';

/**
 * `conv2dBackwardWeight` by blocks in workgroup memory: columns are (input channel, tap), and a step is DEPTH output pixels. OUT_WIDTH and
 * OUT_PLANE are the output's, as constants, since each step divides by them. `share` steps of a part, whose sums are written one part
 * after the other. group.z = (group of channels, part).
 */
export const conv2dBackwardWeightBlock = shader({
  name: 'conv2dBackwardWeightBlock',
  buffers: { x: 'f32', dy: 'f32', out: 'f32 out' },
  params: { ...CONV_PARAMS, parts: 'u32', share: 'u32', size: 'u32' },
  code({ ROWS, COLUMNS }) {
    const { a, b, ...text } = block(Number(ROWS), Number(COLUMNS), { aAlongTerms: true, bAlongTerms: true });
    return `${WINDOW}${text.memory}
@compute @workgroup_size(${text.lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
${GEOMETRY}
  let plane = inHeight * inWidth;
  let pixels = batch * u32(OUT_PLANE);
  let columns = inGroup * TAPS;
  let part = group.z % p.parts;
  let channels = group.z / p.parts;
  ${text.places}
  ${times(a.length, (i) => `let row_${i} = (channels * outGroup + min(first_row + ${a[i].at}, outGroup - 1u)) * u32(OUT_PLANE);`)}
  ${times(
    b.length,
    (i) => `
  let column_${i} = min(first_column + ${b[i].at}, columns - 1u);
  let r_${i} = ((column_${i} % TAPS) / u32(KERNEL_WIDTH)) * u32(DILATION_HEIGHT) - padTop;
  let s_${i} = (column_${i} % u32(KERNEL_WIDTH)) * u32(DILATION_WIDTH) - padLeft;
  let window_${i} = (channels * inGroup + column_${i} / TAPS) * plane + r_${i} * inWidth + s_${i};`,
  )}
  let first = part * p.share;
  let last = min(first + p.share, (pixels + ${DEPTH - 1}u) / ${DEPTH}u);
  var k = first * ${DEPTH}u + a_term;
  ${text.loop(
    `
      let inside = k < pixels;
      let own = min(k, pixels - 1u);
      let image = own / u32(OUT_PLANE);
      let pixel = own % u32(OUT_PLANE);
      let y = (pixel / u32(OUT_WIDTH)) * u32(STRIDE_HEIGHT);
      let z = (pixel % u32(OUT_WIDTH)) * u32(STRIDE_WIDTH);
      let dy_at = image * outChannels * u32(OUT_PLANE) + pixel;
      let x_at = image * inChannels * plane + y * inWidth + z;
      ${times(a.length, (i) => `next_a_${i} = select(0.0, dy[dy_at + row_${i}], inside);`)}
      ${times(
        b.length,
        (i) => `
      let hits_${i} = inside && y + r_${i} < inHeight && z + s_${i} < inWidth;
      next_b_${i} = select(0.0, x[select(0u, x_at + window_${i}, hits_${i})], hits_${i});`,
      )}`,
    `k += ${DEPTH}u;`,
  )}
  ${text.results(
    { rowCount: 'outGroup', columnCount: 'columns' },
    'let at = part * p.size + channels * outGroup * columns + n;',
    (value) => `out[at + row * columns] = ${value};`,
  )}
}`;
  },
});
