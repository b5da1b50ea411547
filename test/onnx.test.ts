/**
 * ONNX both ways. onnxruntime-web, in this process with one thread, judges what is written and what is read; PyTorch's own
 * exports, made by tools/onnx_files.py, are read too. Bounds are the oracle's, for a device that computes everything in
 * float32, in any order; whole networks are held to 1.2e-5 of their largest logit.
 */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import * as ort from 'onnxruntime-web';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { foldNorm } from '../src/device/foldNorm.js';
import {
  ArgumentError,
  add,
  BatchNorm2d,
  batchNorm,
  Conv2d,
  compile,
  conv2d,
  crossEntropy,
  type Device,
  d2lResnet,
  d2lResnet18,
  defineOp,
  FormatError,
  Generator,
  grad,
  keep,
  Linear,
  Module,
  mean,
  mul,
  NUMERICS_VERSION,
  noGrad,
  ReLU,
  reference,
  relu,
  reshape,
  Sequential,
  sgd,
  type Tensor,
  tensor,
  wasm,
} from '../src/index.js';
import { exportOnnx, importOnnx } from '../src/onnx/index.js';
import { ModelProto, type OnnxFile, type OnnxTensor } from '../src/onnx/messages.js';
import { readMessage, writeMessage } from '../src/onnx/protobuf.js';
import { floatTensor, int64Tensor } from '../src/onnx/tensorData.js';
import { allowance, cases, gamma, NARROW, type OpCase, seededDraw, type Trial } from '../src/oracle/index.js';
import { sizeOf } from '../src/shape.js';

const SEED = 20261124;
console.log(`onnx: fast-check seed ${SEED}, numerics ${NUMERICS_VERSION}`);

/** Largest error of a whole network, of its largest logit. */
const NETWORK = 1.2e-5;

let device: Device;
beforeAll(async () => {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.proxy = false;
  ort.env.logLevel = 'error';
  device = await wasm();
});
afterAll(() => device.dispose());

