/** Compiled models: the bits of the plain forward pass in exact mode, nothing allocated in a run, nothing left behind. */
import { describe, expect, it, vi } from 'vitest';
import {
  ArgumentError,
  add,
  BatchNorm2d,
  batchNorm,
  Conv2d,
  compile,
  conv2d,
  type Device,
  DeviceError,
  d2lResnet,
  detach,
  Generator,
  grad,
  inferenceMode,
  Linear,
  MaxPool2d,
  Module,
  mul,
  noGrad,
  reference,
  relu,
  reshape,
  Sequential,
  sum,
  type Tensor,
  tensor,
  wasm,
} from '../src/index.js';

/** Statistics that are not 0 and 1. */
function withStatistics<M extends Module>(model: M, generator: Generator): M {
  for (const [name, t] of model.stateDict()) {
    const values = () => Float32Array.from({ length: t.size }, () => generator.uniform(0.5, 1.5));
    if (name.endsWith('running_mean')) t.write(values().map((v) => (v - 1) / 4));
    else if (name.endsWith('running_var') || (t.shape.length === 1 && name.endsWith('weight'))) t.write(values());
  }
  return model;
}

const small = (device: Device, generator = new Generator(5)) =>
  withStatistics(d2lResnet({ device, generator, channels: [8, 12], blocks: [2, 1] }), generator);

const image = (batch: number, extent: number) =>
  Float32Array.from({ length: batch * extent * extent }, (_, i) => Math.fround(((i * 7919) % 255) / 128 - 1));

const plainResult = (model: Module, x: Float32Array, shape: number[], device: Device) =>
  device.scope(() => noGrad(() => model.inMode(false, () => model.forward(tensor(x, shape, { device }))).dataSync()));

