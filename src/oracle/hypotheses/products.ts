/** Guesses about convolutions, linear layers and matrix products. */
import type { Shape } from '../../shape.js';
import * as naive from '../naive.js';
import { type Hypothesis, type Prediction, reindexed, reversed, type WrongCall } from './hypothesis.js';

interface Conv {
  readonly x: Float64Array;
  readonly weight: Float64Array;
  readonly bias: Float64Array | null;
  readonly g: naive.NaiveConv;
  readonly xShape: Shape;
  readonly weightShape: Shape;
}

interface ConvAttributes {
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number, number, number];
  readonly dilation: readonly [number, number];
  readonly groups: number;
}

function convOf({ values, shapes, attributes }: WrongCall): Conv {
  const { stride, padding, dilation, groups } = attributes as unknown as ConvAttributes;
  const [batch, inChannels, inHeight, inWidth] = shapes.x;
  const [outChannels, , ...kernel] = shapes.weight as [number, number, number, number];
  return {
    ...{ x: values.x, weight: values.weight, bias: values.bias ?? null, xShape: shapes.x, weightShape: shapes.weight },
    g: { batch, inChannels, inHeight, inWidth, outChannels, kernel, stride, padding, dilation, groups },
  };
}

function result({ x, weight, bias, g }: Conv): Prediction {
  const data = naive.conv2d(x, weight, bias, g).value;
  return { y: { shape: [g.batch, g.outChannels, ...naive.convOutput(g)], data } };
}

/** A convolution with another geometry. */
const geometry = (change: (g: naive.NaiveConv) => Partial<naive.NaiveConv> | null) => (call: WrongCall) => {
  const conv = convOf(call);
  const changed = change(conv.g);
  return changed === null ? null : result({ ...conv, g: { ...conv.g, ...changed } });
};

/** A convolution of other operands. */
const operands = (change: (conv: Conv) => Partial<Conv> | null) => (call: WrongCall) => {
  const conv = convOf(call);
  const changed = change(conv);
  return changed === null ? null : result({ ...conv, ...changed });
};

const swap = <T>([a, b]: readonly [T, T]): [T, T] => [b, a];
const differ = ([a, b]: readonly [unknown, unknown]): boolean => a !== b;
const conv = (name: string, predict: Hypothesis['predict']): Hypothesis => ({ name, ops: /^conv2d$/, predict });

/** The padded input as one, so that padding may hold anything. */
function withPadding(c: Conv, fill: (row: number, column: number) => readonly [number, number] | null): Partial<Conv> {
  const [top, bottom, left, right] = c.g.padding;
  const [height, width] = [c.g.inHeight + top + bottom, c.g.inWidth + left + right];
  const padded = [c.g.batch, c.g.inChannels, height, width];
  const x = reindexed(
    c.x,
    c.xShape,
    ([n, channel, i, j]) => {
      const at = fill(i - top, j - left);
      return at === null ? null : [n, channel, at[0], at[1]];
    },
    padded,
  );
  return { x, xShape: padded, g: { ...c.g, inHeight: height, inWidth: width, padding: [0, 0, 0, 0] } };
}

const clamp = (i: number, extent: number): number => Math.min(Math.max(i, 0), extent - 1);
const reflect = (i: number, extent: number): number => (i < 0 ? -i : i >= extent ? 2 * extent - 2 - i : i);

/** The window moved by so many elements, as by an origin that is off. */
const shifted = (name: string, rows: number, columns: number): Hypothesis =>
  conv(
    name,
    geometry(({ padding: [top, bottom, left, right] }) => ({
      padding: [top - rows, bottom + rows, left - columns, right + columns],
    })),
  );

/** Channels beyond a multiple of `lanes` left out. */
const tail = (lanes: number): Hypothesis =>
  conv(
    `the last input channels of a group, beyond a multiple of ${lanes}, dropped`,
    operands(({ weight, weightShape }) => {
      const kept = weightShape[1] - (weightShape[1] % lanes);
      if (kept === weightShape[1]) return null;
      return { weight: reindexed(weight, weightShape, (index) => (index[1] < kept ? index : null)) };
    }),
  );

/** Output channels beyond a multiple of `lanes` not written. */
const outTail = (lanes: number): Hypothesis =>
  conv(`the last output channels, beyond a multiple of ${lanes}, not computed`, ({ truth, outputShapes }) => {
    const shape = outputShapes.y;
    const kept = shape[1] - (shape[1] % lanes);
    if (kept === shape[1]) return null;
    return { y: reindexed(truth.y, shape, (index) => (index[1] < kept ? index : null)) };
  });