interface Result {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** What onnxruntime makes of a file. */
async function runtime(file: Uint8Array, x: Float32Array, shape: readonly number[]): Promise<Result> {
  const session = await ort.InferenceSession.create(file, { executionProviders: ['wasm'] });
  try {
    const [input] = session.inputNames;
    const results = await session.run({ [input]: new ort.Tensor('float32', x, shape) });
    const y = results[session.outputNames[0]];
    return { shape: [...y.dims], data: Float32Array.from(y.data as Float32Array) };
  } finally {
    await session.release();
  }
}

/** What a model makes of x in eval mode. */
function evaluate(model: Module, x: ArrayLike<number>, shape: readonly number[], on = device): Result {
  return on.scope(() => {
    const input = tensor(Float64Array.from(x), shape, { device: on });
    const y = noGrad(() => model.inMode(false, () => model.forward(input)));
    return { shape: y.shape, data: y.dataSync() as Float32Array };
  });
}

const image = (...shape: number[]): Float32Array =>
  Float32Array.from({ length: sizeOf(shape) }, (_, i) => ((i * 7919) % 255) / 128 - 1);

/** Statistics and factors that are not 0 and 1. */
function withStatistics<M extends Module>(model: M, generator = new Generator(3)): M {
  for (const [name, t] of model.stateDict()) {
    const values = () => Float32Array.from({ length: t.size }, () => generator.uniform(0.5, 1.5));
    if (name.endsWith('running_mean')) t.write(values().map((v) => (v - 1) / 4));
    else if (name.endsWith('running_var') || (t.shape.length === 1 && name.endsWith('weight'))) t.write(values());
  }
  return model;
}

const small = (on = device): Module => {
  const generator = new Generator(5);
  return withStatistics(d2lResnet({ device: on, generator, channels: [8, 12], blocks: [2, 1] }), generator);
};

function expectClose(got: Result, want: Result, of: number): void {
  expect(got.shape).toEqual(want.shape);
  const largest = Math.max(...want.data.map(Math.abs));
  const worst = Math.max(...want.data.map((v, i) => Math.abs(v - got.data[i])));
  expect(worst).toBeLessThanOrEqual(of * largest);
}

const parse = (file: Uint8Array): OnnxFile => readMessage(ModelProto, file);

/** ONNX's rules for a graph. */
function expectValid(file: Uint8Array): void {
  const { irVersion, graph, opsetImport, producerName } = parse(file);
  expect(opsetImport.map(({ domain }) => domain)).toEqual(['']);
  expect(irVersion).toBeGreaterThanOrEqual(7);
  expect(producerName).toBe('atalho');
  if (graph === undefined) expect.fail('no graph');
  const defined = new Set<string>();
  const define = (name = ''): void => {
    if (name === '' || defined.has(name)) expect.fail(`name "${name}" is defined twice, or empty`);
    defined.add(name);
  };
  for (const { name } of [...graph.input, ...graph.initializer]) define(name);
  const used = new Set<string>();
  const nodes = new Set<string>();
  for (const { input, output, name = '' } of graph.node) {
    expect(name).not.toBe('');
    if (nodes.has(name)) expect.fail(`two nodes are called ${name}`);
    nodes.add(name);
    for (const one of input) {
      if (one !== '' && !defined.has(one)) expect.fail(`${name} reads ${one}, which is made later or never`);
      used.add(one);
    }
    for (const one of output) define(one);
  }
  for (const { name } of graph.output) expect(defined).toContain(name);
  for (const { name = '' } of graph.initializer) expect(used).toContain(name);
}

describe('export of networks', () => {
  const nets: [string, (on: Device) => Module, readonly number[]][] = [
    ['a small ResNet', small, [2, 1, 29, 29]],
    ['ResNet-18', (on) => withStatistics(d2lResnet18({ device: on, seed: 0 })), [1, 1, 32, 32]],
  ];
  for (const [name, make, shape] of nets) {
    it(`${name}: folded and not, fixed and dynamic batch, against onnxruntime`, async () => {
      const net = make(device);
      const x = image(...shape);
      const want = evaluate(net, x, shape);
      for (const foldBatchNorm of [false, true]) {
        for (const batch of ['fixed', 'dynamic'] as const) {
          const file = exportOnnx(net, { inputShape: shape, foldBatchNorm, batch });
          expectValid(file);
          const nodes = parse(file).graph?.node ?? [];
          const norms = nodes.filter(({ opType }) => opType === 'BatchNormalization').length;
          expect(norms > 0).toBe(!foldBatchNorm);
          expectClose(await runtime(file, x, shape), want, NETWORK);
          if (batch === 'fixed') continue;
          const other = [3, ...shape.slice(1)];
          const more = image(...other);
          expectClose(await runtime(file, more, other), evaluate(net, more, other), NETWORK);
        }
      }
      net.dispose();
    });
  }

  it('the state dict is in the file, bit for bit, and the shapes say N', () => {
    const net = small();
    const { graph } = parse(exportOnnx(net, { inputShape: [2, 1, 29, 29], batch: 'dynamic' }));
    const weights = new Map(graph?.initializer.map((one) => [one.name, one]));
    for (const [name, t] of net.stateDict()) {
      if (t.dtype === 'int64') continue;
      const { dims, rawData } = weights.get(name) as OnnxTensor;
      expect(dims).toEqual([...t.shape]);
      expect(new Float32Array(Uint8Array.from(rawData as Uint8Array).buffer)).toEqual(t.dataSync());
    }
    const dim = (info: { type?: { tensorType?: { shape?: { dim: readonly object[] } } } } | undefined) =>
      info?.type?.tensorType?.shape?.dim.map((one) => ({ ...one }));
    expect(dim(graph?.input[0])?.[0]).toEqual({ dimParam: 'N' });
    expect(dim(graph?.output[0])).toEqual([{ dimParam: 'N' }, { dimValue: 10 }]);
    net.dispose();
  });

  it('folding is the formula in float64, rounded once', () => {
    const generator = new Generator(2);
    for (const bias of [false, true]) {
      const conv = new Conv2d(3, 5, 3, { device, generator, bias });
      const norm = withStatistics(new BatchNorm2d(5, { device }), generator);
      const net = new Sequential(conv, norm);
      const file = exportOnnx(net, { inputShape: [1, 3, 6, 6], foldBatchNorm: true });
      const values = (t: Tensor | null) => t && (t.dataSync() as Float32Array);
      const want = foldNorm(values(conv.weight) as Float32Array, 27, values(conv.bias), {
        ...{ mean: values(norm.runningMean) as Float32Array, variance: values(norm.runningVar) as Float32Array },
        ...{ weight: values(norm.weight), bias: values(norm.bias), eps: 1e-5 },
      });
      const imported = importOnnx(file, { device }).stateDict();
      expect([...imported.keys()]).toEqual(['0.weight', '0.bias']);
      expect(imported.get('0.weight')?.dataSync()).toEqual(Float32Array.from(want.filters));
      expect(imported.get('0.bias')?.dataSync()).toEqual(Float32Array.from(want.bias));
    }
  });

  /** Convolutions and norms in ways that must not be folded, or only once. */
  class Any extends Module {
    readonly conv: Conv2d;
    readonly norm: BatchNorm2d;
    constructor(readonly pass: (x: Tensor, m: Any) => Tensor) {
      super();
      this.conv = new Conv2d(4, 4, 3, { device, padding: 1 });
      this.norm = withStatistics(new BatchNorm2d(4, { device }));
    }
    override forward(x: Tensor): Tensor {
      return this.pass(x, this);
    }
  }

  it.each<[string, number, (x: Tensor, m: Any) => Tensor]>([
    ['the same convolution twice, one with a norm', 0, (x, m) => m.conv.forward(m.norm.forward(m.conv.forward(x)))],
    ['a convolution that something else reads', 1, (x, m) => mul(m.norm.forward(m.conv.forward(x)), m.conv.forward(x))],
    [
      'a result that is read twice',
      1,
      (x, m) => {
        const y = m.conv.forward(x);
        return add(m.norm.forward(y), y);
      },
    ],
    [
      'weights that are computed',
      1,
      (x, m) => m.norm.forward(conv2d(x, mul(m.conv.weight, 2), m.conv.bias, { padding: 1 })),
    ],
    ['a norm first, then relu and a residual', 1, (x, m) => m.norm.forwardRelu(x, m.conv.forward(x))],
  ])('folds with care: %s', async (_, left, pass) => {
    const net = new Any(pass);
    const x = image(2, 4, 7, 7);
    const file = exportOnnx(net, { inputShape: [2, 4, 7, 7], foldBatchNorm: true });
    expectValid(file);
    const norms = parse(file).graph?.node.filter(({ opType }) => opType === 'BatchNormalization');
    if (_ !== 'a convolution that something else reads') expect(norms).toHaveLength(left);
    expectClose(await runtime(file, x, [2, 4, 7, 7]), evaluate(net, x, [2, 4, 7, 7]), NETWORK);
  });
});

/** A drawn call as a model: the first input is x, the others are its weights. */
class OneCall extends Module {
  readonly tensors: readonly Tensor[];
  constructor(readonly trial: Trial) {
    super();
    const [, ...others] = trial.inputs;
    this.tensors = others.map(({ data, shape, differentiable }) =>
      keep(tensor(data, shape, { device, requiresGrad: differentiable })),
    );
  }
  override forward(x: Tensor): Tensor {
    return this.trial.run([x, ...this.tensors]) as Tensor;
  }
}

/** What exports refuse by design. */
const REFUSED =
  /whose windows differ in size|of a tensor without axes|pad that keeps nothing|own statistics|crossEntropy/;

describe('every op', () => {
  const rows = cases.filter(({ op, name }: OpCase) => op !== null && !name.endsWith('.train'));
  const written = rows.filter(({ op }) => op !== 'crossEntropy');

  it('has a row', () => {
    expect(written.length).toBeGreaterThanOrEqual(22);
  });

  it.each(written.map((row) => [row.name, row] as const))(
    '%s: onnxruntime within the bounds of float32, and back with the same bits',
    async (_, row) => {
      let compared = 0;
      await fc.assert(
        fc.asyncProperty(fc.integer(), fc.constantFrom(13, 17, 18, 21), async (salt, opset) => {
          const trial = row.draw(seededDraw(salt, row.name));
          const [first] = trial.inputs;
          if ([...trial.inputs.map(({ shape }) => shape), trial.shape].some((shape) => sizeOf(shape) === 0)) return;
          const model = new OneCall(trial);
          try {
            for (const batch of ['fixed', 'dynamic'] as const) {
              let file: Uint8Array;
              try {
                file = exportOnnx(model, { inputShape: first.shape, opset, batch, device });
              } catch (error) {
                // Most calls here are made for their own batch.
                if (batch === 'dynamic' && error instanceof ArgumentError) continue;
                expect((error as Error).message).toMatch(REFUSED);
                continue;
              }
              expectValid(file);
              const got = await runtime(file, first.data, first.shape);
              expect(got.shape).toEqual(trial.shape);
              const values = trial.inputs.map(({ data }) => Float64Array.from(data));
              const { y } = trial.forward(values);
              if (y === null) expect.fail('no result');
              const bound = allowance(y, NARROW);
              got.data.forEach((v, i) => {
                const off = Math.abs(v - y.value[i]);
                if (!(off <= bound[i])) expect.fail(`[${i}] is ${v}, want ${y.value[i]} within ${bound[i]}`);
              });
              const back = importOnnx(file, { device });
              const want = evaluate(model, first.data, first.shape);
              expect(evaluate(back, first.data, first.shape)).toEqual(want);
              const again = exportOnnx(back, { inputShape: first.shape, opset, batch, device });
              const other = importOnnx(again, { device });
              expect(evaluate(other, first.data, first.shape)).toEqual(want);
              other.dispose();
              back.dispose();
              compared++;
            }
          } finally {
            model.dispose();
          }
        }),
        { seed: SEED, numRuns: 40 },
      );
      expect(compared).toBeGreaterThan(10);
    },
  );

  it('names every op that it cannot write', () => {
    const mystery = defineOp({
      ...{ name: 'mystery', inputs: ['x'] as const },
      plan: ([x]: readonly [Tensor]) => ({ shape: x.shape }),
      forward: ({ kernels, inputs: [x], out }) => kernels.relu({ x, out }),
      backward() {},
    });
    class Odd extends Module {
      readonly weight = keep(tensor([1], { device, requiresGrad: true }));
      override forward(x: Tensor): Tensor {
        const y = mystery([mystery([mul(x, this.weight)], undefined)], undefined);
        const norm = batchNorm(y, { training: true });
        return crossEntropy(norm, Int32Array.of(0, 1));
      }
    }
    expect(() => exportOnnx(new Odd(), { inputShape: [2, 3] })).toThrow(
      "exportOnnx: the model uses what is not written as ONNX: mystery (2 times); batchNorm by the batch's own statistics; crossEntropy",
    );
  });

  it('a dynamic batch is refused where the model reckons with its size', () => {
    class Reckons extends Module {
      readonly weight = keep(tensor([1], { device, requiresGrad: true }));
      constructor(readonly pass: (x: Tensor) => Tensor) {
        super();
      }
      override forward(x: Tensor): Tensor {
        return this.pass(mul(x, this.weight));
      }
    }
    const inputShape = [2, 3, 4];
    const dynamic = (pass: (x: Tensor) => Tensor) => exportOnnx(new Reckons(pass), { inputShape, batch: 'dynamic' });
    expect(() => dynamic((x) => mul(x, 1 / x.shape[0]))).toThrow(/the number of mul changes with the batch size/);
    expect(() => dynamic((x) => (x.shape[0] > 2 ? relu(x) : x))).toThrow(/makes other calls at another batch size/);
    // What follows from the batch is worked out where the file runs.
    const target = (file: Uint8Array) => {
      const shape = parse(file).graph?.initializer.find(({ dims }) => dims.length === 1 && dims[0] > 1);
      return [...new BigInt64Array(Uint8Array.from(shape?.rawData as Uint8Array).buffer)].map(Number);
    };
    expect(target(dynamic((x) => reshape(x, [x.shape[0] * 3, 4])))).toEqual([-1, 4]);
    expect(target(dynamic((x) => reshape(x, [x.shape[0], 4, 3])))).toEqual([0, 4, 3]);
  });
});

interface NodeOptions {
  readonly opType: string;
  readonly inputs: readonly string[];
  readonly output?: string;
  readonly attributes?: Readonly<Record<string, unknown>>;
  readonly domain?: string;
}

const noLists = { floats: [], ints: [], strings: [] };
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function attributeOf(name: string, value: unknown) {
  if (typeof value === 'string') return { ...noLists, name, s: text(value), type: 3 };
  if (Array.isArray(value)) return { ...noLists, name, ints: value as number[], type: 7 };
  if (typeof value === 'number') return { ...noLists, name, i: value, type: 2 };
  if ('float' in (value as object)) return { ...noLists, name, f: (value as { float: number }).float, type: 1 };
  return { ...noLists, name, t: value as OnnxTensor, type: 4 };
}

/** A file of the given nodes; the last one's result is the output. */
function fileOf(
  nodes: readonly NodeOptions[],
  initializer: readonly OnnxTensor[],
  inputShape: readonly number[],
  opset = 17,
  more: object = {},
): Uint8Array<ArrayBuffer> {
  const node = nodes.map(({ opType, inputs, output, attributes = {}, domain }, i) => ({
    ...{ opType, name: `n${i}`, domain, input: inputs },
    output: [output ?? (i === nodes.length - 1 ? 'y' : `v${i}`)],
    attribute: Object.entries(attributes).map(([name, value]) => attributeOf(name, value)),
  }));
  const info = (name: string, shape?: readonly number[]) => ({
    name,
    type: { tensorType: { elemType: 1, ...(shape && { shape: { dim: shape.map((dimValue) => ({ dimValue })) } }) } },
  });
  return writeMessage(ModelProto, {
    irVersion: 8,
    opsetImport: [{ domain: '', version: opset }],
    graph: {
      ...{ name: 'g', node, initializer, sparseInitializer: [] },
      ...{ input: [info('x', inputShape)], output: [info('y')], ...more },
    },
  });
}

/** One float32 number after another in [−1, 1]. */
function numbersOf(seed: number): (...shape: number[]) => Float32Array {
  const generator = new Generator(seed);
  return (...shape) => Float32Array.from({ length: sizeOf(shape) }, () => Math.fround(generator.uniform(-1, 1)));
}

/**
 * Compares a file that only adds products, n to a sum: |got − float64| ≤ γ_n(2⁻²⁴)·Σ|products| on both sides, the sum of
 * magnitudes found by the same file with |weights| and |x|.
 */
async function judge(
  build: (abs: boolean) => { file: Uint8Array; x: Float32Array; shape: readonly number[] },
  n: number,
): Promise<void> {
  const { file, x, shape } = build(false);
  const got = await runtime(file, x, shape);
  const exact = reference({ dtype: 'float64' });
  const of = (one: { file: Uint8Array; x: Float32Array }) => {
    const model = importOnnx(one.file, { device: exact });
    return evaluate(model, one.x, shape, exact);
  };
  const [want, magnitude] = [of({ file, x }), of(build(true))];
  const own = evaluate(importOnnx(file, { device }), x, shape);
  for (const [who, one] of [
    ['onnxruntime', got],
    ['atalho', own],
  ] as const) {
    expect(one.shape, who).toEqual(want.shape);
    one.data.forEach((v, i) => {
      const bound = gamma(n, 2 ** -24) * magnitude.data[i] + n * 2 ** -126;
      if (!(Math.abs(v - want.data[i]) <= bound)) expect.fail(`${who}: [${i}] ${v}, want ${want.data[i]} ± ${bound}`);
    });
  }
}

describe('import of what others write', () => {
  const two = fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }));
  const autoPad = fc.constantFrom('NOTSET', 'VALID', 'SAME_UPPER', 'SAME_LOWER');
  const sizes = fc.tuple(fc.integer({ min: 7, max: 11 }), fc.integer({ min: 7, max: 11 }));
  const padding = (max: number) => fc.tuple(...[0, 0, 0, 0].map(() => fc.integer({ min: 0, max })));

  it('Conv: auto_pad, pads of each side, strides, dilations, groups', async () => {
    await fc.assert(
      fc.asyncProperty(
        ...([autoPad, sizes, two, two, two, padding(2), fc.constantFrom(1, 2), fc.boolean(), fc.nat()] as const),
        async (auto, [h, w], kernel, strides, drawn, pads, group, bias, seed) => {
          // onnxruntime refuses dilation under SAME.
          const dilations = auto.startsWith('SAME') ? [1, 1] : [...drawn];
          const build = (abs: boolean) => {
            const draw = numbersOf(seed);
            const numbers = (...s: number[]) => draw(...s).map((v) => (abs ? Math.abs(v) : v));
            const weight = floatTensor('w', [4, 4 / group, ...kernel], numbers(4, 4 / group, ...kernel));
            const initializer = [weight, ...(bias ? [floatTensor('b', [4], numbers(4))] : [])];
            const attributes = {
              ...{ strides: [...strides], dilations, group, kernel_shape: [...kernel] },
              ...(auto === 'NOTSET' ? { pads: [...pads] } : { auto_pad: auto }),
            };
            const inputs = ['x', 'w', ...(bias ? ['b'] : [])];
            const shape = [2, 4, h, w];
            return {
              file: fileOf([{ opType: 'Conv', inputs, attributes }], initializer, shape),
              ...{ x: numbers(...shape), shape },
            };
          };
          await judge(build, (4 / group) * sizeOf(kernel) + 1);
        },
      ),
      { seed: SEED, numRuns: 120 },
    );
  });

  it.each(['MaxPool', 'AveragePool'])('%s: auto_pad, pads, ceil_mode, dilations, count_include_pad', async (opType) => {
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(
        ...([autoPad, sizes, two, two, two, padding(2), fc.boolean(), fc.boolean(), fc.nat()] as const),
        async (auto, [h, w], kernel, strides, dilations, drawn, ceil, count, seed) => {
          // onnxruntime's pools pad dilated kernels under SAME as if they were not, and fail on those that skip elements.
          const same = auto.startsWith('SAME');
          if (same && kernel.some((extent, i) => extent < strides[i])) return;
          const pads = drawn.map((pad, i) => Math.min(pad, kernel[i % 2] - 1));
          const shape = [2, 3, h, w];
          const build = (abs: boolean) => {
            const x = numbersOf(seed)(...shape).map((v) => (abs ? Math.abs(v) : v));
            const attributes = {
              ...{ strides: [...strides], kernel_shape: [...kernel] },
              ...(auto === 'NOTSET' ? { pads, ceil_mode: ceil ? 1 : 0 } : { auto_pad: auto }),
              ...(opType === 'AveragePool' && { count_include_pad: count ? 1 : 0 }),
              ...(opType === 'MaxPool' && { dilations: same ? [1, 1] : [...dilations] }),
            };
            return { file: fileOf([{ opType, inputs: ['x'], attributes }], [], shape), x, shape };
          };
          try {
            evaluate(importOnnx(build(false).file, { device }), build(false).x, shape);
          } catch (error) {
            // Some padding cannot be told to the pools that there are; the error says so.
            expect(error).toBeInstanceOf(ArgumentError);
            expect((error as Error).message).toMatch(/^OnnxModel: node "n0" \((Max|Average)Pool\): .*(pad|half)/i);
            refused++;
            return;
          }
          await judge(build, opType === 'MaxPool' ? 1 : sizeOf(kernel) + 1);
        },
      ),
      { seed: SEED, numRuns: 150 },
    );
    expect(refused).toBeLessThan(40);
  });

  it('BatchNormalization: epsilon given and left out', async () => {
    const shape = [2, 3, 4, 5];
    const numbers = numbersOf(SEED);
    const of = (name: string, values: number[]) => floatTensor(name, [3], values);
    // Variances so small that epsilon is most of the divisor.
    const statistics = [of('mean', [0.5, 0, -0.25]), of('var', [1e-6, 0, 1e-3])];
    const initializer = [of('scale', [1, -0.5, 2]), of('bias', [0.125, 0, 3]), ...statistics];
    for (const attributes of [{}, { epsilon: { float: 1e-3 } }]) {
      const node = { opType: 'BatchNormalization', inputs: ['x', 'scale', 'bias', 'mean', 'var'], attributes };
      const [file, x] = [fileOf([node], initializer, shape), numbers(...shape)];
      const want = await runtime(file, x, shape);
      const got = evaluate(importOnnx(file, { device }), x, shape);
      const bound = 4 * 2 ** -24 * Math.max(...want.data.map(Math.abs));
      got.data.forEach((v, i) => {
        expect(Math.abs(v - want.data[i])).toBeLessThanOrEqual(bound);
      });
    }
  });

  it('Gemm: alpha, beta, both transpositions, a bias of any shape that broadcasts', async () => {
    await fc.assert(
      fc.asyncProperty(
        ...([fc.boolean(), fc.boolean(), fc.constantFrom(1, 0.5), fc.constantFrom(1, 2)] as const),
        fc.constantFrom<number[] | null>(null, [5], [1], [], [1, 5], [3, 5], [3, 1]),
        fc.nat(),
        async (transA, transB, alpha, beta, bias, seed) => {
          const shape = transA ? [7, 3] : [3, 7];
          const build = (abs: boolean) => {
            const draw = numbersOf(seed);
            const numbers = (...s: number[]) => draw(...s).map((v) => (abs ? Math.abs(v) : v));
            const b = transB ? [5, 7] : [7, 5];
            const initializer = [floatTensor('b', b, numbers(...b))];
            if (bias) initializer.push(floatTensor('c', bias, numbers(...bias)));
            const flags = { transA: transA ? 1 : 0, transB: transB ? 1 : 0 };
            const attributes = { alpha: { float: alpha }, beta: { float: beta }, ...flags };
            const node = { opType: 'Gemm', inputs: ['x', 'b', ...(bias ? ['c'] : [])], attributes };
            return { file: fileOf([node], initializer, shape), x: numbers(...shape), shape };
          };
          await judge(build, 7 + 3);
        },
      ),
      { seed: SEED, numRuns: 80 },
    );
  });

  const shape = [2, 3, 4, 5];
  const exactly: [string, NodeOptions, OnnxTensor[], number][] = [
    ['Flatten axis 2', { opType: 'Flatten', inputs: ['x'], attributes: { axis: 2 } }, [], 17],
    ['Flatten axis 0', { opType: 'Flatten', inputs: ['x'], attributes: { axis: 0 } }, [], 17],
    ['Flatten axis -1', { opType: 'Flatten', inputs: ['x'], attributes: { axis: -1 } }, [], 17],
    ['Flatten axis 4', { opType: 'Flatten', inputs: ['x'], attributes: { axis: 4 } }, [], 17],
    ['Reshape 0 and -1', { opType: 'Reshape', inputs: ['x', 's'] }, [int64Tensor('s', [0, -1, 0])], 13],
    ['Transpose', { opType: 'Transpose', inputs: ['x'] }, [], 13],
    ['Transpose perm', { opType: 'Transpose', inputs: ['x'], attributes: { perm: [0, 2, 3, 1] } }, [], 13],
    ['Concat axis -1', { opType: 'Concat', inputs: ['x', 'x', 'x'], attributes: { axis: -1 } }, [], 13],
    ['Identity', { opType: 'Identity', inputs: ['x'] }, [], 13],
    ['Dropout 11', { opType: 'Dropout', inputs: ['x'], attributes: { ratio: { float: 0.4 } } }, [], 11],
    ['Dropout 13', { opType: 'Dropout', inputs: ['x', 'r'] }, [floatTensor('r', [], [0.4])], 13],
    ['GlobalMaxPool', { opType: 'GlobalMaxPool', inputs: ['x'] }, [], 13],
    [
      'Slice 9',
      { opType: 'Slice', inputs: ['x'], attributes: { starts: [1, -3], ends: [9, -1], axes: [1, 3] } },
      [],
      9,
    ],
    [
      'Slice 13',
      { opType: 'Slice', inputs: ['x', 's', 'e', 'a', 't'] },
      [int64Tensor('s', [1, -4]), int64Tensor('e', [2 ** 62, 9]), int64Tensor('a', [2, -1]), int64Tensor('t', [2, 3])],
      13,
    ],
    [
      'Slice without axes',
      { opType: 'Slice', inputs: ['x', 's', 'e'] },
      [int64Tensor('s', [1]), int64Tensor('e', [2])],
      13,
    ],
    [
      'Pad 10',
      { opType: 'Pad', inputs: ['x'], attributes: { pads: [0, 0, 1, 0, 0, 2, 0, 1], value: { float: 0.5 } } },
      [],
      10,
    ],
    ['Pad 13', { opType: 'Pad', inputs: ['x', 'p'] }, [int64Tensor('p', [0, 1, 0, -1, 1, 0, 0, 2])], 13],
    [
      'Pad 18 with axes',
      { opType: 'Pad', inputs: ['x', 'p', 'v', 'a'] },
      [int64Tensor('p', [1, 2, 0, 3]), floatTensor('v', [], [-2]), int64Tensor('a', [-1, 1])],
      18,
    ],
  ];
  it.each(exactly)('%s moves elements as onnxruntime does', async (_, node, initializer, opset) => {
    const file = fileOf([node], initializer, shape, opset);
    const x = image(...shape);
    expect(evaluate(importOnnx(file, { device }), x, shape)).toEqual(await runtime(file, x, shape));
  });

  it('ReduceMean and ReduceSum: axes as attribute and as input, none, keepdims', async () => {
    for (const opType of ['ReduceMean', 'ReduceSum']) {
      for (const opset of [11, 13, 18]) {
        for (const keepdims of [0, 1, undefined]) {
          for (const axes of [undefined, [1], [-1, -2], [0, 2]]) {
            const asInput = opset >= (opType === 'ReduceSum' ? 13 : 18);
            const attributes = {
              ...(keepdims !== undefined && { keepdims }),
              ...(axes && !asInput && { axes }),
            };
            const inputs = ['x', ...(axes && asInput ? ['a'] : [])];
            const initializer = axes && asInput ? [int64Tensor('a', axes)] : [];
            const file = fileOf([{ opType, inputs, attributes }], initializer, shape, opset);
            const build = (abs: boolean) => ({ file, shape, x: image(...shape).map((v) => (abs ? Math.abs(v) : v)) });
            await judge(build, sizeOf(shape) + 1);
          }
        }
      }
    }
    const noop = { opType: 'ReduceSum', inputs: ['x'], attributes: { noop_with_empty_axes: 1 } };
    const file = fileOf([noop], [], shape, 13);
    expect(evaluate(importOnnx(file, { device }), image(...shape), shape)).toEqual({ shape, data: image(...shape) });
  });

  it('Softmax and LogSoftmax: the axes of before and after version 13', async () => {
    for (const opType of ['Softmax', 'LogSoftmax']) {
      for (const opset of [11, 13]) {
        for (const axis of [undefined, 0, 1, 2, -1, -2]) {
          const node = { opType, inputs: ['x'], attributes: axis === undefined ? {} : { axis } };
          const file = fileOf([node], [], shape, opset);
          const x = image(...shape);
          const got = await runtime(file, x, shape);
          const want = evaluate(importOnnx(file, { device }), x, shape);
          expect(got.shape).toEqual(want.shape);
          // x within ±1: each exp (3 + 2·2 ulp, an ulp at most 2u) and difference, the sum of up to 120, a quotient; log alike.
          const u = 2 ** -24;
          got.data.forEach((v, i) => {
            const scale = opType === 'Softmax' ? want.data[i] : Math.abs(want.data[i]) + 1;
            if (!(Math.abs(v - want.data[i]) <= (gamma(120, u) + 40 * u) * scale)) {
              expect.fail(`${opType} ${opset} axis ${axis} [${i}]: ${v}, want ${want.data[i]}`);
            }
          });
        }
      }
    }
  });

  it('tensors of every type, in raw_data and in lists', () => {
    const raw = (dims: number[], dataType: number, rawData: Uint8Array) => ({
      ...floatTensor('w', dims, []),
      dataType,
      rawData,
    });
    const list = (dims: number[], dataType: number, lists: object) => ({
      ...floatTensor('w', dims, []),
      ...{ dataType, rawData: undefined, ...lists },
    });
    const bytes = (array: Float64Array | Uint16Array) => new Uint8Array(array.buffer);
    const value = [1.5, -0.25, 0];
    const half = [0x3e00, 0xb400, 0];
    const bfloat = [0x3fc0, 0xbe80, 0];
    for (const weight of [
      floatTensor('w', [3], value),
      list([3], 1, { floatData: value }),
      raw([3], 11, bytes(Float64Array.from(value))),
      list([3], 11, { doubleData: value }),
      raw([3], 10, bytes(Uint16Array.from(half))),
      list([3], 10, { int32Data: half }),
      raw([3], 16, bytes(Uint16Array.from(bfloat))),
      list([3], 16, { int32Data: bfloat }),
    ]) {
      const model = importOnnx(fileOf([{ opType: 'Add', inputs: ['x', 'w'] }], [weight], [3]), { device });
      expect(model.stateDict().get('w')?.dataSync()).toEqual(Float32Array.from(value));
    }
    for (const s of [
      int64Tensor('s', [3, -1]),
      { ...int64Tensor('s', [0, 0]), rawData: undefined, int64Data: [3, -1] },
    ]) {
      const model = importOnnx(fileOf([{ opType: 'Reshape', inputs: ['x', 's'] }], [s], [2, 6]), { device });
      expect(evaluate(model, image(2, 6), [2, 6]).shape).toEqual([3, 4]);
    }
  });

  it('a scalar constant is a number, a larger one a buffer, an initializer a parameter', () => {
    const constant = (output: string, value: OnnxTensor) => ({
      opType: 'Constant',
      inputs: [],
      output,
      attributes: { value },
    });
    const file = fileOf(
      [
        constant('half', floatTensor(undefined, [], [0.5])),
        constant('row', floatTensor(undefined, [2], [1, 2])),
        { opType: 'Mul', inputs: ['half', 'x'], output: 'a' },
        { opType: 'Add', inputs: ['a', 'row'], output: 'b' },
        { opType: 'Sub', inputs: ['half', 'b'], output: 'c' },
        { opType: 'Div', inputs: ['c', 'w'] },
      ],
      [floatTensor('w', [2], [2, 4]), floatTensor('unused', [2], [0, 0])],
      [1, 2],
    );
    const model = importOnnx(file, { device });
    expect([...model.namedParameters().keys()]).toEqual(['w']);
    expect([...model.namedBuffers().keys()]).toEqual(['half', 'row']);
    expect([...evaluate(model, [2, 4], [1, 2]).data]).toEqual([(0.5 - 2) / 2, (0.5 - 4) / 4]);
    const compiled = compile(model, { inputShape: [1, 2] });
    expect([...compiled.run([2, 4]).dataSync()]).toEqual([(0.5 - 2) / 2, (0.5 - 4) / 4]);
  });

  const expected: Record<string, { x: number[]; state: string[]; shape: number[]; y: number[] }> = JSON.parse(
    readFileSync(new URL('onnx/expected.json', import.meta.url), 'utf8'),
  );
  it.each(Object.keys(expected))('PyTorch wrote %s.onnx', async (name) => {
    const { x: from, state, shape: to, y } = expected[name];
    const file = new Uint8Array(readFileSync(new URL(`onnx/${name}.onnx`, import.meta.url)));
    const model = importOnnx(file, { device });
    const want = { shape: to, data: Float32Array.from(y) };
    const got = evaluate(model, image(...from), from);
    expectClose(got, want, NETWORK);
    // Folded files have weights of their own; all others PyTorch's names.
    if (name !== 'resnet-folded') expect(new Set(model.stateDict().keys())).toEqual(new Set(state));
    const again = exportOnnx(model, { inputShape: from, inputName: 'x', outputName: 'y' });
    expectValid(again);
    expectClose(await runtime(again, image(...from), from), want, NETWORK);
    expect(evaluate(importOnnx(again, { device }), image(...from), from)).toEqual(got);
    model.dispose();
  });
});

