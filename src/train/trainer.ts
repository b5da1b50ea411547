/**
 * The chapter's training loop (`train_ch6` of d2l.ai), as a value that can stop after any step and go on bit for bit.
 * It knows neither a file system nor a screen: hooks tell what happens.
 */
import type { Augmentation } from '../data/augment.js';
import type { ImageDataset } from '../data/dataset.js';
import { type Batch, batches, countBatches } from '../data/loader.js';
import type { Normalization } from '../data/normalize.js';
import type { Prefetch } from '../data/prefetch.js';
import { ArgumentError, FormatError } from '../errors.js';
import type { AbortSignalLike } from '../hostTypes.js';
import type { Module } from '../nn/module.js';
import { initXavierUniform } from '../nn/xavier.js';
import type { Optimizer } from '../optim/optimizer.js';
import { Generator } from '../random.js';
import type { Pair } from '../shape.js';
import { evaluateAccuracy } from './evaluate.js';
import { checkLastBatch } from './lastBatch.js';
import { finiteState } from './nonFinite.js';
import { constantSchedule, type Schedule } from './schedule.js';
import { bestPoint, epochsSinceBest, type HistoryPoint, type TrainerState } from './state.js';
import { disposeSteps, type LaunchedStep, launchStep, settleSteps } from './step.js';
import { yieldToEventLoop } from './yieldToEventLoop.js';

/** What a run trains, on which images, for how long. */
export interface TrainerOptions {
  readonly model: Module;
  /** Over the model's parameters, on its device. The `lr` of each of its groups is what `schedule` multiplies. */
  readonly optimizer: Optimizer;
  /** Images to train on; each epoch takes all of them in a new order. */
  readonly trainData: ImageDataset;
  /** Images to test on after each epoch; none by default. */
  readonly testData?: ImageDataset;
  readonly epochs: number;
  /**
   * Images a batch; the last one of an epoch has the rest. That may be one image only where the model can train on one
   * alone: batch norm cannot once its maps are 1×1. `run` refuses it before the first step.
   */
  readonly batchSize: number;
  /** `size` or `[height, width]` in pixels, as Pillow's BILINEAR does; the images' own size by default. */
  readonly resize?: Pair;
  /** Random crops and flips of the training images; none by default. */
  readonly augment?: Augmentation;
  /** Mean and std of each channel, for training and testing; none by default. */
  readonly normalization?: Normalization;
  /** Where `init`'s weights are drawn from; a copy of it, taken then, draws the order of each epoch, and its crops and flips. */
  readonly generator: Generator;
  /**
   * 'xavierUniform' draws the weights of all Conv2d and Linear layers anew, as the chapter's trainer does first; 'asIs'
   * leaves the model alone, for one that was trained before.
   */
  readonly init: 'xavierUniform' | 'asIs';
  /** Constant by default. */
  readonly schedule?: Schedule;
  /** Share of each target that is spread over all classes; see `crossEntropy`. Default 0. */
  readonly labelSmoothing?: number;
  /** Ends the run once so many epochs in a row have not bettered the test accuracy; never by default. */
  readonly patience?: number;
  readonly prefetch?: Prefetch;
}

/** What one step did. */
export interface StepEvent {
  /** The running epoch, counted from 0. */
  readonly epoch: number;
  /** Batches done of this epoch, this one included, and how many it has. */
  readonly position: number;
  readonly batchesPerEpoch: number;
  /** Steps done, this one included, and how many there will be. */
  readonly step: number;
  readonly totalSteps: number;
  /** This batch's mean loss before the update. */
  readonly loss: number;
  /** Learning rate of this step, that of the first group. */
  readonly lr: number;
  /** Means over the images of the epoch so far. */
  readonly trainLoss: number;
  readonly trainAcc: number;
  /** Images of this batch, and the seconds that the step took. */
  readonly images: number;
  readonly seconds: number;
}

