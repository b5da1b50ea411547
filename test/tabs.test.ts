/**
 * The chapter's three tabs. Each framework's semantics against numbers worked by hand, and the TensorFlow tab against
 * TensorFlow.js on its plain cpu backend: the same weights, outputs, loss, gradients and statistics.
 */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ArgumentError,
  avgPool2d,
  BatchNorm2d,
  ChannelsLast,
  Conv2d,
  compile,
  conv2d,
  crossEntropy,
  type Device,
  d2lLayerNames,
  d2lResnet,
  d2lResnet18,
  Generator,
  grad,
  initXavierUniform,
  LazyBatchNorm2d,
  LazyConv2d,
  LazyLinear,
  LazyResidual,
  Linear,
  type Module,
  maxPool2d,
  meta,
  mul,
  noGrad,
  ReLU,
  reference,
  Sequential,
  StateDictError,
  sgd,
  Tensor,
  tensor,
  wasm,
} from '../src/index.js';
import { exportOnnx, importOnnx } from '../src/onnx/index.js';
import { sizeOf } from '../src/shape.js';
import { hashWeights } from '../src/train/hash.js';

const exact = reference({ dtype: 'float64' });
const SMALL = { channels: [8, 16], blocks: [1, 2], numClasses: 5 } as const;

function numbers(seed: number, shape: readonly number[], low = -1, high = 1): Float32Array {
  const generator = new Generator(seed);
  return Float32Array.from({ length: sizeOf(shape) }, () => Math.fround(generator.uniform(low, high)));
}

describe("the chapter's tour", () => {
  // As d2l.ai prints it; MXNet's names count up within a process, and are those of a fresh one.
  const printed = {
    pytorch: [
      'Sequential [1, 64, 56, 56]',
      'Sequential [1, 64, 56, 56]',
      'Sequential [1, 128, 28, 28]',
      'Sequential [1, 256, 14, 14]',
      'Sequential [1, 512, 7, 7]',
      'AdaptiveAvgPool2d [1, 512, 1, 1]',
      'Flatten [1, 512]',
      'Linear [1, 10]',
    ],
    mxnet: [
      'conv0 [1, 64, 112, 112]',
      'batchnorm0 [1, 64, 112, 112]',
      'relu0 [1, 64, 112, 112]',
      'pool0 [1, 64, 56, 56]',
      'sequential1 [1, 64, 56, 56]',
      'sequential2 [1, 128, 28, 28]',
      'sequential3 [1, 256, 14, 14]',
      'sequential4 [1, 512, 7, 7]',
      'pool1 [1, 512, 1, 1]',
      'dense0 [1, 10]',
    ],
    tensorflow: [
      'Conv2D [1, 112, 112, 64]',
      'BatchNormalization [1, 112, 112, 64]',
      'Activation [1, 112, 112, 64]',
      'MaxPooling2D [1, 56, 56, 64]',
      'ResnetBlock [1, 56, 56, 64]',
      'ResnetBlock [1, 28, 28, 128]',
      'ResnetBlock [1, 14, 14, 256]',
      'ResnetBlock [1, 7, 7, 512]',
      'GlobalAveragePooling2D [1, 512]',
      'Dense [1, 10]',
    ],
  } as const;

  it.each(['pytorch', 'mxnet', 'tensorflow'] as const)('%s', (tab) => {
    const device = meta();
    const net: Module & Iterable<Module> = d2lResnet18({ tab, device });
    net.eval();
    const shape = tab === 'tensorflow' ? [1, 224, 224, 1] : [1, 1, 224, 224];
    const names = d2lLayerNames(net);
    let x = new Tensor(device, shape, device.alloc(sizeOf(shape)));
    const lines = noGrad(() =>
      [...net].map((layer, i) => {
        x = layer.forward(x);
        return `${names[i]} [${x.shape.join(', ')}]`;
      }),
    );
    expect(lines).toEqual(printed[tab]);
    // 11.2 million in every tab.
    expect(net.parameters().reduce((sum, { size }) => sum + size, 0)).toBe(11_178_378);
  });

  it("the residual block's: (4, 3, 6, 6) in MXNet, (4, 6, 6, 3) in TensorFlow", () => {
    const block = new LazyResidual(3, { device: exact });
    expect(block.forward(tensor(numbers(1, [4, 3, 6, 6]), [4, 3, 6, 6], { device: exact })).shape).toEqual([
      4, 3, 6, 6,
    ]);
    const x = tensor(numbers(1, [4, 6, 6, 3]), [4, 6, 6, 3], { device: exact });
    const keeps = new ChannelsLast(new LazyResidual(3, { device: exact, padding: 'SAME' }));
    expect(keeps.forward(x).shape).toEqual([4, 6, 6, 3]);
    const halves = { use1x1conv: true, strides: 2, padding: 'SAME' } as const;
    expect(new ChannelsLast(new LazyResidual(6, { device: exact, ...halves })).forward(x).shape).toEqual([4, 3, 3, 6]);
  });
});

