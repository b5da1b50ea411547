/** Rows of maxPool2d, avgPool2d and adaptiveAvgPool2d. */
import { type AdaptiveSize, adaptiveAvgPool2d, avgPool2d, maxPool2d } from '../../ops/index.js';
import { type Pair, sizeOf } from '../../shape.js';
import { exact, sumOfProducts, wideSum } from '../bounds.js';
import type { Draw } from '../draw.js';
import * as naive from '../naive.js';
import {
  type DrawnPadding,
  defineCase,
  drawnSides,
  drawSalt,
  emptied,
  input,
  LANES,
  type OpCase,
  pairOrNumber,
} from './case.js';

/** A call of pooling. */
export interface PoolOptions {
  readonly salt: number;
  readonly batch: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly kernelSize: Pair;
  readonly stride: Pair;
  readonly padding: DrawnPadding;
  readonly dilation: Pair;
  readonly ceilMode: boolean;
}

type Axes = readonly [number, number];
const both = (value: Pair): Axes => (typeof value === 'number' ? [value, value] : value);

function drawPool(d: Draw, dilated: boolean): PoolOptions {
  const pairOf = (low: number, high: number): Axes => {
    const one = d.int(low, high);
    return [one, d.int(0, 2) > 0 ? one : d.int(low, high)];
  };
  const kernel = pairOf(1, 4);
  const stride = d.int(0, 2) === 0 ? kernel : pairOf(1, 5);
  const dilation = dilated && d.int(0, 2) === 0 ? pairOf(1, 3) : ([1, 1] as const);
  const zeros = (i: 0 | 1): number => d.int(0, Math.floor(kernel[i] / 2));
  const even = [zeros(0), zeros(1)] as const;
  const each: readonly [Axes, Axes] = [
    [zeros(0), zeros(0)],
    [zeros(1), zeros(1)],
  ];
  const words: DrawnPadding[] = stride.every((one) => one === 1) ? ['same', 'SAME', 'valid'] : ['SAME', 'valid'];
  const padding = d.pick<DrawnPadding>([pairOrNumber(d, even), even, each, d.pick(words)]);
  const [top, bottom, left, right] = drawnSides(padding, { extents: [1, 1], kernel, stride, dilation });
  const padded = [top + bottom, left + right] as const;
  const extent = (i: 0 | 1): number => {
    // The padded input holds the window once, and no dilated window can step over the whole input.
    const least = Math.max(dilation[i], dilation[i] * (kernel[i] - 1) + 1 - padded[i]);
    return Math.max(least, d.bool() ? d.pick(LANES) : d.int(1, 9));
  };
  const large = d.int(0, 7) === 0;
  return {
    salt: drawSalt(d),
    batch: emptied(d, [d.int(1, 2)])[0],
    channels: d.int(1, 5),
    height: large ? d.int(18, 21) : extent(0),
    width: large ? d.int(18, 21) : extent(1),
    kernelSize: pairOrNumber(d, kernel),
    stride: pairOrNumber(d, stride),
    padding,
    dilation: pairOrNumber(d, dilation),
    ceilMode: d.bool(),
  };
}

function geometryOf(o: PoolOptions): naive.NaivePool {
  return {
    planes: o.batch * o.channels,
    inHeight: o.height,
    inWidth: o.width,
    kernel: both(o.kernelSize),
    stride: both(o.stride),
    padding: drawnSides(o.padding, {
      extents: [o.height, o.width],
      kernel: both(o.kernelSize),
      stride: both(o.stride),
      dilation: both(o.dilation),
    }),
    dilation: both(o.dilation),
    ceilMode: o.ceilMode,
  };
}

/** Window, stride, padding (top, bottom, left, right), dilation, and whether extents are rounded up. */
const attributesOf = ({ kernel, stride, padding, dilation, ceilMode }: naive.NaivePool) => ({
  kernelSize: kernel,
  stride,
  padding,
  dilation,
  ceilMode,
});

/** Forward exact, it only chooses; the gradient sums the dy of the windows that an element won. */
export const maxPool2dCase = defineCase<PoolOptions & { readonly ties: boolean }>({
  name: 'maxPool2d',
  op: 'maxPool2d',
  options: (d) => ({ ...drawPool(d, true), ties: d.int(0, 2) === 0 }),
  trial(o) {
    const geometry = geometryOf(o);
    const shape = [o.batch, o.channels, ...naive.poolOutput(geometry)];
    const fill = o.ties ? 'halves' : 'distinct';
    const { stride, padding, dilation, ceilMode } = o;
    return {
      inputs: [input(o.salt, 'x', [o.batch, o.channels, o.height, o.width], { low: -2, high: 2, fill })],
      shape,
      smooth: !o.ties,
      attributes: attributesOf(geometry),
      flops: sizeOf(shape) * sizeOf(geometry.kernel),
      run: ([x]) => maxPool2d(x, o.kernelSize, { stride, padding, dilation, ceilMode }),
      forward: ([x]) => ({ y: exact(naive.maxPool2d(x, geometry).y), changed: {} }),
      backward: ([x], dy) => ({ x: sumOfProducts(naive.maxPool2dBackward(x, geometry, dy)) }),
    };
  },
  badInput: [
    { why: 'an x of three axes', shapes: [[2, 8, 8]], call: ([x]) => maxPool2d(x, 2) },
    { why: 'kernel 0', shapes: [[1, 2, 8, 8]], call: ([x]) => maxPool2d(x, 0) },
    { why: 'stride 0', shapes: [[1, 2, 8, 8]], call: ([x]) => maxPool2d(x, 2, { stride: 0 }) },
    { why: 'padding above half the kernel', shapes: [[1, 2, 8, 8]], call: ([x]) => maxPool2d(x, 3, { padding: 2 }) },
    { why: 'a window larger than the input', shapes: [[1, 2, 3, 3]], call: ([x]) => maxPool2d(x, 5) },
    {
      why: 'a window that holds nothing but padding',
      shapes: [[1, 2, 1, 1]],
      call: ([x]) => maxPool2d(x, 2, { padding: 1, dilation: 2 }),
    },
  ],
});