/** Called between steps; training waits for a promise. What a hook throws ends the run. */
export interface TrainerHooks {
  /** After each step. `Trainer.state()` and the weights agree then: the moment to save. */
  onStep?(event: StepEvent): void | Promise<void>;
  /** After each new point of `history`: five times an epoch, and at its end with the test accuracy. */
  onPoint?(point: HistoryPoint): void | Promise<void>;
  /** After each test batch. */
  onTest?(done: number, total: number): void;
  /** After an epoch whose test accuracy is the best so far, before `onEpoch`: the moment to keep its weights. */
  onBest?(point: HistoryPoint): void | Promise<void>;
  /** After each epoch, tested; another moment to save. */
  onEpoch?(point: HistoryPoint): void | Promise<void>;
  /** When it aborts, the step at hand is finished and `run` returns 'stopped'. */
  readonly signal?: AbortSignalLike;
}

/** Points of the plot within an epoch, as in the chapter. */
const POINTS_PER_EPOCH = 5;

/** Steps that a GPU may be given before their results are waited for, and about how long they may take. */
const MOST_AHEAD = 16;
const SECONDS_AHEAD = 0.5;

function whole(option: string, value: number): void {
  if (!Number.isInteger(value) || value < 1) {
    throw new ArgumentError(`Trainer: ${option} is ${value}; want a whole number of at least 1`);
  }
}

/** A training run, epoch by epoch, that can stop between any two steps and go on from a checkpoint with the same bits. */
export class Trainer {
  readonly model: Module;
  readonly optimizer: Optimizer;
  readonly epochs: number;
  readonly batchesPerEpoch: number;
  /** Of each group of the optimizer. */
  private readonly baseLrs: readonly number[];
  private readonly imageCount: number;
  private readonly schedule: Schedule;
  private now: TrainerState;
  /** Steps under way, each with the learning rate that it had; how many there may be; when the first began. */
  private readonly pending: (LaunchedStep & { readonly lr: number })[] = [];
  private ahead = 1;
  private began = 0;
  /** State of the generator once the running epoch's order is drawn. */
  private nextOrder: readonly number[] = [];

  /** @throws ArgumentError when an option is out of its range or there is nothing to train on */
  constructor(private readonly o: TrainerOptions) {
    const { model, optimizer, trainData, epochs, batchSize, generator, init } = o;
    whole('epochs', epochs);
    whole('batchSize', batchSize);
    if (init !== 'xavierUniform' && init !== 'asIs') {
      throw new ArgumentError(`Trainer: init is ${JSON.stringify(init)}; want 'xavierUniform' or 'asIs'`);
    }
    if (o.labelSmoothing !== undefined && !(o.labelSmoothing >= 0 && o.labelSmoothing <= 1)) {
      throw new ArgumentError(`Trainer: labelSmoothing is ${o.labelSmoothing}; want a number from 0 to 1`);
    }
    if (o.patience !== undefined) {
      whole('patience', o.patience);
      if (o.testData === undefined)
        throw new ArgumentError('Trainer: patience without testData; want images to test on');
    }
    this.imageCount = trainData.shape[0];
    this.batchesPerEpoch = countBatches(trainData, { batchSize });
    if (this.batchesPerEpoch === 0) throw new ArgumentError('Trainer: trainData has no image; want at least one');
    if (o.testData?.shape[0] === 0)
      throw new ArgumentError('Trainer: testData has no image; want some, or leave it out');
    this.model = model;
    this.optimizer = optimizer;
    this.epochs = epochs;
    this.baseLrs = optimizer.paramGroups.map(({ lr }) => lr);
    this.schedule = o.schedule ?? constantSchedule;
    if (init === 'xavierUniform') initXavierUniform(model, generator);
    this.now = {
      epoch: 0,
      position: 0,
      step: 0,
      lossSum: 0,
      correct: 0,
      count: 0,
      images: 0,
      seconds: 0,
      generator: generator.state(),
      history: [],
    };
  }

  /** Batches from one point of the plot to the next. */
  private get pointEvery(): number {
    return Math.max(1, Math.floor(this.batchesPerEpoch / POINTS_PER_EPOCH));
  }

  /** Steps of the whole run, unless `patience` ends it earlier. */
  get totalSteps(): number {
    return this.epochs * this.batchesPerEpoch;
  }

