import { shader } from '../shader.js';
import { CONV_PARAMS, GEOMETRY, WINDOW } from './convParams.js';
import { place, sums, times } from './tile.js';

/** The end of a forward pass: + bias, + residual, relu. */
export const FINISH = `
fn finish(sum: f32, channel: u32, at: u32) {
  var v = sum;
  if (has_bias) { v = v + bias[channel]; }
  if (has_residual) { v = v + residual[at]; }
  if (RELU) { v = select(0.0, v, v > 0.0 || isNan(v)); }
  out[at] = v;
}
`;

/**
 * Convolution as a product, im2col implicit: rows are output channels, columns output pixels of the whole batch, and the
 * sum runs over (kernel row, kernel column, input channel). A workgroup computes ROWS rows of COLUMNS·LANES columns of one
 * group, or along rows where columns are few. Then bias, residual and relu. PAIRS: filters lie by taps, all channels of one side by side,
 * an even number, and a turn takes two of them, in their order: halves have both in one word.
 */
export const conv2d = shader({
  name: 'conv2d',
  buffers: { x: 'f32', weight: 'f32/f16', bias: 'f32', residual: 'f32', out: 'f32 out' },
  params: CONV_PARAMS,
  code({ ROWS, COLUMNS, LANES, ALONG_ROWS, PAIRS }) {
    const [rows, columns, lanes] = [Number(ROWS), Number(COLUMNS), Number(LANES)];
    const pairs = PAIRS === true;
    const turns = pairs ? 2 : 1;
    return `${WINDOW}${FINISH}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
${GEOMETRY}
  let plane = inHeight * inWidth;
  let outPlane = outHeight * outWidth;
  let pixels = batch * outPlane;
  ${place(rows, columns, lanes, ALONG_ROWS === true)}
  let channel = group.z * outGroup + row;
  ${times(
    columns,
    (j) => `
  let image_${j} = n_${j} / outPlane;
  let pixel_${j} = n_${j} % outPlane;
  let top_${j} = (pixel_${j} / outWidth) * u32(STRIDE_HEIGHT) - padTop;
  let left_${j} = (pixel_${j} % outWidth) * u32(STRIDE_WIDTH) - padLeft;
  let first_${j} = (image_${j} * inChannels + group.z * inGroup) * plane;`,
  )}
  ${sums(rows, columns)}
  let filter_size = inGroup * TAPS;
  for (var r = 0u; r < u32(KERNEL_HEIGHT); r++) {
    for (var s = 0u; s < u32(KERNEL_WIDTH); s++) {
      ${times(
        columns,
        (j) => `
      // Rows above the input wrap around and are beyond it.
      let y_${j} = top_${j} + r * u32(DILATION_HEIGHT);
      let z_${j} = left_${j} + s * u32(DILATION_WIDTH);
      let hits_${j} = n_${j} < pixels && y_${j} < inHeight && z_${j} < inWidth;
      let from_${j} = select(0u, first_${j} + y_${j} * inWidth + z_${j}, hits_${j});`,
      )}
      let tap = channel * filter_size + (r * u32(KERNEL_WIDTH) + s) * ${pairs ? 'inGroup' : '1u'};
      for (var c = 0u; c < inGroup; c += ${turns}u) {
        ${times(turns, (t) => `let ahead_${t} = (c + ${t}u) * plane;`)}
        ${times(turns, (t) => times(columns, (j) => `let b_${t}_${j} = select(0.0, x[from_${j} + ahead_${t}], hits_${j});`))}
        ${times(rows, (i) => `let a_${i} = ${pairs ? 'weight_pair(tap + c' : 'weight_at(tap + c * TAPS'} + ${i}u * row_step * filter_size);`)}
        ${times(rows, (i) => times(columns, (j) => (pairs ? `sum_${i}_${j} = sum_${i}_${j} + a_${i}.x * b_0_${j} + a_${i}.y * b_1_${j};` : `sum_${i}_${j} += a_${i} * b_0_${j};`)))}
      }
    }
  }
  ${times(
    columns,
    (j) => `
  if (n_${j} < pixels) {
    let at = (image_${j} * outChannels + channel) * outPlane + pixel_${j};
    ${times(rows, (i) => `if (row + ${i}u * row_step < outGroup) { finish(sum_${i}_${j}, channel + ${i}u * row_step, at + ${i}u * row_step * outPlane); }`)}
  }`,
  )}
}`;
  },
});
