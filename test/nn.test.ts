/** Modules: names and order of the state dict, loading, initialisation, the chapter's residual block. */
import { afterAll, describe, expect, it, vi } from 'vitest';
import { makeModel, modelNames } from '../src/cli/models.js';
import {
  AdaptiveAvgPool2d,
  ArgumentError,
  AvgPool2d,
  add,
  BasicBlock,
  BatchNorm2d,
  Bottleneck,
  Conv2d,
  type Device,
  d2lResnet,
  d2lResnet18,
  Flatten,
  Generator,
  grad,
  Identity,
  type InitOptions,
  initXavierUniform,
  Linear,
  MaxPool2d,
  Module,
  mul,
  noGrad,
  OutOfMemoryError,
  PreactBasicBlock,
  PreactBottleneck,
  ReLU,
  Residual,
  readSafetensors,
  reference,
  relu,
  resnetBlock,
  Sequential,
  type Shape,
  StateDictError,
  sum,
  type Tensor,
  tensor,
  writeSafetensors,
} from '../src/index.js';
import { formula, goldens, loadFormula } from './goldens.js';

const device = reference();
afterAll(() => device.dispose());
const input = (shape: Shape): Tensor => tensor(formula('x', shape), shape, { device });
const small = (seed = 0): Sequential => d2lResnet({ device, seed, channels: [4, 6], blocks: [1, 1], numClasses: 3 });

describe('state dict', () => {
  it("has PyTorch's parameter names in PyTorch's order", () => {
    const net = d2lResnet18({ device });
    const names = [...goldens('d2l_resnet18').tensors.keys()];
    const params = names.filter((n) => /^grad\..*\.norm$/.test(n)).map((n) => n.slice('grad.'.length, -'.norm'.length));
    expect(new Set(net.namedParameters().keys())).toEqual(new Set(params));
    const stats = names.filter((n) => n.startsWith('buffer.')).map((n) => n.slice('buffer.'.length, -'.head'.length));
    const buffers = [...net.namedBuffers().keys()];
    expect(new Set(buffers.filter((n) => !n.endsWith('num_batches_tracked')))).toEqual(new Set(stats));
    expect(net.parameters().reduce((n, p) => n + p.size, 0)).toBe(11_178_378);
    expect([...net.stateDict().keys()].slice(0, 9)).toEqual([
      '0.0.weight',
      '0.0.bias',
      '0.1.weight',
      '0.1.bias',
      '0.1.running_mean',
      '0.1.running_var',
      '0.1.num_batches_tracked',
      '1.0.conv1.weight',
      '1.0.conv1.bias',
    ]);
    net.dispose();
  });

  it('orders a residual block by its fields, parameters before buffers', () => {
    const block = new Residual(3, 6, { device, use1x1conv: true });
    const layer = (name: string, ...parts: string[]): string[] => parts.map((part) => `${name}.${part}`);
    const norm = ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'];
    expect([...block.stateDict().keys()]).toEqual([
      ...layer('conv1', 'weight', 'bias'),
      ...layer('conv2', 'weight', 'bias'),
      ...layer('conv3', 'weight', 'bias'),
      ...layer('bn1', ...norm),
      ...layer('bn2', ...norm),
    ]);
    const count = block.stateDict().get('bn1.num_batches_tracked') as Tensor;
    expect([count.dtype, count.shape, count.dataSync()]).toEqual(['int64', [], BigInt64Array.of(0n)]);
  });

  it('goes through a file and back, counters included', () => {
    const [a, b] = [small(1), small(2)];
    device.scope(() => a.forward(input([2, 1, 32, 32])));
    b.loadStateDict(readSafetensors(writeSafetensors(a.stateDict())));
    const [x, y] = [a, b].map((net) => [...net.stateDict()].map(([name, t]) => [name, t.dataSync()]));
    expect(y).toEqual(x);
    expect(b.stateDict().get('0.1.num_batches_tracked')?.dataSync()).toEqual(BigInt64Array.of(1n));
    // And the count goes on from there.
    device.scope(() => b.forward(input([2, 1, 32, 32])));
    expect(b.stateDict().get('0.1.num_batches_tracked')?.dataSync()).toEqual(BigInt64Array.of(2n));
  });

  it('loads in place from tensors of another device', () => {
    const wide = reference({ dtype: 'float64' });
    const source = new Linear(3, 2, { device: wide, seed: 5 });
    const target = new Linear(3, 2, { device });
    const { weight } = target;
    target.loadStateDict(source.stateDict());
    expect(target.weight).toBe(weight);
    expect([...weight.dataSync()]).toEqual([...source.weight.dataSync()]);
    wide.dispose();
  });

  it('names every missing, unexpected and misshapen entry at once, and changes nothing', () => {
    const net = new BatchNorm2d(2, { device });
    const before = [...net.stateDict().values()].map((t) => t.dataSync());
    const bad = new Map([
      ['bias', { shape: [3], data: [1, 2, 3] }],
      ['running_mean', { shape: [2], data: [1] }],
      ['running_var', { shape: [2], data: [9, 9] }],
      ['num_batches_tracked', { shape: [], data: [0.5] }],
      ['gamma', { shape: [2], data: [1, 2] }],
    ]);
    const attempt = (): unknown => net.loadStateDict(bad);
    expect(attempt).toThrow(StateDictError);
    expect(attempt).toThrow(/missing: weight/);
    expect(attempt).toThrow(/unexpected: gamma/);
    expect(attempt).toThrow(/bias has shape \[3\]; want \[2\]/);
    expect(attempt).toThrow(/running_mean has 1 elements for shape \[2\]/);
    expect(attempt).toThrow(/num_batches_tracked holds numbers that are not whole/);
    expect([...net.stateDict().values()].map((t) => t.dataSync())).toEqual(before);
    const plain = {} as unknown as Map<string, Tensor>;
    expect(() => net.loadStateDict(plain)).toThrow(ArgumentError);
  });

  it('finds fields, arrays and shared modules; each parameter once', () => {
    class Net extends Module {
      readonly firstLayer = new Linear(2, 2, { device });
      readonly layers = [new Linear(2, 2, { device, bias: false }), new ReLU()];
      readonly again = this.firstLayer;
      readonly note = 'no tensor';
      override forward(x: Tensor): Tensor {
        return this.again.forward(this.firstLayer.forward(x));
      }
    }
    const net = new Net();
    expect([...net.stateDict().keys()]).toEqual([
      'first_layer.weight',
      'first_layer.bias',
      'layers.0.weight',
      'again.weight',
      'again.bias',
    ]);
    expect([...net.namedParameters().keys()]).toEqual(['first_layer.weight', 'first_layer.bias', 'layers.0.weight']);
    expect(net.train(false).layers[1].training).toBe(false);
    const visited: string[] = [];
    net.apply((m) => visited.push(m.constructor.name));
    expect(visited).toEqual(['Linear', 'Linear', 'ReLU', 'Linear', 'Net']);
  });
});