  /** Where the run stands. With the weights and the optimizer's state, all that the rest of the run depends on. */
  state(): TrainerState {
    return this.now;
  }

  /**
   * Goes to where `state` was taken; the caller loads weights and optimizer of the same moment.
   * @param where what the state was read from, for messages
   * @throws FormatError when the state cannot be one of this run; nothing has changed then
   */
  restore(state: TrainerState, where = 'state'): void {
    const { batchesPerEpoch, imageCount } = this;
    const { batchSize } = this.o;
    const check = (field: keyof TrainerState, good: boolean, want: string): void => {
      if (!good) throw new FormatError(`${where}.${field} is ${String(state[field])}; want ${want}`);
    };
    const { epoch, position, step, correct, count, images } = state;
    const steps = epoch * batchesPerEpoch + position;
    const seen = Math.min(position * batchSize, imageCount);
    check('epoch', epoch <= this.epochs, `at most ${this.epochs}`);
    const last = epoch === this.epochs ? 0 : batchesPerEpoch;
    check('position', position <= last, `at most ${last}`);
    check('step', step === steps, `${steps}, for epoch ${epoch} and position ${position}`);
    check('count', count === seen, `${seen}, the images of ${position} batches`);
    check('correct', correct <= count, `at most ${count}`);
    check('images', images === epoch * imageCount + seen, `${epoch * imageCount + seen}`);
    const pointsWithin = (batches: number): number =>
      Math.floor(Math.min(batches, batchesPerEpoch - 1) / this.pointEvery);
    const points = epoch * (pointsWithin(batchesPerEpoch) + 1) + pointsWithin(position);
    if (state.history.length !== points) {
      throw new FormatError(`${where}.history has ${state.history.length} points; want ${points}`);
    }
    this.now = state;
  }

  /**
   * Trains to the end, which `patience` may bring early, or until `hooks.signal` aborts; called again, it goes on.
   * @throws NonFiniteLossError when the loss is NaN or infinite, NonFiniteParameterError when an epoch ends with a
   *   weight that is
   * @throws ArgumentError when the last batch of an epoch is one image and the model cannot train on one alone
   */
  async run(hooks: TrainerHooks = {}): Promise<'finished' | 'stopped'> {
    if (!this.done) await checkLastBatch(this.model, this.o);
    while (!this.done) {
      if (!(await this.trainEpoch(hooks)) || !(await this.finishEpoch(hooks))) return 'stopped';
    }
    return 'finished';
  }

  /** Whether `patience` has ended the run, or will when it goes on: always between two epochs. */
  get stoppedEarly(): boolean {
    const { epoch, position, history } = this.now;
    const { patience = Number.POSITIVE_INFINITY } = this.o;
    return epoch < this.epochs && position === 0 && epochsSinceBest(history) >= patience;
  }

  private get done(): boolean {
    return this.now.epoch === this.epochs || this.stoppedEarly;
  }

  /** The rest of the running epoch's steps; false when it was stopped before the last. */
  private async trainEpoch(hooks: TrainerHooks): Promise<boolean> {
    const { trainData, batchSize, resize, augment, normalization, prefetch } = this.o;
    // From the state, not from a generator that lives on: that would have drawn this epoch's order already when it was
    // stopped within.
    const generator = Generator.fromState(this.now.generator);
    const start = this.now.position;
    const options = { batchSize, resize, augment, normalization, prefetch, shuffle: true, generator, start };
    const epoch = batches(trainData, options);
    this.nextOrder = generator.state();
    this.model.train();
    try {
      for await (const batch of epoch) {
        if (hooks.signal?.aborted) break;
        await this.step(batch, hooks);
        await yieldToEventLoop();
      }
      await this.settle(hooks);
    } finally {
      disposeSteps(this.pending.splice(0));
    }
    return this.now.position === this.batchesPerEpoch;
  }

