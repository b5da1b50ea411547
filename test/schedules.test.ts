/** Learning-rate schedules, label smoothing, parameter groups, early stopping, frozen layers: against hand-worked numbers. */
import { describe, expect, it } from 'vitest';
import type { ImageDataset } from '../src/data/index.js';
import {
  BatchNorm2d,
  ChannelsLast,
  crossEntropy,
  d2lResnet,
  Flatten,
  Generator,
  grad,
  Linear,
  Module,
  mul,
  reference,
  Sequential,
  sgd,
  type Tensor,
  tensor,
} from '../src/index.js';
import {
  bestPoint,
  cosineSchedule,
  epochsSinceBest,
  freeze,
  type HistoryPoint,
  hashWeights,
  linearSchedule,
  multiStepSchedule,
  type Schedule,
  scheduleOf,
  stepSchedule,
  Trainer,
  type TrainerOptions,
  trainStep,
  withWarmup,
} from '../src/train/index.js';

const factors = (schedule: Schedule, total: number): number[] =>
  Array.from({ length: total }, (_, step) => schedule(step, total));

describe('schedules', () => {
  it('step: times gamma after every stepSize steps', () => {
    expect(factors(stepSchedule(2, 0.5), 7)).toEqual([1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]);
    expect(factors(stepSchedule(1), 3)).toEqual([1, 0.1, 0.1 * 0.1]);
    expect(factors(scheduleOf('step', { stepSize: 2, gamma: 0.5 }), 3)).toEqual([1, 1, 0.5]);
    // A long run ends: the power stops once it is 0.
    expect(stepSchedule(1, 0.5)(2 ** 50, 2 ** 51)).toBe(0);
  });

  it('multiStep: times gamma at each milestone, twice where it stands twice, in any order', () => {
    expect(factors(multiStepSchedule([2, 5], 0.5), 7)).toEqual([1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]);
    expect(factors(multiStepSchedule([3, 1, 3], 0.5), 5)).toEqual([1, 0.5, 0.5, 0.125, 0.125]);
    expect(factors(scheduleOf('multiStep', { milestones: [1], gamma: 0.25 }), 3)).toEqual([1, 0.25, 0.25]);
    const milestones = [1];
    const schedule = multiStepSchedule(milestones, 0.5);
    milestones[0] = 100;
    expect(schedule(1, 2)).toBe(0.5);
  });

  it('warm-up rises in equal parts to the schedule, which then has the rest of the steps', () => {
    expect(factors(withWarmup(linearSchedule, 3), 7)).toEqual([0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25]);
    expect(factors(withWarmup(multiStepSchedule([1], 0.5), 1), 4)).toEqual([0.5, 1, 0.5, 0.5]);
    const cosine = withWarmup(cosineSchedule, 1);
    expect(factors(cosine, 5).slice(1)).toEqual(factors(cosineSchedule, 4));
    expect(factors(withWarmup(cosineSchedule, 0), 5)).toEqual(factors(cosineSchedule, 5));
    // Shorter than its warm-up.
    expect(factors(withWarmup(cosineSchedule, 3), 2)).toEqual([0.25, 0.5]);
  });

  it('refuses options out of range, by name', () => {
    expect(() => stepSchedule(0)).toThrow(/stepSize is 0; want a whole number of at least 1/);
    expect(() => scheduleOf('step')).toThrow(/stepSize is NaN/);
    expect(() => stepSchedule(1, 0)).toThrow(/gamma is 0; want a number above 0, at most 1/);
    expect(() => stepSchedule(1, 1.5)).toThrow(/gamma is 1.5/);
    expect(() => multiStepSchedule([1, -1])).toThrow(/milestones\[1\] is -1; want a whole number of at least 0/);
    expect(() => withWarmup(linearSchedule, 0.5)).toThrow(/warm-up steps is 0.5; want a whole number of at least 0/);
  });
});

const device = reference();

/** Eight images of 12×12 pixels, all of class 0 but the last. */
function images(seed: number): ImageDataset {
  const generator = new Generator(seed);
  return {
    images: Uint8Array.from({ length: 8 * 144 }, () => generator.int(256)),
    shape: [8, 1, 12, 12],
    labels: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1),
    classes: ['a', 'b'],
  };
}

const tiny = (): Sequential =>
  d2lResnet({ device, generator: new Generator(3), numClasses: 2, channels: [2, 4], blocks: [1, 1] });

