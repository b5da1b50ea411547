/** What summarize counts, against torchvision's published figures and torchinfo's; and the meta device that it counts on. */
import { describe, expect, it } from 'vitest';
import { modelEntry, modelNames } from '../src/cli/models.js';
import {
  BatchNorm2d,
  Conv2d,
  conv2d,
  crossEntropy,
  type Device,
  d2lResnet,
  Flatten,
  Generator,
  grad,
  Linear,
  Module,
  matmul,
  meta,
  ReLU,
  Residual,
  reference,
  Sequential,
  type Shape,
  sgd,
  summarize,
  type Tensor,
  tensor,
  wasm,
} from '../src/index.js';

/** https://pytorch.org/vision/0.14/models.html: parameters and GFLOPS, which are multiply-adds, of each set of weights. */
const PUBLISHED: readonly (readonly [name: string, parameters: number, gmacs: string])[] = [
  ['resnet18', 11_689_512, '1.81'],
  ['resnet34', 21_797_672, '3.66'],
  ['resnet50', 25_557_032, '4.09'],
  ['resnet101', 44_549_160, '7.80'],
  ['resnet152', 60_192_808, '11.51'],
  ['resnext50_32x4d', 25_028_904, '4.23'],
  ['resnext101_32x8d', 88_791_336, '16.41'],
  ['wide_resnet50_2', 68_883_240, '11.40'],
  ['wide_resnet101_2', 126_886_696, '22.75'],
];

const named = (name: string, device: Device = meta()) => {
  const { make, inputShape } = modelEntry(name);
  return summarize(make({ device }), { inputShape });
};

describe('summarize', () => {
  it.each(PUBLISHED)("%s has torchvision's parameters and multiply-adds", (name, parameters, gmacs) => {
    const summary = named(name);
    expect(summary.parameters).toBe(parameters);
    expect((summary.macs / 1e9).toFixed(2)).toBe(gmacs);
    expect(summary.outputShape).toEqual([1, 1000]);
  });

  // summary(net, (1, 3, 224, 224)) of torchinfo 1.8.0 on torchvision 0.14: total_mult_adds, total_output_bytes, total_param_bytes.
  it.each([
    ['resnet18', 1_814_083_944, 39_747_392, 46_758_048],
    ['resnet50', 4_089_238_376, 177_831_744, 102_228_128],
    ['resnext50_32x4d', 4_230_549_096, 230_416_192, 100_115_616],
  ])(
    "%s has torchinfo's sizes, and its multiply-adds less those that it counts for biases and batch norms",
    (name, macs, output, parameters) => {
      const summary = named(name);
      expect(summary.inputBytes).toBe(602_112);
      expect([summary.forwardBackwardBytes, summary.parameterBytes]).toEqual([output, parameters]);
      const more = summary.layers
        .filter(({ type }) => type === 'BatchNorm2d')
        .reduce((sum, { parameters: own }) => sum + own, 1000);
      expect(summary.macs + more).toBe(macs);
    },
  );

  it('knows every model of the command, and the parts add up to the whole', () => {
    for (const name of modelNames) {
      const { layers, parameters, macs, inputShape, outputShape } = named(name);
      const leaves = layers.filter(({ leaf, repeated }) => leaf && !repeated);
      expect(leaves.reduce((sum, row) => sum + row.parameters, 0)).toBe(parameters);
      expect(leaves.reduce((sum, row) => sum + row.macs, 0)).toBe(macs);
      expect(macs).toBeGreaterThan(parameters);
      expect(outputShape).toEqual([1, inputShape[3] === 224 ? 1000 : 10]);
    }
  });

  it('gives rows in the order of the calls, the ReLU that a batch norm computes too', () => {
    const device = meta();
    const net = new Sequential(
      new Sequential(new Conv2d(2, 8, 3, { device, padding: 1 }), new BatchNorm2d(8, { device }), new ReLU()),
      new Residual(8, 4, { device, use1x1conv: true, strides: 2 }),
      new Flatten(),
      new Linear(4 * 5 * 5, 3, { device }),
    );
    const { layers, buffers } = summarize(net, { inputShape: [7, 2, 10, 10] });
    const shown = layers.map((row) => [row.depth, row.name, row.type, row.outputShape.join('×'), row.macs]);
    expect(shown).toEqual([
      [0, '', 'Sequential', '7×3', 7 * (100 * 8 * 18 + 25 * 4 * (72 + 36 + 8) + 300)],
      [1, '0', 'Sequential', '7×8×10×10', 7 * 100 * 8 * 18],
      [2, '0.0', 'Conv2d', '7×8×10×10', 7 * 100 * 8 * 18],
      [2, '0.1', 'BatchNorm2d', '7×8×10×10', 0],
      [2, '0.2', 'ReLU', '7×8×10×10', 0],
      [1, '1', 'Residual', '7×4×5×5', 7 * 25 * 4 * (72 + 36 + 8)],
      [2, '1.conv1', 'Conv2d', '7×4×5×5', 7 * 25 * 4 * 72],
      [2, '1.bn1', 'BatchNorm2d', '7×4×5×5', 0],
      [2, '1.conv2', 'Conv2d', '7×4×5×5', 7 * 25 * 4 * 36],
      [2, '1.conv3', 'Conv2d', '7×4×5×5', 7 * 25 * 4 * 8],
      [2, '1.bn2', 'BatchNorm2d', '7×4×5×5', 0],
      [1, '2', 'Flatten', '7×100', 0],
      [1, '3', 'Linear', '7×3', 7 * 300],
    ]);
    expect(layers[0].parameters).toBe(net.parameters().reduce((sum, { size }) => sum + size, 0));
    expect(buffers).toBe(2 * (8 + 4 + 4) + 3);
  });

  it('counts groups, and products that a module takes itself', () => {
    const device = meta();
    const weight = (shape: Shape): Tensor =>
      tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape, { device, requiresGrad: true });
    class Own extends Module {
      readonly kernel = weight([6, 2, 3, 3]);
      readonly table = weight([10, 4]);
      readonly inner = new Conv2d(6, 6, 1, { device, groups: 6, bias: false });
      override forward(x: Tensor): Tensor {
        const y = this.inner.forward(conv2d(x, this.kernel, null, { groups: 2, padding: 1, stride: 2 }));
        return matmul(y, this.table);
      }
    }
    const { layers } = summarize(new Own(), { inputShape: [3, 4, 20, 20] });
    expect(layers.map(({ type, macs, leaf }) => [type, macs, leaf])).toEqual([
      ['Own', 3 * 600 * (18 + 1) + 3 * 6 * 10 * 4 * 10, false],
      ['Conv2d', 3 * 600, true],
    ]);
  });

  it('counts the work of a module that is called twice twice, and its parameters once', () => {
    const device = meta();
    class Twice extends Module {
      readonly conv = new Conv2d(3, 3, 3, { device, padding: 1 });
      override forward(x: Tensor): Tensor {
        return this.conv.forward(this.conv.forward(x));
      }
    }
    const { layers, parameters, macs } = summarize(new Twice(), { inputShape: [1, 3, 8, 8] });
    expect(layers.map(({ name, repeated }) => [name, repeated])).toEqual([
      ['', false],
      ['conv', false],
      ['conv', true],
    ]);
    expect([parameters, macs]).toEqual([84, 2 * 64 * 81]);
  });

  it('gives the same on a device that computes, and leaves the model as it was', async () => {
    const device = await wasm();
    const options = { channels: [4, 8], blocks: [1, 1] };
    const inputShape = [2, 1, 32, 32];
    const model = d2lResnet({ ...options, device });
    const x = tensor(new Generator(1).uniformArray(inputShape, 1), inputShape, { device });
    const forward = (): string => model.inMode(false, () => device.scope(() => model.forward(x).dataSync())).join();
    const before = forward();
    const own = JSON.stringify(Reflect.ownKeys(model));
    const { used } = device.memory();
    expect(summarize(model, { inputShape })).toEqual(
      summarize(d2lResnet({ ...options, device: meta() }), { inputShape }),
    );
    expect(device.memory().used).toBe(used);
    expect(() => summarize(model, { inputShape: [2, 3, 32, 32] })).toThrow(
      /^conv2d: x \[2, 3, 32, 32\] has 3 channels/,
    );
    expect(device.memory().used).toBe(used);
    expect([forward(), JSON.stringify(Reflect.ownKeys(model)), model.training]).toEqual([before, own, true]);
    model.apply((module) => expect(Object.hasOwn(module, 'forward')).toBe(false));
    device.dispose();
  });

  it('says what it cannot take', () => {
    expect(() => summarize(new ReLU(), { inputShape: [1] })).toThrow(/^summarize: the model has no parameters/);
    expect(() => named('resnet9000')).toThrow(/^there is no model "resnet9000"; want a name that/);
    expect(() => named('ResNet-50')).toThrow(/did you mean resnet50\?/);
    const net = new Linear(2, 2, { device: meta() });
    expect(() => summarize(net, { inputShape: [1, -2] })).toThrow(/^summarize: inputShape \[1, -2\] must hold/);
  });
});

