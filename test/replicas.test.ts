/** A step over several devices against the same step on one. */
import { describe, expect, it } from 'vitest';
import {
  adam,
  crossEntropy,
  type Device,
  d2lResnet,
  Generator,
  grad,
  Linear,
  type Module,
  meta,
  type Optimizer,
  reference,
  type Sequential,
  sgd,
  type Tensor,
  tensor,
  wasm,
} from '../src/index.js';
import { freeze, hashWeights, NonFiniteLossError, Replicas, replicas, trainStep } from '../src/train/index.js';

const SIZE = 16;

const small = (device: Device): Sequential =>
  d2lResnet({ device, channels: [4, 8], blocks: [1, 1], numClasses: 5, seed: 3 });

interface Images {
  readonly images: Float32Array<ArrayBuffer>;
  readonly shape: [number, number, number, number];
  readonly labels: Int32Array<ArrayBuffer>;
}

function draw(count: number, seed: number): Images {
  const generator = new Generator(seed);
  const shape: Images['shape'] = [count, 1, SIZE, SIZE];
  const labels = Int32Array.from({ length: count }, () => generator.int(5));
  return { images: generator.uniformArray(shape, 1) as Float32Array<ArrayBuffer>, shape, labels };
}

const whole = (batch: Images) => ({ ...batch, index: 0, indices: new Int32Array(batch.labels.length) });

const momentum = (model: Module): Optimizer => sgd(model.parameters(), { lr: 0.1, momentum: 0.9, weightDecay: 1e-3 });

/** What the step is said to do, on one device, with plain numbers: shares of given sizes, one after another. */
function stepInParts(
  model: Module,
  optimizer: Optimizer,
  { images, labels }: Images,
  sizes: readonly number[],
): number {
  const [{ device, dtype }] = optimizer.params;
  const round = dtype === 'float64' ? (v: number) => v : Math.fround;
  const buffers = [...model.namedBuffers()].filter(([, t]) => t.dtype !== 'int64');
  const before = buffers.map(([, t]) => t.dataSync());
  const means = before.map((values) => new Float64Array(values.length));
  const counters = [...model.namedBuffers().values()].filter((t) => t.dtype === 'int64');
  const counts = counters.map((t) => t.dataSync());
  const sums: number[][] = [];
  let from = 0;
  let mean = 0;
  for (const [k, size] of sizes.entries()) {
    for (const [i, [, t]] of buffers.entries()) t.write(before[i] as Float32Array);
    for (const [i, t] of counters.entries()) t.write(counts[i] as BigInt64Array);
    const pixels = images.subarray(from * SIZE * SIZE, (from + size) * SIZE * SIZE);
    const x = tensor(pixels, [size, 1, SIZE, SIZE], { device });
    const loss = crossEntropy(model.forward(x), labels.subarray(from, from + size));
    const share = size / labels.length;
    mean += loss.item() * share;
    const dy = size === labels.length ? undefined : tensor(share, { device });
    for (const [i, g] of grad(loss, optimizer.params, dy).entries()) {
      const values = Array.from(g.dataSync() as Float32Array);
      sums[i] = k === 0 ? values : sums[i].map((sum, j) => round(sum + values[j]));
    }
    for (const [i, [, t]] of buffers.entries()) {
      const now = t.dataSync() as Float32Array;
      means[i] = means[i].map((sum, j) => sum + now[j]);
    }
    from += size;
  }
  for (const [i, [, t]] of buffers.entries()) t.write(means[i].map((sum) => sum / sizes.length));
  optimizer.step(sums.map((sum, i) => tensor(sum, optimizer.params[i].shape, { device })));
  return mean;
}

const values = (model: Module): Map<string, number[]> =>
  new Map([...model.stateDict()].map(([name, t]) => [name, Array.from(t.dataSync(), Number)]));

const TEAMS: readonly (readonly [string, () => Promise<Device[]>])[] = [
  ['one reference', async () => [reference()]],
  ['reference and reference', async () => [reference(), reference()]],
  ['reference and wasm', async () => [reference(), await wasm()]],
  ['wasm, reference and wasm', async () => [await wasm(), reference(), await wasm()]],
  ['two of float64', async () => [reference({ dtype: 'float64' }), reference({ dtype: 'float64' })]],
];

