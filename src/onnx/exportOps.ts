/** How each op of a recording is written as ONNX operators. */
import type { Plan } from '../autograd.js';
import type { AdaptivePoolGeometry, AxisGeometry } from '../device/device.js';
import { ArgumentError } from '../errors.js';
import { type ConvGeometry, formatShape, type PoolGeometry, type Shape, sizeOf, stridesOf } from '../shape.js';
import type { GraphBuilder } from './graphBuilder.js';

/** An op of a recording at one batch size. */
export interface Variant {
  readonly plan: Plan;
  /** Shapes of the inputs, null where one was left out. */
  readonly inputs: readonly (Shape | null)[];
}

/** One op of a recording, as its writer sees it: once, or at two batch sizes when the batch is dynamic. */
export interface Call {
  readonly name: string;
  readonly variants: readonly Variant[];
  /** What the inputs are called in the graph, null where one was left out. */
  readonly inputs: readonly (string | null)[];
}

/** Thrown by a writer for what ONNX, or this file, has no operators for. */
export class Unsupported extends Error {}

/** What `find` finds in every variant; an error where the variants disagree. */
function agreed<T>(call: Call, what: string, find: (v: Variant) => T): T {
  const [first, ...others] = call.variants.map(find);
  for (const other of others) {
    if (JSON.stringify(other) !== JSON.stringify(first)) {
      throw new ArgumentError(
        `exportOnnx: ${what} of ${call.name} changes with the batch size, from ${JSON.stringify(first)} to ${JSON.stringify(other)}; want batch: 'fixed', or a model that treats images alike`,
      );
    }
  }
  return first;
}

/** The first candidate that fits every variant. */
function fitting<T>(call: Call, candidates: readonly T[], fits: (candidate: T, v: Variant) => boolean): T | undefined {
  return candidates.find((candidate) => call.variants.every((v) => fits(candidate, v)));
}

const upTo = (rank: number): number[] => Array.from({ length: rank }, (_, i) => i);
const shapeOf = (v: Variant, i = 0): Shape => v.inputs[i] as Shape;
const value = (call: Call, i = 0): string => call.inputs[i] as string;

/** Padding after an axis, so that rounding down gives `out` windows: that before it where possible, as files are used to. */
function padAfter(extent: number, out: number, kernel: number, stride: number, before: number, dilation: number) {
  const needed = (out - 1) * stride + dilation * (kernel - 1) + 1 - extent - before;
  return before >= needed && before < needed + stride ? before : Math.max(needed, 0);
}

function conv2d(call: Call, g: GraphBuilder): string {
  const attributes = agreed(call, 'the geometry', ({ plan }) => {
    const { geometry: o } = plan as Plan & { geometry: ConvGeometry };
    const { dilationHeight, dilationWidth, strideHeight, strideWidth, kernelHeight, kernelWidth } = o;
    const below = padAfter(o.inHeight, o.outHeight, kernelHeight, strideHeight, o.padTop, dilationHeight);
    const right = padAfter(o.inWidth, o.outWidth, kernelWidth, strideWidth, o.padLeft, dilationWidth);
    return {
      dilations: [dilationHeight, dilationWidth],
      group: o.groups,
      kernel_shape: [kernelHeight, kernelWidth],
      pads: [o.padTop, o.padLeft, below, right],
      strides: [strideHeight, strideWidth],
    };
  });
  return g.node('Conv', call.inputs, attributes);
}

interface NormPlan extends Plan {
  readonly training: boolean;
  readonly momentum: number;
  readonly eps: number;
}

function batchNorm(call: Call, g: GraphBuilder): string {
  const [x, weight, bias, mean, variance, residual] = call.inputs;
  const { training, momentum, eps } = agreed(call, 'the options', ({ plan }) => {
    const { training, momentum, eps } = plan as NormPlan;
    return { training, momentum, eps };
  });
  if (training) throw new Unsupported(`${call.name} by the batch's own statistics`);
  const filled = (given: string | null, number: number): string => {
    const [, channels] = shapeOf(call.variants[0]);
    return given ?? g.constant([channels], new Float32Array(channels).fill(number));
  };
  const inputs = [x, filled(weight, 1), filled(bias, 0), mean, variance];
  // ONNX's momentum is the share that the running statistics keep.
  const y = g.node('BatchNormalization', inputs, { epsilon: { float: eps }, momentum: { float: 1 - momentum } });
  return afterNorm(call.name, y, residual, g);
}

