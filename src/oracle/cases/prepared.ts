/** The row of prepared convolutions: what a compiled model is made of. */
import { type Shape, sizeOf } from '../../shape.js';
import { Tensor } from '../../tensor.js';
import { normalisedConvolution } from '../bounds.js';
import * as naive from '../naive.js';
import { weightErrorsOf } from '../weightErrors.js';
import * as winograd from '../winograd.js';
import { defineCase, type Input, input, type OpCase } from './case.js';
import { CONV_KINDS, type ConvOptions, convAttributes, convGeometry, drawConv, naiveGeometry } from './products.js';

/** A call of a convolution laid out beforehand, with what follows it. */
export interface PreparedConvOptions extends ConvOptions {
  readonly norm: boolean;
  /** Whether the norm has a weight and a bias. */
  readonly affine: boolean;
  readonly residual: boolean;
  readonly relu: boolean;
  readonly eps: number;
}

const fixed = { differentiable: false };

/** Runs twice: what is laid out must serve more than once. */
function run(x: Tensor, shape: Shape, o: Parameters<Tensor['device']['kernels']['prepareConv2d']>[0]): Tensor {
  const { device } = x;
  const prepared = device.kernels.prepareConv2d(o);
  prepared.run();
  device.kernels.fill({ out: o.out, value: Number.NaN });
  prepared.run();
  prepared.release();
  return new Tensor(device, shape, o.out);
}

/** The bound of `normalisedConvolution`. */
export const prepareConv2dCase = defineCase<PreparedConvOptions>({
  name: 'prepareConv2d',
  op: null,
  options: (d) => ({
    ...drawConv(d, d.pick(CONV_KINDS)),
    norm: d.int(0, 2) > 0,
    affine: d.bool(),
    residual: d.bool(),
    relu: d.bool(),
    eps: d.pick([1e-5, 1e-3]),
  }),
  trial(o) {
    const geometry = naiveGeometry(o);
    const shape = [o.batch, o.outChannels, ...naive.convOutput(geometry)];
    const plain = convGeometry(geometry, shape);
    const weightShape = [o.outChannels, o.inChannels / o.groups, ...o.kernel];
    const channels = [o.outChannels];
    const inputs: Input[] = [
      input(o.salt, 'x', [o.batch, o.inChannels, o.height, o.width], fixed),
      input(o.salt, 'weight', weightShape, fixed),
    ];
    const place = (given: boolean, name: string, of: Shape, range: { low?: number; high?: number } = {}): number =>
      given ? inputs.push(input(o.salt, name, of, { ...range, ...fixed })) - 1 : -1;
    const biasAt = place(o.bias, 'bias', channels);
    const meanAt = place(o.norm, 'mean', channels);
    const varianceAt = place(o.norm, 'variance', channels, { low: 0.5, high: 1.5 });
    const scaleAt = place(o.norm && o.affine, 'scale', channels, { low: -1.5, high: 1.5 });
    const shiftAt = place(o.norm && o.affine, 'shift', channels);
    const residualAt = place(o.residual, 'residual', shape);
    const plane = shape[2] * shape[3];
    return {
      inputs,
      shape,
      smooth: false,
      attributes: { ...convAttributes(geometry), eps: o.eps, relu: o.relu },
      flops: 2 * sizeOf(shape) * sizeOf(weightShape.slice(1)),
      run(t) {
        const buffer = (at: number) => (at < 0 ? null : t[at].buffer);
        return run(t[0], shape, {
          ...plain,
          x: t[0].buffer,
          weight: t[1].buffer,
          bias: buffer(biasAt),
          norm: o.norm
            ? {
                mean: t[meanAt].buffer,
                variance: t[varianceAt].buffer,
                weight: buffer(scaleAt),
                bias: buffer(shiftAt),
                eps: o.eps,
              }
            : null,
          residual: buffer(residualAt),
          relu: o.relu,
          out: t[0].device.alloc(sizeOf(shape)),
        });
      },
      forward(v) {
        const of = (at: number) => (at < 0 ? null : v[at]);
        const [x, weight] = v;
        const bias = of(biasAt);
        const variance = of(varianceAt);
        const scale = variance?.map((value, c) => (of(scaleAt)?.[c] ?? 1) / Math.sqrt(value + o.eps));
        const norm = scale && { mean: v[meanAt], scale, shift: of(shiftAt) ?? new Float64Array(o.outChannels) };
        const y = normalisedConvolution({
          bare: naive.conv2d(x, weight, null, geometry),
          sums: naive.conv2d(x, weight, bias, geometry),
          geometry: plain,
          barePaths: (m) => winograd.forwardPaths(m, x, weight, null, geometry),
          paths: (m) => winograd.forwardPaths(m, x, weight, bias, geometry),
          weightErrors: weightErrorsOf(x, weight, geometry),
          bias,
          norm: norm ?? null,
          channelOf: (i) => Math.floor(i / plane) % o.outChannels,
          residual: of(residualAt),
          relu: o.relu,
        });
        return { y, changed: {} };
      },
      backward: () => ({}),
    };
  },
});

/** All rows of this file. */
export const preparedCases: readonly OpCase[] = [prepareConv2dCase];