function trainerOf(model: Module, o: Partial<TrainerOptions> = {}): Trainer {
  const optimizer = o.optimizer ?? sgd(model.parameters(), { lr: 0.05 });
  const shared = { epochs: 2, batchSize: 4, generator: new Generator(1), init: 'asIs' } as const;
  return new Trainer({ model, optimizer, trainData: images(1), testData: images(2), ...shared, ...o });
}

describe('label smoothing', () => {
  /** A linear layer of zeros on two pixels: logits 0, so every probability is 1/2. */
  const zeros = (): Sequential => {
    const layer = new Linear(2, 2, { device });
    layer.weight.write([0, 0, 0, 0]);
    layer.bias?.write([0, 0]);
    return new Sequential(new Flatten(), layer);
  };
  const batch = {
    images: Float32Array.of(1, 0),
    shape: [1, 1, 1, 2] as const,
    labels: Int32Array.of(1),
    index: 0,
    indices: Int32Array.of(0),
  };

  it('moves the target: dLoss/dlogit is p − target', async () => {
    for (const [labelSmoothing, target] of [
      [0, 1],
      [0.5, 0.75],
    ]) {
      const model = zeros();
      await trainStep(model, sgd(model.parameters(), { lr: 1 }), batch, 1, { labelSmoothing });
      const step = target - 0.5;
      expect(Array.from(model.stateDict().get('1.bias')?.dataSync() as Float32Array)).toEqual([-step, step]);
    }
  });

  it('reaches the trainer, which refuses a bad one', async () => {
    const hashes = await Promise.all(
      [undefined, 0, 0.25].map(async (labelSmoothing) => {
        const model = tiny();
        await trainerOf(model, { labelSmoothing }).run();
        return hashWeights(model);
      }),
    );
    expect(hashes[1]).toBe(hashes[0]);
    expect(hashes[2]).not.toBe(hashes[0]);
    expect(() => trainerOf(tiny(), { labelSmoothing: 1.5 })).toThrow(
      /labelSmoothing is 1.5; want a number from 0 to 1/,
    );
  });
});

describe('the learning rates of groups', () => {
  it('are each multiplied by the schedule', async () => {
    const model = tiny();
    const [first, ...rest] = model.parameters();
    const optimizer = sgd([{ params: [first], lr: 0.5 }, { params: rest }], { lr: 0.25 });
    const rates: number[][] = [];
    const trainer = trainerOf(model, { optimizer, epochs: 1, schedule: linearSchedule });
    await trainer.run({ onStep: () => void rates.push(optimizer.paramGroups.map(({ lr }) => lr)) });
    expect(rates).toEqual([
      [0.5, 0.25],
      [0.25, 0.125],
    ]);
  });
});