describe('the meta device', () => {
  it('draws no weights and takes no memory', () => {
    const device = meta();
    const generator = new Generator(0);
    const before = generator.state();
    const net = modelEntry('wide_resnet101_2').make({ device, generator });
    expect(generator.state()).toEqual(before);
    expect(device.memory()).toEqual({ used: 0, peak: 0, reserved: 0 });
    const twin = modelEntry('resnet18').make({ device: reference() });
    const shapes = (model: Module): [string, Shape, boolean][] =>
      [...model.stateDict()].map(([name, t]) => [name, t.shape, t.requiresGrad]);
    expect(shapes(modelEntry('resnet18').make({ device }))).toEqual(shapes(twin));
    expect(net.stateDict().size).toBe(626);
  });

  it('goes through a training step, checks shapes, and has nothing to read', async () => {
    const device = meta();
    const net = d2lResnet({ device });
    const params = net.parameters();
    const optimizer = sgd(params, { lr: 0.1, momentum: 0.9 });
    const x = tensor(new Float32Array(2 * 96 * 96), [2, 1, 96, 96], { device });
    const loss = crossEntropy(net.forward(x), [1, 2]);
    const grads = grad(loss, params);
    expect(grads.map(({ shape }) => shape)).toEqual(params.map(({ shape }) => shape));
    optimizer.step(grads);
    expect(loss.shape).toEqual([]);
    expect(() => loss.item()).toThrow(/^meta: its tensors have no elements/);
    await expect(loss.data()).rejects.toThrow(/^meta: its tensors have no elements/);
    expect(() => net.forward(tensor(new Float32Array(4), [1, 2, 2], { device }))).toThrow(/^conv2d: x has shape/);
    expect(() => reference().kernels.fill({ out: loss.buffer, value: 0 })).toThrow(/reference/);
  });
});
