import { flat, shader } from '../shader.js';
import { CONV_PARAMS, WINDOW } from './convParams.js';
import { step, sums, times } from './tile.js';

/**
 * The gradient of a convolution's weights: rows are output channels, columns pairs of an input channel and a tap, and the
 * long sum runs over the output pixels of the whole batch. It is split: lanes and `parts` workgroups take turns along the
 * pixels, each lane with sums of its own, which the workgroup then adds. A workgroup has ROWS rows, CHANNELS input
 * channels and TAPS_HELD taps. group.x = (group of channels, input channels, taps), group.y = rows, group.z = part.
 */
export const conv2dBackwardWeight = shader({
  name: 'conv2dBackwardWeight',
  buffers: { x: 'f32', dy: 'f32', out: 'f32 out' },
  params: { ...CONV_PARAMS, parts: 'u32', size: 'u32' },
  code({ ROWS, CHANNELS, TAPS_HELD, LANES }) {
    const [rows, channels, taps, lanes] = [Number(ROWS), Number(CHANNELS), Number(TAPS_HELD), Number(LANES)];
    return `${WINDOW}
var<workgroup> shares: array<f32, ${lanes}>;

fn total(lane: u32, own: f32) -> f32 {
  shares[lane] = own;
  workgroupBarrier();
  var sum = 0.0;
  if (lane < 8u) {
    for (var i = lane; i < ${lanes}u; i += 8u) { sum += shares[i]; }
  }
  workgroupBarrier();
  if (lane < 8u) { shares[lane] = sum; }
  workgroupBarrier();
  if (lane == 0u) {
    for (var i = 1u; i < 8u; i++) { sum += shares[i]; }
  }
  workgroupBarrier();
  return sum;
}

@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let plane = p.inHeight * p.inWidth;
  let outPlane = p.outHeight * p.outWidth;
  let pixels = p.batch * outPlane;
  let tapBlocks = (TAPS + ${taps - 1}u) / ${taps}u;
  let channelBlocks = (p.inGroup + ${channels - 1}u) / ${channels}u;
  let firstTap = (group.x % tapBlocks) * ${taps}u;
  let channel = ((group.x / tapBlocks) % channelBlocks) * ${channels}u;
  let grouped = group.x / (tapBlocks * channelBlocks);
  let row = group.y * ${rows}u;
  ${times(
    taps,
    (t) => `
  let r_${t} = ((firstTap + ${t}u) / u32(KERNEL_WIDTH)) * u32(DILATION_HEIGHT) - p.padTop;
  let s_${t} = ((firstTap + ${t}u) % u32(KERNEL_WIDTH)) * u32(DILATION_WIDTH) - p.padLeft;`,
  )}
  ${sums(rows, channels * taps)}
  for (var q = group.z * ${lanes}u + lane; q < pixels; q += p.parts * ${lanes}u) {
    let image = q / outPlane;
    let pixel = q % outPlane;
    let y = (pixel / p.outWidth) * u32(STRIDE_HEIGHT);
    let z = (pixel % p.outWidth) * u32(STRIDE_WIDTH);
    let dyAt = (image * p.outChannels + grouped * p.outGroup + row) * outPlane + pixel;
    let first = (image * p.inChannels + grouped * p.inGroup + channel) * plane;
    ${times(rows, (i) => `let a_${i} = dy[dyAt + ${i}u * outPlane];`)}
    ${times(
      taps,
      (t) => `
    let y_${t} = y + r_${t};
    let z_${t} = z + s_${t};
    let hits_${t} = y_${t} < p.inHeight && z_${t} < p.inWidth;
    let at_${t} = select(0u, first + y_${t} * p.inWidth + z_${t}, hits_${t});
    ${times(channels, (c) => `let b_${c * taps + t} = select(0.0, x[at_${t} + ${c}u * plane], hits_${t});`)}`,
    )}
    ${step(rows, channels * taps)}
  }
  ${times(rows, (i) =>
    times(channels, (c) =>
      times(
        taps,
        (t) => `
  {
    let sum = total(lane, sum_${i}_${c * taps + t});
    if (lane == 0u && row + ${i}u < p.outGroup && channel + ${c}u < p.inGroup && firstTap + ${t}u < TAPS) {
      out[group.z * p.size + ((grouped * p.outGroup + row + ${i}u) * p.inGroup + channel + ${c}u) * TAPS + firstTap + ${t}u] = sum;
    }
  }`,
      ),
    ),
  )}
}`;
  },
});

/** out = the sum of `parts` arrays. One invocation an element. */
export const sumParts = shader({
  name: 'sumParts',
  buffers: { x: 'f32', out: 'f32 out' },
  params: { size: 'u32', parts: 'u32' },
  code: flat(`
  if (i >= p.size) { return; }
  var total = 0.0;
  for (var part = 0u; part < p.parts; part++) { total += x[part * p.size + i]; }
  out[i] = total;`),
});