  /** Launches a step. Its results are waited for once `ahead` steps are under way: see `settle`. */
  private async step(batch: Batch, hooks: TrainerHooks): Promise<void> {
    const { model, optimizer, totalSteps, now, pending } = this;
    if (pending.length === 0) this.began = performance.now();
    const step = now.step + pending.length;
    const factor = this.schedule(step, totalSteps);
    optimizer.paramGroups.forEach((group, i) => {
      group.lr = this.baseLrs[i] * factor;
    });
    const { lr } = optimizer;
    const { labelSmoothing } = this.o;
    try {
      pending.push({ lr, ...launchStep(model, optimizer, batch, step + 1, { labelSmoothing }) });
    } catch (error) {
      // What was launched before has changed the weights, so the state follows.
      await this.settle(hooks);
      throw error;
    }
    if (pending.length >= this.ahead) await this.settle(hooks);
  }

  /**
   * Waits for the steps that are under way, then tells of each. A device that the CPU reads at once has one at a time; a
   * GPU would stand still meanwhile, so there as many as take about half a second.
   */
  private async settle(hooks: TrainerHooks): Promise<void> {
    const steps = this.pending.splice(0);
    if (steps.length === 0) return;
    const { batchesPerEpoch, totalSteps } = this;
    const results = await settleSteps(steps, this.now.step + 1);
    const seconds = (performance.now() - this.began) / 1000 / steps.length;
    if (this.optimizer.params[0].device.readSync === undefined) {
      this.ahead = Math.max(1, Math.min(MOST_AHEAD, Math.floor(SECONDS_AHEAD / seconds)));
    }
    const told: (() => unknown)[] = [];
    results.forEach(({ loss, correct }, i) => {
      const { now } = this;
      const images = steps[i].labels.length;
      this.now = {
        ...now,
        position: now.position + 1,
        step: now.step + 1,
        lossSum: now.lossSum + loss * images,
        correct: now.correct + correct,
        count: now.count + images,
        images: now.images + images,
        seconds: now.seconds + seconds,
      };
      const { epoch, position, step } = this.now;
      // The epoch's own point comes when it is tested.
      if (position % this.pointEvery === 0 && position < batchesPerEpoch) {
        const point = this.pointNow(null);
        this.now = { ...this.now, history: [...this.now.history, point] };
        told.push(() => hooks.onPoint?.(point));
      }
      const { trainLoss, trainAcc } = this.means();
      const where = { epoch, position, batchesPerEpoch, step, totalSteps };
      const event = { ...where, loss, lr: steps[i].lr, trainLoss, trainAcc, images, seconds };
      told.push(() => hooks.onStep?.(event));
    });
    // Only now: the state is that of the weights, so a hook may take a checkpoint.
    for (const tell of told) await tell();
  }

  /** Tests, and begins the next epoch; false when it was stopped while testing. */
  private async finishEpoch(hooks: TrainerHooks): Promise<boolean> {
    const { testData, batchSize, resize, normalization, prefetch } = this.o;
    const { signal, onTest } = hooks;
    await finiteState(this.model, this.now.step);
    let testAcc: number | null = null;
    if (testData !== undefined) {
      const options = { batchSize, resize, normalization, prefetch, signal, onBatch: onTest };
      testAcc = await evaluateAccuracy(this.model, testData, options);
      if (testAcc === null) return false;
    }
    const point = this.pointNow(testAcc);
    const { now } = this;
    const fresh = { position: 0, lossSum: 0, correct: 0, count: 0, generator: this.nextOrder };
    // At once, before any hook: whatever a hook throws, the state is one that a run can go on from.
    this.now = { ...now, ...fresh, epoch: now.epoch + 1, history: [...now.history, point] };
    await hooks.onPoint?.(point);
    if (bestPoint(this.now.history) === point) await hooks.onBest?.(point);
    await hooks.onEpoch?.(point);
    return true;
  }

  private means(): { trainLoss: number; trainAcc: number } {
    const { lossSum, correct, count } = this.now;
    return { trainLoss: lossSum / count, trainAcc: correct / count };
  }

  private pointNow(testAcc: number | null): HistoryPoint {
    const { epoch, position, step, seconds } = this.now;
    const done = epoch + position / this.batchesPerEpoch;
    return { epoch: done, step, ...this.means(), testAcc, seconds };
  }
}
