/** Pooling over windows of each plane. Gradients of means gather in float64 scratch and are rounded once. */
import type { PoolGeometry } from '../../shape.js';
import type { AdaptivePoolGeometry, Kernels } from '../device.js';
import { type Floats, type Host, Lanes } from './host.js';

/** Rows and columns [top, bottom) × [left, right) of the input, and what their sum is divided by. */
interface Window {
  top: number;
  bottom: number;
  left: number;
  right: number;
  divisor: number;
}

type PlaneGeometry = Pick<AdaptivePoolGeometry, 'planes' | 'inHeight' | 'inWidth' | 'outHeight' | 'outWidth'>;

const inputSize = (g: PlaneGeometry) => g.planes * g.inHeight * g.inWidth;
const outputSize = (g: PlaneGeometry) => g.planes * g.outHeight * g.outWidth;

/** Window of output (oh, ow): clipped to the padded input for `countIncludePad`'s divisor, then to the input. */
function averageWindow(g: PoolGeometry, countIncludePad: boolean, oh: number, ow: number): Window {
  const firstRow = oh * g.strideHeight - g.padTop;
  const firstColumn = ow * g.strideWidth - g.padLeft;
  const endRow = Math.min(firstRow + g.kernelHeight, g.inHeight + g.padBottom);
  const endColumn = Math.min(firstColumn + g.kernelWidth, g.inWidth + g.padRight);
  const top = Math.max(firstRow, 0);
  const left = Math.max(firstColumn, 0);
  const bottom = Math.min(endRow, g.inHeight);
  const right = Math.min(endColumn, g.inWidth);
  const divisor = countIncludePad ? (endRow - firstRow) * (endColumn - firstColumn) : (bottom - top) * (right - left);
  return { top, bottom, left, right, divisor };
}

function adaptiveWindow(g: AdaptivePoolGeometry, oh: number, ow: number): Window {
  const top = Math.floor((oh * g.inHeight) / g.outHeight);
  const bottom = Math.ceil(((oh + 1) * g.inHeight) / g.outHeight);
  const left = Math.floor((ow * g.inWidth) / g.outWidth);
  const right = Math.ceil(((ow + 1) * g.inWidth) / g.outWidth);
  return { top, bottom, left, right, divisor: (bottom - top) * (right - left) };
}

type Pool = Pick<
  Kernels,
  | 'maxPool2d'
  | 'maxPool2dBackward'
  | 'avgPool2d'
  | 'avgPool2dBackward'
  | 'adaptiveAvgPool2d'
  | 'adaptiveAvgPool2dBackward'
>;

