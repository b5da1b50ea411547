import { flat, shader } from '../shader.js';
import { COVERING, POOL_PARAMS } from './poolParams.js';

/** What a window's sum is divided by: its elements in the padded input, or in the input. */
const DIVISOR = `
fn extentOf(o: u32, stride: u32, kernel: u32, low: u32, high: u32, extent: u32) -> u32 {
  let start = i32(o * stride) - i32(low);
  let end = start + i32(kernel);
  if (COUNT_INCLUDE_PAD) { return u32(min(end, i32(extent + high)) - start); }
  return u32(min(end, i32(extent)) - max(start, 0));
}
fn divisorOf(row: u32, column: u32) -> f32 {
  return f32(extentOf(row, p.strideHeight, p.kernelHeight, p.padTop, p.padBottom, p.inHeight)
    * extentOf(column, p.strideWidth, p.kernelWidth, p.padLeft, p.padRight, p.inWidth));
}
`;

/** Mean of each window. One invocation an output. */
export const avgPool2d = shader({
  name: 'avgPool2d',
  buffers: { x: 'f32', out: 'f32 out' },
  params: POOL_PARAMS,
  code: `${DIVISOR}${flat(`
  if (i >= p.size) { return; }
  let column = i % p.outWidth;
  let row = (i / p.outWidth) % p.outHeight;
  let first = (i / (p.outWidth * p.outHeight)) * p.inHeight * p.inWidth;
  var total = 0.0;
  for (var a = 0u; a < p.kernelHeight; a++) {
    let y = row * p.strideHeight + a - p.padTop;
    if (y >= p.inHeight) { continue; }
    for (var b = 0u; b < p.kernelWidth; b++) {
      let z = column * p.strideWidth + b - p.padLeft;
      if (z < p.inWidth) { total += x[first + y * p.inWidth + z]; }
    }
  }
  out[i] = total / divisorOf(row, column);`)}`,
});

/** dx = Σ dy / divisor over the windows that cover it. One invocation an input. */
export const avgPool2dBackward = shader({
  name: 'avgPool2dBackward',
  buffers: { dy: 'f32', dx: 'f32 out' },
  params: POOL_PARAMS,
  code: `${DIVISOR}${COVERING}${flat(`
  if (i >= p.size) { return; }
  let column = i % p.inWidth;
  let row = (i / p.inWidth) % p.inHeight;
  let first = (i / (p.inWidth * p.inHeight)) * p.outHeight * p.outWidth;
  let top = firstCovering(row, p.padTop, p.kernelHeight, p.strideHeight);
  let left = firstCovering(column, p.padLeft, p.kernelWidth, p.strideWidth);
  let bottom = min(p.outHeight, (row + p.padTop) / p.strideHeight + 1u);
  let right = min(p.outWidth, (column + p.padLeft) / p.strideWidth + 1u);
  var total = 0.0;
  for (var a = top; a < bottom; a++) {
    for (var b = left; b < right; b++) { total += dy[first + a * p.outWidth + b] / divisorOf(a, b); }
  }
  dx[i] = total;`)}`,
});