describe('layers', () => {
  it('are Sequential: iterable, counted, indexed; arrays become one', () => {
    const net = new Sequential(new Flatten(), [new Linear(4, 3, { device }), new ReLU()], new Identity());
    expect([...net].map((m) => m.constructor.name)).toEqual(['Flatten', 'Sequential', 'Identity']);
    expect([net.length, net.at(-1).constructor.name]).toEqual([3, 'Identity']);
    expect(() => net.at(3)).toThrow(ArgumentError);
    expect([...net.stateDict().keys()]).toEqual(['1.0.weight', '1.0.bias']);
    expect(net.forward(input([2, 2, 2])).shape).toEqual([2, 3]);
    expect(() => new Sequential(relu as unknown as Module)).toThrow(/layer 0 is not a Module/);
  });

  it('pool', () => {
    const x = input([1, 2, 8, 8]);
    expect(new MaxPool2d(3, { stride: 2, padding: 1 }).forward(x).shape).toEqual([1, 2, 4, 4]);
    expect(new AvgPool2d(2).forward(x).shape).toEqual([1, 2, 4, 4]);
    expect(new AdaptiveAvgPool2d([1, 1]).forward(x).shape).toEqual([1, 2, 1, 1]);
  });

  it('convolve', () => {
    const x = input([1, 4, 7, 7]);
    expect(new Conv2d(4, 6, 3, { device, stride: 2, padding: 1, groups: 2 }).forward(x).shape).toEqual([1, 6, 4, 4]);
    expect(new Conv2d(4, 6, [1, 3], { device, padding: 'same' }).forward(x).shape).toEqual([1, 6, 7, 7]);
    expect([...new Conv2d(4, 6, 3, { device, bias: false }).stateDict().keys()]).toEqual(['weight']);
    expect(() => new Conv2d(4, 6, 3, { device, groups: 4 })).toThrow(/groups is 4/);
    expect(() => new Conv2d(4, 6, 3, { device, padding: 'same', stride: 2 })).toThrow(/'same' with stride/);
    expect(() => new Conv2d(0, 6, 3, { device })).toThrow(/inChannels is 0/);
    expect(() => new Conv2d(1, 6, 3, {} as { device: typeof device })).toThrow(/no device given/);
  });

  it('normalise: running statistics move in training only, and null momentum averages', () => {
    const x = tensor([1, 3, 5, 7], [4, 1, 1, 1], { device });
    const bn = new BatchNorm2d(1, { device });
    bn.forward(x);
    expect(bn.runningMean?.dataSync()[0]).toBeCloseTo(0.4, 6);
    expect(bn.runningVar?.dataSync()[0]).toBeCloseTo(0.9 + (0.1 * 20) / 3, 6);
    expect(bn.numBatchesTracked?.value).toBe(1n);
    bn.eval().forward(x);
    expect(bn.numBatchesTracked?.value).toBe(1n);
    expect(() => bn.train().forward(input([1, 1, 1, 1]))).toThrow(/1 value per channel/);
    expect(bn.numBatchesTracked?.value).toBe(1n);

    const cumulative = new BatchNorm2d(1, { device, momentum: null });
    cumulative.forward(x);
    cumulative.forward(tensor([11, 13, 15, 17], [4, 1, 1, 1], { device }));
    expect(cumulative.runningMean?.dataSync()[0]).toBeCloseTo(9, 5);

    const untracked = new BatchNorm2d(1, { device, trackRunningStats: false, affine: false });
    expect(untracked.stateDict().size).toBe(0);
    expect(sum(untracked.eval().forward(x)).item()).toBeCloseTo(0, 5);
  });

  it('give an image the same logits alone and in a batch', () => {
    const net = small();
    loadFormula(net);
    net.eval();
    const x = formula('x', [3, 1, 32, 32]);
    const logits = (data: Float32Array, n: number): number[] =>
      device.scope(() =>
        noGrad(() => Array.from(net.forward(tensor(data, [n, 1, 32, 32], { device })).dataSync(), Number)),
      );
    const all = logits(x, 3);
    for (let i = 0; i < 3; i++) {
      const alone = logits(x.slice(i * 1024, (i + 1) * 1024), 1);
      expect(alone.every((v, c) => Object.is(v, all[i * 3 + c]))).toBe(true);
    }
  });
});

