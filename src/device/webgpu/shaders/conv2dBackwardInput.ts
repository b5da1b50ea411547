import { shader } from '../shader.js';
import { CONV_PARAMS, GEOMETRY, WINDOW } from './convParams.js';
import { place, step, sums, times } from './tile.js';

/**
 * The gradient of a convolution's input as a product: rows are input channels, columns input pixels, and the sum runs over
 * (kernel row, kernel column, output channel). Pixels are taken by their phase, (row mod stride, column mod stride): those
 * of one phase are hit by the same taps, so the others are passed over. group.z = (group of channels, phase).
 */
export const conv2dBackwardInput = shader({
  name: 'conv2dBackwardInput',
  buffers: { dy: 'f32', weight: 'f32', dx: 'f32 out' },
  params: CONV_PARAMS,
  code({ ROWS, COLUMNS, LANES, ALONG_ROWS }) {
    const [rows, columns, lanes] = [Number(ROWS), Number(COLUMNS), Number(LANES)];
    return `${WINDOW}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
${GEOMETRY}
  let strideHeight = u32(STRIDE_HEIGHT);
  let strideWidth = u32(STRIDE_WIDTH);
  let plane = inHeight * inWidth;
  let outPlane = outHeight * outWidth;
  let phases = strideHeight * strideWidth;
  let phaseY = (group.z % phases) / strideWidth;
  let phaseZ = group.z % strideWidth;
  let channels = group.z / phases;
  if (phaseY >= inHeight || phaseZ >= inWidth) { return; }
  // Rows and columns of this phase.
  let height = (inHeight - phaseY + strideHeight - 1u) / strideHeight;
  let width = (inWidth - phaseZ + strideWidth - 1u) / strideWidth;
  let pixels = batch * height * width;
  ${place(rows, columns, lanes, ALONG_ROWS === true)}
  if (first_column >= pixels) { return; }
  ${times(
    columns,
    (j) => `
  let image_${j} = n_${j} / (height * width);
  let y_${j} = ((n_${j} / width) % height) * strideHeight + phaseY;
  let z_${j} = (n_${j} % width) * strideWidth + phaseZ;
  let first_${j} = (image_${j} * outChannels + channels * outGroup) * outPlane;`,
  )}
  ${sums(rows, columns)}
  let filter_size = inGroup * TAPS;
  for (var r = 0u; r < u32(KERNEL_HEIGHT); r++) {
    // Output row o is hit by input row i with tap r where i + pad = o·stride + r·dilation.
    let dy_offset = i32(phaseY + padTop) - i32(r) * DILATION_HEIGHT;
    if (dy_offset % STRIDE_HEIGHT != 0) { continue; }
    for (var s = 0u; s < u32(KERNEL_WIDTH); s++) {
      let dz_offset = i32(phaseZ + padLeft) - i32(s) * DILATION_WIDTH;
      if (dz_offset % STRIDE_WIDTH != 0) { continue; }
      ${times(
        columns,
        (j) => `
      let oy_${j} = u32((i32(y_${j} - phaseY) + dy_offset) / STRIDE_HEIGHT);
      let oz_${j} = u32((i32(z_${j} - phaseZ) + dz_offset) / STRIDE_WIDTH);
      let hits_${j} = n_${j} < pixels && oy_${j} < outHeight && oz_${j} < outWidth;
      let from_${j} = select(0u, first_${j} + oy_${j} * outWidth + oz_${j}, hits_${j});`,
      )}
      let w = (channels * outGroup * inGroup + row) * TAPS + r * u32(KERNEL_WIDTH) + s;
      for (var c = 0u; c < outGroup; c++) {
        let ahead = c * outPlane;
        let tap = w + c * filter_size;
        ${times(columns, (j) => `let b_${j} = select(0.0, dy[from_${j} + ahead], hits_${j});`)}
        ${times(rows, (i) => `let a_${i} = weight[tap + ${i}u * row_step * TAPS];`)}
        ${step(rows, columns)}
      }
    }
  }
  ${times(
    columns,
    (j) => `
  if (n_${j} < pixels) {
    let at = (image_${j} * inChannels + channels * inGroup + row) * plane + y_${j} * inWidth + z_${j};
    ${times(rows, (i) => `if (row + ${i}u * row_step < inGroup) { dx[at + ${i}u * row_step * plane] = sum_${i}_${j}; }`)}
  }`,
  )}
}`;
  },
});
