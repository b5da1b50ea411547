/**
 * `webgpu({ storage: 'float16' })`: what prepared convolutions keep as IEEE halves. The bound that judges them, the bits that the
 * packing writes, the case table, and a compiled network beside float64.
 *
 * ATALHO_RUNS sets the draws per row (default 10).
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Buffer } from '../src/device/device.js';
import { flat, shader } from '../src/device/webgpu/shader.js';
import { packHalves } from '../src/device/webgpu/shaders/packHalves.js';
import { webgpuWinogradTile } from '../src/device/winograd.js';
import {
  ArgumentError,
  compile,
  conv2d,
  type Device,
  d2lResnet,
  Generator,
  grad,
  type Module,
  reference,
  tensor,
  type WebgpuDevice,
  type WebgpuOptions,
  webgpu,
} from '../src/index.js';
import {
  allowance,
  conv2dCase,
  examine,
  numbers,
  type PreparedConvOptions,
  prepareConv2dCase,
  WEBGPU,
  WEBGPU_FAST_HALF,
  WEBGPU_HALF,
} from '../src/oracle/index.js';
import { gpuFound, gpuHelp, halfGpuDevices } from './gpu.js';
import { failures, judgeByTable } from './table.js';

const RUNS = Number(process.env.ATALHO_RUNS ?? 10);

/** The bits of a number as an IEEE half, to nearest, ties to even: by arithmetic in float64, which is exact here. */
function halfBits(v: number): number {
  const sign = v < 0 || Object.is(v, -0) ? 0x8000 : 0;
  if (Number.isNaN(v)) return 0x7e00;
  const size = Math.abs(v);
  if (size >= 65_520) return sign | 0x7c00;
  let exponent = -14;
  while (2 ** (exponent + 1) <= size) exponent++;
  const units = size / 2 ** (exponent - 10);
  const below = Math.floor(units);
  const up = units - below > 0.5 || (units - below === 0.5 && below % 2 === 1);
  return sign | ((exponent + 14) * 1024 + below + (up ? 1 : 0));
}

