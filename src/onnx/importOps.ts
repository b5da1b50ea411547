/**
 * How each ONNX operator is computed. A reader checks its node once and returns what a forward pass does.
 * @see https://onnx.ai/onnx/operators/
 */
import { ArgumentError } from '../errors.js';
import {
  adaptiveAvgPool2d,
  add,
  avgPool2d,
  batchNorm,
  cat,
  conv2d,
  div,
  flatten,
  linear,
  logSoftmax,
  matmul,
  maxPool2d,
  mean,
  mul,
  pad,
  permute,
  relu,
  reshape,
  slice,
  softmax,
  sub,
  sum,
} from '../ops/index.js';
import { axis, formatShape, type Shape, sizeOf, windowExtent } from '../shape.js';
import type { Tensor } from '../tensor.js';
import type { NodeReader, Read } from './nodeReader.js';

type Two = readonly [number, number];

/** How a window slides, by axis. */
interface Window {
  readonly kernel: Two;
  readonly strides: Two;
  readonly dilations: Two;
  /** Top, left, bottom, right; or how they follow from the input. */
  readonly pads: readonly number[] | 'SAME_UPPER' | 'SAME_LOWER';
  readonly ceilMode: boolean;
}

/** The window that attributes describe; null (and noted) when it is not of two axes. */
function windowOf(n: NodeReader, kernelShape: readonly number[] | undefined): Window | null {
  const given = n.ints('kernel_shape');
  const kernel = given ?? kernelShape;
  const ceilMode = n.opType === 'Conv' ? false : n.flag('ceil_mode', false);
  if (kernel === undefined && n.opType !== 'Conv') throw n.malformed('lacks attribute "kernel_shape"');
  if (kernel !== undefined && kernel.length !== 2) {
    n.ignore('strides', 'dilations', 'pads', 'auto_pad');
    n.refuse(`${n.opType} over ${kernel.length} axes, not 2,`);
    return null;
  }
  if (given && kernelShape && given.some((extent, i) => extent !== kernelShape[i])) {
    throw n.malformed(`has kernel_shape ${formatShape(given)}; its weight has ${formatShape(kernelShape)}`);
  }
  const two = (name: string): Two => {
    const [a = 1, b = 1] = n.ints(name, 2) ?? [];
    return positive(n, name, [a, b]);
  };
  const [strides, dilations] = [two('strides'), two('dilations')];
  const pads = n.ints('pads', 4) ?? [0, 0, 0, 0];
  if (pads.some((one) => one < 0 || one > MAX_WINDOW)) {
    throw n.malformed(`has pads ${formatShape(pads)}; want whole numbers from 0 to ${MAX_WINDOW}`);
  }
  const auto = n.string('auto_pad', 'NOTSET');
  const common = { strides, dilations, ceilMode, kernel: positive(n, 'kernel_shape', kernel ?? [1, 1]) };
  if (auto === 'NOTSET' || auto === '') return { ...common, pads };
  if (auto === 'VALID') return { ...common, pads: [0, 0, 0, 0] };
  if (auto === 'SAME_UPPER' || auto === 'SAME_LOWER') return { ...common, pads: auto };
  throw n.malformed(`has auto_pad ${JSON.stringify(auto.slice(0, 30))}; want NOTSET, VALID, SAME_UPPER or SAME_LOWER`);
}

/** Beyond any image; and the size of a window is exact in 32 bits. */
const MAX_WINDOW = 2 ** 15;

function positive(n: NodeReader, name: string, pair: readonly number[]): Two {
  if (!pair.every((one) => Number.isSafeInteger(one) && one >= 1 && one <= MAX_WINDOW)) {
    throw n.malformed(`has ${name} ${formatShape(pair)}; want whole numbers from 1 to ${MAX_WINDOW}`);
  }
  return [pair[0], pair[1]];
}

/** Padding before and after an axis, and the number of windows. */
interface Slide {
  readonly before: number;
  readonly after: number;
  readonly out: number;
}