describe.each(TEAMS)('a step on %s', (_, makeDevices) => {
  it('is bit for bit that of one device which takes the shares in turn', async () => {
    const devices = await makeDevices();
    const team = replicas(devices, small);
    const alone = small(reference({ dtype: devices[0].dtype }));
    const [optimizer, other] = [momentum(team.model), momentum(alone)];
    for (const [step, count] of [7, 6, 8].entries()) {
      const batch = draw(count, step);
      const sizes = devices.map((__, i) => Math.floor((count + devices.length - 1 - i) / devices.length));
      const { loss, correct } = await team.step(optimizer, batch, step + 1);
      expect(loss).toBe(stepInParts(alone, other, batch, sizes));
      expect(correct).toBeLessThanOrEqual(count);
      const hash = await hashWeights(alone);
      for (const model of team.models) expect(await hashWeights(model)).toBe(hash);
    }
    expect(team.model.stateDict().get('0.1.num_batches_tracked')?.dataSync()).toEqual(BigInt64Array.of(3n));
    team.dispose();
  });

  it('with batch norm in eval mode is that of the whole batch on one device, but for rounding', async () => {
    const devices = await makeDevices();
    const double = devices[0].dtype === 'float64';
    const team = replicas(devices, small);
    const alone = small(reference({ dtype: devices[0].dtype }));
    team.model.eval();
    alone.eval();
    const first = values(alone);
    const batch = draw(9, 5);
    const many = await team.step(momentum(team.model), batch, 1);
    const one = await trainStep(alone, momentum(alone), whole(batch), 1);
    // The seed is divided by the images of a share and multiplied by it, and sums are added up in other parts.
    const bound = double ? 1e-14 : 2e-6;
    expect(Math.abs(many.loss - one.loss)).toBeLessThanOrEqual(bound * one.loss);
    expect(many.correct).toBe(one.correct);
    let [off, step] = [0, 0];
    for (const [name, got] of values(team.model)) {
      const want = values(alone).get(name) as number[];
      const start = first.get(name) as number[];
      got.forEach((v, i) => {
        off += (v - want[i]) ** 2;
        step += (want[i] - start[i]) ** 2;
      });
    }
    expect(step).toBeGreaterThan(1e-3);
    expect(Math.sqrt(off / step)).toBeLessThanOrEqual(bound);
    if (devices.length === 1) expect(off).toBe(0);
    team.dispose();
  });
});