describe("each framework's semantics, worked by hand", () => {
  const row = (...values: number[]): Tensor => tensor(values, [1, 1, 1, values.length], { device: exact });
  const ones = tensor([1, 1, 1], [1, 1, 1, 3], { device: exact });

  it("TensorFlow's 'SAME' at stride 2 adds the odd zero behind: windows begin at the first element", () => {
    // Four elements, kernel 3, stride 2: two windows, which want 5 elements: one zero, behind. 1+2+3, 3+4+0.
    expect([...conv2d(row(1, 2, 3, 4), ones, null, { stride: [1, 2], padding: 'SAME' }).dataSync()]).toEqual([6, 7]);
    // PyTorch's padding 1: 0+1+2, 2+3+4.
    const torch = { stride: [1, 2], padding: [0, 1] } as const;
    expect([...conv2d(row(1, 2, 3, 4), ones, null, torch).dataSync()]).toEqual([3, 9]);
    // Five: three windows, which want 7: one zero on each side. 0+1+2, 2+3+4, 4+5+0.
    expect([...conv2d(row(1, 2, 3, 4, 5), ones, null, { stride: [1, 2], padding: 'SAME' }).dataSync()]).toEqual([
      3, 9, 9,
    ]);
  });

  it('and so does its pool', () => {
    const o = { stride: [1, 2] } as const;
    expect([...maxPool2d(row(9, 2, 3, 4), [1, 3], { ...o, padding: 'SAME' }).dataSync()]).toEqual([9, 4]);
    expect([...maxPool2d(row(9, 2, 3, 4), [1, 3], { ...o, padding: [0, 1] }).dataSync()]).toEqual([9, 4]);
    // The first window of PyTorch's reaches one to the left and misses the third element.
    expect([...maxPool2d(row(1, 2, 5, 4), [1, 3], { ...o, padding: 'SAME' }).dataSync()]).toEqual([5, 5]);
    expect([...maxPool2d(row(1, 2, 5, 4), [1, 3], { ...o, padding: [0, 1] }).dataSync()]).toEqual([2, 5]);
  });

  it('and its average pool does not count it', () => {
    // Windows from the first element: [1 3], and [5] alone.
    expect([...avgPool2d(row(1, 3, 5), [1, 2], { padding: 'SAME' }).dataSync()]).toEqual([2, 5]);
    const counted = { padding: 'SAME', countIncludePad: true } as const;
    expect([...avgPool2d(row(1, 3, 5), [1, 2], counted).dataSync()]).toEqual([2, 2.5]);
  });

  /** The batch 1, 3 (mean 2, biased variance 1, unbiased 2) through the first batch norm of a tab's network. */
  function statistics(tab: 'pytorch' | 'mxnet' | 'tensorflow'): { mean: number; variance: number; y: number[] } {
    const net: Module & Iterable<Module> = d2lResnet({ tab, channels: [1], blocks: [1], device: exact });
    const stem = tab === 'pytorch' ? [...(net as Sequential)][0] : net;
    const norm = [...(stem as Sequential | ChannelsLast<Sequential>)][1];
    const y = norm.forward(tensor([1, 3], [2, 1, 1, 1], { device: exact }));
    const state = [...norm.stateDict()];
    const of = (name: string) => Number(state.find(([key]) => key === name)?.[1].dataSync()[0]);
    return { mean: of('running_mean'), variance: of('running_var'), y: [...(y.dataSync() as Float64Array)] };
  }

  it('batch norm in PyTorch: 0.1 of the new, the unbiased variance, eps 1e-5', () => {
    const { mean, variance, y } = statistics('pytorch');
    expect(mean).toBeCloseTo(0.2, 12);
    expect(variance).toBeCloseTo(0.9 * 1 + 0.1 * 2, 12);
    expect(y[1]).toBeCloseTo(1 / Math.sqrt(1 + 1e-5), 12);
  });

  it('batch norm in MXNet: 0.9 of the old, the biased variance, eps 1e-5', () => {
    const { mean, variance, y } = statistics('mxnet');
    expect(mean).toBeCloseTo(0.2, 12);
    expect(variance).toBeCloseTo(0.9 * 1 + 0.1 * 1, 12);
    expect(y[1]).toBeCloseTo(1 / Math.sqrt(1 + 1e-5), 12);
  });

  it('batch norm in TensorFlow: 0.99 of the old, the unbiased variance, eps 1e-3', () => {
    const { mean, variance, y } = statistics('tensorflow');
    expect(mean).toBeCloseTo(0.02, 12);
    expect(variance).toBeCloseTo(0.99 * 1 + 0.01 * 2, 12);
    expect(y[1]).toBeCloseTo(1 / Math.sqrt(1 + 1e-3), 12);
  });

  it.each(['mxnet', 'tensorflow'] as const)('first weights of %s', (tab) => {
    const device = reference();
    const net: Module = d2lResnet({ tab, ...SMALL, device, seed: 3 });
    net.forward(tensor(new Float32Array(2 * 64), [2, ...(tab === 'mxnet' ? [1, 8, 8] : [8, 8, 1])], { device }));
    for (const [name, t] of net.namedParameters()) {
      const values = [...(t.dataSync() as Float32Array)];
      if (t.shape.length === 1) {
        const scale = /(bn\d|norm\w*)\.weight$/.test(name);
        expect(
          values.every((v) => v === (scale ? 1 : 0)),
          name,
        ).toBe(true);
        continue;
      }
      const [outs, ins, ...taps] = t.shape;
      const bound = tab === 'mxnet' ? 0.07 : Math.sqrt(6 / ((ins + outs) * sizeOf(taps)));
      const most = Math.max(...values.map(Math.abs));
      expect(most, name).toBeLessThanOrEqual(Math.fround(bound));
      expect(most, name).toBeGreaterThan(0.9 * bound);
    }
  });
});