/** The same where the bias is added all the same. */
const outTailButBias = (lanes: number): Hypothesis =>
  conv(`of the last output channels, beyond a multiple of ${lanes}, there is only the bias`, (call) => {
    const shape = call.outputShapes.y;
    const kept = shape[1] - (shape[1] % lanes);
    const { bias } = call.values;
    if (kept === shape[1] || bias === undefined) return null;
    const plane = shape[2] * shape[3];
    return {
      y: call.truth.y.map((v, i) => {
        const channel = Math.floor(i / plane) % shape[1];
        return channel < kept ? v : bias[channel];
      }),
    };
  });

/** The weights' memory read in another order of axes. */
const layout = (name: string, order: (shape: Shape) => Shape, axes: readonly number[]): Hypothesis =>
  conv(
    `weights laid out as ${name} are read as OIHW`,
    operands(({ weight, weightShape }) => {
      const stored = order(weightShape);
      // What lies in memory is OIHW; it is read as if `stored` were its shape.
      return { weight: reindexed(weight, stored, (index) => axes.map((axis) => index[axis]), weightShape) };
    }),
  );

export const productHypotheses: readonly Hypothesis[] = [
  conv(
    'the kernel is flipped: a convolution, not a cross-correlation',
    operands((c) => ({ weight: reversed(c.weight, c.weightShape, [2, 3]) })),
  ),
  conv(
    'the kernel’s rows and columns are swapped',
    operands(({ weight, weightShape, g }) => {
      const [out, inner, height, width] = weightShape;
      if (height === 1 && width === 1) return null;
      const turned = [out, inner, width, height];
      const own = reindexed(weight, weightShape, ([o, i, p, q]) => [o, i, q, p], turned);
      return { weight: own, weightShape: turned, g: { ...g, kernel: swap(g.kernel) } };
    }),
  ),
  conv(
    'the strides of rows and columns are swapped',
    geometry((g) => (differ(g.stride) ? { stride: swap(g.stride) } : null)),
  ),
  conv(
    'the dilations of rows and columns are swapped',
    geometry((g) => (differ(g.dilation) ? { dilation: swap(g.dilation) } : null)),
  ),
  conv(
    'the padding of rows and columns is swapped',
    geometry(({ padding: [top, bottom, left, right] }) =>
      top === left && bottom === right ? null : { padding: [left, right, top, bottom] },
    ),
  ),
  conv(
    'the odd zero of the padding is on the wrong side',
    geometry(({ padding: [top, bottom, left, right] }) =>
      top === bottom && left === right ? null : { padding: [bottom, top, right, left] },
    ),
  ),
  conv(
    'the padding is ignored',
    geometry((g) => (g.padding.every((p) => p === 0) ? null : { padding: [0, 0, 0, 0] })),
  ),
  conv(
    'padding repeats the border instead of 0',
    operands((c) =>
      c.g.padding.every((p) => p === 0)
        ? null
        : withPadding(c, (i, j) => [clamp(i, c.g.inHeight), clamp(j, c.g.inWidth)]),
    ),
  ),
  conv(
    'padding reflects the input instead of 0',
    operands((c) => {
      const [top, bottom, left, right] = c.g.padding;
      if (top + bottom + left + right === 0) return null;
      if (Math.max(top, bottom) >= c.g.inHeight || Math.max(left, right) >= c.g.inWidth) return null;
      return withPadding(c, (i, j) => [reflect(i, c.g.inHeight), reflect(j, c.g.inWidth)]);
    }),
  ),
  conv(
    'the stride is ignored',
    geometry((g) => (g.stride.every((s) => s === 1) ? null : { stride: [1, 1] })),
  ),
  conv('the stride is ignored, the size is right', (call) => {
    const own = convOf(call);
    if (own.g.stride.every((s) => s === 1)) return null;
    const g = { ...own.g, stride: [1, 1] as const };
    const dense = naive.conv2d(own.x, own.weight, own.bias, g).value;
    const shape = [g.batch, g.outChannels, ...naive.convOutput(g)];
    return { y: reindexed(dense, shape, (index) => index, call.outputShapes.y) };
  }),
  conv(
    'the dilation is ignored',
    geometry((g) => (g.dilation.every((d) => d === 1) ? null : { dilation: [1, 1] })),
  ),
  conv('the dilation is ignored, the size is right', (call) => {
    const own = convOf(call);
    if (own.g.dilation.every((d) => d === 1)) return null;
    const g = { ...own.g, dilation: [1, 1] as const };
    const dense = naive.conv2d(own.x, own.weight, own.bias, g).value;
    const shape = [g.batch, g.outChannels, ...naive.convOutput(g)];
    return { y: reindexed(dense, shape, (index) => index, call.outputShapes.y) };
  }),
  conv('the dilation is one too many', (call) => {
    const own = convOf(call);
    const g = { ...own.g, dilation: [own.g.dilation[0] + 1, own.g.dilation[1] + 1] as const };
    // Windows that now reach past the padded input find 0 there.
    const [top, bottom, left, right] = g.padding;
    const more = { ...g, padding: [top, bottom + g.kernel[0] - 1, left, right + g.kernel[1] - 1] as const };
    const wide = naive.conv2d(own.x, own.weight, own.bias, more).value;
    const shape = [g.batch, g.outChannels, ...naive.convOutput(more)];
    return { y: reindexed(wide, shape, (index) => index, call.outputShapes.y) };
  }),
  ...[1, -1].map((more) =>
    conv(`the stride is one too ${more > 0 ? 'many' : 'few'}`, (call) => {
      const own = convOf(call);
      const stride = [own.g.stride[0] + more, own.g.stride[1] + more] as const;
      if (stride.some((n) => n < 1)) return null;
      // As many windows as there should be, on an input that goes on with 0.
      const [top, bottom, left, right] = own.g.padding;
      const [, , height, width] = call.outputShapes.y;
      const padding = [top, bottom + Math.max(0, more) * height, left, right + Math.max(0, more) * width] as const;
      const g = { ...own.g, stride, padding };
      const shape = [g.batch, g.outChannels, ...naive.convOutput(g)];
      const all = naive.conv2d(own.x, own.weight, own.bias, g).value;
      return { y: reindexed(all, shape, (index) => index, call.outputShapes.y) };
    }),
  ),
  shifted('the window starts a row too low', 1, 0),
  shifted('the window starts a row too high', -1, 0),
  shifted('the window starts a column too far right', 0, 1),
  shifted('the window starts a column too far left', 0, -1),
  shifted('the window starts a row and a column too far', 1, 1),
  shifted('the window starts a row and a column too early', -1, -1),
  conv('groups take interleaved input channels', (call) => {
    const own = convOf(call);
    const { groups, inChannels } = own.g;
    if (groups === 1 || inChannels === groups) return null;
    const per = inChannels / groups;
    const x = reindexed(own.x, own.xShape, ([n, c, i, j]) => [n, (c % per) * groups + Math.floor(c / per), i, j]);
    return result({ ...own, x });
  }),
  conv('groups give interleaved output channels', (call) => {
    const own = convOf(call);
    const { groups, outChannels, inChannels } = own.g;
    if (groups === 1 || outChannels === groups) return null;
    const perIn = inChannels / groups;
    // Output o takes the inputs of group o mod groups: as a dense convolution.
    const shape = [outChannels, inChannels, ...own.g.kernel];
    const weight = reindexed(
      own.weight,
      own.weightShape,
      ([o, c, p, q]) => (Math.floor(c / perIn) === o % groups ? [o, c % perIn, p, q] : null),
      shape,
    );
    return result({ ...own, weight, weightShape: shape, g: { ...own.g, groups: 1 } });
  }),
  conv('every group takes the input of the first', (call) => {
    const own = convOf(call);
    if (own.g.groups === 1) return null;
    const per = own.g.inChannels / own.g.groups;
    return result({ ...own, x: reindexed(own.x, own.xShape, ([n, c, i, j]) => [n, c % per, i, j]) });
  }),
  conv('the groups are in reverse', (call) => {
    const own = convOf(call);
    const { groups, inChannels } = own.g;
    if (groups === 1) return null;
    const per = inChannels / groups;
    const x = reindexed(own.x, own.xShape, ([n, c, i, j]) => [
      n,
      (groups - 1 - Math.floor(c / per)) * per + (c % per),
      i,
      j,
    ]);
    return result({ ...own, x });
  }),
  ...[4, 8, 16, 2].map(tail),
  conv(
    'the last input channel of a group is dropped',
    operands(({ weight, weightShape }) => ({
      weight: reindexed(weight, weightShape, (index) => (index[1] < weightShape[1] - 1 ? index : null)),
    })),
  ),
  conv(
    'the last tap of the kernel is dropped',
    operands(({ weight, weightShape: shape }) => ({
      weight: reindexed(weight, shape, (index) =>
        index[2] === shape[2] - 1 && index[3] === shape[3] - 1 ? null : index,
      ),
    })),
  ),
  conv(
    'the last row of the kernel is dropped',
    operands(({ weight, weightShape: shape }) => ({
      weight: reindexed(weight, shape, (index) => (index[2] === shape[2] - 1 ? null : index)),
    })),
  ),
  conv(
    'the last column of the kernel is dropped',
    operands(({ weight, weightShape: shape }) => ({
      weight: reindexed(weight, shape, (index) => (index[3] === shape[3] - 1 ? null : index)),
    })),
  ),
  ...[4, 8].map(outTail),
  ...[4, 8].map(outTailButBias),
  conv(
    'the bias is missing',
    operands(({ bias }) => (bias ? { bias: null } : null)),
  ),
  conv(
    'the bias is added twice',
    operands(({ bias }) => (bias ? { bias: bias.map((v) => 2 * v) } : null)),
  ),
  conv(
    'the bias is subtracted',
    operands(({ bias }) => (bias ? { bias: bias.map((v) => -v) } : null)),
  ),
  conv('only the first image has the bias', (call) => {
    const own = convOf(call);
    if (!own.bias || own.g.batch === 1) return null;
    const bare = naive.conv2d(own.x, own.weight, null, own.g).value;
    const each = bare.length / own.g.batch;
    return { y: bare.map((v, i) => (i < each ? call.truth.y[i] : v)) };
  }),
  conv(
    'every image is the first',
    operands(({ x, xShape }) => (xShape[0] === 1 ? null : { x: reindexed(x, xShape, ([, ...rest]) => [0, ...rest]) })),
  ),
  layout('IOHW', ([o, i, h, w]) => [i, o, h, w], [1, 0, 2, 3]),
  layout('HWIO', ([o, i, h, w]) => [h, w, i, o], [2, 3, 1, 0]),
  layout('OIWH', ([o, i, h, w]) => [o, i, w, h], [0, 1, 3, 2]),
  layout('OHWI', ([o, i, h, w]) => [o, h, w, i], [0, 2, 3, 1]),
  conv(
    'the input in NHWC is read as NCHW, or the other way round',
    operands(({ x, xShape }) => {
      const [n, c, h, w] = xShape;
      return { x: reindexed(x, [n, h, w, c], ([image, channel, i, j]) => [image, i, j, channel], xShape) };
    }),
  ),
  {
    name: 'the weight is read transposed',
    ops: /^linear$/,
    predict({ values, shapes }) {
      const [out, inner] = shapes.weight;
      const weight = reindexed(values.weight, [inner, out], ([o, i]) => [i, o], [out, inner]);
      const g = { rows: values.x.length / inner, inFeatures: inner, outFeatures: out };
      return { y: naive.linear(values.x, weight, values.bias ?? null, g).value };
    },
  },
  ...(['missing', 'added twice'] as const).map(
    (how): Hypothesis => ({
      name: `the bias is ${how}`,
      ops: /^linear$/,
      predict({ values, shapes, truth }) {
        const { bias } = values;
        if (bias === undefined) return null;
        const out = shapes.weight[0];
        const sign = how === 'missing' ? -1 : 1;
        return { y: truth.y.map((v, i) => v + sign * bias[i % out]) };
      },
    }),
  ),
  ...[4, 8, 16].map(
    (lanes): Hypothesis => ({
      name: `the last input features, beyond a multiple of ${lanes}, dropped`,
      ops: /^linear$/,
      predict({ values, shapes }) {
        const [out, inner] = shapes.weight;
        const kept = inner - (inner % lanes);
        if (kept === inner) return null;
        const weight = reindexed(values.weight, shapes.weight, (index) => (index[1] < kept ? index : null));
        const g = { rows: values.x.length / inner, inFeatures: inner, outFeatures: out };
        return { y: naive.linear(values.x, weight, values.bias ?? null, g).value };
      },
    }),
  ),
  {
    name: 'the second operand is read transposed',
    ops: /^matmul$/,
    predict({ values, shapes }) {
      if (shapes.a.length !== 2 || shapes.b.length !== 2) return null;
      const [k, n] = shapes.b;
      const b = reindexed(values.b, [n, k], ([p, j]) => [j, p], [k, n]);
      return { y: naive.matmul(values.a, shapes.a, b, shapes.b, []).value };
    },
  },
  ...[4, 8].map(
    (lanes): Hypothesis => ({
      name: `the last terms of each sum, beyond a multiple of ${lanes}, dropped`,
      ops: /^matmul$/,
      predict({ values, shapes }) {
        if (shapes.a.length !== 2 || shapes.b.length !== 2) return null;
        const [k] = shapes.b;
        const kept = k - (k % lanes);
        if (kept === k) return null;
        const b = reindexed(values.b, shapes.b, (index) => (index[0] < kept ? index : null));
        return { y: naive.matmul(values.a, shapes.a, b, shapes.b, []).value };
      },
    }),
  ),
  {
    name: 'every batch takes the first matrices',
    ops: /^matmul$/,
    predict({ truth, outputShapes }) {
      const shape = outputShapes.y;
      if (shape.length < 3) return null;
      return { y: reindexed(truth.y, shape, (index) => index.map((i, axis) => (axis < shape.length - 2 ? 0 : i))) };
    },
  },
];