export function pool(host: Host): Pool {
  /** Adds dy / divisor to every input that each window covers, windows in output order. */
  function spread(g: PlaneGeometry, windowOf: (oh: number, ow: number) => Window, dy: Floats, dx: Floats): void {
    const sums = host.scratch(g.inHeight * g.inWidth);
    let at = 0;
    for (let plane = 0; plane < g.planes; plane++) {
      sums.fill(0);
      for (let oh = 0; oh < g.outHeight; oh++) {
        for (let ow = 0; ow < g.outWidth; ow++) {
          const { top, bottom, left, right, divisor } = windowOf(oh, ow);
          const share = dy[at] / divisor;
          for (let ih = top; ih < bottom; ih++) {
            for (let iw = left; iw < right; iw++) sums[ih * g.inWidth + iw] += share;
          }
          at++;
        }
      }
      dx.set(sums, plane * sums.length);
    }
  }

  return {
    maxPool2d(o) {
      const { planes, inHeight, inWidth, outHeight, outWidth, dilationHeight, dilationWidth } = o;
      const x = host.floats('maxPool2d', 'x', o.x, inputSize(o));
      const out = host.floats('maxPool2d', 'out', o.out, outputSize(o));
      const indices = o.indices && host.ints('maxPool2d', 'indices', o.indices, outputSize(o));
      let at = 0;
      for (let plane = 0; plane < planes; plane++) {
        const first = plane * inHeight * inWidth;
        for (let oh = 0; oh < outHeight; oh++) {
          for (let ow = 0; ow < outWidth; ow++) {
            // A window of padding alone keeps −∞ and index −1.
            let best = -Infinity;
            let index = -1;
            for (let i = 0; i < o.kernelHeight; i++) {
              const ih = oh * o.strideHeight - o.padTop + i * dilationHeight;
              if (ih < 0 || ih >= inHeight) continue;
              for (let j = 0; j < o.kernelWidth; j++) {
                const iw = ow * o.strideWidth - o.padLeft + j * dilationWidth;
                if (iw < 0 || iw >= inWidth) continue;
                const value = x[first + ih * inWidth + iw];
                if (value > best || Number.isNaN(value) || index < 0) {
                  best = value;
                  index = ih * inWidth + iw;
                }
              }
            }
            out[at] = best;
            if (indices) indices[at] = index;
            at++;
          }
        }
      }
    },

    maxPool2dBackward(o) {
      const dy = host.floats('maxPool2dBackward', 'dy', o.dy, outputSize(o));
      const indices = host.ints('maxPool2dBackward', 'indices', o.indices, outputSize(o));
      const dx = host.floats('maxPool2dBackward', 'dx', o.dx, inputSize(o));
      dx.fill(0);
      let at = 0;
      for (let plane = 0; plane < o.planes; plane++) {
        const first = plane * o.inHeight * o.inWidth;
        for (let i = 0; i < o.outHeight * o.outWidth; i++) {
          if (indices[at] >= 0) dx[first + indices[at]] += dy[at];
          at++;
        }
      }
    },

    avgPool2d(o) {
      const x = host.floats('avgPool2d', 'x', o.x, inputSize(o));
      const out = host.floats('avgPool2d', 'out', o.out, outputSize(o));
      let at = 0;
      for (let plane = 0; plane < o.planes; plane++) {
        const first = plane * o.inHeight * o.inWidth;
        for (let oh = 0; oh < o.outHeight; oh++) {
          for (let ow = 0; ow < o.outWidth; ow++) {
            const { top, bottom, left, right, divisor } = averageWindow(o, o.countIncludePad, oh, ow);
            let sum = 0;
            for (let ih = top; ih < bottom; ih++) {
              for (let iw = left; iw < right; iw++) sum += x[first + ih * o.inWidth + iw];
            }
            out[at] = sum / divisor;
            at++;
          }
        }
      }
    },

    avgPool2dBackward(o) {
      const dy = host.floats('avgPool2dBackward', 'dy', o.dy, outputSize(o));
      const dx = host.floats('avgPool2dBackward', 'dx', o.dx, inputSize(o));
      spread(o, (oh, ow) => averageWindow(o, o.countIncludePad, oh, ow), dy, dx);
    },

    adaptiveAvgPool2d(o) {
      const x = host.floats('adaptiveAvgPool2d', 'x', o.x, inputSize(o));
      const out = host.floats('adaptiveAvgPool2d', 'out', o.out, outputSize(o));
      const lanes = new Lanes();
      let at = 0;
      for (let plane = 0; plane < o.planes; plane++) {
        const first = plane * o.inHeight * o.inWidth;
        for (let oh = 0; oh < o.outHeight; oh++) {
          for (let ow = 0; ow < o.outWidth; ow++) {
            const { top, bottom, left, right, divisor } = adaptiveWindow(o, oh, ow);
            lanes.clear();
            let k = 0;
            for (let ih = top; ih < bottom; ih++) {
              for (let iw = left; iw < right; iw++) {
                lanes.add(k, x[first + ih * o.inWidth + iw]);
                k++;
              }
            }
            out[at] = lanes.total() / divisor;
            at++;
          }
        }
      }
    },

    adaptiveAvgPool2dBackward(o) {
      const dy = host.floats('adaptiveAvgPool2dBackward', 'dy', o.dy, outputSize(o));
      const dx = host.floats('adaptiveAvgPool2dBackward', 'dx', o.dx, inputSize(o));
      spread(o, (oh, ow) => adaptiveWindow(o, oh, ow), dy, dx);
    },
  };
}
