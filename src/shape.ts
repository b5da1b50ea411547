/**
 * Pure shape arithmetic and its error messages. Nothing here knows a tensor or a device.
 */
import { ArgumentError, show } from './errors.js';

/** Extents of the axes, the outermost first; `[]` is a single number. */
export type Shape = readonly number[];

/** PyTorch's "int or pair": one number for both axes, or `[height, width]`. */
export type Pair = number | readonly [number, number];

/** Largest number of elements a tensor may have (byte offsets stay exact in 32-bit memory). */
export const MAX_SIZE = 2 ** 31;

export function sizeOf(shape: Shape): number {
  let size = 1;
  for (const extent of shape) size *= extent;
  return size;
}

export function formatShape(shape: Shape): string {
  return show(shape);
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((extent, i) => extent === b[i]);
}

/** Row-major strides, in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

/** Elements that a walk needs behind it: its largest offset, plus one. */
export function reach(shape: Shape, strides: readonly number[]): number {
  if (sizeOf(shape) === 0) return 0;
  return shape.reduce((most, extent, axis) => most + (extent - 1) * strides[axis], 1);
}

/** Throws unless every extent is a whole number of at least 0 and the size stays addressable. */
export function checkShape(op: string, argument: string, shape: Shape): void {
  if (!Array.isArray(shape)) throw new ArgumentError(`${op}: ${argument} is ${show(shape)}; want an array of extents`);
  for (const extent of shape) {
    if (!Number.isInteger(extent) || extent < 0) {
      throw new ArgumentError(`${op}: ${argument} ${formatShape(shape)} must hold whole numbers of at least 0`);
    }
  }
  if (sizeOf(shape) > MAX_SIZE) {
    throw new ArgumentError(
      `${op}: ${argument} ${formatShape(shape)} has ${sizeOf(shape)} elements; at most ${MAX_SIZE}`,
    );
  }
}

/** Throws unless `shape` has `rank` axes; `layout` tells the reader what they mean, e.g. `[N, C, H, W]`. */
export function checkRank(op: string, argument: string, shape: Shape, rank: number, layout: string): void {
  if (shape.length !== rank) {
    throw new ArgumentError(`${op}: ${argument} has shape ${formatShape(shape)}; want ${rank} axes ${layout}`);
  }
}

/** A `Pair` option as `[height, width]`, whole and at least `min`. */
export function pair(op: string, option: string, value: Pair, min: number): [number, number] {
  const both: readonly number[] = typeof value === 'number' ? [value, value] : value;
  if (
    !Array.isArray(both) ||
    both.length !== 2 ||
    !both.every((v) => Number.isInteger(v) && v >= min && v < MAX_SIZE)
  ) {
    throw new ArgumentError(
      `${op}: ${option} is ${show(value)}; want a whole number of at least ${min}, or two as [height, width]`,
    );
  }
  return [both[0], both[1]];
}

/** An axis counted from the front, after PyTorch's rule that negative axes count from the back. */
export function axis(op: string, option: string, value: number, rank: number): number {
  const at = Number.isInteger(value) && value < 0 ? value + rank : value;
  if (!Number.isInteger(value) || at < 0 || at >= rank) {
    throw new ArgumentError(`${op}: ${option} is ${show(value)}; want a whole number from ${-rank} to ${rank - 1}`);
  }
  return at;
}

/** The broadcast of two shapes by NumPy's and PyTorch's rule, or an error that shows both. */
export function broadcastShapes(op: string, a: Shape, b: Shape): number[] {
  const rank = Math.max(a.length, b.length);
  const out = new Array<number>(rank);
  for (let i = 1; i <= rank; i++) {
    const x = i <= a.length ? a[a.length - i] : 1;
    const y = i <= b.length ? b[b.length - i] : 1;
    if (x !== y && x !== 1 && y !== 1) {
      throw new ArgumentError(
        `${op}: shapes ${formatShape(a)} and ${formatShape(b)} do not broadcast: axis ${-i} has ${x} and ${y}; want equal, or one of them 1`,
      );
    }
    out[rank - i] = x === 1 ? y : x;
  }
  return out;
}

/** Strides that read a tensor of shape `from` as if it had shape `to`: 0 along broadcast axes. */
export function broadcastStrides(from: Shape, to: Shape): number[] {
  const own = stridesOf(from);
  return to.map((_, i) => {
    const at = i - (to.length - from.length);
    return at < 0 || from[at] === 1 ? 0 : own[at];
  });
}

/** The axes of `to` that a broadcast from shape `from` repeats: what its gradient sums over. */
export function broadcastAxes(from: Shape, to: Shape): number[] {
  const axes: number[] = [];
  to.forEach((extent, i) => {
    const at = i - (to.length - from.length);
    if (at < 0 || (from[at] === 1 && extent !== 1)) axes.push(i);
  });
  return axes;
}

/** Geometry of a 2-d convolution, NCHW and OIHW. Bottom and right padding follow from the output size. */
export interface ConvGeometry {
  readonly batch: number;
  readonly inChannels: number;
  readonly inHeight: number;
  readonly inWidth: number;
  readonly outChannels: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  readonly strideHeight: number;
  readonly strideWidth: number;
  readonly padTop: number;
  readonly padLeft: number;
  readonly dilationHeight: number;
  readonly dilationWidth: number;
  readonly groups: number;
}

/** Elements of a convolution's input, output and weights. */
export const convSizes = (g: ConvGeometry): readonly [number, number, number] => [
  g.batch * g.inChannels * g.inHeight * g.inWidth,
  g.batch * g.outChannels * g.outHeight * g.outWidth,
  (g.outChannels * g.inChannels * g.kernelHeight * g.kernelWidth) / g.groups,
];

/** Geometry of a 2-d pooling window over `planes` = batch × channels images. */
export interface PoolGeometry {
  readonly planes: number;
  readonly inHeight: number;
  readonly inWidth: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  readonly strideHeight: number;
  readonly strideWidth: number;
  readonly padTop: number;
  readonly padLeft: number;
  readonly padBottom: number;
  readonly padRight: number;
  readonly dilationHeight: number;
  readonly dilationWidth: number;
}

/**
 * Output extent of a window of `kernel` taps that slides by `stride` over `extent` + padding:
 * ⌊(extent + padding − dilation·(kernel − 1) − 1) / stride⌋ + 1. With `ceilMode` the division rounds up, but
 * the last window must start inside the input or its left padding (PyTorch's rule).
 */
export function windowExtent(
  extent: number,
  kernel: number,
  stride: number,
  padBefore: number,
  padAfter: number,
  dilation: number,
  ceilMode = false,
): number {
  const span = extent + padBefore + padAfter - dilation * (kernel - 1) - 1;
  let out = (ceilMode ? Math.ceil(span / stride) : Math.floor(span / stride)) + 1;
  if (ceilMode && (out - 1) * stride >= extent + padBefore) out -= 1;
  return out;
}