describe('compile', () => {
  it.each([
    ['reference', async () => reference()],
    ['reference float64', async () => reference({ dtype: 'float64' })],
    ['wasm', () => wasm()],
    ['wasm, 3 threads', () => wasm({ threads: 3 })],
  ] as const)('%s: the bits of the forward pass in eval mode', async (_, make) => {
    const device = await make();
    const model = small(device);
    for (const batch of [1, 3]) {
      const shape = [batch, 1, 29, 29];
      const compiled = compile(model, { inputShape: shape });
      expect(compiled.outputShape).toEqual([batch, 10]);
      // Inputs one after the other: nothing of the first may stay.
      for (const x of [image(batch, 29), image(batch, 29).map((v) => v * v)]) {
        const want = plainResult(model, x, shape, device);
        expect(compiled.run(x).dataSync()).toEqual(want);
        const given = tensor(x, shape, { device });
        expect(compiled.run(given).dataSync()).toEqual(want);
        given.dispose();
      }
      compiled.dispose();
    }
    device.dispose();
  });

  it('fast: the bits of the fast reference, close to the exact ones, and not those', async () => {
    const shape = [2, 1, 29, 29];
    const results: Float32Array[] = [];
    for (const device of [
      reference({ math: 'fast' }),
      await wasm({ math: 'fast' }),
      await wasm({ math: 'fast', threads: 2 }),
      await wasm(),
    ]) {
      const compiled = compile(small(device), { inputShape: shape });
      results.push(Float32Array.from(compiled.run(image(2, 29)).dataSync() as Float32Array));
      device.dispose();
    }
    const [spec, one, two, exact] = results;
    expect(one).toEqual(spec);
    expect(two).toEqual(spec);
    expect(exact).not.toEqual(spec);
    const largest = Math.max(...exact.map(Math.abs));
    expect(Math.max(...exact.map((v, i) => Math.abs(v - spec[i])))).toBeLessThan(1e-5 * largest);
  });

  it('allocates nothing in a run, not even in the first, and frees everything but the model', async () => {
    const device = await wasm();
    const model = small(device);
    const before = device.memory().used;
    const compiled = compile(model, { inputShape: [2, 1, 29, 29] });
    const used = device.memory().used;
    const alloc = vi.spyOn(device, 'alloc');
    for (let i = 0; i < 5; i++) compiled.run(image(2, 29));
    expect(alloc).not.toHaveBeenCalled();
    expect(device.memory().used).toBe(used);
    compiled.dispose();
    compiled.dispose();
    expect(device.memory().used).toBe(before);
    expect(() => compiled.run(image(2, 29))).toThrow(DeviceError);
    device.dispose();
  });

  it('is not changed by what becomes of the weights, any of them, on any device', async () => {
    for (const device of [reference(), reference({ math: 'fast' }), await wasm(), await wasm({ math: 'fast' })]) {
      const net = (): Module =>
        new Sequential(small(device), new Linear(10, 4, { device, generator: new Generator(1) }));
      for (const model of [net(), new ByHand(device)]) {
        const [channels, extent] = model instanceof ByHand ? [3, 14] : [1, 29];
        const compiled = compile(model, { inputShape: [1, channels, extent, extent] });
        const x = image(channels, extent);
        const before = compiled.run(x).dataSync();
        for (const t of model.stateDict().values()) if (t.dtype !== 'int64') t.write(new Float32Array(t.size));
        expect(compiled.run(x).dataSync()).toEqual(before);
      }
      device.dispose();
    }
  });

  /** A forward pass of any kind over 8 channels of 8×8, with two convolutions, a norm and a factor. */
  class Any extends Module {
    readonly one: Conv2d;
    readonly two: Conv2d;
    readonly norm: BatchNorm2d;
    readonly wide: BatchNorm2d;
    readonly factor: Tensor;

    constructor(
      device: Device,
      readonly pass: (x: Tensor, m: Any) => Tensor,
    ) {
      super();
      const generator = new Generator(3);
      this.one = new Conv2d(8, 8, 3, { device, generator, padding: 1 });
      this.two = new Conv2d(8, 8, 3, { device, generator, padding: 1 });
      this.norm = new BatchNorm2d(8, { device });
      this.wide = new BatchNorm2d(16, { device });
      this.factor = tensor([1.5], { device, requiresGrad: true });
    }

    override forward(x: Tensor): Tensor {
      return this.pass(x, this);
    }
  }

  it.each<[string, (x: Tensor, m: Any) => Tensor]>([
    ['two convolutions into one addition', (x, m) => add(m.one.forward(x), m.two.forward(x))],
    [
      'a block whose shortcut has a norm of its own',
      (x, m) => relu(add(m.norm.forward(m.one.forward(x)), m.norm.forward(m.two.forward(x)))),
    ],
    ['a result that is used twice', (x, m) => mul(relu(m.one.forward(x)), m.one.forward(x))],
    [
      'weights that are computed',
      (x, m) => {
        const scaled = (w: Tensor) => mul(w, m.factor);
        const y = conv2d(x, scaled(m.one.weight), null, { padding: 1 });
        return conv2d(y, scaled(m.two.weight), null, { padding: 1 });
      },
    ],
    [
      'a norm whose factors are computed',
      (x, m) => {
        const { runningMean, runningVar, weight } = m.norm;
        return batchNorm(m.one.forward(x), { runningMean, runningVar, weight: mul(weight as Tensor, m.factor) });
      },
    ],
    ['another shape between convolution and norm', (x, m) => m.wide.forward(reshape(m.one.forward(x), [1, 16, 4, 8]))],
    ['a sum with itself', (x, m) => relu(add(m.one.forward(x), x))],
    [
      'one sum after another',
      (x, m) => {
        const y = m.one.forward(x);
        return add(add(y, x), y);
      },
    ],
  ])('keeps the bits of %s', async (_, pass) => {
    for (const device of [reference(), await wasm()]) {
      const model = withStatistics(new Any(device, pass), new Generator(8));
      const shape = [1, 8, 8, 8];
      const compiled = compile(model, { inputShape: shape });
      for (const x of [image(8, 8), image(8, 8).map((v) => v * v)]) {
        expect(compiled.run(x).dataSync()).toEqual(plainResult(model, x, shape, device));
      }
      device.dispose();
    }
  });

  it.each<[string, (x: Tensor, m: Any) => Tensor]>([
    ['detach', (x, m) => add(m.one.forward(x), detach(relu(x)))],
    [
      'noGrad',
      (x, m) =>
        add(
          m.one.forward(x),
          noGrad(() => relu(x)),
        ),
    ],
    ['a tensor made on the way', (x, m) => add(m.one.forward(x), tensor([2], { device: x.device }))],
  ])('refuses what is not recorded: %s', async (_, pass) => {
    const device = await wasm();
    const used = device.memory().used;
    const model = new Any(device, pass);
    expect(() => compile(model, { inputShape: [1, 8, 8, 8] })).toThrow(
      /compile: the forward pass made a tensor \[.*not recorded/,
    );
    model.dispose();
    expect(device.memory().used).toBe(used);
    device.dispose();
  });

  it('says so when a gradient would take a result that a later run has overwritten', async () => {
    const device = await wasm();
    const compiled = compile(small(device), { inputShape: [1, 1, 29, 29] });
    const head = tensor(new Float32Array(10).fill(2), [1, 10], { device, requiresGrad: true });
    const loss = sum(mul(compiled.run(image(1, 29)), head));
    compiled.run(image(1, 29).map((v) => -v));
    expect(() => grad(loss, [head])).toThrow(/was changed in place/);
    device.dispose();
  });

  /** Ops in an order of its own: norm, relu and addition apart, a result used twice, a shortcut after the sum. */
  class ByHand extends Module {
    readonly first: Conv2d;
    readonly norm: BatchNorm2d;
    readonly second: Conv2d;
    readonly other: Conv2d;
    readonly pool = new MaxPool2d(2);

    constructor(device: Device) {
      super();
      const generator = new Generator(11);
      this.first = new Conv2d(3, 9, 3, { device, generator, padding: 1 });
      this.norm = new BatchNorm2d(9, { device });
      this.second = new Conv2d(9, 9, 3, { device, generator, padding: 1, bias: false });
      this.other = new Conv2d(3, 9, 1, { device, generator });
    }

    override forward(x: Tensor): Tensor {
      const y = this.norm.forward(this.first.forward(x));
      const z = add(this.second.forward(relu(y)), y);
      const sum = add(z, relu(this.other.forward(x)));
      return this.pool.forward(add(relu(sum), 1));
    }
  }

  it('takes models that are written another way', async () => {
    for (const device of [reference(), await wasm(), await wasm({ math: 'fast' })]) {
      const model = withStatistics(new ByHand(device), new Generator(2));
      const x = image(3, 14);
      const shape = [1, 3, 14, 14];
      const compiled = compile(model, { inputShape: shape });
      const [got, want] = [compiled.run(x).dataSync(), plainResult(model, x, shape, device)];
      if ((device as { math?: string }).math !== 'fast') expect(got).toEqual(want);
      else expect(Math.max(...(got as Float32Array).map((v, i) => Math.abs(v - Number(want[i]))))).toBeLessThan(1e-5);
      device.dispose();
    }
  });

  it('names what is wrong', async () => {
    const device = await wasm();
    const model = small(device);
    expect(() => compile(new Sequential(), { inputShape: [1] })).toThrow(ArgumentError);
    expect(() => compile(model, { inputShape: [1, 2, 29, 29] })).toThrow(/conv2d: x \[1, 2, 29, 29\] has 2 channels/);
    expect(() => compile(model, { inputShape: [1, 1, -1, 29] })).toThrow(ArgumentError);
    expect(() => noGrad(() => compile(model, { inputShape: [1, 1, 29, 29] }))).toThrow(/inside noGrad/);
    const inferring = () => inferenceMode(device, () => compile(model, { inputShape: [1, 1, 29, 29] }));
    expect(inferring).toThrow(/inside noGrad and inferenceMode nothing is recorded/);
    const compiled = compile(model, { inputShape: [1, 1, 29, 29] });
    expect(() => compiled.run(new Float32Array(3))).toThrow(/x has 3 elements; want 841 for \[1, 1, 29, 29\]/);
    expect(() => compiled.run(tensor([1, 2], { device }))).toThrow(/x has shape \[2\]; it was compiled for/);
    const foreign = tensor(image(1, 29), [1, 1, 29, 29], { device: reference() });
    expect(() => compiled.run(foreign)).toThrow(DeviceError);
    device.dispose();
  });
});