describe('an imported model', () => {
  const inputShape = [2, 1, 29, 29];

  it('has the bits of the exported one, and its export has them too', async () => {
    for (const on of [device, reference(), await wasm({ threads: 2 })]) {
      const net = small(on);
      const first = exportOnnx(net, { inputShape });
      const model = importOnnx(first, { device: on });
      expect(model.training).toBe(false);
      const second = exportOnnx(model, { inputShape });
      const other = importOnnx(second, { device: on });
      const want = evaluate(net, image(...inputShape), inputShape, on);
      expect(evaluate(model, image(...inputShape), inputShape, on)).toEqual(want);
      expect(evaluate(other, image(...inputShape), inputShape, on)).toEqual(want);
      // batchNormRelu reads its residual before the norm, Add after it: the order of nodes settles with the second file.
      expect(exportOnnx(other, { inputShape })).toEqual(second);
      const compiled = compile(model, { inputShape });
      expect(compiled.run(image(...inputShape)).dataSync()).toEqual(want.data);
      expect(model.inputShape).toEqual(inputShape);
    }
  });

  it('is trained as the exported one is, bit for bit', () => {
    const net = small();
    const model = importOnnx(exportOnnx(net, { inputShape }), { device });
    const trained = (one: Module): Map<string, unknown> => {
      one.train();
      const names = [...one.namedParameters().keys()];
      const parameters = one.parameters();
      const optimizer = sgd(parameters, { lr: 0.1 });
      for (let step = 0; step < 2; step++) {
        device.scope(() => {
          const x = tensor(image(...inputShape), inputShape, { device });
          optimizer.step(grad(crossEntropy(one.forward(x), Int32Array.of(1, 7)), parameters));
        });
      }
      expect(names.length).toBeGreaterThan(20);
      return new Map([...one.stateDict()].filter(([, t]) => t.dtype !== 'int64').map(([k, t]) => [k, t.dataSync()]));
    };
    const want = trained(net);
    const got = trained(model);
    expect(new Set(got.keys())).toEqual(new Set(want.keys()));
    for (const [name, values] of want) expect(got.get(name), name).toEqual(values);
  });

  it('may be part of another model', () => {
    const model = importOnnx(exportOnnx(small(), { inputShape }), { device });
    const whole = new Sequential(model, new ReLU(), new Linear(10, 2, { device }));
    const inside = [...model.namedParameters().keys()].map((name) => `0.${name}`);
    expect(new Set(whole.namedParameters().keys())).toEqual(new Set([...inside, '2.weight', '2.bias']));
    device.scope(() => {
      const x = tensor(image(...inputShape), inputShape, { device });
      expect(grad(mean(whole.forward(x)), whole.parameters())).toHaveLength(inside.length + 2);
    });
  });

  it('gives its memory back, and takes none when the device has none', () => {
    const net = small();
    const file = exportOnnx(net, { inputShape });
    const used = device.memory().used;
    importOnnx(file, { device }).dispose();
    expect(device.memory().used).toBe(used);
  });
});