describe('lazy layers', () => {
  const device = reference();
  const x = tensor(numbers(1, [2, 3, 5, 5]), [2, 3, 5, 5], { device });
  const make = (generator: Generator): Sequential =>
    new Sequential(
      new LazyConv2d(4, 3, { device, generator, padding: 1 }),
      new LazyBatchNorm2d({ device }),
      new ReLU(),
      new LazyLinear(2, { device, generator, flatten: true }),
    );

  it('become the layers that they stand for: names, weights, bits', () => {
    const lazy = make(new Generator(7));
    const y = lazy.forward(x);
    const generator = new Generator(7);
    const plain = new Sequential(
      new Conv2d(3, 4, 3, { device, generator, padding: 1 }),
      new BatchNorm2d(4, { device }),
      new ReLU(),
    );
    const head = new Linear(100, 2, { device, generator });
    const want = head.forward(tensor(plain.forward(x).dataSync() as Float32Array, [2, 100], { device }));
    expect([...y.dataSync()]).toEqual([...want.dataSync()]);
    expect([...lazy.stateDict().keys()]).toEqual([
      ...plain.stateDict().keys(),
      ...[...head.stateDict().keys()].map((name) => `3.${name}`),
    ]);
  });

  it('have no parameters before', () => {
    const lazy = make(new Generator(0));
    for (const ask of [
      () => lazy.parameters(),
      () => lazy.stateDict(),
      () => initXavierUniform(lazy, new Generator(0)),
    ]) {
      expect(ask).toThrow(StateDictError);
      expect(ask).toThrow(/LazyConv2d 0: has no parameters before the first forward pass/);
    }
    // What needs none works.
    expect(lazy.eval().training).toBe(false);
    lazy.forward(x);
    expect([...lazy].every((layer) => !layer.training)).toBe(true);
    expect([...lazy.children().values()].flatMap((one) => [...one.children().values()]).map((m) => m.training)).toEqual(
      [false, false, false],
    );
  });

  it('are made by loadStateDict, of the shapes of its entries, and nothing is drawn then', () => {
    const first = make(new Generator(7));
    first.forward(x);
    const generator = new Generator(7);
    const loaded = make(generator);
    loaded.loadStateDict(first.stateDict());
    expect(generator.state()).toEqual(new Generator(7).state());
    expect([...loaded.eval().forward(x).dataSync()]).toEqual([...first.eval().forward(x).dataSync()]);
  });

  it('a state dict that does not fit leaves them unmade', () => {
    const first = make(new Generator(7));
    first.forward(x);
    const entries = new Map(first.stateDict());
    const lazy = make(new Generator(7));
    entries.delete('3.weight');
    expect(() => lazy.loadStateDict(entries)).toThrow(/3\.weight is missing/);
    entries.set('3.weight', tensor([1], { device }));
    expect(() => lazy.loadStateDict(entries)).toThrow(/3\.weight has shape \[1\], which fits no such layer/);
    entries.set('3.weight', tensor(new Float32Array(300), [3, 100], { device }));
    expect(() => lazy.loadStateDict(entries)).toThrow(/wrong: 3\.weight/);
    expect(() => lazy.parameters()).toThrow(/LazyConv2d 0/);
    // And they can still become what a forward pass says.
    expect(lazy.forward(x).shape).toEqual([2, 2]);
  });

  it('made while another mode was set for once, are in the mode of before', () => {
    const lazy = make(new Generator(0));
    lazy.inMode(false, () => lazy.forward(x));
    const modes: boolean[] = [];
    lazy.apply((module) => modes.push(module.training));
    expect(modes).toEqual(modes.map(() => true));
  });

  it('that are not made give nothing back, and do not keep the others from it', () => {
    const own = reference();
    const net = new Sequential(new Linear(10, 10, { device: own }), new LazyLinear(3, { device: own }));
    expect(own.memory().used).toBeGreaterThan(0);
    net.dispose();
    expect(own.memory().used).toBe(0);
  });

  it('of a class of their own keep its forward pass behind a ReLU', () => {
    class Doubled extends LazyBatchNorm2d {
      override forward(t: Tensor): Tensor {
        return mul(super.forward(t), 2);
      }
    }
    const net = new Sequential(new Doubled({ device }), new ReLU());
    const [first, second] = [net.forward(x), net.forward(x)].map((y) => [...y.dataSync()]);
    expect(second).toEqual(first);
  });

  it('say what they are given that fits no more', () => {
    const lazy = make(new Generator(0));
    expect(() => lazy.forward(tensor([1, 2], { device }))).toThrow(/LazyConv2d: x has shape \[2\]; want 4 axes/);
    lazy.forward(x);
    expect(() => lazy.forward(tensor(new Float32Array(50), [1, 2, 5, 5], { device }))).toThrow(ArgumentError);
    expect(() => d2lResnet18({ tab: 'mxnet', inChannels: 3, device })).toThrow(/inChannels is 3 with tab 'mxnet'/);
    expect(() => d2lResnet18({ tab: 'jax' as 'mxnet', device })).toThrow(/tab is "jax"; want 'pytorch', 'mxnet'/);
  });
});

