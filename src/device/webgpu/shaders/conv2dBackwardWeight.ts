import { flat, shader } from '../shader.js';
import { CONV_PARAMS, GEOMETRY, WINDOW } from './convParams.js';
import { step, sums, times } from './tile.js';

/** Each result of a workgroup, at row `row`, input channel `channel` and tap `tap` of its group of channels. */
const STORE = `
fn store(part: u32, grouped: u32, row: u32, channel: u32, tap: u32, sum: f32) {
  if (row < p.outGroup && channel < p.inGroup && tap < TAPS) {
    out[part * p.size + ((grouped * p.outGroup + row) * p.inGroup + channel) * TAPS + tap] = sum;
  }
}
`;

/** Where the taps that a workgroup holds lie, from the first one on. */
const tapOffsets = (taps: number): string =>
  times(
    taps,
    (t) => `
  let r_${t} = ((firstTap + ${t}u) / u32(KERNEL_WIDTH)) * u32(DILATION_HEIGHT) - padTop;
  let s_${t} = ((firstTap + ${t}u) % u32(KERNEL_WIDTH)) * u32(DILATION_WIDTH) - padLeft;`,
  );

/**
 * The gradient of a convolution's weights as a product: rows are output channels, columns pairs of an input channel and a
 * tap, and the long sum runs over the output pixels of the whole batch. For large maps: lanes take turns along the pixels,
 * each with sums of its own, which the workgroup adds at the end; so do `parts` workgroups. A workgroup has ROWS rows,
 * CHANNELS input channels and TAPS_HELD taps. group.x = (group of channels, input channels, taps), group.y = rows,
 * group.z = part.
 */
export const conv2dBackwardWeight = shader({
  name: 'conv2dBackwardWeight',
  buffers: { x: 'f32', dy: 'f32', out: 'f32 out' },
  params: { ...CONV_PARAMS, parts: 'u32', size: 'u32' },
  code({ ROWS, CHANNELS, TAPS_HELD, LANES }) {
    const [rows, channels, taps, lanes] = [Number(ROWS), Number(CHANNELS), Number(TAPS_HELD), Number(LANES)];
    const columns = channels * taps;
    // One more, so that lanes that read a sum each do not meet in one bank.
    const pitch = lanes + 1;
    return `${WINDOW}${STORE}
var<workgroup> shares: array<f32, ${rows * columns * pitch}>;

@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
${GEOMETRY}
  let plane = inHeight * inWidth;
  let outPlane = outHeight * outWidth;
  let pixels = batch * outPlane;
  let tapBlocks = (TAPS + ${taps - 1}u) / ${taps}u;
  let channelBlocks = (inGroup + ${channels - 1}u) / ${channels}u;
  let firstTap = (group.x % tapBlocks) * ${taps}u;
  let channel = ((group.x / tapBlocks) % channelBlocks) * ${channels}u;
  let grouped = group.x / (tapBlocks * channelBlocks);
  let row = group.y * ${rows}u;
  ${tapOffsets(taps)}
  ${sums(rows, columns)}
  for (var q = group.z * ${lanes}u + lane; q < pixels; q += p.parts * ${lanes}u) {
    let image = q / outPlane;
    let pixel = q % outPlane;
    let y = (pixel / outWidth) * u32(STRIDE_HEIGHT);
    let z = (pixel % outWidth) * u32(STRIDE_WIDTH);
    let dyAt = (image * outChannels + grouped * outGroup + row) * outPlane + pixel;
    let first = (image * inChannels + grouped * inGroup + channel) * plane;
    ${times(rows, (i) => `let a_${i} = dy[dyAt + ${i}u * outPlane];`)}
    ${times(
      taps,
      (t) => `
    let y_${t} = y + r_${t};
    let z_${t} = z + s_${t};
    let hits_${t} = y_${t} < inHeight && z_${t} < inWidth;
    let at_${t} = select(0u, first + y_${t} * inWidth + z_${t}, hits_${t});
    ${times(channels, (c) => `let b_${c * taps + t} = select(0.0, x[at_${t} + ${c}u * plane], hits_${t});`)}`,
    )}
    ${step(rows, columns)}
  }
  ${times(rows, (i) => times(columns, (j) => `shares[${(i * columns + j) * pitch}u + lane] = sum_${i}_${j};`))}
  workgroupBarrier();
  for (var own = lane; own < ${rows * columns}u; own += ${lanes}u) {
    var sum = 0.0;
    for (var i = 0u; i < ${lanes}u; i++) { sum += shares[own * ${pitch}u + i]; }
    let column = own % ${columns}u;
    store(group.z, grouped, row + own / ${columns}u, channel + column / ${taps}u, firstTap + column % ${taps}u, sum);
  }
}`;
  },
});