/** How the window slides over each axis of x. */
function slides(x: Shape, w: Window): readonly [Slide, Slide] {
  const along = (i: 0 | 1): Slide => {
    const [extent, kernel, stride, dilation] = [x[2 + i], w.kernel[i], w.strides[i], w.dilations[i]];
    if (typeof w.pads === 'string') {
      const out = Math.ceil(extent / stride);
      const total = Math.max(0, (out - 1) * stride + dilation * (kernel - 1) + 1 - extent);
      const before = w.pads === 'SAME_UPPER' ? Math.floor(total / 2) : Math.ceil(total / 2);
      return { before, after: total - before, out };
    }
    const [before, after] = [w.pads[i], w.pads[2 + i]];
    return { before, after, out: windowExtent(extent, kernel, stride, before, after, dilation, w.ceilMode) };
  };
  return [along(0), along(1)];
}

/** The windows there are when the padding before also stands after. */
function symmetric(x: Shape, w: Window, [rows, columns]: readonly [Slide, Slide], ceil: boolean): Two {
  const count = (i: 0 | 1, { before }: Slide): number =>
    windowExtent(x[2 + i], w.kernel[i], w.strides[i], before, before, w.dilations[i], ceil);
  return [count(0, rows), count(1, columns)];
}

const rank4 = (n: NodeReader, x: Tensor): void => {
  if (x.shape.length !== 4)
    throw new ArgumentError(`x has shape ${formatShape(x.shape)}; ${n.opType} wants [N, C, H, W]`);
};

/** Of the windows the first ones, as many as `slides` says. */
function first(y: Tensor, [rows, columns]: readonly [Slide, Slide]): Tensor {
  const fewer = y.shape[2] > rows.out ? slice(y, 2, { end: rows.out }) : y;
  return fewer.shape[3] > columns.out ? slice(fewer, 3, { end: columns.out }) : fewer;
}

/** Padding that makes room for exactly the windows there are, so that rounding plays no part. */
function padExactly(x: Tensor, w: Window, [rows, columns]: readonly [Slide, Slide], value: number): Tensor {
  const after = (i: 0 | 1, { before, out }: Slide): number =>
    (out - 1) * w.strides[i] + w.dilations[i] * (w.kernel[i] - 1) + 1 - x.shape[2 + i] - before;
  return pad(x, [columns.before, after(1, columns), rows.before, after(0, rows)], value);
}

/** Whether rounding down, or up, with the padding before on both sides gives the windows there are. */
function rounding(x: Shape, w: Window, found: readonly [Slide, Slide]): boolean | null {
  if (found.some(({ before }, i) => before > w.kernel[i] / 2)) return null;
  for (const ceil of [false, true]) {
    const [rows, columns] = symmetric(x, w, found, ceil);
    if (rows === found[0].out && columns === found[1].out) return ceil;
  }
  return null;
}

function conv(n: NodeReader): Read {
  const [x, weight, bias] = [n.tensor(0), n.tensor(1), n.optionalTensor(2)];
  const groups = n.int('group', 1);
  const known = n.stored(1)?.proto.dims;
  if (known !== undefined && known.length < 3) throw n.malformed(`has a weight of shape ${formatShape(known)}`);
  const w = windowOf(n, known?.slice(2));
  return (frame) => {
    const [input, filters] = [x(frame), weight(frame)];
    rank4(n, input);
    if (filters.shape.length !== 4) {
      throw new ArgumentError(`weight has shape ${formatShape(filters.shape)}; Conv wants [O, C / group, kh, kw]`);
    }
    const kernel: Two = [filters.shape[2], filters.shape[3]];
    const own = { ...(w as Window), kernel };
    const [rows, columns] = slides(input.shape, own);
    const padding = [
      [rows.before, rows.after],
      [columns.before, columns.after],
    ] as const;
    return conv2d(input, filters, bias && bias(frame), {
      stride: own.strides,
      padding,
      dilation: own.dilations,
      groups,
    });
  };
}

