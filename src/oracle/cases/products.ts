/** Rows of matmul, linear and conv2d: sums of products all, so one formula bounds them and their gradients. */
import { conv2d, linear, matmul } from '../../ops/index.js';
import { broadcastShapes, type ConvGeometry, type Pair, type Shape, sizeOf } from '../../shape.js';
import { convolution, type Expected, sumOfProducts, wideSum } from '../bounds.js';
import type { Draw } from '../draw.js';
import * as naive from '../naive.js';
import * as winograd from '../winograd.js';
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

/** A call of matmul. */
export interface MatmulOptions {
  readonly salt: number;
  readonly a: Shape;
  readonly b: Shape;
}

/** Extents [m, n, k]: mostly small, now and then one of them beyond a block of the kernels, or 0. */
function drawProduct(d: Draw): [number, number, number] {
  const small = () => d.pick(LANES);
  switch (d.int(0, 6)) {
    case 0:
      return [d.int(1, 9), d.int(1, 9), d.int(289, 330)];
    case 1:
      return [d.int(1, 5), d.int(257, 290), d.int(1, 9)];
    case 2:
      return [d.int(1, 3), d.int(1, 5), d.int(1025, 1100)];
    case 3:
      return [d.int(1025, 1100), d.int(1, 5), d.int(1, 3)];
    default: {
      const [m, n, k] = emptied(d, [small(), small(), small()]);
      return [m, n, k];
    }
  }
}

/**
 * γ_n over n = k products; a gradient's n counts the repeats of a broadcast operand as well, whether they are
 * summed with the rest or afterwards.
 */
export const matmulCase = defineCase<MatmulOptions>({
  name: 'matmul',
  op: 'matmul',
  options(d) {
    const [m, n, k] = drawProduct(d);
    const salt = drawSalt(d);
    if (m * n * k > 6000 || d.bool()) {
      const a = m === 1 && d.bool() ? [k] : [m, k];
      const b = n === 1 && d.bool() ? [k] : [k, n];
      return { salt, a, b };
    }
    const batch = emptied(d, [d.int(1, 3), d.int(1, 3)].slice(d.int(0, 1)));
    const narrow = () => batch.map((extent) => (d.int(0, 2) > 0 ? extent : 1)).slice(d.int(0, batch.length));
    return { salt, a: [...narrow(), m, k], b: [...narrow(), k, n] };
  },
  trial({ salt, a, b }) {
    const left = a.length === 1 ? [1, ...a] : a;
    const right = b.length === 1 ? [...b, 1] : b;
    const batch = broadcastShapes('matmul', left.slice(0, -2), right.slice(0, -2));
    const [m, k] = left.slice(-2);
    const n = right[right.length - 1];
    return {
      inputs: [input(salt, 'a', a), input(salt, 'b', b)],
      shape: [...batch, ...(a.length > 1 ? [m] : []), ...(b.length > 1 ? [n] : [])],
      smooth: true,
      attributes: {},
      flops: 2 * sizeOf(batch) * m * n * k,
      run: (t) => matmul(t[0], t[1]),
      forward: (v) => ({ y: sumOfProducts(naive.matmul(v[0], left, v[1], right, batch)), changed: {} }),
      backward(v, dy) {
        const { da, db } = naive.matmulBackward(v[0], left, v[1], right, batch, dy);
        return { a: sumOfProducts(da), b: sumOfProducts(db) };
      },
    };
  },
  badInput: [
    {
      why: 'inner extents that differ',
      shapes: [
        [2, 3],
        [2, 3],
      ],
      call: ([a, b]) => matmul(a, b),
    },
    { why: 'a scalar operand', shapes: [[2, 3], []], call: ([a, b]) => matmul(a, b) },
    {
      why: 'batches that do not broadcast',
      shapes: [
        [2, 3, 4],
        [3, 4, 5],
      ],
      call: ([a, b]) => matmul(a, b),
    },
  ],
});

/** A call of linear. */
export interface LinearOptions {
  readonly salt: number;
  /** Leading axes of x. */
  readonly lead: Shape;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly bias: boolean;
}