describe('initialisation', () => {
  it("is PyTorch's: uniform in ±1/√fanIn, weight then bias from one generator", () => {
    const generator = new Generator(3);
    const layer = new Linear(100, 50, { device, generator });
    const again = new Generator(3);
    expect(layer.weight.dataSync()).toEqual(again.kaimingUniform([50, 100]));
    expect(layer.bias?.dataSync()).toEqual(again.uniformArray([50], 0.1));
    const largest = Math.max(...[...layer.weight.dataSync()].map((v) => Math.abs(Number(v))));
    expect(largest).toBeLessThanOrEqual(Math.fround(0.1));
    expect(largest).toBeGreaterThan(0.099);
    const conv = new Conv2d(4, 8, 5, { device, groups: 2, generator });
    const bound = 1 / Math.sqrt(50);
    expect(Math.max(...(conv.weight.dataSync() as Float32Array))).toBeLessThanOrEqual(Math.fround(bound));
    expect(Math.max(...(conv.weight.dataSync() as Float32Array))).toBeGreaterThan(0.98 * bound);
  });

  it('follows the seed, and a fixed one when there is none', () => {
    const weights = (net: Module): unknown[] => net.parameters().map((p) => p.dataSync());
    expect(weights(small(7))).toEqual(weights(small(7)));
    expect(weights(small(7))).not.toEqual(weights(small(8)));
    expect(weights(new Linear(3, 3, { device }))).toEqual(weights(new Linear(3, 3, { device, seed: 0 })));
    expect(() => new Linear(3, 3, { device, seed: 1, generator: new Generator(1) })).toThrow(ArgumentError);
    // Layers of one network differ.
    const [a, b] = resnetBlock(4, 4, 2, { device, firstBlock: true, seed: 1 });
    expect(a.conv1.weight.dataSync()).not.toEqual(b.conv1.weight.dataSync());
  });

  it('leaves zeros and asks no generator with initWeights: false, in every network', () => {
    const generator = new Generator(7);
    const before = generator.state();
    const makers: Record<string, (o: InitOptions) => Module> = {
      "d2lResnet, MXNet's, of lazy layers": (o) => {
        const net = d2lResnet({ ...o, channels: [4], blocks: [1], tab: 'mxnet' });
        net.forward(input([1, 1, 16, 16]));
        return net;
      },
      Residual: (o) => new Residual(3, 4, { ...o, use1x1conv: true }),
      Linear: (o) =>
        new Linear(3, 4, { ...o, weightInit: (g) => Float32Array.from({ length: 12 }, () => g.uniform()) }),
      ...Object.fromEntries(
        modelNames
          .filter((name) => !/34|44|56|101|110|152|164|wide|resnext/.test(name))
          .map((name) => [name, (o: InitOptions) => makeModel(name, o)]),
      ),
    };
    for (const [name, make] of Object.entries(makers)) {
      device.scope(() => {
        const net = make({ device, generator, initWeights: false });
        // Batch norms' ones are not drawn.
        const drawn = [...net.namedParameters()].filter(([, { shape }]) => shape.length > 1);
        expect(drawn.length, name).toBeGreaterThan(0);
        for (const [key, t] of drawn)
          expect(
            t.dataSync().some((v) => v !== 0),
            `${name}: ${key}`,
          ).toBe(false);
        net.dispose();
      });
    }
    expect(generator.state()).toEqual(before);
    expect(() => new Linear(3, 4, { device, initWeights: 0 as never })).toThrow(
      'Linear: initWeights is 0; want true or false',
    );
    const drawn = small(3);
    const loaded = d2lResnet({ device, initWeights: false, channels: [4, 6], blocks: [1, 1], numClasses: 3 });
    loaded.loadStateDict(drawn.stateDict());
    const x = input([2, 1, 16, 16]);
    expect(loaded.eval().forward(x).dataSync()).toEqual(drawn.eval().forward(x).dataSync());
  });

  it('Xavier redraws weights of Conv2d and Linear only', () => {
    const net = small();
    const before = new Map([...net.stateDict()].map(([name, t]) => [name, t.dataSync()]));
    initXavierUniform(net, new Generator(1));
    const redrawn = [...net.stateDict()].filter(([name, t]) => t.shape.length > 1 && name.endsWith('weight'));
    const generator = new Generator(1);
    for (const [name, t] of net.stateDict()) {
      if (redrawn.some(([other]) => other === name)) expect(t.dataSync()).toEqual(generator.xavierUniform(t.shape));
      else expect(t.dataSync()).toEqual(before.get(name));
    }
    expect(redrawn.length).toBe(1 + 2 + 3 + 1);
  });

  it('outlives the scope that it was made in', () => {
    const net = device.scope(() => {
      new Linear(2, 2, { device });
      return small();
    });
    expect(net.parameters().every((p) => !p.disposed && p.requiresGrad)).toBe(true);
    expect([...net.stateDict().values()].every((t) => !t.disposed)).toBe(true);
    net.dispose();
    expect(net.parameters().every((p) => p.disposed)).toBe(true);
  });
});