function maxPool(n: NodeReader): Read {
  const x = n.tensor(0);
  const w = windowOf(n, undefined);
  n.ignore('storage_order');
  return (frame) => {
    const input = x(frame);
    rank4(n, input);
    const { kernel, strides: stride, dilations: dilation } = w as Window;
    const found = slides(input.shape, w as Window);
    const ceilMode = rounding(input.shape, w as Window, found);
    if (ceilMode === null) {
      const padded = padExactly(input, w as Window, found, Number.NEGATIVE_INFINITY);
      return maxPool2d(padded, kernel, { stride, dilation });
    }
    const padding: Two = [found[0].before, found[1].before];
    return maxPool2d(input, kernel, { stride, dilation, padding, ceilMode });
  };
}

function averagePool(n: NodeReader): Read {
  const x = n.tensor(0);
  const w = windowOf(n, undefined);
  if (w?.dilations.some((one) => one !== 1)) n.refuse('dilations of AveragePool');
  const countIncludePad = n.flag('count_include_pad', false);
  return (frame) => {
    const input = x(frame);
    rank4(n, input);
    const { kernel, strides: stride, ceilMode } = w as Window;
    const found = slides(input.shape, w as Window);
    const padding: Two = [found[0].before, found[1].before];
    const round = rounding(input.shape, w as Window, found);
    // Padding that counts must be what the file says; else only where windows begin matters.
    const after = found.every((one) => one.after === one.before) || !countIncludePad;
    if (round !== null && after) {
      return avgPool2d(input, kernel, { stride, padding, ceilMode: round, countIncludePad });
    }
    if (countIncludePad) {
      const [rows, columns] = found;
      const padded = pad(input, [columns.before, columns.after, rows.before, rows.after]);
      return first(avgPool2d(padded, kernel, { stride, ceilMode }), found);
    }
    for (const ceil of [false, true]) {
      const [rows, columns] = symmetric(input.shape, w as Window, found, ceil);
      if (rows < found[0].out || columns < found[1].out) continue;
      return first(avgPool2d(input, kernel, { stride, padding, ceilMode: ceil, countIncludePad }), found);
    }
    throw new ArgumentError(
      `pads with count_include_pad 0 for x ${formatShape(input.shape)}: ${JSON.stringify(found)}; want windows that begin inside`,
    );
  };
}

/** A pool over all that is behind the channels. */
function globalPool(n: NodeReader): Read {
  const x = n.tensor(0);
  return (frame) => {
    const input = x(frame);
    if (n.opType === 'GlobalMaxPool') {
      rank4(n, input);
      return maxPool2d(input, [input.shape[2], input.shape[3]]);
    }
    if (input.shape.length === 4) return adaptiveAvgPool2d(input, 1);
    if (input.shape.length < 3) throw new ArgumentError(`x has shape ${formatShape(input.shape)}; want [N, C, …]`);
    return mean(input, upTo(input.shape.length).slice(2), { keepdim: true });
  };
}

const upTo = (rank: number): number[] => Array.from({ length: rank }, (_, i) => i);

function batchNormalization(n: NodeReader): Read {
  const [x, weight, bias] = [n.tensor(0), n.tensor(1), n.tensor(2)];
  const [runningMean, runningVar] = [n.statistic(3), n.statistic(4)];
  const eps = n.float('epsilon', 1e-5);
  if (n.flag('training_mode', false)) n.refuse('attribute "training_mode" = 1 of BatchNormalization');
  if (!n.flag('spatial', true)) n.refuse('attribute "spatial" = 0 of BatchNormalization');
  n.ignore('consumed_inputs', 'is_test');
  // ONNX's momentum is the share that the running statistics keep.
  const momentum = Number((1 - n.float('momentum', 0.9)).toPrecision(12));
  return (frame) => {
    const statistics = { runningMean: runningMean(frame), runningVar: runningVar(frame) };
    const affine = { weight: weight(frame), bias: bias(frame) };
    return batchNorm(x(frame), { ...statistics, ...affine, eps, momentum, training: frame.training });
  };
}

const arithmetic =
  (op: typeof add, commutes: boolean) =>
  (n: NodeReader): Read => {
    const number = n.scalar(1);
    if (number !== null) {
      const a = n.tensor(0);
      return (frame) => op(a(frame), number);
    }
    const left = commutes ? n.scalar(0) : null;
    const b = n.tensor(1);
    if (left !== null) return (frame) => op(b(frame), left);
    const a = n.tensor(0);
    return (frame) => op(a(frame), b(frame));
  };