/** γ_n over n = in features, one more with a bias. The bias gradient is a wide sum of dy. */
export const linearCase = defineCase<LinearOptions>({
  name: 'linear',
  op: 'linear',
  options(d) {
    const [rows, outFeatures, inFeatures] = drawProduct(d);
    const lead = rows === 1 && d.bool() ? [] : rows < 10 && d.bool() ? [rows, d.int(1, 3)] : [rows];
    return { salt: drawSalt(d), lead, inFeatures, outFeatures, bias: d.bool() };
  },
  trial({ salt, lead, inFeatures, outFeatures, bias }) {
    const geometry = { rows: sizeOf(lead), inFeatures, outFeatures };
    const inputs = [input(salt, 'x', [...lead, inFeatures]), input(salt, 'weight', [outFeatures, inFeatures])];
    if (bias) inputs.push(input(salt, 'bias', [outFeatures]));
    return {
      inputs,
      shape: [...lead, outFeatures],
      smooth: true,
      attributes: {},
      flops: 2 * geometry.rows * inFeatures * outFeatures,
      run: (t) => linear(t[0], t[1], t[2] ?? null),
      forward: (v) => ({ y: sumOfProducts(naive.linear(v[0], v[1], v[2] ?? null, geometry)), changed: {} }),
      backward(v, dy) {
        const { dx, dweight, dbias } = naive.linearBackward(v[0], v[1], geometry, dy);
        const grads: Record<string, Expected> = { x: sumOfProducts(dx), weight: sumOfProducts(dweight) };
        if (bias) grads.bias = wideSum(dbias);
        return grads;
      },
    };
  },
  badInput: [
    {
      why: 'features that differ',
      shapes: [
        [2, 3],
        [4, 2],
      ],
      call: ([x, w]) => linear(x, w, null),
    },
    { why: 'a weight of one axis', shapes: [[2, 3], [3]], call: ([x, w]) => linear(x, w, null) },
    { why: 'a bias of another length', shapes: [[2, 3], [4, 3], [3]], call: ([x, w, b]) => linear(x, w, b) },
    { why: 'a scalar x', shapes: [[], [4, 3]], call: ([x, w]) => linear(x, w, null) },
  ],
});

/** A call of conv2d. */
export interface ConvOptions {
  readonly salt: number;
  readonly batch: number;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly height: number;
  readonly width: number;
  readonly kernel: readonly [number, number];
  readonly stride: Pair;
  readonly padding: DrawnPadding;
  readonly dilation: Pair;
  readonly groups: number;
  readonly bias: boolean;
}

/** A drawn convolution as the naive functions take it. */
export const naiveGeometry = (o: ConvOptions): naive.NaiveConv => ({
  batch: o.batch,
  inChannels: o.inChannels,
  inHeight: o.height,
  inWidth: o.width,
  outChannels: o.outChannels,
  kernel: o.kernel,
  stride: both(o.stride),
  dilation: both(o.dilation),
  padding: drawnSides(o.padding, {
    extents: [o.height, o.width],
    kernel: o.kernel,
    stride: both(o.stride),
    dilation: both(o.dilation),
  }),
  groups: o.groups,
});

/** Stride, padding (top, bottom, left, right), dilation and groups. */
export const convAttributes = ({ stride, padding, dilation, groups }: naive.NaiveConv) => ({
  stride,
  padding,
  dilation,
  groups,
});

/** The same as the devices have it. */
export const convGeometry = (g: naive.NaiveConv, [, , outHeight, outWidth]: Shape): ConvGeometry => ({
  ...{ batch: g.batch, inChannels: g.inChannels, inHeight: g.inHeight, inWidth: g.inWidth },
  ...{ outChannels: g.outChannels, outHeight, outWidth, groups: g.groups },
  ...{ kernelHeight: g.kernel[0], kernelWidth: g.kernel[1], strideHeight: g.stride[0], strideWidth: g.stride[1] },
  ...{ padTop: g.padding[0], padLeft: g.padding[2], dilationHeight: g.dilation[0], dilationWidth: g.dilation[1] },
});

type Axes = readonly [number, number];
const both = (value: Pair): Axes => (typeof value === 'number' ? [value, value] : value);
const isPair = (padding: DrawnPadding): padding is Axes =>
  typeof padding === 'object' && typeof padding[0] === 'number';

/** Kinds of convolution by what they try: each limit that a blocked kernel may have is crossed by one. */
export type ConvKind =
  | 'any'
  | 'lanes'
  | 'depthwise'
  | 'deep'
  | 'pixels'
  | 'long'
  | 'pointwise'
  | 'block'
  | 'stem'
  | 'wide'
  | 'maps'
  | 'tiles'
  | 'manyTiles'
  | 'empty';