/** What `batchNormRelu` goes on to do. */
export function afterNorm(name: string, y: string, residual: string | null, g: GraphBuilder): string {
  if (name === 'batchNorm') return y;
  return g.node('Relu', [residual === null ? y : g.node('Add', [y, residual])]);
}

interface PoolPlan extends Plan {
  readonly geometry: PoolGeometry;
  readonly countIncludePad?: boolean;
}

/** Padding and the like; the round-up of extents becomes padding after, whose windows ONNX's versions agree on. */
function windows({ geometry: o }: PoolPlan) {
  const { kernelHeight, kernelWidth, strideHeight, strideWidth, padTop, padLeft } = o;
  const below = padAfter(o.inHeight, o.outHeight, kernelHeight, strideHeight, padTop, o.dilationHeight);
  const right = padAfter(o.inWidth, o.outWidth, kernelWidth, strideWidth, padLeft, o.dilationWidth);
  return {
    dilations: [o.dilationHeight, o.dilationWidth],
    kernel_shape: [kernelHeight, kernelWidth],
    pads: [padTop, padLeft, below, right],
    strides: [strideHeight, strideWidth],
  };
}

function maxPool2d(call: Call, g: GraphBuilder): string {
  const attributes = agreed(call, 'the geometry', ({ plan }) => windows(plan as PoolPlan));
  const { kernel_shape, pads } = attributes;
  // A pool may not be padded by its kernel and more, as the last window of a dilated one can ask for.
  const x = value(call);
  if (pads.every((pad, i) => pad < kernel_shape[i % 2])) return g.node('MaxPool', [x], attributes);
  return g.node('MaxPool', [padded(x, pads, Number.NEGATIVE_INFINITY, g)], { ...attributes, pads: [0, 0, 0, 0] });
}

function padded(x: string, pads: readonly number[], value: number, g: GraphBuilder): string {
  const [top, left, below, right] = pads;
  return g.node('Pad', [x, g.int64s('pads', [0, 0, top, left, 0, 0, below, right]), g.constant([], [value])]);
}

function avgPool2d(call: Call, g: GraphBuilder): string {
  const {
    countIncludePad = true,
    dilations,
    counted,
    ...attributes
  } = agreed(call, 'the geometry', ({ plan }) => {
    const { geometry, countIncludePad } = plan as PoolPlan;
    const { padTop, padLeft, padBottom, padRight } = geometry;
    return { ...windows(plan as PoolPlan), counted: [padTop, padLeft, padBottom, padRight], countIncludePad };
  });
  void dilations;
  const { pads } = attributes;
  const x = value(call);
  const include = (count: boolean) => ({ count_include_pad: count ? 1 : 0, ...attributes });
  // The input's overhang beyond its padding, which rounding up asks for, never counts.
  const over = [Math.max(0, pads[2] - counted[2]), Math.max(0, pads[3] - counted[3])];
  if (!countIncludePad || (over[0] === 0 && over[1] === 0)) return g.node('AveragePool', [x], include(countIncludePad));
  const inner = counted.every((pad) => pad === 0) ? x : padded(x, counted, 0, g);
  return g.node('AveragePool', [inner], { ...include(false), pads: [0, 0, ...over] });
}

function adaptiveAvgPool2d(call: Call, g: GraphBuilder): string {
  const { inHeight, inWidth, outHeight, outWidth } = agreed(call, 'the geometry', ({ plan }) => {
    const { planes: _, ...rest } = (plan as Plan & { geometry: AdaptivePoolGeometry }).geometry;
    return rest;
  });
  if (outHeight === 1 && outWidth === 1) return g.node('GlobalAveragePool', [value(call)]);
  if (inHeight % outHeight !== 0 || inWidth % outWidth !== 0) {
    throw new Unsupported(
      `adaptiveAvgPool2d of ${inHeight}×${inWidth} to ${outHeight}×${outWidth}, whose windows differ in size`,
    );
  }
  const kernel = [inHeight / outHeight, inWidth / outWidth];
  const even = { kernel_shape: kernel, pads: [0, 0, 0, 0], strides: kernel };
  return g.node('AveragePool', [value(call)], { count_include_pad: 0, ...even });
}

