/** The trainer: the chapter's semantics, the same bits on every device, stopping and going on, checkpoints, NaN. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import type { ImageDataset } from '../src/data/index.js';
import { batches } from '../src/data/index.js';
import { wasm } from '../src/device/wasm/index.js';
import {
  AtalhoError,
  adam,
  crossEntropy,
  type Device,
  d2lResnet,
  FormatError,
  Generator,
  grad,
  initXavierUniform,
  Linear,
  Module,
  mul,
  type Optimizer,
  OutOfMemoryError,
  reference,
  type Sequential,
  sgd,
  type Tensor,
  tensor,
  writeSafetensors,
} from '../src/index.js';
import { readSafetensors } from '../src/io/index.js';
import {
  accuracy,
  cosineSchedule,
  countCorrect,
  decodeCheckpoint,
  encodeCheckpoint,
  evaluateAccuracy,
  hashWeights,
  linearSchedule,
  NonFiniteLossError,
  NonFiniteParameterError,
  type RunConfig,
  restoreCheckpoint,
  scheduleOf,
  Trainer,
  type TrainerHooks,
  type TrainerOptions,
  trainStep,
} from '../src/train/index.js';
import { launchStep, settleSteps } from '../src/train/step.js';

const CLASSES = Array.from({ length: 10 }, (_, i) => `class ${i}`);

function randomImages(count: number, seed: number, extent = 12): ImageDataset {
  const generator = new Generator(seed);
  const images = Uint8Array.from({ length: count * extent * extent }, () => generator.int(256));
  const labels = Uint8Array.from({ length: count }, () => generator.int(10));
  return { images, shape: [count, 1, extent, extent], labels, classes: CLASSES };
}

const trainData = randomImages(22, 1);
const testData = randomImages(9, 2);

interface Setup {
  readonly trainer: Trainer;
  readonly model: Sequential;
}

type OptimizerOf = (model: Module) => Optimizer;
const momentumSgd: OptimizerOf = (model) => sgd(model.parameters(), { lr: 0.05, momentum: 0.9, weightDecay: 1e-3 });

/** A network of two stages on 22 images in batches of 8: 3 steps an epoch, the last of 6 images. */
function setup(device: Device, optimizerOf = momentumSgd, o: Partial<TrainerOptions> = {}): Setup {
  const generator = new Generator(7);
  const model = d2lResnet({ device, generator, channels: [4, 8], blocks: [1, 1] });
  const shared = { epochs: 3, batchSize: 8, resize: 16, generator, init: 'xavierUniform' } as const;
  const trainer = new Trainer({ model, optimizer: optimizerOf(model), trainData, testData, ...shared, ...o });
  return { trainer, model };
}

/** Stops the run after so many steps of this session. */
function stopAfter(steps: number): TrainerHooks {
  const controller = new AbortController();
  let done = 0;
  return {
    signal: controller.signal,
    onStep() {
      if (++done === steps) controller.abort();
    },
  };
}

const withoutSeconds = (trainer: Trainer): unknown => trainer.state().history.map(({ seconds: _, ...point }) => point);