export function drawConv(d: Draw, kind: ConvKind): ConvOptions {
  const salt = drawSalt(d);
  const bias = d.bool();
  const square = (low: number, high: number): Axes => {
    const one = d.int(low, high);
    return [one, d.int(0, 2) > 0 ? one : d.int(low, high)];
  };
  const plain = { salt, bias, stride: 1, padding: 0, dilation: 1, groups: 1 } as const;
  switch (kind) {
    case 'deep':
      // More than 576 terms an output, most with a bias: when it is added shows only past a block of terms.
      return {
        ...plain,
        bias: d.int(0, 3) > 0,
        batch: d.int(1, 2),
        inChannels: d.int(65, 72),
        outChannels: d.pick([1, 4, 5, 8, 9]),
        height: d.int(2, 5),
        width: d.int(3, 5),
        kernel: [3, 3],
        stride: d.pick([1, 1, 1, 2]),
        padding: 1,
      };
    case 'pixels':
      // More than 256 pixels a plane.
      return {
        ...plain,
        batch: 1,
        inChannels: d.int(1, 3),
        outChannels: d.int(1, 5),
        height: d.int(17, 22),
        width: d.int(17, 22),
        kernel: square(1, 3),
        padding: 1,
      };
    case 'long':
      // Weight gradients over more than 512, or 1024, pixels of the batch, not a multiple of either.
      return {
        ...plain,
        batch: d.int(2, 4),
        inChannels: d.int(1, 2),
        outChannels: d.int(1, 3),
        height: d.int(18, 23),
        width: d.int(18, 23),
        kernel: square(1, 3),
        stride: 1,
        padding: d.int(0, 1),
      };
    case 'pointwise':
      return {
        ...plain,
        batch: d.int(1, 5),
        inChannels: d.pick(LANES),
        outChannels: d.pick(LANES),
        height: d.int(1, 9),
        width: d.int(1, 9),
        kernel: [1, 1],
        stride: d.int(1, 2),
      };
    case 'block':
      // As in a residual network: 3×3, padding 1, stride 1 or 2.
      return {
        ...plain,
        batch: d.int(1, 3),
        inChannels: d.pick([3, 8, 16]),
        outChannels: d.pick([8, 16, 17]),
        height: d.int(3, 9),
        width: d.int(3, 9),
        kernel: [3, 3],
        stride: d.int(1, 2),
        padding: 1,
      };
    case 'stem': {
      // As a network's first layer: a large kernel over a few channels, padding about half of it.
      const kernel = square(5, 7);
      return {
        ...plain,
        batch: d.int(1, 2),
        inChannels: d.int(1, 3),
        outChannels: d.int(1, 9),
        height: d.int(7, 14),
        width: d.int(7, 14),
        kernel,
        stride: d.int(1, 2),
        padding: [Math.floor(kernel[0] / 2), Math.floor(kernel[1] / 2) - d.int(0, 1)],
      };
    }
    case 'wide': {
      // As a network's last stages: more channels than any register tile or panel on either side, small maps.
      const k = d.pick([1, 3, 3]);
      const side = () => d.pick([33, 47, 64, 65, 70]);
      const few = () => d.pick(LANES);
      const [inChannels, outChannels] = d.pick([
        [side(), side()],
        [few(), side()],
        [side(), few()],
      ]);
      return {
        ...plain,
        batch: d.int(1, 5),
        inChannels,
        outChannels,
        height: d.int(1, 3),
        width: d.int(1, 4),
        kernel: [k, k],
        stride: d.int(1, 2),
        padding: (k - 1) / 2,
      };
    }
    case 'maps': {
      // As a network's first stages: maps of more than 512 pixels together, channels that fill lanes or do not.
      const groups = d.pick([1, 1, 2]);
      const dilation = d.pick([1, 1, 2]);
      return {
        ...plain,
        batch: d.int(2, 4),
        inChannels: 8 * groups,
        outChannels: groups * d.pick([1, 3, 4, 7, 8, 9, 16]),
        height: d.int(15, 18),
        width: d.int(18, 22),
        kernel: square(2, 3),
        padding: square(0, 2),
        dilation,
        groups,
      };
    }
    case 'tiles': {
      // As Winograd's algorithm takes them: every extent of a map, whole tiles or not, channels that fill lanes or do not.
      const groups = d.pick([1, 1, 1, 2]);
      const stride = d.pick([1, 1, 2]);
      const padding: readonly [Axes, Axes] = [square(0, 2), square(0, 2)];
      const extent = ([before, after]: Axes) => Math.max(3 - before - after, d.int(1, 14));
      return {
        ...plain,
        batch: d.int(1, 4),
        inChannels: groups * d.pick([8, 9, 12, 16, 17]),
        outChannels: groups * d.pick([8, 11, 12, 16, 17]),
        height: stride === 2 ? d.int(1, 20) : extent(padding[0]),
        width: stride === 2 ? d.int(1, 20) : extent(padding[1]),
        kernel: [3, 3],
        stride,
        padding: stride === 2 ? d.pick<DrawnPadding>([1, 1, 1, 'SAME', [square(1, 2), [1, 2]]]) : padding,
        groups,
      };
    }
    case 'manyTiles':
      // More tiles than a block of the weight gradient, within an image, in whole images, in one row.
      return {
        ...plain,
        inChannels: 8,
        outChannels: 8,
        kernel: [3, 3],
        padding: 1,
        ...d.pick([
          { batch: d.int(1, 2), height: d.int(46, 50), width: d.int(46, 50) },
          { batch: d.int(34, 70), height: 6, width: 6 },
          { batch: d.int(16, 32), height: d.int(9, 12), width: d.int(9, 12) },
          { batch: d.int(1, 2), height: d.int(2, 5), width: d.int(516, 530) },
        ]),
      };
    case 'empty':
      return { ...drawConv(d, 'any'), batch: 0 };
    default: {
      const groups = kind === 'depthwise' ? d.int(2, 9) : d.pick([1, 1, 1, 2, 3]);
      const perGroup = kind === 'depthwise' ? 1 : d.int(1, 4);
      const outPerGroup = kind === 'depthwise' ? d.int(1, 2) : kind === 'lanes' ? d.pick(LANES) : d.int(1, 5);
      const kernel = square(1, 4);
      const dilation = d.int(0, 2) === 0 ? square(1, 3) : ([1, 1] as const);
      const each = [square(0, 3), square(0, 3)] as const;
      const padding = d.pick<DrawnPadding>([[0, 0], each[0], each[1], each, 'same', 'valid', 'SAME']);
      const stride = padding === 'same' ? ([1, 1] as const) : square(1, 5);
      // The words do not depend on the input, or make room for the window whatever it is.
      const window = { extents: [1, 1], kernel, stride, dilation } as const;
      const [top, bottom, left, right] = drawnSides(padding, window);
      // The padded input must hold the kernel once.
      const extent = (k: number, dilated: number, padded: number): number => {
        const least = Math.max(1, dilated * (k - 1) + 1 - padded);
        return Math.max(least, kind === 'lanes' ? d.pick(LANES) : d.int(1, 9));
      };
      return {
        salt,
        batch: d.int(1, 5),
        inChannels: groups * perGroup,
        outChannels: groups * outPerGroup,
        height: extent(kernel[0], dilation[0], top + bottom),
        width: extent(kernel[1], dilation[1], left + right),
        kernel,
        stride: pairOrNumber(d, stride),
        padding: isPair(padding) ? pairOrNumber(d, padding) : padding,
        dilation: pairOrNumber(d, dilation),
        groups,
        bias,
      };
    }
  }
}

