/**
 * What each kernel of the contract must have done, call by call, given what its operands held: the float64 result of the
 * naive functions and its bound. Where the case table judges an op by inputs of its own choice, this judges any call that
 * was seen, so that an error is laid at the door of the call that made it and not of those that inherit it.
 */
import type { Buffer, ChannelNorm, Kernels } from '../device/device.js';
import type { ConvGeometry, PoolGeometry, Shape } from '../shape.js';
import {
  type Ball,
  type Balls,
  chosen,
  convolution,
  type Expected,
  exact,
  normalisedConvolution,
  quotient,
  rounded,
  stepwiseFormula,
  sumOfProducts,
  wideFormula,
  wideSum,
} from './bounds.js';
import {
  channel,
  givenStatistics,
  gradients,
  mixed,
  normalised,
  type Statistics,
  spread,
  statistics,
} from './formulas/normalization.js';
import { adamStep, rmspropStep, sgdStep } from './formulas/optimizers.js';
import { alongLines, expOf, logSoftmaxLine, logSumExp, softmaxLine } from './formulas/softmax.js';
import * as naive from './naive.js';
import { weightErrorsOf } from './weightErrors.js';
import * as winograd from './winograd.js';

/** Names of the kernels of the contract. */
export type KernelName = keyof Kernels;

/** Arguments of a kernel with numbers in place of buffers. */
type Valued<T> = {
  [P in keyof T]: T[P] extends Buffer
    ? Float64Array
    : T[P] extends Buffer | null
      ? Float64Array | null
      : T[P] extends ChannelNorm | null
        ? Valued<ChannelNorm> | null
        : T[P];
};

/** What a kernel was called with: its arguments, with numbers in place of buffers. */
export type CallArguments<K extends KernelName> = Valued<Parameters<Kernels[K]>[0]>;

interface Contract<K extends KernelName> {
  /** Buffers that the kernel fills, whatever they held. */
  readonly writes: readonly (keyof CallArguments<K> & string)[];
  /** Buffers that it changes, from what they held. */
  readonly changes?: readonly (keyof CallArguments<K> & string)[];
  /** What the written and changed buffers must hold, of those that were given. */
  expected(o: CallArguments<K>): Readonly<Record<string, Expected>>;
}

const kernelOf = (g: ConvGeometry | PoolGeometry) => ({
  kernel: [g.kernelHeight, g.kernelWidth] as const,
  stride: [g.strideHeight, g.strideWidth] as const,
  dilation: [g.dilationHeight, g.dilationWidth] as const,
});

/** The last window ends where the padding behind does, unless the input goes on. */
function convOf(g: ConvGeometry): naive.NaiveConv {
  const behind = (out: number, stride: number, kernel: number, dilation: number, before: number, extent: number) =>
    Math.max(0, (out - 1) * stride + dilation * (kernel - 1) + 1 - before - extent);
  return {
    batch: g.batch,
    inChannels: g.inChannels,
    inHeight: g.inHeight,
    inWidth: g.inWidth,
    outChannels: g.outChannels,
    ...kernelOf(g),
    padding: [
      g.padTop,
      behind(g.outHeight, g.strideHeight, g.kernelHeight, g.dilationHeight, g.padTop, g.inHeight),
      g.padLeft,
      behind(g.outWidth, g.strideWidth, g.kernelWidth, g.dilationWidth, g.padLeft, g.inWidth),
    ],
    groups: g.groups,
  };
}

function poolOf(g: PoolGeometry): naive.NaivePool {
  const floor = {
    planes: g.planes,
    inHeight: g.inHeight,
    inWidth: g.inWidth,
    ...kernelOf(g),
    padding: [g.padTop, g.padBottom, g.padLeft, g.padRight] as const,
    ceilMode: false,
  };
  const [height, width] = naive.poolOutput(floor);
  return height === g.outHeight && width === g.outWidth ? floor : { ...floor, ceilMode: true };
}