describe('training', () => {
  it('gives the same hash of all weights on reference and on wasm, five steps', async () => {
    const hashes = [];
    for (const device of [reference(), await wasm()]) {
      const { trainer, model } = setup(device);
      await trainer.run(stopAfter(5));
      expect(trainer.state().step).toBe(5);
      hashes.push(await hashWeights(model));
      device.dispose();
    }
    expect(hashes[0]).toMatch(/^[0-9a-f]{64}$/);
    expect(hashes[1]).toBe(hashes[0]);
  });

  it('is train_ch6: Xavier weights, shuffled batches, sums over the epoch, tests after it', async () => {
    const device = reference();
    const { trainer, model } = setup(device, (m) => sgd(m.parameters(), { lr: 0.1 }), { epochs: 2 });

    // The chapter's loop, written out.
    const generator = new Generator(7);
    const net = d2lResnet({ device, generator, channels: [4, 8], blocks: [1, 1] });
    initXavierUniform(net, generator);
    expect(await hashWeights(model)).toBe(await hashWeights(net));
    const optimizer = sgd(net.parameters(), { lr: 0.1 });
    const expected: unknown[] = [];
    for (let epoch = 1; epoch <= 2; epoch++) {
      let [loss, correct, count] = [0, 0, 0];
      for await (const b of batches(trainData, { batchSize: 8, resize: 16, shuffle: true, generator })) {
        net.train();
        const yHat = net.forward(tensor(b.images, b.shape, { device }));
        const l = crossEntropy(yHat, b.labels);
        loss += l.item() * b.labels.length;
        correct += countCorrect(yHat.dataSync() as Float32Array, b.labels);
        count += b.labels.length;
        optimizer.step(grad(l, optimizer.params));
      }
      const testAcc = await evaluateAccuracy(net, testData, { batchSize: 8, resize: 16 });
      expected.push({ epoch, trainLoss: loss / count, trainAcc: correct / count, testAcc });
    }

    expect(await trainer.run()).toBe('finished');
    const ends = trainer.state().history.filter((point) => point.testAcc !== null);
    expect(ends.map(({ epoch, trainLoss, trainAcc, testAcc }) => ({ epoch, trainLoss, trainAcc, testAcc }))).toEqual(
      expected,
    );
    expect(await hashWeights(model)).toBe(await hashWeights(net));
    expect(trainer.state()).toMatchObject({ epoch: 2, position: 0, step: 6, images: 44 });
  });

  it('leaves a model alone with init asIs, and goes on with another order each epoch', async () => {
    const device = reference();
    const { trainer, model } = setup(device, undefined, { init: 'asIs' });
    const untouched = d2lResnet({ device, generator: new Generator(7), channels: [4, 8], blocks: [1, 1] });
    expect(await hashWeights(model)).toBe(await hashWeights(untouched));
    const first = trainer.state().generator;
    await trainer.run(stopAfter(4));
    expect(trainer.state().generator).not.toEqual(first);
  });

  it('frees everything that a step makes', async () => {
    const device = await wasm();
    const { trainer } = setup(device, undefined, { epochs: 8 });
    const used: number[] = [];
    await trainer.run({
      onStep: () => void used.push(device.memory().used),
      onTest: () => void used.push(device.memory().used),
    });
    expect(new Set(used).size).toBe(1);
  });

  it('multiplies the learning rate by the schedule', async () => {
    const device = reference();
    const { trainer } = setup(device, undefined, { schedule: cosineSchedule });
    const rates: number[] = [];
    await trainer.run({ onStep: ({ lr }) => void rates.push(lr) });
    expect(rates).toHaveLength(9);
    for (const [i, lr] of rates.entries()) expect(lr).toBeCloseTo((0.05 * (1 + Math.cos((Math.PI * i) / 9))) / 2, 15);
    expect(rates[0]).toBe(0.05);
    expect([0, 1, 3].map((step) => linearSchedule(step, 4))).toEqual([1, 0.75, 0.25]);
    expect(() => scheduleOf('sine' as 'linear')).toThrow(/name is "sine"; want one of constant, linear, cosine/);
  });

  it('refuses options that make no run', () => {
    const device = reference();
    expect(() => setup(device, undefined, { epochs: 0 })).toThrow(/epochs is 0; want a whole number of at least 1/);
    expect(() => setup(device, undefined, { batchSize: 1.5 })).toThrow(/batchSize is 1.5/);
    expect(() => setup(device, undefined, { trainData: randomImages(0, 1) })).toThrow(/trainData has no image/);
    expect(() => setup(device, undefined, { init: 'kaiming' as 'asIs' })).toThrow(/init is "kaiming"/);
  });

  it('refuses a last batch of one image where maps are 1×1, before the first step, and changes nothing', async () => {
    const device = await wasm();
    const one = { trainData: randomImages(17, 1), testData: undefined, epochs: 1 };
    const { trainer, model } = setup(device, undefined, { ...one, resize: 4 });
    const before = await hashWeights(model);
    const used = device.memory().used;
    const failed = trainer.run();
    await expect(failed).rejects.toThrow(
      /^Trainer: the last batch of an epoch is 1 image \(limit 17, batchSize 8\), which .*; want another limit or batchSize/,
    );
    await expect(failed).rejects.toThrow(/1 value per channel/);
    expect(trainer.state().step).toBe(0);
    expect(await hashWeights(model)).toBe(before);
    expect(device.memory().used).toBe(used);

    // Larger maps have enough values in one image; and the look ahead leaves no trace in the bits.
    const large = setup(device, undefined, one);
    expect(await large.trainer.run({ signal: AbortSignal.abort() })).toBe('stopped');
    expect(await hashWeights(large.model)).toBe(await hashWeights(setup(device, undefined, one).model));
    expect(await large.trainer.run()).toBe('finished');
    device.dispose();
  });

  it('counts right answers, first of equals, NaN above all', () => {
    expect(countCorrect([1, 2, 2, 3, 1, 0], [1, 0])).toBe(2);
    expect(accuracy([1, Number.NaN, 5, 0, 0, 0], [1, 2])).toBe(0.5);
    expect(() => countCorrect([1, 2, 3], [0, 1])).toThrow(/3 logits for 2 labels/);
  });

  it('hashes name, dtype, shape and bytes of every entry in order', async () => {
    const device = reference();
    const model = d2lResnet({ device, channels: [4], blocks: [1] });
    const hash = createHash('sha256');
    for (const [name, t] of model.stateDict()) {
      hash.update(`${name} ${t.dtype} [${t.shape.join(', ')}]\n`);
      hash.update(Buffer.from(t.dataSync().buffer));
    }
    const before = await hashWeights(model);
    expect(before).toBe(hash.digest('hex'));
    const bias = model.stateDict().get('4.bias') as Tensor;
    bias.write((bias.dataSync() as Float32Array).map((v, i) => (i === 9 ? v + 1e-7 : v)));
    expect(await hashWeights(model)).not.toBe(before);
  });
});