describe('errors', () => {
  const conv = { opType: 'Conv', inputs: ['x', 'w'] };
  const weight = floatTensor('w', [1, 1, 3, 3], new Float32Array(9));
  const shape = [1, 1, 5, 5];

  it('one error lists all that is missing', () => {
    const file = fileOf(
      [
        { ...conv, attributes: { strange: 1 } },
        { opType: 'Resize', inputs: ['v0'] },
        { opType: 'Resize', inputs: ['v1'] },
        { opType: 'Attention', inputs: ['v2'], domain: 'com.example' },
        { opType: 'AveragePool', inputs: ['v3'], attributes: { kernel_shape: [2], mode: 'x' } },
      ],
      [weight],
      shape,
    );
    expect(() => importOnnx(file, { device })).toThrow(
      new ArgumentError(
        'importOnnx: the graph needs what is not supported: attribute "strange" of Conv (1: "n0"); operator "Resize" (2: "n1", "n2"); operator "com.example:Attention" (1: "n3"); AveragePool over 1 axes, not 2, (1: "n4"); attribute "mode" of AveragePool (1: "n4")',
      ),
    );
  });

  const info = (name: string) => ({ name, type: { tensorType: { elemType: 1 } } });
  const relus = (...pairs: [string, string][]) =>
    pairs.map(([from, output]) => ({ opType: 'Relu', inputs: [from], output }));
  it.each<[string, RegExp, () => Uint8Array]>([
    [
      'external data',
      /tensor "w" keeps its elements in another file, "weights.bin"; want a model saved as one file/,
      () =>
        fileOf(
          [conv],
          [
            {
              ...weight,
              rawData: undefined,
              dataLocation: 1,
              externalData: [{ key: 'location', value: 'weights.bin' }],
            },
          ],
          shape,
        ),
    ],
    [
      'two inputs',
      /has 2 inputs \("x", "z"\); want exactly one/,
      () => fileOf([conv], [weight], shape, 17, { input: [info('x'), info('z')] }),
    ],
    ['no input', /has 0 inputs \(\); want exactly one/, () => fileOf([conv], [weight], shape, 17, { input: [] })],
    [
      'two outputs',
      /has 2 outputs; want exactly one/,
      () => fileOf([conv], [weight], shape, 17, { output: [info('y'), info('v')] }),
    ],
    [
      'an output of nobody',
      /nothing makes the output "z"/,
      () => fileOf([conv], [weight], shape, 17, { output: [info('z')] }),
    ],
    [
      'an old operator set',
      /for version 6 of the operator set; want 7 to 23/,
      () => fileOf([conv], [weight], shape, 6),
    ],
    [
      'a cycle',
      /node "n0" \("Relu"\) reads "b", which nothing before it makes/,
      () => fileOf(relus(['b', 'a'], ['a', 'b'], ['b', 'y']), [], shape),
    ],
    [
      'a name twice',
      /node "n1" \("Relu"\) makes "a", which is there already/,
      () => fileOf(relus(['x', 'a'], ['x', 'a'], ['a', 'y']), [], shape),
    ],
    ['an initializer twice', /two initializers are called "w"/, () => fileOf([conv], [weight, weight], shape)],
    [
      'too few bytes',
      /tensor "w" has 35 bytes; FLOAT of shape \[1, 1, 3, 3\] wants 36/,
      () => fileOf([conv], [{ ...weight, rawData: new Uint8Array(35) }], shape),
    ],
    [
      'a negative extent',
      /tensor "w" has shape \[-1\]; want whole numbers/,
      () => fileOf([conv], [{ ...weight, dims: [-1] }], shape),
    ],
    [
      'a huge extent',
      /tensor "w" has 36 bytes; FLOAT of shape \[9007199254740991, 2\]/,
      () => fileOf([conv], [{ ...weight, dims: [2 ** 53 - 1, 2] }], shape),
    ],
    [
      'an unknown type',
      /tensor "w" has data type STRING; want one of FLOAT, /,
      () => fileOf([conv], [{ ...weight, dataType: 8 }], shape),
    ],
    [
      'kernels that differ',
      /kernel_shape \[2, 2\]; its weight has \[3, 3\]/,
      () => fileOf([{ ...conv, attributes: { kernel_shape: [2, 2] } }], [weight], shape),
    ],
    [
      'an attribute of another type',
      /attribute "group" of type 3; want a whole number/,
      () => fileOf([{ ...conv, attributes: { group: 'one' } }], [weight], shape),
    ],
    ['no graph', /has no graph/, () => writeMessage(ModelProto, { opsetImport: [{ version: 17 }] })],
    ['nothing', /has no graph/, () => new Uint8Array(0)],
    ['text', /not in the protobuf format/, () => text('{"this": "is no protobuf"}')],
  ])('%s', (_, message, file) => {
    const error = (() => {
      try {
        importOnnx(file(), { device });
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toBeInstanceOf(FormatError);
    expect((error as Error).message).toMatch(message);
  });

  it('a shape that does not fit names the node', () => {
    const model = importOnnx(fileOf([conv], [weight], shape), { device });
    expect(() => evaluate(model, image(1, 2, 5, 5), [1, 2, 5, 5])).toThrow(
      /OnnxModel: node "n0" \(Conv\): conv2d: x \[1, 2, 5, 5\] has 2 channels/,
    );
  });

  it('options of the export', () => {
    const net = small();
    const inputShape = [1, 1, 29, 29];
    expect(() => exportOnnx(net, { inputShape, opset: 12 })).toThrow(/opset is 12; want one from 13 to 22/);
    expect(() => exportOnnx(net, { inputShape, inputName: '0.0.weight' })).toThrow(/inputName is "0.0.weight"/);
    expect(() => exportOnnx(net, { inputShape, outputName: 'input' })).toThrow(/both "input"; want two names/);
    expect(() => exportOnnx(net, { inputShape, batch: 'any' as 'fixed' })).toThrow(/batch is "any"; want 'fixed'/);
    expect(() => exportOnnx(net, { inputShape: [1, 2, 29, 29] })).toThrow(/conv2d: x \[1, 2, 29, 29\] has 2 channels/);
    expect(() => exportOnnx(new ReLU(), { inputShape })).toThrow(/exportOnnx: the model has no parameters/);
    expect(() => noGrad(() => exportOnnx(net, { inputShape }))).toThrow(/inside noGrad/);
    expect(exportOnnx(new ReLU(), { inputShape, device }).length).toBeGreaterThan(50);
  });
});