describe('training', () => {
  it.each(['mxnet', 'tensorflow'] as const)(
    '%s: reference, WASM and WASM on three threads agree on every bit',
    async (tab) => {
      const hashes = new Set<string>();
      for (const device of [reference(), await wasm(), await wasm({ threads: 3 })]) {
        const net: Module = d2lResnet({ tab, ...SMALL, device, seed: 1 });
        const shape = tab === 'mxnet' ? [3, 2, 13, 10] : [3, 13, 10, 2];
        const x = tensor(numbers(5, shape), shape, { device });
        for (let step = 0; step < 2; step++) {
          const loss = crossEntropy(net.forward(x), [0, 3, 4]);
          const params = net.parameters();
          sgd(params, { lr: 0.1 }).step(grad(loss, params));
        }
        hashes.add(await hashWeights(net));
        device.dispose();
      }
      expect(hashes.size).toBe(1);
    },
  );
});

describe.each(['mxnet', 'tensorflow'] as const)('%s, trained', (tab) => {
  it('is compiled, and written as ONNX and read, with the same bits', async () => {
    const device = await wasm();
    const net: Module = d2lResnet({ tab, ...SMALL, device, seed: 1 });
    const inputShape = tab === 'mxnet' ? [2, 2, 13, 10] : [2, 13, 10, 2];
    const x = tensor(numbers(5, inputShape), inputShape, { device });
    net.forward(x);
    const want = [...net.eval().forward(x).dataSync()];
    expect([...compile(net, { inputShape }).run(x).dataSync()]).toEqual(want);
    expect([...importOnnx(exportOnnx(net, { inputShape }), { device }).eval().forward(x).dataSync()]).toEqual(want);
    device.dispose();
  });
});