export const CONV_KINDS: readonly ConvKind[] = [
  'any',
  'any',
  'lanes',
  'depthwise',
  'pointwise',
  'block',
  'deep',
  'pixels',
  'long',
  'stem',
  'wide',
  'wide',
  'maps',
  'tiles',
  'tiles',
  'manyTiles',
  'empty',
];

/**
 * γ_n over n = in channels / groups × kernel taps, one more with a bias; taps in the padding count as products
 * with zero. Input and weight gradients sum over the taps that hit; the bias gradient is a wide sum of dy.
 */
export const conv2dCase = defineCase<ConvOptions>({
  name: 'conv2d',
  op: 'conv2d',
  options: (d) => drawConv(d, d.pick(CONV_KINDS)),
  trial(o) {
    const geometry = naiveGeometry(o);
    const shape = [o.batch, o.outChannels, ...naive.convOutput(geometry)];
    const plain = convGeometry(geometry, shape);
    const weight = [o.outChannels, o.inChannels / o.groups, ...o.kernel];
    const inputs = [input(o.salt, 'x', [o.batch, o.inChannels, o.height, o.width]), input(o.salt, 'weight', weight)];
    if (o.bias) inputs.push(input(o.salt, 'bias', [o.outChannels]));
    const { stride, padding, dilation, groups } = o;
    return {
      inputs,
      shape,
      smooth: true,
      attributes: convAttributes(geometry),
      flops: 2 * sizeOf(shape) * sizeOf(weight.slice(1)),
      run: (t) => conv2d(t[0], t[1], t[2] ?? null, { stride, padding, dilation, groups }),
      forward(v) {
        const [x, w, b = null] = v;
        const paths = (m: winograd.Tile) => winograd.forwardPaths(m, x, w, b, geometry);
        return { y: convolution(naive.conv2d(x, w, b, geometry), 'forward', plain, paths), changed: {} };
      },
      backward([x, w], dy) {
        const { dx, dweight, dbias } = naive.conv2dBackward(x, w, geometry, dy);
        const misses = () => naive.missedProducts(w, dy, geometry);
        const inputPaths = (m: winograd.Tile) => winograd.inputGradientPaths(m, dy, w, geometry);
        const weightPaths = (m: winograd.Tile) => winograd.weightGradientPaths(m, x, dy, geometry);
        const grads: Record<string, Expected> = {
          x: convolution(dx, 'input', plain, inputPaths, () => misses().dx),
          weight: convolution(dweight, 'weight', plain, weightPaths, () => misses().dweight),
        };
        if (o.bias) grads.bias = wideSum(dbias);
        return grads;
      },
    };
  },
  badInput: [
    {
      why: 'an x of three axes',
      shapes: [
        [3, 8, 8],
        [4, 3, 3, 3],
      ],
      call: ([x, w]) => conv2d(x, w, null),
    },
    {
      why: 'a weight of two axes',
      shapes: [
        [1, 3, 8, 8],
        [4, 3],
      ],
      call: ([x, w]) => conv2d(x, w, null),
    },
    {
      why: 'channels that differ',
      shapes: [
        [1, 2, 8, 8],
        [4, 3, 3, 3],
      ],
      call: ([x, w]) => conv2d(x, w, null),
    },
    {
      why: 'groups that do not divide',
      shapes: [
        [1, 4, 8, 8],
        [3, 2, 3, 3],
      ],
      call: ([x, w]) => conv2d(x, w, null, { groups: 2 }),
    },
    {
      why: 'zero groups',
      shapes: [
        [1, 4, 8, 8],
        [3, 4, 3, 3],
      ],
      call: ([x, w]) => conv2d(x, w, null, { groups: 0 }),
    },
    {
      why: 'a bias of another length',
      shapes: [[1, 3, 8, 8], [4, 3, 3, 3], [3]],
      call: ([x, w, b]) => conv2d(x, w, b),
    },
    {
      why: 'stride 0',
      shapes: [
        [1, 3, 8, 8],
        [4, 3, 3, 3],
      ],
      call: ([x, w]) => conv2d(x, w, null, { stride: 0 }),
    },
    {
      why: 'negative padding',
      shapes: [
        [1, 3, 8, 8],
        [4, 3, 3, 3],
      ],
      call: ([x, w]) => conv2d(x, w, null, { padding: -1 }),
    },
    {
      why: "padding 'same' with a stride",
      shapes: [
        [1, 3, 8, 8],
        [4, 3, 3, 3],
      ],
      call: ([x, w]) => conv2d(x, w, null, { padding: 'same', stride: 2 }),
    },
    {
      why: 'a kernel larger than the padded input',
      shapes: [
        [1, 3, 2, 8],
        [4, 3, 3, 3],
      ],
      call: ([x, w]) => conv2d(x, w, null),
    },
    {
      why: 'dilation NaN',
      shapes: [
        [1, 3, 8, 8],
        [4, 3, 3, 3],
      ],
      call: ([x, w]) => conv2d(x, w, null, { dilation: Number.NaN }),
    },
  ],
});

export const productCases: readonly OpCase[] = [matmulCase, linearCase, conv2dCase];