const CONFIG: RunConfig = { model: 'small', lr: 0.05, limit: null };

const optimizers: readonly [string, OptimizerOf][] = [
  ['sgd with momentum', momentumSgd],
  ['plain sgd', (model) => sgd(model.parameters(), { lr: 0.05 })],
  ['adam', (model) => adam(model.parameters(), { lr: 0.01 })],
];

describe('stopping and going on', () => {
  it.each(optimizers)('ends with the same bits after a stop at any step: %s', async (_, optimizerOf) => {
    const device = await wasm();
    const schedule = cosineSchedule;
    const whole = setup(device, optimizerOf, { schedule });
    await whole.trainer.run();
    const want = await hashWeights(whole.model);
    for (let at = 1; at < 9; at++) {
      const first = setup(device, optimizerOf, { schedule });
      expect(await first.trainer.run(stopAfter(at))).toBe('stopped');
      const bytes = await encodeCheckpoint(first.trainer, CONFIG, 'test');

      const second = setup(device, optimizerOf, { schedule });
      restoreCheckpoint(second.trainer, decodeCheckpoint(bytes, 'a file'), CONFIG);
      expect(second.trainer.state()).toEqual(first.trainer.state());
      expect(await second.trainer.run()).toBe('finished');
      expect(await hashWeights(second.model)).toBe(want);
      expect(withoutSeconds(second.trainer)).toEqual(withoutSeconds(whole.trainer));

      // The trainer that was stopped can go on too.
      expect(await first.trainer.run()).toBe('finished');
      expect(await hashWeights(first.model)).toBe(want);
    }
    device.dispose();
  });

  it('stops while testing, and tests again', async () => {
    const device = await wasm();
    const whole = setup(device);
    await whole.trainer.run();
    const first = setup(device);
    const controller = new AbortController();
    expect(await first.trainer.run({ signal: controller.signal, onTest: () => controller.abort() })).toBe('stopped');
    expect(first.trainer.state()).toMatchObject({ epoch: 0, position: 3, step: 3 });
    const second = setup(device);
    const bytes = await encodeCheckpoint(first.trainer, CONFIG, 'test');
    restoreCheckpoint(second.trainer, decodeCheckpoint(bytes, 'a file'), CONFIG);
    await second.trainer.run();
    expect(await hashWeights(second.model)).toBe(await hashWeights(whole.model));
    expect(withoutSeconds(second.trainer)).toEqual(withoutSeconds(whole.trainer));
    device.dispose();
  });
});

/** Overflows after its layer: the op at fault has no parameter of its own. */
class Overflow extends Module {
  readonly head: Linear;
  constructor(private readonly device: Device) {
    super();
    this.head = new Linear(4, 10, { device });
  }
  override forward(x: Tensor): Tensor {
    return mul(this.head.forward(x), tensor(3e38, [], { device: this.device }));
  }
}