describe('replicas', () => {
  it("takes over the first model's weights, and what is loaded into it later", async () => {
    let seed = 0;
    const different = (device: Device): Sequential => d2lResnet({ device, channels: [4], blocks: [1], seed: seed++ });
    const team = replicas([reference(), reference()], different);
    const alone = d2lResnet({ device: reference(), channels: [4], blocks: [1], seed: 9 });
    team.model.loadStateDict(alone.stateDict());
    const [optimizer, other] = [momentum(team.model), momentum(alone)];
    const batch = draw(4, 1);
    await team.step(optimizer, batch, 1);
    stepInParts(alone, other, batch, [2, 2]);
    for (const model of team.models) expect(await hashWeights(model)).toBe(await hashWeights(alone));
  });

  it('trains a part of the parameters, and every module in the mode it has in the first model', async () => {
    const team = replicas([reference(), await wasm()], small);
    const head = (team.model as Sequential).at(-1) as Linear;
    (team.model as Sequential).at(0).eval();
    const before = values(team.model);
    await team.step(adam([head.weight, head.bias as Tensor], { lr: 0.1 }), draw(5, 1), 1);
    const after = values(team.model);
    const changed = [...before.keys()].filter((name) => before.get(name)?.join() !== after.get(name)?.join());
    expect(changed.filter((name) => !/^[12]\.0\.bn|\.num_batches/.test(name))).toEqual(['5.weight', '5.bias']);
    expect(changed).not.toContain('0.1.running_mean');
    expect(values(team.models[1])).toEqual(after);
  });

  it('leaves what is frozen as it is, on every device, running statistics too', async () => {
    const team = replicas([reference(), reference()], small);
    freeze(team.model, ['0', '1']);
    const before = [...team.model.stateDict()].map(([name, t]) => [name, [...t.dataSync()]] as const);
    await team.step(momentum(team.model), whole(draw(6, 1)), 1);
    await team.step(momentum(team.model), whole(draw(6, 2)), 2);
    const after = team.model.stateDict();
    for (const [name, values] of before) {
      const same = [...(after.get(name) as Tensor).dataSync()].every((v, i) => v === values[i]);
      expect(same, name).toBe(/^[01]\./.test(name));
    }
  });

  it('learns, and leaves no memory behind', async () => {
    const devices = [await wasm(), reference()];
    const team = replicas(devices, small);
    const optimizer = momentum(team.model);
    const batch = draw(10, 2);
    const losses: number[] = [];
    let used: number[] = [];
    for (let step = 1; step <= 12; step++) {
      losses.push((await team.step(optimizer, batch, step)).loss);
      const now = devices.map((device) => device.memory().used);
      if (step > 1) expect(now).toEqual(used);
      used = now;
    }
    expect(losses[11]).toBeLessThan(losses[0] / 2);
    optimizer.dispose();
    team.dispose();
    expect(devices.map((device) => device.memory().used)).toEqual([0, 0]);
    await expect(team.step(optimizer, batch, 13)).rejects.toThrow(/^replicas: they were disposed/);
  });

  it('updates no parameter when a loss is not finite, says where, and goes on', async () => {
    const devices = [reference(), reference()];
    const team = replicas(devices, small);
    const optimizer = momentum(team.model);
    const params = () => team.model.parameters().map((p) => Array.from(p.dataSync(), Number).join());
    const before = params();
    const batch = draw(4, 1);
    const bad = { ...batch, images: batch.images.map((v, i) => (i === 3 * SIZE * SIZE ? Number.NaN : v)) };
    const used = devices.map((device) => device.memory().used);
    const failure = team.step(optimizer, bad, 7);
    await expect(failure).rejects.toThrow(NonFiniteLossError);
    await expect(failure).rejects.toThrow(
      /^train: loss is NaN at step 7; the first value that is not finite came from the input \[2, 1, 16, 16\], on device 2 of 2$/,
    );
    expect(params()).toEqual(before);
    expect(devices.map((device) => device.memory().used)).toEqual(used);
    await team.step(optimizer, batch, 8);
    expect(values(team.models[1])).toEqual(values(team.model));
  });

  it('says what it cannot take', async () => {
    const device = reference();
    expect(() => replicas([], small)).toThrow(/^replicas: devices is empty; want at least one/);
    expect(() => replicas([device, reference(), device], small)).toThrow(
      /^replicas: devices\[2\] \(reference\) is devices\[0\] again; want each once/,
    );
    expect(() => replicas([device, reference({ dtype: 'float64' })], small)).toThrow(/want one dtype/);
    const one = small(device);
    expect(() => replicas([device, reference()], () => one)).toThrow(/make gave the same model|is not on devices\[1\]/);
    let classes = 3;
    const grows = (d: Device): Sequential =>
      d2lResnet({ device: d, channels: [4], blocks: [1], numClasses: classes++ });
    expect(() => replicas([device, reference()], grows)).toThrow(
      /^replicas: 4\.weight \[4, 4\] of devices\[1\] \(reference\) is \[3, 4\] in the first model/,
    );
    const team = replicas([device, reference()], small);
    expect(team).toBeInstanceOf(Replicas);
    const optimizer = momentum(team.model);
    await expect(team.step(optimizer, draw(1, 1), 1)).rejects.toThrow(
      /^replicas: the batch has 1 image for 2 devices; want at least one for each/,
    );
    await expect(team.step(momentum(team.models[1]), draw(4, 1), 1)).rejects.toThrow(
      /^replicas: params\[0\] \[4, 1, 7, 7\] of the optimizer is no parameter of the first model/,
    );
    team.dispose();
    await expect(team.step(optimizer, draw(4, 1), 1)).rejects.toThrow(/^replicas: they were disposed/);
    const empty = replicas([meta()], (d) => new Linear(2, 2, { device: d }));
    expect(empty.models).toHaveLength(1);
  });
});