/** Calls `visit` with every index of `shape`, in row order. */
function eachIndex(shape: Shape, visit: (index: readonly number[]) => void): void {
  const size = shape.reduce((a, b) => a * b, 1);
  const index = shape.map(() => 0);
  for (let i = 0; i < size; i++) {
    visit(index);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
}

const offset = (index: readonly number[], strides: readonly number[]): number =>
  index.reduce((at, i, axis) => at + i * strides[axis], 0);

/** The results whose buffers were given. */
function given(all: Readonly<Record<string, Expected | null>>): Readonly<Record<string, Expected>> {
  return Object.fromEntries(Object.entries(all).filter((entry): entry is [string, Expected] => entry[1] !== null));
}

type Normalization = CallArguments<'batchNormTrain'> | CallArguments<'batchNormEval'>;

/** The result of batch norm and the statistics that it saves. */
function normalization(o: Normalization, of: (balls: Balls, c: number) => Statistics) {
  const perChannel = (balls: Balls, one: (s: Statistics) => Ball): Ball[] =>
    Array.from({ length: o.channels }, (_, c) => one(of(balls, c)));
  return {
    perChannel,
    out: wideFormula((balls) => {
      const all = new Array<Ball>(o.x.length);
      for (let c = 0; c < o.channels; c++) {
        const x = channel(o.x, c, o);
        spread(all, normalised(balls, of(balls, c), x, o.weight?.[c] ?? 1, o.bias?.[c] ?? 0), c, o);
      }
      const { residual } = o;
      const sums = residual ? all.map((y, i) => balls.add(balls.store(y), balls.exact(residual[i]))) : all;
      // |relu(a) − relu(b)| ≤ |a − b|.
      return o.relu ? sums.map((z) => (z.value <= 0 ? { value: 0, error: z.error } : z)) : sums;
    }),
    saved: wideFormula((balls) => [...perChannel(balls, (s) => s.mean), ...perChannel(balls, (s) => s.invstd)]),
  };
}

/** dy where y is positive or NaN. */
const masked = (y: Float64Array | null, dy: Float64Array): Float64Array =>
  y ? dy.map((d, i) => (y[i] <= 0 ? 0 : d)) : dy;

const steps = (size: number, step: (balls: Balls, i: number) => Ball): Expected =>
  stepwiseFormula((balls) => Array.from({ length: size }, (_, i) => step(balls, i)));

const CONTRACTS: { readonly [K in KernelName]: Contract<K> } = {
  fill: {
    writes: ['out'],
    expected: ({ out, value }) => ({ out: rounded(new Float64Array(out.length).fill(value)) }),
  },
  copy: {
    writes: [],
    changes: ['out'],
    expected(o) {
      const out = o.out.slice();
      eachIndex(o.shape, (index) => {
        out[o.outOffset + offset(index, o.outStrides)] = o.x[o.xOffset + offset(index, o.xStrides)];
      });
      return { out: exact(out) };
    },
  },
  binary: {
    writes: ['out'],
    expected(o) {
      const out = new Float64Array(o.out.length);
      let i = 0;
      eachIndex(o.shape, (index) => {
        const a = o.a[offset(index, o.aStrides)];
        const b = o.b[offset(index, o.bStrides)];
        out[i++] = naive.elementwise(o.operator, [a], [], [b], [], [])[0];
      });
      return { out: o.operator === 'div' ? quotient(out) : rounded(out) };
    },
  },
  accumulate: {
    writes: [],
    changes: ['out'],
    expected: ({ x, out }) => ({ out: rounded(out.map((v, i) => v + x[i])) }),
  },
  relu: { writes: ['out'], expected: ({ x }) => ({ out: chosen(naive.relu(x), x, x) }) },
  reluBackward: { writes: ['dx'], expected: ({ y, dy }) => ({ dx: chosen(masked(y, dy), y, dy) }) },
  sum: {
    writes: ['out'],
    expected({ x, shape, reduce, divisor }) {
      const axes = shape.map((_, axis) => axis).filter((axis) => reduce[axis]);
      return { out: wideSum(naive.sum(x, shape, axes, divisor)) };
    },
  },
  expand: {
    writes: ['out'],
    expected(o) {
      const out = new Float64Array(o.out.length);
      let i = 0;
      eachIndex(o.shape, (index) => {
        out[i++] = o.x[offset(index, o.xStrides)] / o.divisor;
      });
      return { out: o.divisor === 1 ? exact(out) : quotient(out) };
    },
  },
  matmul: {
    writes: ['out'],
    expected(o) {
      const { m, n, k } = o;
      const out = naive.sumsOf(o.out.length);
      for (let at = 0; at < o.out.length; at++) {
        const [b, row, column] = [Math.floor(at / (m * n)), Math.floor(at / n) % m, at % n];
        for (let p = 0; p < k; p++) {
          const left = o.a[b * o.aBatchStride + (o.transposeA ? p * m + row : row * k + p)];
          const right = o.b[b * o.bBatchStride + (o.transposeB ? column * k + p : p * n + column)];
          naive.addTerm(out, at, left * right);
        }
        if (o.bias) naive.addTerm(out, at, o.bias[column]);
      }
      return { out: sumOfProducts(out) };
    },
  },
  conv2d: {
    writes: ['out'],
    expected(o) {
      const g = convOf(o);
      const sums = naive.conv2d(o.x, o.weight, o.bias, g);
      return { out: convolution(sums, 'forward', o, (m) => winograd.forwardPaths(m, o.x, o.weight, o.bias, g)) };
    },
  },
  prepareConv2d: {
    writes: ['out'],
    expected(o) {
      const g = convOf(o);
      const { norm, bias } = o;
      const plane = o.outHeight * o.outWidth;
      return {
        out: normalisedConvolution({
          bare: naive.conv2d(o.x, o.weight, null, g),
          sums: naive.conv2d(o.x, o.weight, bias, g),
          geometry: o,
          barePaths: (m) => winograd.forwardPaths(m, o.x, o.weight, null, g),
          paths: (m) => winograd.forwardPaths(m, o.x, o.weight, bias, g),
          weightErrors: weightErrorsOf(o.x, o.weight, g),
          bias,
          norm: norm && {
            mean: norm.mean,
            scale: norm.variance.map((value, c) => (norm.weight?.[c] ?? 1) / Math.sqrt(value + norm.eps)),
            shift: norm.bias ?? new Float64Array(o.outChannels),
          },
          channelOf: (i) => Math.floor(i / plane) % o.outChannels,
          residual: o.residual,
          relu: o.relu,
        }),
      };
    },
  },
  conv2dBackwardInput: {
    writes: ['dx'],
    expected(o) {
      const g = convOf(o);
      const { dx } = naive.conv2dBackward(null, o.weight, g, o.dy);
      const paths = (m: winograd.Tile) => winograd.inputGradientPaths(m, o.dy, o.weight, g);
      return { dx: convolution(dx, 'input', o, paths, () => naive.missedProducts(o.weight, o.dy, g).dx) };
    },
  },
  conv2dBackwardWeight: {
    writes: ['dweight'],
    expected(o) {
      const g = convOf(o);
      const { dweight } = naive.conv2dBackward(o.x, null, g, o.dy);
      const paths = (m: winograd.Tile) => winograd.weightGradientPaths(m, o.x, o.dy, g);
      const misses = () => naive.missedProducts(new Float64Array(o.dweight.length), o.dy, g).dweight;
      return { dweight: convolution(dweight, 'weight', o, paths, misses) };
    },
  },
  maxPool2d: {
    writes: ['out', 'indices'],
    expected(o) {
      const plane = o.inHeight * o.inWidth;
      const { y, from } = naive.maxPool2d(o.x, poolOf(o));
      // The witness counts through all planes, the contract within each.
      return { out: exact(y), indices: exact(Float64Array.from(from, (at) => (at < 0 ? at : at % plane))) };
    },
  },
  maxPool2dBackward: {
    writes: ['dx'],
    expected(o) {
      const [outPlane, inPlane] = [o.outHeight * o.outWidth, o.inHeight * o.inWidth];
      const dx = naive.sumsOf(o.dx.length);
      o.dy.forEach((d, i) => {
        if (o.indices[i] >= 0) naive.addTerm(dx, Math.floor(i / outPlane) * inPlane + o.indices[i], d);
      });
      return { dx: sumOfProducts(dx) };
    },
  },
  avgPool2d: {
    writes: ['out'],
    expected: (o) => ({ out: wideSum(naive.avgPool2d(o.x, poolOf(o), o.countIncludePad)) }),
  },
  avgPool2dBackward: {
    writes: ['dx'],
    expected: (o) => ({ dx: wideSum(naive.avgPool2dBackward(o.dx, poolOf(o), o.countIncludePad, o.dy)) }),
  },
  adaptiveAvgPool2d: { writes: ['out'], expected: (o) => ({ out: wideSum(naive.adaptiveAvgPool2d(o.x, o)) }) },
  adaptiveAvgPool2dBackward: {
    writes: ['dx'],
    expected: (o) => ({ dx: wideSum(naive.adaptiveAvgPool2dBackward(o, o.dy)) }),
  },
  batchNormTrain: {
    writes: ['out', 'saved'],
    changes: ['runningMean', 'runningVar'],
    expected(o) {
      const { runningMean, runningVar } = o;
      const of = (balls: Balls, c: number): Statistics => statistics(balls, channel(o.x, c, o), o.eps);
      const { out, saved, perChannel } = normalization(o, of);
      const running = (old: Float64Array, batch: (balls: Balls, s: Statistics) => Ball): Expected =>
        wideFormula((balls) =>
          perChannel(balls, (s) => batch(balls, s)).map((b, c) => mixed(balls, old[c], b, o.momentum)),
        );
      return given({
        out,
        saved,
        runningMean: runningMean && running(runningMean, (_, s) => s.mean),
        // The correction is a quotient.
        runningVar:
          runningVar &&
          running(runningVar, (balls, s) =>
            o.correction === 1
              ? s.variance
              : balls.mul(s.variance, balls.div(balls.exact(o.correction), balls.exact(1))),
          ),
      });
    },
  },
  batchNormEval: {
    writes: ['out', 'saved'],
    expected(o) {
      const of = (balls: Balls, c: number): Statistics =>
        givenStatistics(balls, channel(o.x, c, o), o.runningMean[c], o.runningVar[c], o.eps);
      const { out, saved } = normalization(o, of);
      return { out, saved };
    },
  },
  batchNormBackward: {
    writes: ['dx', 'dweight', 'dbias', 'dresidual'],
    expected(o) {
      const dy = masked(o.y, o.dy);
      const inChannel = (balls: Balls, c: number) => {
        const mean = balls.exact(o.saved[c]);
        const invstd = balls.exact(o.saved[o.channels + c]);
        const deviations = channel(o.x, c, o).map((v) => balls.sub(balls.exact(v), mean));
        const own = channel(dy, c, o).map((d) => balls.exact(d));
        // Nothing asks for the variance where the statistics are saved.
        const variance = balls.exact(Number.NaN);
        return gradients(balls, { mean, variance, invstd, deviations }, own, o.weight?.[c] ?? 1, o.training);
      };
      const perChannel = (which: 'dweight' | 'dbias'): Expected =>
        wideFormula((balls) => Array.from({ length: o.channels }, (_, c) => inChannel(balls, c)[which]));
      return given({
        dx:
          o.dx &&
          wideFormula((balls) => {
            const all = new Array<Ball>(o.x.length);
            for (let c = 0; c < o.channels; c++) spread(all, inChannel(balls, c).dx, c, o);
            return all;
          }),
        dweight: o.dweight && perChannel('dweight'),
        dbias: o.dbias && perChannel('dbias'),
        dresidual: o.dresidual && exact(dy),
      });
    },
  },
  softmax: {
    writes: ['out'],
    expected: (o) => ({
      out: wideFormula((balls) =>
        alongLines(o, (at) =>
          softmaxLine(
            balls,
            at.map((i) => o.x[i]),
          ),
        ),
      ),
    }),
  },
  softmaxBackward: {
    writes: ['dx'],
    expected: (o) => ({
      dx: wideFormula((balls) =>
        alongLines(o, (at) => {
          const dot = balls.sum(at.map((i) => balls.mul(balls.exact(o.dy[i]), balls.exact(o.y[i]))));
          return at.map((i) => balls.mul(balls.exact(o.y[i]), balls.sub(balls.exact(o.dy[i]), dot)));
        }),
      ),
    }),
  },
  logSoftmax: {
    writes: ['out'],
    expected: (o) => ({
      out: wideFormula((balls) =>
        alongLines(o, (at) =>
          logSoftmaxLine(
            balls,
            at.map((i) => o.x[i]),
          ),
        ),
      ),
    }),
  },
  logSoftmaxBackward: {
    writes: ['dx'],
    expected: (o) => ({
      dx: wideFormula((balls) =>
        alongLines(o, (at) => {
          const total = balls.sum(at.map((i) => balls.exact(o.dy[i])));
          return at.map((i) => balls.sub(balls.exact(o.dy[i]), balls.mul(expOf(balls, balls.exact(o.y[i])), total)));
        }),
      ),
    }),
  },
  crossEntropy: {
    writes: ['out', 'saved'],
    expected(o) {
      const row = (r: number): number[] => Array.from(o.logits.subarray(r * o.classes, (r + 1) * o.classes));
      const rows = Array.from({ length: o.rows }, (_, r) => r);
      const s = o.labelSmoothing;
      return {
        saved: wideFormula((balls) => rows.map((r) => logSumExp(balls, row(r)))),
        out: wideFormula((balls) => {
          const rest = balls.sub(balls.exact(1), balls.scalar(s));
          const share = balls.div(balls.scalar(s), balls.exact(o.classes));
          const losses = rows.map((r) => {
            const lse = logSumExp(balls, row(r));
            const below = row(r).map((v) => balls.sub(lse, balls.exact(v)));
            const own = balls.mul(rest, below[o.labels[r]]);
            return s > 0 ? balls.add(own, balls.mul(share, balls.sum(below))) : own;
          });
          return [balls.div(balls.sum(losses), balls.exact(o.rows))];
        }),
      };
    },
  },
  crossEntropyBackward: {
    writes: ['dlogits'],
    expected: (o) => ({
      dlogits: wideFormula((balls) => {
        const scale = balls.div(balls.exact(o.dy[0]), balls.exact(o.rows));
        const rest = balls.sub(balls.exact(1), balls.scalar(o.labelSmoothing));
        const share = balls.div(balls.scalar(o.labelSmoothing), balls.exact(o.classes));
        return Array.from(o.logits, (v, i) => {
          const r = Math.floor(i / o.classes);
          const p = expOf(balls, balls.sub(balls.exact(v), balls.exact(o.saved[r])));
          const own = i % o.classes === o.labels[r] ? rest : balls.exact(0);
          return balls.mul(balls.sub(balls.sub(p, own), share), scale);
        });
      }),
    }),
  },
  sgd: {
    writes: [],
    changes: ['param', 'velocity'],
    expected(o) {
      const step = (name: 'param' | 'velocity') =>
        steps(o.param.length, (balls, i) => sgdStep(balls, o, o.param, o.grad, o.velocity, i)[name]);
      return given({ param: step('param'), velocity: o.velocity && step('velocity') });
    },
  },
  adam: {
    writes: [],
    changes: ['param', 'm', 'v'],
    expected(o) {
      const step = (name: 'param' | 'm' | 'v') =>
        steps(o.param.length, (balls, i) => adamStep(balls, o, o.param, o.grad, o.m, o.v, i)[name]);
      return { param: step('param'), m: step('m'), v: step('v') };
    },
  },
  rmsprop: {
    writes: [],
    changes: ['param', 'v', 'velocity'],
    expected(o) {
      const step = (name: 'param' | 'v' | 'velocity') =>
        steps(o.param.length, (balls, i) => rmspropStep(balls, o, o.param, o.grad, o.v, o.velocity, i)[name]);
      return given({ param: step('param'), v: step('v'), velocity: o.velocity && step('velocity') });
    },
  },
};

/** Whether the contract has a kernel of this name. */
export const isKernel = (name: string): name is KernelName => Object.hasOwn(CONTRACTS, name);

/** Names of the buffers that a kernel fills, and of those that it changes from what they held. */
export function outputsOf(kernel: KernelName): { writes: readonly string[]; changes: readonly string[] } {
  const { writes, changes = [] } = CONTRACTS[kernel];
  return { writes, changes };
}

/** What a call must leave in each buffer that it writes, given what its operands held before. */
export function expectedOf<K extends KernelName>(kernel: K, o: CallArguments<K>): Readonly<Record<string, Expected>> {
  return CONTRACTS[kernel].expected(o);
}