describe('a loss that is not finite', () => {
  const cases: readonly [string, string, (data: Float32Array) => void, RegExp][] = [
    [
      'a parameter that holds NaN',
      '1.0.conv1.weight',
      (d) => d.fill(Number.NaN, 3, 4),
      /^parameter 1\.0\.conv1\.weight$/,
    ],
    [
      'a convolution that overflows',
      '2.0.conv2.weight',
      (d) => d.fill(3e38),
      /^conv2d of 2\.0\.conv2, result \[8, 8, 2, 2\]$/,
    ],
    [
      'a batch norm that overflows',
      '1.0.bn2.bias',
      (d) => d.fill(Number.POSITIVE_INFINITY),
      /^parameter 1\.0\.bn2\.bias$/,
    ],
    [
      'a batch norm of huge weights',
      '1.0.bn1.weight',
      (d) => d.fill(3.4e38),
      /^batchNormRelu of 1\.0\.bn1, result \[8, 4, 4, 4\]$/,
    ],
    [
      'the last layer',
      '5.weight',
      (d) =>
        d.forEach((_, i) => {
          d[i] = i % 2 ? 3e38 : -3e38;
        }),
      /^linear of 5, result \[8, 10\]$/,
    ],
  ];
  it.each(cases)('names the layer: %s', async (_, name, poison, layer) => {
    for (const device of [reference(), await wasm()]) {
      const { trainer, model } = setup(device);
      const parameter = model.stateDict().get(name) as Tensor;
      let before = '';
      const poisonAfterFourth: TrainerHooks = {
        async onStep({ step }) {
          // Not at the end of an epoch, where the weights are looked at.
          if (step !== 4) return;
          const data = parameter.dataSync() as Float32Array;
          poison(data);
          parameter.write(data);
          before = JSON.stringify(model.parameters().map((t) => [...t.dataSync()]));
        },
      };
      const error = await trainer.run(poisonAfterFourth).then(
        () => null,
        (e: unknown) => e,
      );
      expect(error).toBeInstanceOf(NonFiniteLossError);
      const { step, layer: got, message } = error as NonFiniteLossError;
      expect(step).toBe(5);
      expect(got).toMatch(layer);
      expect(message).toMatch(
        /^train: loss is (NaN|Infinity) at step 5; the first value that is not finite came from /,
      );
      // The step that failed updated nothing and freed what it had made.
      expect(JSON.stringify(model.parameters().map((t) => [...t.dataSync()]))).toBe(before);
      expect(trainer.state().step).toBe(4);
      device.dispose();
    }
  });

  it('names an op without parameters by the layer before it, and an input', async () => {
    const device = reference();
    const model = new Overflow(device);
    const optimizer = sgd(model.parameters(), { lr: 1 });
    const batch = (value: number) => ({
      images: new Float32Array(8).fill(value),
      shape: [2, 4] as unknown as [number, number, number, number],
      labels: Int32Array.of(1, 2),
      index: 0,
      indices: Int32Array.of(0, 1),
    });
    await expect(trainStep(model, optimizer, batch(20), 1)).rejects.toThrow(
      /came from mul after linear of head, result \[2, 10\]$/,
    );
    await expect(trainStep(model, optimizer, batch(Number.NaN), 1)).rejects.toThrow(/came from the input \[2, 4\]$/);
  });
});

it('a step whose results find no memory to be read leaves nothing behind', async () => {
  const device = await wasm();
  const model = new Linear(4, 3, { device, generator: new Generator(1) });
  const optimizer = sgd(model.parameters(), { lr: 0.1 });
  const batch = {
    images: new Float32Array(8).fill(1),
    shape: [2, 4] as unknown as [number, number, number, number],
    labels: Int32Array.of(1, 2),
    index: 0,
    indices: Int32Array.of(0, 1),
  };
  await trainStep(model, optimizer, batch, 1);
  const { used } = device.memory();
  const launched = launchStep(model, optimizer, batch, 2);
  const alloc = vi.spyOn(device, 'alloc').mockImplementation((size) => {
    throw new OutOfMemoryError('no', 4 * size, 0);
  });
  await expect(settleSteps([launched], 2)).rejects.toThrow(OutOfMemoryError);
  alloc.mockRestore();
  expect(device.memory().used).toBe(used);
  device.dispose();
});