const binary =
  (opType: string) =>
  (call: Call, g: GraphBuilder): string => {
    const scalar = agreed(call, 'the number', ({ plan }) => (plan as Plan & { scalar: number | null }).scalar);
    return g.node(opType, [value(call), call.inputs[1] ?? g.constant([], [scalar as number])]);
  };

/** Extents that follow the batch are copied from the input where they stand in the same place, else left to be worked out. */
function reshape(call: Call, g: GraphBuilder): string {
  const [first, ...others] = call.variants;
  if (others.some(({ plan }) => plan.shape.length !== first.plan.shape.length)) {
    agreed(call, 'the rank', ({ plan }) => plan.shape.length);
  }
  const target = first.plan.shape.map((extent, i) => {
    if (others.every(({ plan }) => plan.shape[i] === extent)) return extent;
    return call.variants.every((v) => v.plan.shape[i] === shapeOf(v)[i]) ? 0 : -1;
  });
  if (target.filter((extent) => extent === -1).length > 1) agreed(call, 'the shape', ({ plan }) => plan.shape);
  return g.node('Reshape', [value(call), g.int64s('shape', target)]);
}

function flatten(call: Call, g: GraphBuilder): string {
  const rank = shapeOf(call.variants[0]).length;
  const axis = fitting(call, [1, 0, ...upTo(rank + 1).slice(2)], (at, v) => {
    const { shape } = v.plan;
    const own = shapeOf(v);
    if (at > own.length || shape.length !== 2) return false;
    return sizeOf(own.slice(0, at)) === shape[0] && sizeOf(own.slice(at)) === shape[1];
  });
  return axis === undefined ? reshape(call, g) : g.node('Flatten', [value(call)], { axis });
}

function linear(call: Call, g: GraphBuilder): string {
  const [x, weight, bias] = call.inputs;
  if (shapeOf(call.variants[0]).length === 2) return g.node('Gemm', [x, weight, bias], { transB: 1 });
  const product = g.node('MatMul', [x, g.node('Transpose', [weight], { perm: [1, 0] })]);
  return bias === null ? product : g.node('Add', [product, bias]);
}

const alongAxis =
  (opType: string) =>
  (call: Call, g: GraphBuilder): string => {
    const rank = shapeOf(call.variants[0]).length;
    const axis = fitting(call, upTo(rank).reverse(), (at, v) => {
      const { outer, extent, inner } = (v.plan as Plan & { geometry: AxisGeometry }).geometry;
      const own = shapeOf(v);
      return own[at] === extent && sizeOf(own.slice(0, at)) === outer && sizeOf(own.slice(at + 1)) === inner;
    });
    if (axis === undefined) throw new Unsupported(`${call.name} of a tensor without axes`);
    return g.node(opType, [value(call)], { axis });
  };

const reduction =
  (opType: 'ReduceMean' | 'ReduceSum') =>
  (call: Call, g: GraphBuilder): string => {
    const { axes, keep } = agreed(call, 'the axes', (v) => {
      const { reduce, shape } = v.plan as Plan & { reduce: readonly boolean[] };
      const axes = upTo(reduce.length).filter((i) => reduce[i]);
      return { axes, keep: shape.length === reduce.length };
    });
    if (axes.length === 0) return g.node('Identity', [value(call)]);
    const keepdims = keep ? 1 : 0;
    if (opType === 'ReduceMean' && g.opset < 18) return g.node(opType, [value(call)], { axes, keepdims });
    return g.node(opType, [value(call), g.int64s('axes', axes)], { keepdims });
  };

interface PadPlan extends Plan {
  readonly value: number;
  readonly kept: Shape;
  readonly xOffset: number;
  readonly xStrides: readonly number[];
  readonly outOffset: number;
  readonly outStrides: readonly number[];
}

/** The index at `offset` in each axis. */
function indexAt(offset: number, strides: readonly number[], shape: Shape): number[] {
  return strides.map((stride, i) => Math.floor(offset / stride) % shape[i]);
}