/**
 * Wide sums of the window's n elements, divided before or after adding.
 */
export const avgPool2dCase = defineCase<PoolOptions & { readonly countIncludePad: boolean }>({
  name: 'avgPool2d',
  op: 'avgPool2d',
  options: (d) => ({ ...drawPool(d, false), countIncludePad: d.bool() }),
  trial(o) {
    const geometry = geometryOf(o);
    const shape = [o.batch, o.channels, ...naive.poolOutput(geometry)];
    const { stride, padding, ceilMode, countIncludePad } = o;
    return {
      inputs: [input(o.salt, 'x', [o.batch, o.channels, o.height, o.width])],
      shape,
      smooth: true,
      attributes: { ...attributesOf(geometry), countIncludePad },
      flops: sizeOf(shape) * sizeOf(geometry.kernel),
      run: ([x]) => avgPool2d(x, o.kernelSize, { stride, padding, ceilMode, countIncludePad }),
      forward: ([x]) => ({
        y: wideSum(naive.avgPool2d(x, geometry, countIncludePad)),
        changed: {},
      }),
      backward: ([x], dy) => ({
        x: wideSum(naive.avgPool2dBackward(x, geometry, countIncludePad, dy)),
      }),
    };
  },
  badInput: [
    { why: 'an x of five axes', shapes: [[1, 2, 8, 8, 8]], call: ([x]) => avgPool2d(x, 2) },
    { why: 'a broken kernel', shapes: [[1, 2, 8, 8]], call: ([x]) => avgPool2d(x, [2, 1.5]) },
    { why: 'padding above half the kernel', shapes: [[1, 2, 8, 8]], call: ([x]) => avgPool2d(x, 2, { padding: 2 }) },
    { why: 'a window larger than the input', shapes: [[1, 2, 3, 3]], call: ([x]) => avgPool2d(x, [1, 4]) },
  ],
});

/** A call of adaptive pooling. */
export interface AdaptiveOptions {
  readonly salt: number;
  readonly batch: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly outputSize: AdaptiveSize;
}

/** As average pooling: wide sums of the window's n elements. */
export const adaptiveAvgPool2dCase = defineCase<AdaptiveOptions>({
  name: 'adaptiveAvgPool2d',
  op: 'adaptiveAvgPool2d',
  options(d) {
    const height = d.pick(LANES);
    const width = d.pick(LANES);
    // Also more outputs than inputs, which repeats.
    const size = [d.int(1, height + 2), d.int(1, width + 2)] as const;
    const outputSize = d.pick<AdaptiveSize>([1, [1, 1], size, [size[0], null], [null, size[1]], size[0]]);
    return { salt: drawSalt(d), batch: emptied(d, [d.int(1, 2)])[0], channels: d.int(1, 5), height, width, outputSize };
  },
  trial({ salt, batch, channels, height, width, outputSize }) {
    const given = typeof outputSize === 'number' ? [outputSize, outputSize] : outputSize;
    const outHeight = given[0] ?? height;
    const outWidth = given[1] ?? width;
    const geometry = { planes: batch * channels, inHeight: height, inWidth: width, outHeight, outWidth };
    const x = [batch, channels, height, width];
    return {
      inputs: [input(salt, 'x', x)],
      shape: [batch, channels, outHeight, outWidth],
      smooth: true,
      attributes: { outputSize: [outHeight, outWidth] },
      flops: sizeOf(x),
      run: (t) => adaptiveAvgPool2d(t[0], outputSize),
      forward: (v) => ({ y: wideSum(naive.adaptiveAvgPool2d(v[0], geometry)), changed: {} }),
      backward: (_, dy) => ({ x: wideSum(naive.adaptiveAvgPool2dBackward(geometry, dy)) }),
    };
  },
  badInput: [
    { why: 'an x of two axes', shapes: [[8, 8]], call: ([x]) => adaptiveAvgPool2d(x, 1) },
    { why: 'output size 0', shapes: [[1, 2, 8, 8]], call: ([x]) => adaptiveAvgPool2d(x, [0, 1]) },
    { why: 'a broken output size', shapes: [[1, 2, 8, 8]], call: ([x]) => adaptiveAvgPool2d(x, 1.5) },
  ],
});

/** All rows of this file. */
export const poolingCases: readonly OpCase[] = [maxPool2dCase, avgPool2dCase, adaptiveAvgPool2dCase];
