/** What max and average pooling have in common: how a window slides, and what it may not do. */
import { ArgumentError } from '../errors.js';
import { checkRank, formatShape, type Pair, type PoolGeometry, pair, type Shape, windowExtent } from '../shape.js';
import { type Padding, paddingSides } from './padding.js';

export interface WindowOptions {
  readonly kernelSize: Pair;
  readonly stride: Pair | undefined;
  readonly padding: Padding;
  readonly dilation: Pair;
  readonly ceilMode: boolean;
}

/** True when every window along an axis has a tap inside the input. */
function everyWindowHits(extent: number, out: number, kernel: number, stride: number, pad: number, dilation: number) {
  for (let o = 0; o < out; o++) {
    let hit = false;
    for (let k = 0; k < kernel && !hit; k++) {
      const at = o * stride - pad + k * dilation;
      hit = at >= 0 && at < extent;
    }
    if (!hit) return false;
  }
  return true;
}

export function poolPlan(op: string, x: Shape, o: WindowOptions): { shape: Shape; geometry: PoolGeometry } {
  checkRank(op, 'x', x, 4, '[N, C, H, W]');
  const [batch, channels, inHeight, inWidth] = x;
  const kernel = pair(op, 'kernelSize', o.kernelSize, 1);
  const stride = o.stride === undefined ? kernel : pair(op, 'stride', o.stride, 1);
  const dilation = pair(op, 'dilation', o.dilation, 1);
  const { before, after } = paddingSides(op, o.padding, [inHeight, inWidth], { kernel, stride, dilation });
  // A word's padding follows from the kernel, and a dilated one's may be more than half of it.
  const most = typeof o.padding === 'string' ? Number.POSITIVE_INFINITY : 1 / 2;
  const even = before[0] === after[0] && before[1] === after[1];
  const shown = even ? `[${before.join(', ')}]` : `[[${before[0]}, ${after[0]}], [${before[1]}, ${after[1]}]]`;
  if ([...before, ...after].some((zeros, i) => zeros > kernel[i % 2] * most)) {
    throw new ArgumentError(
      `${op}: padding ${shown} with kernelSize [${kernel.join(', ')}]; want at most half of the kernel`,
    );
  }
  const extent = (i: 0 | 1): number =>
    windowExtent(x[2 + i], kernel[i], stride[i], before[i], after[i], dilation[i], o.ceilMode);
  const outHeight = extent(0);
  const outWidth = extent(1);
  if (outHeight < 1 || outWidth < 1 || inHeight === 0 || inWidth === 0) {
    throw new ArgumentError(
      `${op}: x ${formatShape(x)} with kernelSize [${kernel.join(', ')}], padding ${shown}, dilation [${dilation.join(', ')}] gives a ${outHeight}×${outWidth} output; want at least 1×1`,
    );
  }
  for (const i of [0, 1] as const) {
    const out = i === 0 ? outHeight : outWidth;
    if (!everyWindowHits(x[2 + i], out, kernel[i], stride[i], before[i], dilation[i])) {
      throw new ArgumentError(
        `${op}: x ${formatShape(x)}: a window with dilation [${dilation.join(', ')}] and padding ${shown} holds nothing but padding`,
      );
    }
  }
  return {
    shape: [batch, channels, outHeight, outWidth],
    geometry: {
      planes: batch * channels,
      inHeight,
      inWidth,
      outHeight,
      outWidth,
      kernelHeight: kernel[0],
      kernelWidth: kernel[1],
      strideHeight: stride[0],
      strideWidth: stride[1],
      padTop: before[0],
      padLeft: before[1],
      padBottom: after[0],
      padRight: after[1],
      dilationHeight: dilation[0],
      dilationWidth: dilation[1],
    },
  };
}
