import { flat, shader } from '../shader.js';
import { ADAPTIVE_PARAMS } from './poolParams.js';

/** Rows ⌊o·in/out⌋ … ⌈(o+1)·in/out⌉ of the input. */
const WINDOW = `
fn start(o: u32, extent: u32, outputs: u32) -> u32 { return (o * extent) / outputs; }
fn end(o: u32, extent: u32, outputs: u32) -> u32 { return ((o + 1u) * extent + outputs - 1u) / outputs; }
`;

/** Mean of each window. One invocation an output. */
export const adaptiveAvgPool2d = shader({
  name: 'adaptiveAvgPool2d',
  buffers: { x: 'f32', out: 'f32 out' },
  params: ADAPTIVE_PARAMS,
  code: `${WINDOW}${flat(`
  if (i >= p.size) { return; }
  let column = i % p.outWidth;
  let row = (i / p.outWidth) % p.outHeight;
  let first = (i / (p.outWidth * p.outHeight)) * p.inHeight * p.inWidth;
  let top = start(row, p.inHeight, p.outHeight);
  let bottom = end(row, p.inHeight, p.outHeight);
  let left = start(column, p.inWidth, p.outWidth);
  let right = end(column, p.inWidth, p.outWidth);
  var total = 0.0;
  for (var y = top; y < bottom; y++) {
    for (var z = left; z < right; z++) { total += x[first + y * p.inWidth + z]; }
  }
  out[i] = total / f32((bottom - top) * (right - left));`)}`,
});

/** dx = Σ dy / count over the windows that cover it. One invocation an input. */
export const adaptiveAvgPool2dBackward = shader({
  name: 'adaptiveAvgPool2dBackward',
  buffers: { dy: 'f32', dx: 'f32 out' },
  params: ADAPTIVE_PARAMS,
  code: `${WINDOW}${flat(`
  if (i >= p.size) { return; }
  let column = i % p.inWidth;
  let row = (i / p.inWidth) % p.inHeight;
  let first = (i / (p.inWidth * p.inHeight)) * p.outHeight * p.outWidth;
  var total = 0.0;
  // The windows that cover row i are those from ⌊i·out/in⌋ while they start at or before it.
  for (var a = (row * p.outHeight) / p.inHeight; a < p.outHeight && start(a, p.inHeight, p.outHeight) <= row; a++) {
    let height = end(a, p.inHeight, p.outHeight) - start(a, p.inHeight, p.outHeight);
    for (var b = (column * p.outWidth) / p.inWidth; b < p.outWidth && start(b, p.inWidth, p.outWidth) <= column; b++) {
      let width = end(b, p.inWidth, p.outWidth) - start(b, p.inWidth, p.outWidth);
      total += dy[first + a * p.outWidth + b] / f32(height * width);
    }
  }
  dx[i] = total;`)}`,
});