describe('TensorFlow.js', () => {
  let device: Device;
  beforeAll(async () => {
    await tf.setBackend('cpu');
    device = await wasm();
  });
  afterAll(() => device.dispose());

  const shape: [number, number, number, number] = [3, 13, 10, 2];
  const labels = [0, 3, 4];

  /** The tab's network in Keras's own layers, of SMALL's channels and blocks. */
  function keras(): layers.LayersModel {
    const conv = (filters: number, kernelSize: number, strides = 1, padding: 'same' | 'valid' = 'same') =>
      layers.layers.conv2d({ filters, kernelSize, strides, padding });
    const norm = () => layers.layers.batchNormalization();
    const relu = () => layers.layers.activation({ activation: 'relu' });
    type T = layers.SymbolicTensor;
    const run = (x: T, ...all: layers.layers.Layer[]): T => all.reduce((y, layer) => layer.apply(y) as T, x);
    const residual = (x: T, channels: number, halves: boolean): T => {
      const y = run(x, conv(channels, 3, halves ? 2 : 1), norm(), relu(), conv(channels, 3), norm());
      const shortcut = halves ? run(x, conv(channels, 1, 2, 'valid')) : x;
      return run(layers.layers.add().apply([y, shortcut]) as T, relu());
    };
    const input = layers.input({ shape: shape.slice(1) });
    const pool = layers.layers.maxPooling2d({ poolSize: 3, strides: 2, padding: 'same' });
    let y = run(input, conv(8, 7, 2), norm(), relu(), pool);
    y = residual(y, 8, false);
    y = residual(residual(y, 16, true), 16, false);
    y = run(y, layers.layers.globalAveragePooling2d({}), layers.layers.dense({ units: 5 }));
    return layers.model({ inputs: input, outputs: y });
  }

  /** Our layout of a weight of theirs: [kh, kw, in, out] as [out, in, kh, kw], [in, out] as [out, in]. */
  const ours = (t: tf.Tensor): tf.Tensor =>
    t.rank === 4 ? tf.transpose(t, [3, 2, 0, 1]) : t.rank === 2 ? tf.transpose(t) : t;
  const theirs = (t: tf.Tensor): tf.Tensor =>
    t.rank === 4 ? tf.transpose(t, [2, 3, 1, 0]) : t.rank === 2 ? tf.transpose(t) : t;

  /** The variables of a layer, in our order: convolutions and dense, weight then bias; norms, gamma, beta, mean, variance. */
  function variablesOf(model: layers.LayersModel): { trained: tf.Variable[]; statistics: tf.Variable[] }[] {
    return model.layers
      .filter((layer) => layer.weights.length > 0)
      .map((layer) => {
        const all = layer.weights.map((w) => w.read() as tf.Variable);
        return { trained: all.slice(0, 2), statistics: all.slice(2) };
      });
  }

  /** Our layers with weights, in the order in which Keras lists its own: that of depth in the graph. */
  const OURS = [
    'conv2d',
    'batch_normalization',
    'resnet_block.0.conv1',
    'resnet_block.0.bn1',
    'resnet_block.0.conv2',
    'resnet_block.0.bn2',
    'resnet_block_1.0.conv1',
    'resnet_block_1.0.bn1',
    'resnet_block_1.0.conv2',
    'resnet_block_1.0.bn2',
    'resnet_block_1.0.conv3',
    'resnet_block_1.1.conv1',
    'resnet_block_1.1.bn1',
    'resnet_block_1.1.conv2',
    'resnet_block_1.1.bn2',
    'dense',
  ];

  const within = (what: string, got: ArrayLike<number>, want: ArrayLike<number>, bound: number): void => {
    expect(got.length, what).toBe(want.length);
    const largest = Array.from(want).reduce((max, v) => Math.max(max, Math.abs(v)), 0);
    for (let i = 0; i < want.length; i++) {
      const off = Math.abs(got[i] - want[i]);
      if (!(off <= bound * largest)) expect.fail(`${what}[${i}] is ${got[i]}, want ${want[i]} ± ${bound * largest}`);
    }
  };

  it('has the same outputs, loss, gradients and statistics', async () => {
    const net = d2lResnet({ tab: 'tensorflow', ...SMALL, device, seed: 2 });
    const x = tensor(numbers(9, shape), shape, { device });
    net.forward(x);
    // Statistics and affine parameters that are not what they begin as.
    const seeds = new Generator(4);
    for (const [name, t] of net.stateDict()) {
      if (t.dtype === 'int64' || t.shape.length > 1) continue;
      const low = /(var|bn\d\.weight|normalization\.weight)$/.test(name) ? 0.5 : -0.5;
      t.write(Float32Array.from({ length: t.size }, () => Math.fround(seeds.uniform(low, low + 1))));
    }
    const state = net.stateDict();
    const get = (name: string): Float32Array => (state.get(name) as Tensor).dataSync() as Float32Array;

    const model = keras();
    const variables = variablesOf(model);
    // Keras puts the shortcut's convolution where its depth says; found by its kernel of one tap.
    const [first] = variables.flatMap(({ trained }, i) => (trained[0].shape[0] === 1 ? [i] : []));
    const order = OURS.filter((name) => !name.endsWith('conv3'));
    order.splice(first, 0, 'resnet_block_1.0.conv3');
    variables.forEach(({ trained, statistics }, i) => {
      const put = (variable: tf.Variable, name: string): void => {
        const t = state.get(`${order[i]}.${name}`) as Tensor;
        variable.assign(theirs(tf.tensor(t.dataSync() as Float32Array, [...t.shape])));
      };
      put(trained[0], 'weight');
      put(trained[1], 'bias');
      if (statistics.length > 0) {
        put(statistics[0], 'running_mean');
        put(statistics[1], 'running_var');
      }
    });

    const input = tf.tensor(x.dataSync() as Float32Array, shape) as tf.Tensor4D;
    const [want] = [(model.predict(input) as tf.Tensor).dataSync()];
    within('eval logits', net.eval().forward(x).dataSync() as Float32Array, want, 1e-5);

    net.train();
    const before = new Map(
      order.map((name) => [name, state.has(`${name}.running_var`) ? [...get(`${name}.running_var`)] : []]),
    );
    const params = net.namedParameters();
    const loss = crossEntropy(net.forward(x), labels);
    const grads = grad(loss, [...params.values()]);
    const oneHot = tf.oneHot(tf.tensor1d(labels, 'int32'), 5);
    const judge = tf.variableGrads(() => {
      const logits = model.apply(input, { training: true }) as tf.Tensor2D;
      return tf.losses.softmaxCrossEntropy(oneHot, logits) as tf.Scalar;
    });
    within('loss', [loss.item()], judge.value.dataSync(), 1e-5);
    variables.forEach(({ trained, statistics }, i) => {
      ['weight', 'bias'].forEach((name, j) => {
        const at = [...params.keys()].indexOf(`${order[i]}.${name}`);
        const gradient = ours(judge.grads[trained[j].name]).dataSync();
        // A bias before a batch norm has no gradient but rounding.
        if (name === 'bias' && !/(bn\d|normalization|dense)$/.test(order[i]) && !order[i].endsWith('conv3')) return;
        within(`${order[i]}.${name}`, grads[at].dataSync() as Float32Array, gradient, 1e-4);
      });
      if (statistics.length === 0) return;
      within('running mean', get(`${order[i]}.running_mean`), statistics[0].dataSync(), 1e-5);
      // TensorFlow.js stores the biased variance, where TensorFlow's fused kernel stores the unbiased one.
      const old = before.get(order[i]) as number[];
      const found = get(`${order[i]}.running_var`);
      const count = countOf(order[i]);
      const biased = Float32Array.from(found, (v, c) => 0.99 * old[c] + ((v - 0.99 * old[c]) * (count - 1)) / count);
      within('running variance', biased, statistics[1].dataSync(), 1e-5);
    });
  });

  /** Values per channel that a batch norm of the network sees: batch × height × width. */
  function countOf(name: string): number {
    if (name === 'batch_normalization') return 3 * 7 * 5;
    return name.startsWith('resnet_block_1') ? 3 * 2 * 2 : 3 * 4 * 3;
  }
});
