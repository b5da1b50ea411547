import { shader } from '../shader.js';
import { block, DEPTH } from './block.js';
import { CONV_PARAMS, GEOMETRY, WINDOW } from './convParams.js';
import { times } from './tile.js';

/** How far apart the taps lie that hit a phase. */
export function tapStep(stride: number, dilation: number): number {
  let [a, b] = [stride, dilation];
  while (b > 0) [a, b] = [b, a % b];
  return stride / a;
}

/**
 * `conv2dBackwardInput` by blocks in workgroup memory. `filters` as `layFilters` lays them. A step is DEPTH output channels of one of the
 * taps that hit the phase; `share` steps of a part, whose sums are written one part after the other.
 * group.z = (group of channels, phase, part).
 */
export const conv2dBackwardInputBlock = shader({
  name: 'conv2dBackwardInputBlock',
  buffers: { dy: 'f32', filters: 'f32', dx: 'f32 out' },
  params: { ...CONV_PARAMS, parts: 'u32', share: 'u32', size: 'u32' },
  code({ ROWS, COLUMNS, RAGGED, STRIDE_HEIGHT, STRIDE_WIDTH, DILATION_HEIGHT, DILATION_WIDTH }) {
    const { a, b, ...text } = block(Number(ROWS), Number(COLUMNS));
    const tapsHigh = tapStep(Number(STRIDE_HEIGHT), Number(DILATION_HEIGHT));
    const tapsWide = tapStep(Number(STRIDE_WIDTH), Number(DILATION_WIDTH));
    const term = (name: string, i: number, value: (term: string) => string): string =>
      RAGGED === true
        ? `next_${name}_${i} = select(0.0, ${value(`min(c_${name}_${i}, outGroup - 1u)`)}, c_${name}_${i} < outGroup);`
        : `next_${name}_${i} = ${value(`c_${name}_${i}`)};`;
    return `${WINDOW}${text.memory}
/** The first tap that hits a phase, or one past all. */
fn firstTap(at: u32, kernel: i32, stride: i32, dilation: i32) -> u32 {
  for (var tap = 0; tap < kernel; tap++) {
    if ((i32(at) - tap * dilation) % stride == 0) { return u32(tap); }
  }
  return u32(kernel);
}

@compute @workgroup_size(${text.lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
${GEOMETRY}
  let strideHeight = u32(STRIDE_HEIGHT);
  let strideWidth = u32(STRIDE_WIDTH);
  let plane = inHeight * inWidth;
  let outPlane = outHeight * outWidth;
  let phases = strideHeight * strideWidth;
  let part = group.z % p.parts;
  let phase = (group.z / p.parts) % phases;
  let channels = group.z / (p.parts * phases);
  let phaseY = phase / strideWidth;
  let phaseZ = phase % strideWidth;
  if (phaseY >= inHeight || phaseZ >= inWidth) { return; }
  // Rows and columns of this phase.
  let height = (inHeight - phaseY + strideHeight - 1u) / strideHeight;
  let width = (inWidth - phaseZ + strideWidth - 1u) / strideWidth;
  let pixels = batch * height * width;
  ${text.places}
  if (first_column >= pixels) { return; }
  let filter_at = channels * TAPS * outGroup * inGroup + min(first_row + a_place, inGroup - 1u);
  let own = min(first_column + b_place, pixels - 1u);
  let y = (own / width) % height;
  let z = own % width;
  let image_at = ((own / (height * width)) * outChannels + channels * outGroup) * outPlane;
  // Output row o is hit by input row i with tap r where i + pad = o·stride + r·dilation.
  let first_r = firstTap(phaseY + padTop, KERNEL_HEIGHT, STRIDE_HEIGHT, DILATION_HEIGHT);
  let first_s = firstTap(phaseZ + padLeft, KERNEL_WIDTH, STRIDE_WIDTH, DILATION_WIDTH);
  let tapRows = (u32(KERNEL_HEIGHT) - first_r + ${tapsHigh - 1}u) / ${tapsHigh}u;
  let tapColumns = (u32(KERNEL_WIDTH) - first_s + ${tapsWide - 1}u) / ${tapsWide}u;
  let turns = (outGroup + ${DEPTH - 1}u) / ${DEPTH}u;
  let first = part * p.share;
  let last = min(first + p.share, tapRows * tapColumns * turns);
  var tap = first / turns;
  var c = (first % turns) * ${DEPTH}u;
  ${text.loop(
    `
      let r = first_r + (tap / tapColumns) * ${tapsHigh}u;
      let s = first_s + (tap % tapColumns) * ${tapsWide}u;
      // Rows above the output wrap around and are beyond it.
      let oy = y + u32((i32(phaseY + padTop) - i32(r) * DILATION_HEIGHT) / STRIDE_HEIGHT);
      let oz = z + u32((i32(phaseZ + padLeft) - i32(s) * DILATION_WIDTH) / STRIDE_WIDTH);
      let hits = oy < outHeight && oz < outWidth;
      let near = select(0u, image_at + oy * outWidth + oz, hits);
      let filter_from = filter_at + (r * u32(KERNEL_WIDTH) + s) * outGroup * inGroup;
      ${times(a.length, (i) => `let c_a_${i} = c + ${a[i].term};\n${term('a', i, (at) => `filters[filter_from + ${at} * inGroup]`)}`)}
      ${times(b.length, (i) => `let c_b_${i} = c + ${b[i].term};\n${term('b', i, (at) => `select(0.0, dy[near + ${at} * outPlane], hits)`)}`)}`,
    `
      c += ${DEPTH}u;
      if (c >= outGroup) {
        c = 0u;
        tap++;
      }`,
  )}
  ${text.results(
    { rowCount: 'inGroup', columnCount: 'pixels' },
    `
      let place = (((n / width) % height) * strideHeight + phaseY) * inWidth + (n % width) * strideWidth + phaseZ;
      let at = part * p.size + ((n / (height * width)) * inChannels + channels * inGroup) * plane + place;`,
    (value) => `dx[at + row * plane] = ${value};`,
  )}
}`;
  },
});