function pad(call: Call, g: GraphBuilder): string {
  const { pads, fill } = agreed(call, 'the padding', (v) => {
    const { value, shape, kept, xOffset, xStrides, outOffset, outStrides } = v.plan as PadPlan;
    if (sizeOf(kept) === 0) throw new Unsupported('pad that keeps nothing');
    const cut = indexAt(xOffset, xStrides, shapeOf(v));
    const before = indexAt(outOffset, outStrides, shape).map((added, i) => added - cut[i]);
    const pads = [...before, ...shape.map((extent, i) => extent - shapeOf(v)[i] - before[i])];
    // JSON, by which variants are compared, knows neither −0 nor infinities.
    return { pads, fill: Object.is(value, -0) ? '-0' : String(value) };
  });
  if (pads.length === 0) return g.node('Identity', [value(call)]);
  return g.node('Pad', [value(call), g.int64s('pads', pads), g.constant([], [Number(fill)])]);
}

function slice(call: Call, g: GraphBuilder): string {
  const found = agreed(call, 'the range', (v) => {
    const { shape, strides, offset } = v.plan as Plan & { offset: number; strides: readonly number[] };
    const own = shapeOf(v);
    const axis = shape.findIndex((extent, i) => extent !== own[i]);
    if (axis === -1) return null;
    const stride = stridesOf(own)[axis];
    const [start, step] = [offset / stride, strides[axis] / stride];
    return { axis, start, step, end: start + (shape[axis] - 1) * step + 1 };
  });
  if (found === null) return g.node('Identity', [value(call)]);
  const list = (name: string, number: number): string => g.int64s(name, [number]);
  const range = [list('starts', found.start), list('ends', found.end), list('axes', found.axis)];
  return g.node('Slice', [value(call), ...range, list('steps', found.step)]);
}

function cat(call: Call, g: GraphBuilder): string {
  const inputs = call.inputs.map((_, i) => i);
  if (inputs.length === 1) return g.node('Identity', [value(call)]);
  const axis = fitting(call, upTo(call.variants[0].plan.shape.length), (at, v) => {
    const extents = (i: number): number => inputs.reduce((sum, j) => sum + shapeOf(v, j)[i], 0);
    return v.plan.shape.every((extent, i) => (i === at ? extents(i) : shapeOf(v)[i]) === extent);
  });
  if (axis === undefined) throw new Unsupported('cat along an axis that changes with the batch size');
  return g.node('Concat', call.inputs, { axis });
}

function permute(call: Call, g: GraphBuilder): string {
  const used = new Set<number>();
  const perm = call.variants[0].plan.shape.map((_, i) => {
    // Axes of equal extent and stride are of extent 1, and change places unseen.
    const from = fitting(call, upTo(call.variants[0].plan.shape.length), (j, v) => {
      const { shape, strides } = v.plan as Plan & { strides: readonly number[] };
      return !used.has(j) && shapeOf(v)[j] === shape[i] && stridesOf(shapeOf(v))[j] === strides[i];
    });
    if (from === undefined) throw new Unsupported(`permute to ${formatShape(call.variants[0].plan.shape)}`);
    used.add(from);
    return from;
  });
  if (perm.length === 0) return g.node('Identity', [value(call)]);
  return g.node('Transpose', [value(call)], { perm });
}

/** By the names that ops are recorded under. A new op that is one operator needs a line here. */
export const WRITERS: Readonly<Record<string, (call: Call, g: GraphBuilder) => string>> = {
  conv2d,
  batchNorm,
  batchNormRelu: batchNorm,
  relu: (call, g) => g.node('Relu', [value(call)]),
  maxPool2d,
  avgPool2d,
  adaptiveAvgPool2d,
  add: binary('Add'),
  sub: binary('Sub'),
  mul: binary('Mul'),
  div: binary('Div'),
  reshape,
  flatten,
  linear,
  matmul: (call, g) => g.node('MatMul', call.inputs),
  softmax: alongAxis('Softmax'),
  logSoftmax: alongAxis('LogSoftmax'),
  mean: reduction('ReduceMean'),
  sum: reduction('ReduceSum'),
  pad,
  slice,
  cat,
  permute,
};