describe('the chapter', () => {
  it('Residual keeps the shape, or halves it and changes the channels', () => {
    const x = input([4, 3, 6, 6]);
    expect(new Residual(3, 3, { device }).forward(x).shape).toEqual([4, 3, 6, 6]);
    expect(new Residual(3, 6, { device, use1x1conv: true, strides: 2 }).forward(x).shape).toEqual([4, 6, 3, 3]);
  });

  it('says what is wrong when channels or extents differ without the 1×1 convolution', () => {
    const x = input([4, 3, 6, 6]);
    const channels = (): unknown => new Residual(3, 6, { device }).forward(x);
    expect(channels).toThrow(ArgumentError);
    expect(channels).toThrow(/Residual.*\[4, 6, 6, 6\] of x \[4, 3, 6, 6\].*use1x1conv: true/);
    expect(() => new Residual(3, 3, { device, strides: 2 }).forward(x)).toThrow(/\[4, 3, 3, 3\]/);
    // One channel would broadcast over six.
    expect(() => new Residual(1, 6, { device }).forward(input([4, 1, 6, 6]))).toThrow(/use1x1conv/);
    expect(() => resnetBlock(3, 6, 2, { device, firstBlock: true })).toThrow(/firstBlock/);
  });

  it('a block whose weights are zero is relu of the identity', () => {
    const block = new Residual(3, 3, { device });
    for (const p of block.parameters()) p.write(new Float32Array(p.size));
    const x = input([4, 3, 6, 6]);
    for (const mode of [true, false]) {
      const y = block.train(mode).forward(x).dataSync();
      const want = relu(x).dataSync();
      expect(y.every((v, i) => Object.is(v, want[i]))).toBe(true);
    }
  });

  it("network has the chapter's stages", () => {
    const net = small();
    let x = input([1, 1, 64, 64]);
    const shapes = [...net].map((layer) => {
      x = layer.eval().forward(x);
      return [layer.constructor.name, x.shape];
    });
    expect(shapes).toEqual([
      ['Sequential', [1, 4, 16, 16]],
      ['Sequential', [1, 4, 16, 16]],
      ['Sequential', [1, 6, 8, 8]],
      ['AdaptiveAvgPool2d', [1, 6, 1, 1]],
      ['Flatten', [1, 6]],
      ['Linear', [1, 3]],
    ]);
    expect(() => d2lResnet({ device, channels: [4], blocks: [1, 1] })).toThrow(ArgumentError);
  });

  it('every parameter gets a gradient', () => {
    const net = small();
    const grads = device.scope(() => grad(sum(net.forward(input([2, 1, 32, 32]))), net.parameters()));
    expect(grads.map((g) => g.shape)).toEqual(net.parameters().map((p) => p.shape));
  });
});