/** Its k-th test is right on as many of eight images as `script[k]` says; training does not change it. */
class Scripted extends Module {
  readonly weight: Tensor = tensor([1], { device, requiresGrad: true });
  #tests = 0;
  constructor(readonly script: readonly number[]) {
    super();
  }
  override forward(x: Tensor): Tensor {
    const right = this.training ? 0 : this.script[this.#tests++];
    const labels = images(2).labels;
    const logits = Array.from({ length: x.shape[0] }, (_, n) => {
      const said = n < right ? labels[n] : 1 - labels[n];
      return [1 - said, said];
    });
    return mul(tensor(logits, { device }), this.weight);
  }
}

describe('early stopping', () => {
  const point = (testAcc: number | null): HistoryPoint => ({
    epoch: 0,
    step: 0,
    trainLoss: 0,
    trainAcc: 0,
    testAcc,
    seconds: 0,
  });

  it('counts tested epochs since the first of the best', () => {
    const history = [null, 0.5, null, 0.75, null, 0.75, null, 0.25].map(point);
    expect(bestPoint(history)).toBe(history[3]);
    expect(epochsSinceBest(history)).toBe(2);
    expect([bestPoint([]), epochsSinceBest([]), epochsSinceBest([point(null)])]).toEqual([null, 0, 0]);
  });

  it('ends the run after that many epochs without a better one, and tells of each best', async () => {
    const script = [3, 2, 5, 5, 4, 8, 8];
    const run = async (patience?: number): Promise<unknown> => {
      const model = new Scripted(script);
      const trainer = trainerOf(model, { epochs: 7, batchSize: 8, patience });
      const best: number[] = [];
      const told: string[] = [];
      const outcome = await trainer.run({
        onBest: ({ epoch }) => {
          best.push(epoch);
          told.push('best');
        },
        onEpoch: () => void told.push('epoch'),
      });
      expect(outcome).toBe('finished');
      expect(told.slice(0, 2)).toEqual(['best', 'epoch']);
      // Called again, it has nothing left to do.
      const { epoch } = trainer.state();
      await trainer.run();
      expect(trainer.state().epoch).toBe(epoch);
      return [epoch, best, trainer.stoppedEarly];
    };
    expect(await run()).toEqual([7, [1, 3, 6], false]);
    expect(await run(1)).toEqual([2, [1], true]);
    expect(await run(2)).toEqual([5, [1, 3], true]);
    expect(await run(3)).toEqual([7, [1, 3, 6], false]);
  });

  it('holds after a restored state too', async () => {
    const first = trainerOf(new Scripted([3, 2, 1, 0]), { epochs: 4, batchSize: 8, patience: 2 });
    await first.run();
    const second = trainerOf(new Scripted([8]), { epochs: 4, batchSize: 8, patience: 2 });
    second.restore(first.state());
    expect(second.stoppedEarly).toBe(true);
    await second.run();
    expect(second.state().epoch).toBe(3);
  });

  it('needs images to test on', () => {
    expect(() => trainerOf(tiny(), { patience: 0 })).toThrow(/patience is 0; want a whole number of at least 1/);
    expect(() => trainerOf(tiny(), { patience: 1, testData: undefined })).toThrow(/patience without testData/);
  });
});

describe('freeze', () => {
  it('leaves the frozen parts bit for bit as they were, running statistics included, while the rest learns', async () => {
    const model = tiny();
    const names = [...model.stateDict().keys()];
    const before = new Map([...model.stateDict()].map(([name, t]) => [name, t.dataSync()]));
    freeze(model, ['0', '1.0.bn1']);
    expect([...model.stateDict().keys()]).toEqual(names);
    const isFrozen = (name: string): boolean => name.startsWith('0.') || name.startsWith('1.0.bn1.');
    expect([...model.namedParameters().keys()].some(isFrozen)).toBe(false);
    await trainerOf(model).run();
    for (const [name, t] of model.stateDict()) {
      const same = t.dataSync().every((v, i) => Object.is(v, before.get(name)?.[i]));
      // A convolution's bias before batch norm has a gradient of rounding noise, or none.
      if (!/conv\d\.bias$/.test(name)) expect([name, same]).toEqual([name, isFrozen(name)]);
    }
  });

  it('keeps a frozen batch norm on its running statistics while the model trains', () => {
    const model = tiny();
    const x = tensor(images(1).images, [8, 1, 12, 12], { device });
    const trained = model.eval().forward(x).dataSync();
    freeze(model, ['']);
    expect(model.parameters()).toEqual([]);
    expect(model.train().forward(x).dataSync()).toEqual(trained);
    // Thawed, all is a parameter again and statistics are the batch's.
    freeze(model, [''], false);
    expect(model.parameters()).toHaveLength(tiny().parameters().length);
    expect(model.namedBuffers().size).toBe(tiny().namedBuffers().size);
    expect(model.forward(x).dataSync()).not.toEqual(trained);
  });

  it('spares grad the frozen parts, and says so when it is asked for one', () => {
    const model = tiny();
    const [first] = model.parameters();
    freeze(model, ['0']);
    const loss = crossEntropy(
      model.forward(tensor(images(1).images, [8, 1, 12, 12], { device })),
      Int32Array.from(images(1).labels),
    );
    expect(() => grad(loss, [first])).toThrow(/does not influence y/);
    expect(() => {
      loss.requiresGrad = false;
    }).toThrow(/requiresGrad: tensor \[\] is the result of an op; want a leaf/);
  });

  it('freezes the batch norm inside a module that shares the names of what it holds', () => {
    const norm = new BatchNorm2d(1, { device });
    const model = new Sequential(new ChannelsLast(new Sequential({ norm })));
    freeze(model, ['0.norm']);
    expect([norm.frozen, model.parameters()]).toEqual([true, []]);
  });

  it('refuses names that are nothing, and then freezes nothing', () => {
    const model = tiny();
    const count = model.parameters().length;
    expect(() => freeze(model, ['0', '0.we', 'fc'])).toThrow(/nothing called "0.we", "fc"/);
    expect(model.parameters()).toHaveLength(count);
    freeze(model, ['0.0.weight']);
    expect(model.parameters()).toHaveLength(count - 1);
  });
});