/** Two axes, of the extents before `at` and from there on. */
const inTwo = (shape: Shape, at: number): Shape => [sizeOf(shape.slice(0, at)), sizeOf(shape.slice(at))];

function flattenReader(n: NodeReader): Read {
  const x = n.tensor(0);
  const at = n.int('axis', 1);
  return (frame) => {
    const input = x(frame);
    const rank = input.shape.length;
    if (at === 1 && rank >= 2) return flatten(input, 1);
    // Here the axis may lie behind the last.
    const from = at === rank ? rank : axis('Flatten', 'axis', at, rank);
    return reshape(input, inTwo(input.shape, from));
  };
}

function reshapeReader(n: NodeReader): Read {
  const x = n.tensor(0);
  const wanted = n.options(1, 'ints');
  if (wanted === undefined) throw n.malformed('lacks input 1, the shape');
  const zeros = n.flag('allowzero', false);
  return (frame) => {
    const input = x(frame);
    const shape = (wanted as readonly number[]).map((extent, i) => {
      if (extent !== 0 || zeros) return extent;
      if (i >= input.shape.length)
        throw new ArgumentError(`shape ${formatShape(wanted ?? [])} copies axis ${i}, which x lacks`);
      return input.shape[i];
    });
    return reshape(input, shape);
  };
}

function gemm(n: NodeReader): Read {
  const [a, b, c] = [n.tensor(0), n.tensor(1), n.optionalTensor(2)];
  const [alpha, beta] = [n.float('alpha', 1), n.float('beta', 1)];
  const [transA, transB] = [n.flag('transA', false), n.flag('transB', false)];
  return (frame) => {
    const left = transA ? permute(a(frame), [1, 0]) : a(frame);
    const right = b(frame);
    const bias = c && c(frame);
    const fits = bias !== null && bias.shape.length === 1 && bias.shape[0] === right.shape[0];
    if (transB && fits && alpha === 1 && beta === 1) return linear(left, right, bias);
    const product = transB ? linear(left, right) : matmul(left, right);
    const scaled = alpha === 1 ? product : mul(product, alpha);
    if (bias === null) return scaled;
    return add(scaled, beta === 1 ? bias : mul(bias, beta));
  };
}

/** Before version 13 the axes from `axis` on are one. */
const alongAxis =
  (op: typeof softmax) =>
  (n: NodeReader): Read => {
    const x = n.tensor(0);
    const old = n.opset < 13;
    const dim = n.int('axis', old ? 1 : -1);
    return (frame) => {
      const input = x(frame);
      const rank = input.shape.length;
      const at = old && dim === rank ? rank : axis(n.opType, 'axis', dim, rank);
      if (!old || at === rank - 1) return op(input, at);
      return reshape(op(reshape(input, inTwo(input.shape, at)), 1), input.shape);
    };
  };

const reduction =
  (op: typeof sum) =>
  (n: NodeReader): Read => {
    const x = n.tensor(0);
    const keepdim = n.flag('keepdims', true);
    const nothing = n.flag('noop_with_empty_axes', false);
    const since = n.opType === 'ReduceSum' ? 13 : 18;
    const axes = n.opset < since ? n.ints('axes') : n.options(1, 'ints');
    return (frame) => {
      if (axes && axes.length > 0) return op(x(frame), axes, { keepdim });
      return nothing ? x(frame) : op(x(frame), undefined, { keepdim });
    };
  };

function dropout(n: NodeReader): Read {
  n.ignore('ratio', 'seed', 'is_test');
  const training = n.options(2, 'ints');
  if (training && training[0] !== 0) n.refuse('training_mode of Dropout');
  return n.tensor(0);
}

function concat(n: NodeReader): Read {
  const parts = upTo(n.inputs).map((i) => n.tensor(i));
  if (!n.has('axis')) throw n.malformed('lacks attribute "axis"');
  const dim = n.int('axis', 0);
  return (frame) =>
    cat(
      parts.map((part) => part(frame)),
      dim,
    );
}