describe('memory that runs out', () => {
  type Make = (device: Device) => Module | Module[];
  const makers: readonly (readonly [string, Make])[] = [
    ['Conv2d', (device) => new Conv2d(2, 3, 3, { device })],
    ['Linear', (device) => new Linear(2, 3, { device })],
    ['BatchNorm2d', (device) => new BatchNorm2d(3, { device })],
    ['Residual', (device) => new Residual(2, 3, { device, use1x1conv: true })],
    ['resnetBlock', (device) => resnetBlock(2, 3, 2, { device })],
    ['BasicBlock', (device) => new BasicBlock(2, 2, { device })],
    ['Bottleneck', (device) => new Bottleneck(2, 1, { device })],
    ['PreactBasicBlock', (device) => new PreactBasicBlock(2, 2, { device })],
    ['PreactBottleneck', (device) => new PreactBottleneck(2, 1, { device })],
    ['d2lResnet', (device) => d2lResnet({ device, channels: [1, 2], blocks: [1, 1], numClasses: 2 })],
  ];

  it.each(makers)('wherever it does, nothing of a half-made %s stays behind', (_, make) => {
    const whole = reference();
    make(whole);
    const { used } = whole.memory();
    for (let maxMemoryBytes = 4; maxMemoryBytes < used; maxMemoryBytes += 4) {
      const device = reference({ maxMemoryBytes });
      expect(() => make(device)).toThrow(OutOfMemoryError);
      expect(device.memory().used, `of ${used} bytes there were ${maxMemoryBytes}`).toBe(0);
    }
  });

  it('wherever it does in a step, what is in use after it is what was before', () => {
    const device = reference();
    const net = d2lResnet({ device, channels: [1, 2], blocks: [1, 1], numClasses: 2 });
    const params = net.parameters();
    const before = device.memory().used;
    const alloc = device.alloc.bind(device);
    let [failing, refused] = [0, true];
    for (; refused; failing++) {
      let calls = 0;
      device.alloc = (size, dtype) => {
        if (calls++ === failing) throw new OutOfMemoryError('none left', size, 0);
        return alloc(size, dtype);
      };
      try {
        device.scope(() => {
          const x = tensor(new Float32Array(256).fill(1), [1, 1, 16, 16], { device, requiresGrad: true });
          // Tensors with several consumers, whose gradients are added up, some of them the same memory.
          const twice = add(x, x);
          grad(sum(mul(net.forward(twice), net.forward(add(twice, x)))), [...params, x]);
        });
        refused = false;
      } catch (error) {
        if (!(error instanceof OutOfMemoryError)) throw error;
      }
      expect(device.memory().used, `allocation ${failing} failed`).toBe(before);
    }
    expect(failing).toBeGreaterThan(100);
  });

  it('between two gradients, the first does not stay behind', () => {
    const device = reference();
    const [a, b] = [1, 2].map((v) => tensor([v, v], { device, requiresGrad: true }));
    const [y, dy] = [add(a, b), tensor([3, 3], { device })];
    const before = device.memory().used;
    // Each is a copy of dy.
    const copies = vi.spyOn(device, 'alloc');
    copies.mockImplementationOnce((size) => Object.getPrototypeOf(device).alloc.call(device, size));
    copies.mockImplementationOnce(() => {
      throw new OutOfMemoryError('none left', 8, 0);
    });
    expect(() => grad(y, [a, b], dy)).toThrow('none left');
    expect(device.memory().used).toBe(before);
  });
});

describe('inMode', () => {
  it('gives every module its own mode back, also after an error', () => {
    const device = reference();
    const net = new Sequential(new BatchNorm2d(2, { device }), new BatchNorm2d(2, { device }));
    net.at(1).eval();
    expect(net.inMode(false, () => [...net].map((layer) => layer.training))).toEqual([false, false]);
    expect(() =>
      net.inMode(true, () => {
        throw new Error('inside');
      }),
    ).toThrow('inside');
    expect([net.training, net.at(0).training, net.at(1).training]).toEqual([true, true, false]);
  });
});
