import { flat, shader } from '../shader.js';
import { COVERING, POOL_PARAMS } from './poolParams.js';

/** The first maximum of each window and where it is; a NaN beats everything, a later one an earlier. One invocation an output. */
export const maxPool2d = shader({
  name: 'maxPool2d',
  buffers: { x: 'words', out: 'words out', indices: 'i32 out' },
  params: POOL_PARAMS,
  // Compared as whole numbers of the same order: a comparison of floats may take subnormal ones for 0.
  code: `
fn order(word: u32) -> i32 {
  let bits = bitcast<i32>(select(word, 0u, word == 0x80000000u));
  return bits ^ ((bits >> 31u) & 0x7fffffff);
}
${flat(`
  if (i >= p.size) { return; }
  let column = i % p.outWidth;
  let row = (i / p.outWidth) % p.outHeight;
  let plane = i / (p.outWidth * p.outHeight);
  let first = plane * p.inHeight * p.inWidth;
  // −∞, which WGSL has no literal of.
  var best = 0xff800000u;
  var index = -1;
  for (var a = 0u; a < p.kernelHeight; a++) {
    // Rows above the input wrap around and are beyond it.
    let y = row * p.strideHeight + a * p.dilationHeight - p.padTop;
    if (y >= p.inHeight) { continue; }
    for (var b = 0u; b < p.kernelWidth; b++) {
      let z = column * p.strideWidth + b * p.dilationWidth - p.padLeft;
      if (z >= p.inWidth) { continue; }
      let word = x[first + y * p.inWidth + z];
      if (index < 0 || isNan(bitcast<f32>(word)) || (!isNan(bitcast<f32>(best)) && order(word) > order(best))) {
        best = word;
        index = i32(y * p.inWidth + z);
      }
    }
  }
  out[i] = best;
  if (has_indices) { indices[i] = index; }`)}`,
});

/** dx = Σ dy of the windows whose maximum it was, in output order. One invocation an input. */
export const maxPool2dBackward = shader({
  name: 'maxPool2dBackward',
  buffers: { dy: 'f32', indices: 'i32', dx: 'f32 out' },
  params: POOL_PARAMS,
  code: `${COVERING}${flat(`
  if (i >= p.size) { return; }
  let column = i % p.inWidth;
  let row = (i / p.inWidth) % p.inHeight;
  let plane = i / (p.inWidth * p.inHeight);
  let first = plane * p.outHeight * p.outWidth;
  let own = i32(row * p.inWidth + column);
  let top = firstCovering(row, p.padTop, p.dilationHeight * (p.kernelHeight - 1u) + 1u, p.strideHeight);
  let left = firstCovering(column, p.padLeft, p.dilationWidth * (p.kernelWidth - 1u) + 1u, p.strideWidth);
  let bottom = min(p.outHeight, (row + p.padTop) / p.strideHeight + 1u);
  let right = min(p.outWidth, (column + p.padLeft) / p.strideWidth + 1u);
  var total = 0.0;
  for (var a = top; a < bottom; a++) {
    for (var b = left; b < right; b++) {
      let at = first + a * p.outWidth + b;
      if (indices[at] == own) { total += dy[at]; }
    }
  }
  dx[i] = total;`)}`,
});
