/** What max and average pooling have in common: how a window slides, and what it may not do. */
import { ArgumentError } from '../errors.js';
import { checkRank, formatShape, type Pair, type PoolGeometry, pair, type Shape, windowExtent } from '../shape.js';

export interface WindowOptions {
  readonly kernelSize: Pair;
  readonly stride: Pair | undefined;
  readonly padding: Pair;
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
  const padding = pair(op, 'padding', o.padding, 0);
  const dilation = pair(op, 'dilation', o.dilation, 1);
  if (padding[0] > kernel[0] / 2 || padding[1] > kernel[1] / 2) {
    throw new ArgumentError(
      `${op}: padding [${padding.join(', ')}] with kernelSize [${kernel.join(', ')}]; want at most half of the kernel`,
    );
  }
  const extent = (i: 0 | 1): number =>
    windowExtent(x[2 + i], kernel[i], stride[i], padding[i], padding[i], dilation[i], o.ceilMode);
  const outHeight = extent(0);
  const outWidth = extent(1);
  if (outHeight < 1 || outWidth < 1 || inHeight === 0 || inWidth === 0) {
    throw new ArgumentError(
      `${op}: x ${formatShape(x)} with kernelSize [${kernel.join(', ')}], padding [${padding.join(', ')}], dilation [${dilation.join(', ')}] gives a ${outHeight}×${outWidth} output; want at least 1×1`,
    );
  }
  for (const i of [0, 1] as const) {
    const out = i === 0 ? outHeight : outWidth;
    if (!everyWindowHits(x[2 + i], out, kernel[i], stride[i], padding[i], dilation[i])) {
      throw new ArgumentError(
        `${op}: x ${formatShape(x)}: a window with dilation [${dilation.join(', ')}] and padding [${padding.join(', ')}] holds nothing but padding`,
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
      padHeight: padding[0],
      padWidth: padding[1],
      dilationHeight: dilation[0],
      dilationWidth: dilation[1],
    },
  };
}
