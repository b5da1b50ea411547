/**
 * How the kernels of a convolution read their input: padded or dense copies, tap offsets, and the stride phases of the input
 * gradient. Geometry only: no memory is touched.
 */
import type { ConvGeometry } from '../../shape.js';

/** Terms of a float32 block of the weight gradient: part of the numerics, as in assembly/convWeight.ts. */
export const WEIGHT_BLOCK = 512;

/** How a kernel reads a batch of planes: where each tap of each output pixel lies, neighbours of a row side by side. Bytes. */
export interface Source {
  /** False when the tensor itself is read: every tap of every output is inside it. */
  readonly copied: boolean;
  /** A copy may hold zeros around the image, or be every stride-th pixel of it, for a kernel of one tap. */
  readonly subsampled: boolean;
  readonly padTop: number;
  readonly padLeft: number;
  readonly height: number;
  /** Stride phases kept apart in a row, and the floats of each. */
  readonly phases: number;
  readonly phaseLength: number;
  readonly planeBytes: number;
  readonly rowBytes: number;
}

const unpadded = (height: number, width: number): Source => ({
  copied: false,
  subsampled: false,
  padTop: 0,
  padLeft: 0,
  height,
  phases: 1,
  phaseLength: width,
  planeBytes: height * width * 4,
  rowBytes: width * 4,
});

/** The input of a convolution, as read by the forward pass and the weight gradient. */
export function inputSource(g: ConvGeometry): Source {
  const height = (g.outHeight - 1) * g.strideHeight + (g.kernelHeight - 1) * g.dilationHeight + 1;
  const width = (g.outWidth - 1) * g.strideWidth + (g.kernelWidth - 1) * g.dilationWidth + 1;
  const inside = g.padTop === 0 && g.padLeft === 0 && height <= g.inHeight && width <= g.inWidth;
  if (inside && g.strideWidth === 1) {
    return { ...unpadded(g.inHeight, g.inWidth), rowBytes: g.strideHeight * g.inWidth * 4 };
  }
  if (inside && g.kernelHeight === 1 && g.kernelWidth === 1) {
    return { ...unpadded(g.outHeight, g.outWidth), copied: true, subsampled: true };
  }
  const phaseLength = Math.ceil(width / g.strideWidth);
  const pitch = phaseLength * g.strideWidth;
  return {
    copied: true,
    subsampled: false,
    padTop: g.padTop,
    padLeft: g.padLeft,
    height,
    phases: g.strideWidth,
    phaseLength,
    planeBytes: height * pitch * 4,
    rowBytes: g.strideHeight * pitch * 4,
  };
}

/**
 * The input as the weight gradient reads it. A block of q that meets several images reads the same plane of all of them at
 * once; as they lie in the tensor, these often share their sets of the first-level cache, so they are copied.
 */
export function weightSource(g: ConvGeometry): Source {
  const s = inputSource(g);
  return { ...s, copied: s.copied || (g.batch > 1 && g.outHeight * g.outWidth < WEIGHT_BLOCK / 2) };
}

/** Byte offset of each kernel tap from an output pixel's base, rows first. */
export function inputTaps(g: ConvGeometry, s: Source): number[] {
  const pitch = s.phases * s.phaseLength;
  const offsets: number[] = [];
  for (let kh = 0; kh < g.kernelHeight; kh++) {
    for (let kw = 0; kw < g.kernelWidth; kw++) {
      const col = kw * g.dilationWidth;
      offsets.push(4 * (kh * g.dilationHeight * pitch + (col % s.phases) * s.phaseLength + Math.floor(col / s.phases)));
    }
  }
  return offsets;
}

/** One stride phase of the input gradient: the pixels congruent to it, and the taps that reach them. */
export interface Phase {
  readonly top: number;
  readonly left: number;
  readonly rows: number;
  readonly cols: number;
  /** Position of each tap in the kernel, and its offset in output rows and columns. */
  readonly index: number[];
  readonly deltas: (readonly [number, number])[];
}

function axisPhase(phase: number, extent: number, kernel: number, stride: number, pad: number, dilation: number) {
  const taps: { tap: number; delta: number }[] = [];
  for (let tap = 0; tap < kernel; tap++) {
    const at = phase + pad - tap * dilation;
    if (at % stride === 0) taps.push({ tap, delta: at / stride });
  }
  return { count: Math.ceil((extent - phase) / stride), taps };
}

export function inputPhases(g: ConvGeometry): Phase[] {
  const phases: Phase[] = [];
  for (let top = 0; top < Math.min(g.strideHeight, g.inHeight); top++) {
    const v = axisPhase(top, g.inHeight, g.kernelHeight, g.strideHeight, g.padTop, g.dilationHeight);
    for (let left = 0; left < Math.min(g.strideWidth, g.inWidth); left++) {
      const h = axisPhase(left, g.inWidth, g.kernelWidth, g.strideWidth, g.padLeft, g.dilationWidth);
      const index: number[] = [];
      const deltas: [number, number][] = [];
      for (const a of v.taps) {
        for (const b of h.taps) {
          index.push(a.tap * g.kernelWidth + b.tap);
          deltas.push([a.delta, b.delta]);
        }
      }
      phases.push({ top, left, rows: v.count, cols: h.count, index, deltas });
    }
  }
  return phases;
}

/** The output gradient as the input gradient reads it: stride 1 in every phase, padded as far as any tap reaches. */
export function gradientSource(g: ConvGeometry, phases: readonly Phase[]): Source {
  let [minTop, minLeft, maxRow, maxCol] = [0, 0, 0, 0];
  for (const { rows, cols, deltas } of phases) {
    for (const [dh, dw] of deltas) {
      minTop = Math.min(minTop, dh);
      minLeft = Math.min(minLeft, dw);
      maxRow = Math.max(maxRow, rows - 1 + dh);
      maxCol = Math.max(maxCol, cols - 1 + dw);
    }
  }
  const padded = minTop < 0 || minLeft < 0 || maxRow >= g.outHeight || maxCol >= g.outWidth;
  const height = padded ? maxRow + 1 - minTop : g.outHeight;
  const width = padded ? maxCol + 1 - minLeft : g.outWidth;
  return { ...unpadded(height, width), copied: padded, padTop: -minTop, padLeft: -minLeft };
}

/** An image as Winograd's tiles read it: zeros around it, up to whole tiles of `step` and `overlap` pixels more. */
export function tiledSource(
  step: number,
  overlap: number,
  [tilesHigh, tilesWide]: readonly [number, number],
  [padTop, padLeft]: readonly [number, number],
): Source {
  return { ...unpadded(tilesHigh * step + overlap, tilesWide * step + overlap), copied: true, padTop, padLeft };
}

/** The same convolution with stride 1 along an axis of one output: a huge stride must not make huge padded rows. */
export function withoutIdleStrides<G extends ConvGeometry>(g: G): G {
  if (g.outHeight > 1 && g.outWidth > 1) return g;
  const strideHeight = g.outHeight === 1 ? 1 : g.strideHeight;
  const strideWidth = g.outWidth === 1 ? 1 : g.strideWidth;
  return { ...g, strideHeight, strideWidth };
}