/**
 * The same for small maps with many channels: lanes lie along the input channels and nothing is left to add. `parts`
 * workgroups take turns along the rows of the batch's outputs. A workgroup has ROWS rows and TAPS_HELD taps of LANES input
 * channels. group.x = (group of channels, input channels, taps), group.y = rows, group.z = part.
 */
export const conv2dBackwardWeightSmall = shader({
  name: 'conv2dBackwardWeightSmall',
  buffers: { x: 'f32', dy: 'f32', out: 'f32 out' },
  params: { ...CONV_PARAMS, parts: 'u32', size: 'u32' },
  code({ ROWS, TAPS_HELD, LANES, KERNEL_WIDTH, STRIDE_WIDTH, DILATION_WIDTH }) {
    const [rows, taps, lanes] = [Number(ROWS), Number(TAPS_HELD), Number(LANES)];
    const width = Number(KERNEL_WIDTH);
    // Whole rows of taps that move by one: all but the last tap of a row have their element from the turn before.
    const slides = STRIDE_WIDTH === 1 && DILATION_WIDTH === 1 && width > 1 && taps % width === 0;
    const load = (t: number, z: string): string =>
      `load(line_${t}, ${z} + s_${t}, y_${t} < inHeight && ${z} + s_${t} < inWidth)`;
    return `${WINDOW}${STORE}
fn load(line: u32, z: u32, hits: bool) -> f32 { return select(0.0, x[select(0u, line + z, hits)], hits); }

@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
${GEOMETRY}
  let plane = inHeight * inWidth;
  let outPlane = outHeight * outWidth;
  let tapBlocks = (TAPS + ${taps - 1}u) / ${taps}u;
  let channelBlocks = (inGroup + ${lanes - 1}u) / ${lanes}u;
  let firstTap = (group.x % tapBlocks) * ${taps}u;
  let channel = ((group.x / tapBlocks) % channelBlocks) * ${lanes}u + lane;
  let grouped = group.x / (tapBlocks * channelBlocks);
  let row = group.y * ${rows}u;
  ${tapOffsets(taps)}
  ${sums(rows, taps)}
  for (var line = group.z; line < batch * outHeight; line += p.parts) {
    let image = line / outHeight;
    let oy = line % outHeight;
    let first = (image * inChannels + grouped * inGroup + min(channel, inGroup - 1u)) * plane;
    var dyAt = (image * outChannels + grouped * outGroup + row) * outPlane + oy * outWidth;
    ${times(
      taps,
      (t) => `
    let y_${t} = oy * u32(STRIDE_HEIGHT) + r_${t};
    let line_${t} = first + y_${t} * inWidth;`,
    )}
    ${slides ? times(taps, (t) => (t % width === width - 1 ? '' : `var b_${t} = ${load(t, '0u')};`)) : ''}
    for (var ox = 0u; ox < outWidth; ox++) {
      let z = ox * u32(STRIDE_WIDTH);
      ${times(rows, (i) => `let a_${i} = dy[dyAt + ${i}u * outPlane];`)}
      ${times(taps, (t) => (slides && t % width !== width - 1 ? '' : `let b_${t} = ${load(t, 'z')};`))}
      ${step(rows, taps)}
      ${slides ? times(taps, (t) => (t % width === width - 1 ? '' : `b_${t} = b_${t + 1};`)) : ''}
      dyAt++;
    }
  }
  ${times(rows, (i) => times(taps, (t) => `store(group.z, grouped, row + ${i}u, channel, firstTap + ${t}u, sum_${i}_${t});`))}
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