describe('a weight that is not finite', () => {
  /** A device whose memory the CPU cannot read at once. */
  function distant(): Device {
    const device = reference();
    return new Proxy(device, {
      get(target, key) {
        if (key === 'readSync') return undefined;
        return key === 'read' ? target.read.bind(target) : Reflect.get(target, key, target);
      },
    });
  }

  it('goes on from the state that a hook at the end of an epoch leaves when it throws, to the same bits', async () => {
    const device = await wasm();
    const whole = setup(device);
    await whole.trainer.run();
    for (const hook of ['onPoint', 'onBest', 'onEpoch'] as const) {
      const { trainer, model } = setup(device);
      const throws = (point: { testAcc: number | null }): void => {
        if (point.testAcc !== null) throw new Error('the disk is full');
      };
      await expect(trainer.run({ [hook]: throws })).rejects.toThrow('the disk is full');
      expect(trainer.state().epoch, hook).toBe(1);
      // One that a checkpoint could hold.
      trainer.restore(trainer.state());
      expect(await trainer.run()).toBe('finished');
      expect(await hashWeights(model), hook).toBe(await hashWeights(whole.model));
      expect(withoutSeconds(trainer), hook).toEqual(withoutSeconds(whole.trainer));
    }
    device.dispose();
  });

  it('ends an epoch with an error that names it, though no loss was', async () => {
    const device = await wasm();
    const { trainer } = setup(device, (m) => sgd(m.parameters(), { lr: 1e39 }), { batchSize: 22, epochs: 1 });
    const points: number[] = [];
    const error = await trainer.run({ onPoint: ({ step }) => void points.push(step) }).then(
      () => null,
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(NonFiniteParameterError);
    const { step, parameter, message } = error as NonFiniteParameterError;
    expect([step, parameter]).toEqual([1, '0.0.weight']);
    expect(message).toMatch(/^train: 0\.0\.weight holds (NaN|-?Infinity) after step 1; want finite values/);
    expect(points).toEqual([]);
    device.dispose();
  });

  it('is in no checkpoint', async () => {
    const { trainer, model } = setup(reference());
    const bias = model.stateDict().get('5.bias') as Tensor;
    bias.write(new Float32Array(10).fill(Number.NEGATIVE_INFINITY, 9));
    await expect(encodeCheckpoint(trainer, CONFIG, 'test')).rejects.toThrow(
      /^train: 5\.bias holds -Infinity after step 0/,
    );
  });

  it('checkpoints are the same from a device that the CPU cannot read at once', async () => {
    const bytes = await Promise.all(
      [reference(), distant()].map((device) => encodeCheckpoint(setup(device).trainer, CONFIG, 'test')),
    );
    expect(Buffer.compare(bytes[0], bytes[1])).toBe(0);
  });
});

describe('checkpoints', () => {
  const device = reference();
  const made = (async () => {
    const { trainer } = setup(device, undefined, { epochs: 2 });
    await trainer.run(stopAfter(4));
    return encodeCheckpoint(trainer, CONFIG, 'atalho 0.1.0');
  })();
  const target = setup(device, undefined, { epochs: 2 });

  /** Reads and restores; the message of what goes wrong, null if nothing. Anything but our errors escapes. */
  function verdict(bytes: Uint8Array): string | null {
    try {
      restoreCheckpoint(target.trainer, decodeCheckpoint(bytes, 'runs/x/step-4'), CONFIG);
      return null;
    } catch (error) {
      if (!(error instanceof AtalhoError)) throw error;
      return `${error.name}: ${error.message}`;
    }
  }

  function withMetadata(bytes: Uint8Array, change: Readonly<Record<string, string>>): Uint8Array {
    const file = readSafetensors(bytes);
    return writeSafetensors(file, { ...file.metadata, ...change });
  }

  it('refuse another numerics version, another config, another model, and say so', async () => {
    const bytes = await made;
    expect(verdict(bytes)).toBeNull();
    expect(verdict(withMetadata(bytes, { numerics: '999' }))).toMatch(
      /^AtalhoError: runs\/x\/step-4: written by atalho 0\.1\.0 under numerics 999; this is numerics \d+/,
    );
    const other = JSON.stringify({ ...CONFIG, lr: 0.1 });
    expect(verdict(withMetadata(bytes, { config: other }))).toMatch(/of another run: lr is 0\.1 there and 0\.05 here/);
    expect(verdict(withMetadata(bytes, { format: '2' }))).toMatch(/checkpoint format is "2"; want 1/);
    const file = readSafetensors(bytes);
    file.delete('model.0.0.weight');
    expect(verdict(writeSafetensors(file, file.metadata))).toMatch(
      /^FormatError: runs\/x\/step-4: .*missing: 0\.0\.weight/,
    );
    const counterless = readSafetensors(bytes);
    counterless.delete('model.0.1.num_batches_tracked');
    expect(verdict(writeSafetensors(counterless, counterless.metadata))).toMatch(
      /^FormatError: runs\/x\/step-4: missing: 0\.1\.num_batches_tracked$/,
    );
    expect(verdict(writeSafetensors([...file, ['x', file.get('model.5.bias')!]], file.metadata))).toMatch(
      /tensor "x" is neither/,
    );
  });

  it('name the field of the state that is wrong', async () => {
    const bytes = await made;
    const state = JSON.parse(readSafetensors(bytes).metadata.state) as Record<string, unknown>;
    const cases: [Record<string, unknown>, RegExp][] = [
      [{ step: -1 }, /state\.step is -1; want a whole number/],
      [{ step: 5 }, /state\.step is 5; want 4, for epoch 1 and position 1/],
      [{ epoch: 7 }, /state\.epoch is 7; want at most 2/],
      [{ position: 4, step: 7 }, /state\.position is 4; want at most 3/],
      [{ count: 9 }, /state\.count is 9; want 8/],
      [{ correct: 9 }, /state\.correct is 9; want at most 8/],
      [{ images: 1 }, /state\.images is 1; want 30/],
      [{ lossSum: null }, /state\.lossSum is null; want a number/],
      [{ generator: [1, 2, 3] }, /state\.generator is \[1,2,3\]/],
      [{ history: [] }, /state\.history has 0 points; want 4/],
      [{ history: [{}] }, /state\.history\[0\]\.epoch is missing/],
      [{ seconds: undefined }, /state\.seconds is missing/],
    ];
    for (const [change, message] of cases) {
      expect(verdict(withMetadata(bytes, { state: JSON.stringify({ ...state, ...change }) }))).toMatch(message);
    }
    expect(verdict(withMetadata(bytes, { state: '[' }))).toMatch(/state is not valid JSON/);
    expect(verdict(withMetadata(bytes, { state: '{"__proto__": {"step": 4}}' }))).toMatch(
      /state\.generator is missing/,
    );
  });

  it('survive 4,000 hostile variants: each a clear error that names the file, or a correct read', async () => {
    const bytes = await made;
    const headerEnd = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
    const file = readSafetensors(bytes);
    const state = JSON.parse(file.metadata.state) as Record<string, unknown>;
    const wild = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.double(),
      fc.maxSafeInteger(),
      fc.constantFrom(-0, 1e308, 2 ** 53, '4'),
    );
    const stateChange = fc
      .tuple(fc.constantFrom(...Object.keys(state), '__proto__', 'extra'), wild)
      .map(([key, value]) => withMetadata(bytes, { state: JSON.stringify({ ...state, [key]: value }) }));
    const rawField = fc
      .tuple(
        fc.constantFrom('state', 'config', 'numerics', 'format', 'writer'),
        fc.oneof(fc.string({ unit: 'grapheme' }), fc.json()),
      )
      .map(([key, value]) => withMetadata(bytes, { [key]: value.replace(/\p{Surrogate}/gu, '?') }));
    const flip = (from: number, to: number) =>
      fc
        .array(fc.tuple(fc.integer({ min: from, max: to - 1 }), fc.integer({ min: 0, max: 255 })), {
          minLength: 1,
          maxLength: 4,
        })
        .map((changes) => {
          const copy = bytes.slice();
          for (const [at, value] of changes) copy[at] = value;
          return copy;
        });
    const cut = fc.integer({ min: 0, max: bytes.length - 1 }).map((length) => bytes.slice(0, length));
    const longer = fc.uint8Array({ minLength: 1, maxLength: 64 }).map((tail) => Uint8Array.from([...bytes, ...tail]));
    const moved = fc
      .tuple(fc.constantFrom(...file.keys()), fc.constantFrom(...file.keys(), '__proto__'))
      .map(([from, to]) => {
        const entries = new Map(file);
        const taken = entries.get(from)!;
        entries.delete(from);
        return writeSafetensors(entries.set(to, taken), file.metadata);
      });
    const hostile = fc.oneof(stateChange, rawField, flip(0, headerEnd), flip(0, bytes.length), cut, longer, moved);
    let [errors, reads] = [0, 0];
    fc.assert(
      fc.property(hostile, (variant) => {
        const message = verdict(variant);
        if (message === null) reads++;
        else {
          errors++;
          expect(message).toContain('runs/x/step-4');
        }
      }),
      { numRuns: 4000, seed: 20 },
    );
    expect(errors).toBeGreaterThan(2000);
    expect(reads).toBeGreaterThan(10);
    expect(verdict(bytes)).toBeNull();
  }, 120_000);

  it('are FormatErrors where they are damaged', async () => {
    expect(() => decodeCheckpoint(new Uint8Array(3), 'f')).toThrow(FormatError);
    expect(() => decodeCheckpoint(writeSafetensors([], {}), 'f')).toThrow(/^f: metadata has no format; no checkpoint/);
  });
});