function transpose(n: NodeReader): Read {
  const x = n.tensor(0);
  const perm = n.ints('perm');
  return (frame) => {
    const input = x(frame);
    return permute(input, perm ?? upTo(input.shape.length).reverse());
  };
}

function sliceReader(n: NodeReader): Read {
  const x = n.tensor(0);
  const old = n.opset < 10;
  const list = (i: number, name: string) => (old ? n.ints(name) : n.options(i, 'ints'));
  const [starts, ends] = [list(1, 'starts'), list(2, 'ends')];
  const axes = list(3, 'axes');
  const steps = old ? undefined : n.options(4, 'ints');
  if (starts === undefined || ends === undefined) throw n.malformed('lacks starts or ends');
  const lists = [ends, axes, steps];
  if (starts !== null && lists.some((one) => one && one.length !== starts.length)) {
    throw n.malformed('has starts, ends, axes and steps of different lengths');
  }
  if (steps?.some((step) => step < 1)) n.refuse('steps below 1 of Slice');
  return (frame) =>
    (starts as readonly number[]).reduce(
      (y, start, i) => slice(y, axes?.[i] ?? i, { start, end: (ends as readonly number[])[i], step: steps?.[i] ?? 1 }),
      x(frame),
    );
}

function padReader(n: NodeReader): Read {
  const x = n.tensor(0);
  const mode = n.string('mode', 'constant');
  if (mode !== 'constant') n.refuse(`mode ${JSON.stringify(mode.slice(0, 30))} of Pad`);
  const old = n.opset < 11;
  const pads = old ? n.ints('pads') : n.options(1, 'ints');
  if (pads === undefined) throw n.malformed('lacks pads');
  const value = old ? n.float('value', 0) : (n.options(2, 'floats')?.[0] ?? 0);
  const axes = old ? undefined : n.options(3, 'ints');
  return (frame) => {
    const input = x(frame);
    const rank = input.shape.length;
    const sides = pads as readonly number[];
    const where = axes ? axes.map((one) => axis('Pad', 'axes', one, rank)) : upTo(rank);
    if (sides.length !== 2 * where.length) {
      throw new ArgumentError(`pads ${formatShape(sides)} for x ${formatShape(input.shape)}; want ${2 * where.length}`);
    }
    const both = new Array<number>(2 * rank).fill(0);
    where.forEach((at, i) => {
      both[2 * (rank - 1 - at)] = sides[i];
      both[2 * (rank - 1 - at) + 1] = sides[where.length + i];
    });
    return pad(input, both, value);
  };
}

/** By operator, in ONNX's own domain. `Constant`, and `Identity` of a tensor of the file, are seen to by the importer. */
export const READERS: ReadonlyMap<string, (n: NodeReader) => Read> = new Map([
  ['Conv', conv],
  ['BatchNormalization', batchNormalization],
  ['Relu', (n) => one(n, relu)],
  ['MaxPool', maxPool],
  ['AveragePool', averagePool],
  ['GlobalAveragePool', globalPool],
  ['GlobalMaxPool', globalPool],
  ['Add', arithmetic(add, true)],
  ['Sub', arithmetic(sub, false)],
  ['Mul', arithmetic(mul, true)],
  ['Div', arithmetic(div, false)],
  ['Flatten', flattenReader],
  ['Reshape', reshapeReader],
  ['Gemm', gemm],
  ['MatMul', two],
  ['Identity', (n: NodeReader) => n.tensor(0)],
  ['Dropout', dropout],
  ['Softmax', alongAxis(softmax)],
  ['LogSoftmax', alongAxis(logSoftmax)],
  ['ReduceMean', reduction(mean)],
  ['ReduceSum', reduction(sum)],
  ['Concat', concat],
  ['Transpose', transpose],
  ['Slice', sliceReader],
  ['Pad', padReader],
] as const satisfies readonly (readonly [string, (n: NodeReader) => Read])[]);

function one(n: NodeReader, op: (x: Tensor) => Tensor): Read {
  const x = n.tensor(0);
  return (frame) => op(x(frame));
}

function two(n: NodeReader): Read {
  const [a, b] = [n.tensor(0), n.tensor(1)];
  return (frame) => matmul(a(frame), b(frame));
}