function ofHalf(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

const rounded = (v: number): number => ofHalf(halfBits(v));

const PLAIN: PreparedConvOptions = {
  ...{ salt: 1, batch: 1, inChannels: 1, outChannels: 1, height: 1, width: 1, kernel: [1, 1], stride: 1, padding: 0 },
  ...{ dilation: 1, groups: 1, bias: false, norm: false, affine: false, residual: false, relu: false, eps: 1e-5 },
};

/** A convolution for each edge of packing and unpacking: odd numbers of weights, odd filters, groups, one weight, none. */
const CONVOLUTIONS: readonly (readonly [string, Partial<PreparedConvOptions>])[] = [
  ['one weight', {}],
  ['27 weights', { outChannels: 3, kernel: [3, 3], height: 7, width: 5, padding: 1 }],
  ['odd filters', { inChannels: 3, outChannels: 5, kernel: [3, 3], height: 6, width: 6, norm: true, affine: true }],
  [
    'groups of odd size',
    { inChannels: 9, outChannels: 15, groups: 3, kernel: [3, 1], height: 8, width: 3, bias: true },
  ],
  [
    'pairs of channels',
    { inChannels: 12, outChannels: 10, groups: 2, kernel: [3, 2], height: 6, width: 7, norm: true },
  ],
  [
    'pairs, along rows',
    { inChannels: 6, outChannels: 70, kernel: [1, 3], height: 1, width: 4, padding: 1, bias: true },
  ],
  ['depthwise', { inChannels: 7, outChannels: 7, groups: 7, kernel: [3, 3], height: 9, width: 9, norm: true }],
  ['dilation', { inChannels: 2, outChannels: 3, kernel: [3, 3], height: 9, width: 8, dilation: [2, 3], relu: true }],
  ['1×1, stride 2', { inChannels: 13, outChannels: 11, height: 5, width: 5, stride: 2, norm: true, residual: true }],
  ['many rows, few pixels', { inChannels: 33, outChannels: 129, height: 1, width: 2, norm: true, affine: true }],
  ['no images', { batch: 0, inChannels: 3, outChannels: 3, kernel: [3, 3], height: 5, width: 5, norm: true }],
  ['no input channels', { inChannels: 0, outChannels: 3, height: 2, width: 2, bias: true }],
  ['no input channels, a norm', { inChannels: 0, outChannels: 3, height: 2, width: 2, norm: true, affine: true }],
];

/** The same for Winograd's, by the m of its tiles. */
const WINOGRADS: readonly (readonly [number, Partial<PreparedConvOptions>])[] = [
  [2, { batch: 3, inChannels: 33, outChannels: 17, height: 2, width: 10, norm: true }],
  [3, { batch: 3, inChannels: 16, outChannels: 13, height: 9, width: 6, norm: true, affine: true, relu: true }],
  [4, { batch: 2, inChannels: 13, outChannels: 11, height: 13, width: 18, bias: true, residual: true }],
  [4, { batch: 2, inChannels: 12, outChannels: 16, height: 13, width: 18, norm: true, relu: true }],
  [4, { batch: 4, inChannels: 27, outChannels: 33, groups: 3, height: 16, width: 9, norm: true, residual: true }],
];

describe('the bound of weights kept as halves', () => {
  /** The widest distance of w·x from the bound's middle, with other weights than the true ones, as a share of the bound. */
  const share = (weights: Float32Array, kept: (w: number) => number, precision = WEBGPU_HALF): number => {
    const options = { ...PLAIN, outChannels: weights.length };
    const x = Float64Array.of(0.75);
    const { y } = prepareConv2dCase.trial(options).forward([x, Float64Array.from(weights)]);
    if (y === null) throw new Error('no result');
    const most = allowance(y, precision);
    return Math.max(...y.value.map((v, i) => Math.abs(kept(weights[i]) * x[0] - v) / most[i]));
  };
  const weights = numbers(3, 'weights', 4000, -2, 2);

  it('holds for what is rounded to nearest, and hardly more', () => {
    const found = share(weights, rounded);
    expect(found).toBeLessThan(1);
    expect(found).toBeGreaterThan(0.95);
  });

  it('is exceeded by weights that are cut, or of ten bits', () => {
    expect(share(weights, (w) => ofHalf(halfBits(w) - (Math.abs(rounded(w)) > Math.abs(w) ? 1 : 0)))).toBeGreaterThan(
      1.5,
    );
    expect(share(weights, (w) => ofHalf(halfBits(w) & 0xfffe))).toBeGreaterThan(1.5);
    expect(share(weights, rounded, WEBGPU)).toBeGreaterThan(1000);
  });

  it('is none, and no NaN, where a weight is beyond the halves', () => {
    for (const [options, precision] of [
      [{ inChannels: 2 }, WEBGPU_HALF],
      [{ inChannels: 16, outChannels: 16, height: 12, width: 12, kernel: [3, 3], padding: 1 }, WEBGPU_FAST_HALF],
    ] as const) {
      const trial = prepareConv2dCase.trial({ ...PLAIN, ...options });
      const [x, weight] = trial.inputs.map(({ data }) => Float64Array.from(data));
      x.fill(0, 0, x.length / 2);
      weight[0] = 65_520;
      const { y } = trial.forward([x, weight]);
      if (y === null) throw new Error('no result');
      const bound = allowance(y, precision);
      expect(bound.some(Number.isNaN)).toBe(false);
      expect(bound[0]).toBe(Infinity);
    }
  });

  it('lets subnormal halves be lost only where a device may flush them', () => {
    const small = weights.map((w) => w * 2 ** -16);
    expect(share(small, () => 0)).toBeLessThan(1);
    const keeps = { ...WEBGPU_HALF, flush: false };
    expect(share(small, rounded, keeps)).toBeLessThan(1);
    expect(share(small, rounded, keeps)).toBeGreaterThan(0.9);
    expect(share(small, () => 0, keeps)).toBeGreaterThan(100);
    // From the smallest normal half on they may not.
    const normal = weights.map((w) => Math.sign(w) * 2 ** -13);
    expect(share(normal, () => 0)).toBeGreaterThan(100);
  });
});

// Not every draw is one that Winograd's algorithm takes.
describe.each(halfGpuDevices)('conformance of $name', (maker) => judgeByTable(maker, 4 * RUNS, ['prepareConv2d']));

describe.skipIf(!gpuFound)(gpuFound ? 'webgpu, float16' : `webgpu, float16 (${gpuHelp})`, () => {
  let device: WebgpuDevice;
  let fast: WebgpuDevice;
  beforeAll(async () => {
    device = await webgpu({ storage: 'float16' });
    fast = await webgpu({ storage: 'float16', math: 'fast' });
  });
  afterAll(() => {
    device.dispose();
    fast.dispose();
  });

  /** What a convolution prepared with these weights gives for an input of one pixel that is 1: the weights as they are kept. */
  const readBack = async (weights: Float32Array): Promise<Float32Array> => {
    const [x, weight] = [tensor([1], [1], { device }), tensor(weights, [weights.length], { device })];
    const out = device.alloc(weights.length);
    const geometry = {
      ...{ batch: 1, inChannels: 1, inHeight: 1, inWidth: 1, outChannels: weights.length, outHeight: 1, outWidth: 1 },
      ...{ kernelHeight: 1, kernelWidth: 1, strideHeight: 1, strideWidth: 1, padTop: 0, padLeft: 0 },
      ...{ dilationHeight: 1, dilationWidth: 1, groups: 1 },
    };
    const extras = { bias: null, norm: null, residual: null, relu: false };
    const prepared = device.kernels.prepareConv2d({
      ...{ ...geometry, ...extras },
      ...{ x: x.buffer, weight: weight.buffer, out },
    });
    prepared.run();
    const values = (await device.read(out)) as Float32Array;
    prepared.release();
    for (const t of [x, weight]) t.dispose();
    out.release();
    return values;
  };

  it('packs bit for bit as IEEE has it: ties, subnormal halves, overflow, NaN, any number of them', async () => {
    const words = shader({
      name: 'words of halves',
      buffers: { x: 'f16', out: 'i32 out' },
      params: { size: 'u32' },
      code: flat('if (i < p.size) { out[i] = bitcast<i32>(x[i]); }'),
    });
    const { context } = device as unknown as {
      context: {
        alloc(size: number, held: string): Buffer;
        dispatch(...args: unknown[]): void;
      };
    };
    const packed = async (values: Float32Array): Promise<number[]> => {
      const size = Math.ceil(values.length / 2);
      const x = tensor(values, [values.length], { device });
      const params = { size: values.length, taps: 1, channels: 1 };
      const [halves, out] = [context.alloc(values.length, 'float16'), context.alloc(size, 'int32')];
      context.dispatch(packHalves, { x: x.buffer, out: halves }, params, { elements: size });
      context.dispatch(words, { x: halves, out }, { size }, { elements: size });
      const got = [...((await device.read(out)) as Int32Array)];
      x.dispose();
      for (const buffer of [halves, out]) buffer.release();
      return got.flatMap((word) => [word & 0xffff, word >>> 16]);
    };
    const ulps = (v: number): number[] => [v, v * (1 + 2 ** -23), v * (1 - 2 ** -24)];
    const edges = [
      ...[0, -0, 1, -2, 65_504, 65_519.996, 65_520, -65_536, 1e10, 3.4e38, Infinity, -Infinity, Number.NaN],
      ...[2 ** -14, 2 ** -14 - 2 ** -25, 2 ** -24, 2 ** -25, 3 * 2 ** -25, 5 * 2 ** -25, 2 ** -26].flatMap(ulps),
      ...[1 + 2 ** -11, 1 + 3 * 2 ** -11, 2 - 2 ** -11, 1024.5, 1025.5, 2049, 2051, -2049].flatMap(ulps),
    ];
    const any = new Generator(11);
    // Every exponent from below the smallest half to beyond the largest, and any bits.
    const drawn = Array.from({ length: 5000 }, () => any.uniform(-2, 2) * 2 ** any.int(46) * 2 ** -28);
    const bits = new Float32Array(Uint32Array.from({ length: 2000 }, () => any.int(2 ** 32)).buffer);
    for (const values of [edges, [5], [7, -9], drawn, drawn.slice(0, 4999), bits]) {
      const numbers = Float32Array.from(values);
      const want = [...numbers].map(halfBits);
      // An odd one out leaves the upper half empty.
      if (want.length % 2 === 1) want.push(0);
      const isNaN16 = (half: number): boolean => (half & 0x7fff) > 0x7c00;
      expect((await packed(numbers)).map((v) => (isNaN16(v) ? 0x7e00 : v))).toEqual(want);
    }
  });

  it('gives back each half as it is', async () => {
    const all = Float32Array.from({ length: 2 ** 16 - 1 }, (_, bits) => ofHalf(bits));
    const got = await readBack(all);
    const wrong = [...all].filter((v, i) => {
      if (Object.is(got[i], v) || got[i] === v) return false;
      // WGSL lets an adapter take a subnormal half as 0.
      return !(Math.abs(v) < 2 ** -14 && got[i] === 0);
    });
    expect(wrong).toEqual([]);
  });

  it('makes infinities of weights beyond the halves, and only of those', async () => {
    const got = await readBack(Float32Array.of(65_504, 65_519, 65_520, -65_519, -1e6, 1e38, 3));
    expect([...got]).toEqual([65_504, 65_504, Infinity, -65_504, -Infinity, Infinity, 3]);
  });

  it.each(CONVOLUTIONS)('is within its bound: %s', async (_, options) => {
    const trial = prepareConv2dCase.trial({ ...PLAIN, ...options });
    expect(failures(await examine(prepareConv2dCase, trial, device, null, WEBGPU_HALF))).toEqual([]);
  });

  it.each(WINOGRADS)("is within its bound: Winograd's F(%i, 3), case %#", async (m, options) => {
    const trial = prepareConv2dCase.trial({ ...PLAIN, kernel: [3, 3], padding: 1, ...options });
    const { batch, inChannels, outChannels, groups, height, width } = { ...PLAIN, ...options };
    const geometry = {
      ...{
        batch,
        inChannels,
        inHeight: height,
        inWidth: width,
        outChannels,
        outHeight: height,
        outWidth: width,
        groups,
      },
      ...{ kernelHeight: 3, kernelWidth: 3, strideHeight: 1, strideWidth: 1, padTop: 1, padLeft: 1 },
      ...{ dilationHeight: 1, dilationWidth: 1 },
    };
    expect(webgpuWinogradTile('forward', geometry)).toBe(m);
    expect(failures(await examine(prepareConv2dCase, trial, fast, null, WEBGPU_FAST_HALF))).toEqual([]);
  });

  it('takes half of the memory, in words, and gives it back', async () => {
    const kept = async (options: WebgpuOptions, weights: number[]): Promise<number> => {
      const own = await webgpu(options);
      const [outChannels, inChannels] = weights;
      const [x, weight] = [[1, inChannels, 8, 8], weights].map((shape) =>
        tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1), shape, { device: own }),
      );
      const out = own.alloc(64 * outChannels);
      const { used } = own.memory();
      const prepared = own.kernels.prepareConv2d({
        ...{ batch: 1, inChannels, inHeight: 8, inWidth: 8, outChannels, outHeight: 8, outWidth: 8 },
        ...{ kernelHeight: 3, kernelWidth: 3, strideHeight: 1, strideWidth: 1, padTop: 1, padLeft: 1 },
        ...{ dilationHeight: 1, dilationWidth: 1, groups: 1 },
        ...{ x: x.buffer, weight: weight.buffer, out, bias: null, norm: null, residual: null, relu: false },
      });
      const more = own.memory().used - used;
      prepared.run();
      prepared.release();
      expect(own.memory().used).toBe(used);
      await own.finished();
      own.dispose();
      return more;
    };
    // 675 weights: 338 words.
    expect(await kept({}, [15, 5, 3, 3])).toBe(2700);
    expect(await kept({ storage: 'float16' }, [15, 5, 3, 3])).toBe(4 * 338);
    // Four by four planes and more, of 32² each.
    const transformed = await kept({ math: 'fast' }, [32, 32, 3, 3]);
    expect(transformed).toBeGreaterThanOrEqual(4 * 16 * 32 * 32);
    expect(await kept({ math: 'fast', storage: 'float16' }, [32, 32, 3, 3])).toBe(transformed / 2);
  });

  it('changes nothing else: convolutions that are not prepared have the bits of float32', async () => {
    const plain = await webgpu();
    const results = [];
    for (const at of [device, plain]) {
      const trial = conv2dCase.trial({ ...PLAIN, inChannels: 9, outChannels: 7, height: 9, width: 9, kernel: [3, 3] });
      const inputs = trial.inputs.map(({ data, shape }) => tensor(data, shape, { device: at, requiresGrad: true }));
      const y = conv2d(inputs[0], inputs[1], null);
      const all = [y, ...grad(y, inputs, tensor(new Float32Array(y.size).fill(0.5), y.shape, { device: at }))];
      results.push(await Promise.all(all.map((t) => t.data())));
    }
    expect(results[0]).toEqual(results[1]);
    plain.dispose();
  });

  it('compiles a ResNet, whose logits are within 2⁻¹⁰ of the largest of float64 and not those of float32', async () => {
    const shape = [3, 1, 33, 33];
    const image = numbers(7, 'image', 3 * 33 * 33, -1, 1);
    const make = (at: Device): Module => {
      const generator = new Generator(5);
      const model = d2lResnet({ device: at, generator, channels: [16, 24, 40], blocks: [2, 1, 2] });
      for (const [name, t] of model.stateDict()) {
        const values = Float32Array.from({ length: t.size }, () => generator.uniform(0.5, 1.5));
        if (name.endsWith('running_mean')) t.write(values.map((v) => (v - 1) / 4));
        else if (name.endsWith('running_var')) t.write(values);
      }
      return model;
    };
    const logits = async (at: Device): Promise<Float64Array> => {
      const compiled = compile(make(at), { inputShape: shape });
      return Float64Array.from((await compiled.run(image).data()) as Float32Array);
    };
    const exact = await logits(reference({ dtype: 'float64' }));
    const largest = Math.max(...exact.map(Math.abs));
    for (const at of [device, fast]) {
      const got = await logits(at);
      const off = Math.max(...got.map((v, i) => Math.abs(v - exact[i]))) / largest;
      expect(off).toBeLessThan(2 ** -10);
      expect(off).toBeGreaterThan(1e-5);
    }
  }, 120_000);

  it('refuses another storage', async () => {
    await expect(webgpu({ storage: 'bfloat16' as 'float16' })).rejects.toThrow(
      new ArgumentError("webgpu: storage is \"bfloat16\"; want 'float32' or 'float16'"),
    );
  });
});
