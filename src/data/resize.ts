/**
 * Bilinear resize of uint8 images, equal bit for bit to Pillow's `Image.resize(size, Image.BILINEAR)` (antialiased:
 * when it shrinks, the filter widens with the scale). Fixed-point weights, a horizontal pass and then a vertical one,
 * each rounded to uint8.
 * @see https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c
 */
import { ArgumentError } from '../errors.js';

/** Bits after the point of a weight: 32 less 8 for the pixel and 2 of headroom. */
const PRECISION = 22;
const HALF = 1 << (PRECISION - 1);

/** For each output position along one axis: where its input pixels begin, how many, and their weights. */
interface Taps {
  readonly first: Int32Array;
  readonly count: Int32Array;
  /** `[output][stride]`, fixed point. */
  readonly weights: Int32Array;
  readonly stride: number;
}

function prepareTaps(inSize: number, outSize: number): Taps {
  const scale = inSize / outSize;
  const filterScale = Math.max(scale, 1);
  // The triangle reaches 1 to each side, stretched when shrinking.
  const support = filterScale;
  const stride = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(outSize);
  const count = new Int32Array(outSize);
  const weights = new Int32Array(outSize * stride);
  const exact = new Float64Array(stride);
  for (let out = 0; out < outSize; out++) {
    const center = (out + 0.5) * scale;
    const inverse = 1 / filterScale;
    const from = Math.max(Math.trunc(center - support + 0.5), 0);
    const taps = Math.min(Math.trunc(center + support + 0.5), inSize) - from;
    let sum = 0;
    for (let i = 0; i < taps; i++) {
      const distance = Math.abs((i + from - center + 0.5) * inverse);
      exact[i] = distance < 1 ? 1 - distance : 0;
      sum += exact[i];
    }
    for (let i = 0; i < taps; i++) {
      const weight = sum === 0 ? exact[i] : exact[i] / sum;
      weights[out * stride + i] = Math.trunc(0.5 + weight * (1 << PRECISION));
    }
    first[out] = from;
    count[out] = taps;
  }
  return { first, count, weights, stride };
}

function clip(sum: number): number {
  return Math.min(sum >> PRECISION, 255);
}

/** A resize of one fixed geometry, with its weights and its scratch row prepared once. */
export class Resizer {
  private readonly horizontal: Taps | null;
  private readonly vertical: Taps | null;
  /** What the horizontal pass gives: `[height, outWidth]`. */
  private readonly between: Uint8Array;
  private readonly sums: Int32Array;

  /** From `[height, width]` to `[outHeight, outWidth]`, all in pixels and at least 1. */
  constructor(
    readonly height: number,
    readonly width: number,
    readonly outHeight: number,
    readonly outWidth: number,
  ) {
    for (const extent of [height, width, outHeight, outWidth]) {
      if (!Number.isInteger(extent) || extent < 1) {
        throw new ArgumentError(
          `resize: from ${height}×${width} to ${outHeight}×${outWidth}; want whole numbers of at least 1`,
        );
      }
    }
    this.horizontal = width === outWidth ? null : prepareTaps(width, outWidth);
    this.vertical = height === outHeight ? null : prepareTaps(height, outHeight);
    this.between = new Uint8Array(this.horizontal && this.vertical ? height * outWidth : 0);
    this.sums = new Int32Array(outWidth);
  }

  /** Resizes one plane: `[height, width]` at `source[from]` to `[outHeight, outWidth]` at `target[to]`. */
  plane(source: Uint8Array, from: number, target: Uint8Array, to: number): void {
    const { horizontal, vertical, between, height, width, outHeight, outWidth } = this;
    if (from + height * width > source.length || to + outHeight * outWidth > target.length) {
      throw new ArgumentError(
        `resize: source has ${source.length} and target ${target.length} pixels; ` +
          `want at least ${from + height * width} and ${to + outHeight * outWidth}`,
      );
    }
    if (horizontal && vertical) {
      this.rows(horizontal, source, from, between, 0);
      this.columns(vertical, between, 0, target, to);
    } else if (horizontal) this.rows(horizontal, source, from, target, to);
    else if (vertical) this.columns(vertical, source, from, target, to);
    else target.set(source.subarray(from, from + height * width), to);
  }

  private rows(taps: Taps, source: Uint8Array, from: number, target: Uint8Array, to: number): void {
    const { height, width, outWidth } = this;
    const { first, count, weights, stride } = taps;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < outWidth; x++) {
        const begin = from + y * width + first[x];
        let sum = HALF;
        for (let i = 0; i < count[x]; i++) sum += source[begin + i] * weights[x * stride + i];
        target[to + y * outWidth + x] = clip(sum);
      }
    }
  }

  private columns(taps: Taps, source: Uint8Array, from: number, target: Uint8Array, to: number): void {
    const { outHeight, outWidth, sums } = this;
    const { first, count, weights, stride } = taps;
    for (let y = 0; y < outHeight; y++) {
      sums.fill(HALF);
      for (let i = 0; i < count[y]; i++) {
        const weight = weights[y * stride + i];
        const begin = from + (first[y] + i) * outWidth;
        for (let x = 0; x < outWidth; x++) sums[x] += source[begin + x] * weight;
      }
      for (let x = 0; x < outWidth; x++) target[to + y * outWidth + x] = clip(sums[x]);
    }
  }
}

/**
 * Resizes `channels` planes, `[C, height, width]` to `[C, outHeight, outWidth]`, sizes in pixels. For many images of
 * one size keep a `Resizer`.
 * @throws ArgumentError when a size is no whole number of at least 1 or `source` has another number of pixels.
 */
export function resizeBilinear(
  source: Uint8Array,
  height: number,
  width: number,
  outHeight: number,
  outWidth: number,
  channels = 1,
): Uint8Array<ArrayBuffer> {
  const resizer = new Resizer(height, width, outHeight, outWidth);
  if (!Number.isInteger(channels) || channels < 1 || source.length !== channels * height * width) {
    throw new ArgumentError(
      `resize: source has ${source.length} pixels; ${channels} planes of ${height}×${width} want another number`,
    );
  }
  const target = new Uint8Array(channels * outHeight * outWidth);
  for (let c = 0; c < channels; c++) resizer.plane(source, c * height * width, target, c * outHeight * outWidth);
  return target;
}
