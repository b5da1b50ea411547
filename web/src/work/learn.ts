/**
 * One training run: the library's Trainer with the command line's recipe, so that the weights have its bits; what the page is shown
 * meanwhile changes none of them.
 */
import { type Device, Generator, type Sequential } from 'atalho';
import { makeOptimizer, makeSchedule } from 'atalho/cli/recipe.js';
import { batches, countBatches, fashionMnistClasses, type ImageDataset } from 'atalho/data';
import {
  decodeCheckpoint,
  encodeCheckpoint,
  hashWeights,
  predictLogits,
  restoreCheckpoint,
  type StepEvent,
  Trainer,
} from 'atalho/train';
import { loadRun, saveRun } from '../state/runStore.js';
import { loadImages } from './dataset.js';
import { describeDevice, makeDevice } from './devices.js';
import { lookInside, shares } from './insight.js';
import type { BlockInfo, LearnEvents, Phase, RunRecord, RunSettings, TestPoint } from './messages.js';
import { blocksOf, makeNetwork } from './networks.js';
import { imageTiles } from './tiles.js';

export type Emit = <E extends keyof LearnEvents>(event: E, value: LearnEvents[E]) => void;

/** Test images that are looked at while it learns: the ones that the page shows, and more where that takes less than a second. */
const SHOWN = 40;
const WATCHED = 100;
/** A forward pass takes about this part of a training step. */
const FORWARD_SHARE = 1 / 3;
/** Images of one pass, so that the worker listens in between. */
const PASS = 20;
const PROGRESS_MS = 180;
/** Most of the time that showing may take, and saving. */
const SHOWING_SHARE = 0.08;
const SAVING_SHARE = 0.04;
const SAVE_MS = 4000;

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

/** What a part of the work has cost, so that it is not done too often. */
class Budget {
  private last = Number.NEGATIVE_INFINITY;
  private cost = 0;
  constructor(
    private readonly share: number,
    private readonly leastMs: number,
  ) {}
  get due(): boolean {
    return performance.now() - this.last > Math.max(this.leastMs, this.cost / this.share);
  }
  async spend(work: () => Promise<void>): Promise<void> {
    const start = performance.now();
    await work();
    this.last = performance.now();
    this.cost = this.last - start;
  }
}

export class LearnSession {
  private readonly losses: number[];
  private readonly accuracies: number[];
  private readonly tests: TestPoint[];
  private told = 0;
  private lastTold = 0;
  private readonly recent: { images: number; seconds: number }[] = [];
  private readonly showing = new Budget(SHOWING_SHARE, 500);
  private readonly looking = new Budget(SHOWING_SHARE, 700);
  private readonly saving = new Budget(SAVING_SHARE, SAVE_MS);
  private readonly blocks: readonly BlockInfo[];
  private watched: { readonly block: string; readonly picture: number };
  private inner = new AbortController();
  private stopping = false;
  private single = false;
  private watching = SHOWN;
  private hash: string | null;
  private count = 0;
  private correct = 0;
  /** What is done now; calls wait for it. */
  private busy: Promise<void> = Promise.resolve();

  private constructor(
    private readonly record: RunRecord,
    private readonly emit: Emit,
    private readonly device: Device,
    private readonly model: Sequential,
    private readonly trainer: Trainer,
    private readonly testData: ImageDataset,
    private readonly watchedImages: Float32Array,
  ) {
    this.losses = [...record.losses];
    this.accuracies = [...record.accuracies];
    this.tests = [...record.tests];
    this.hash = record.hash;
    this.blocks = blocksOf(model);
    this.watched = { block: this.blocks[0].name, picture: 0 };
    this.told = this.losses.length;
    ({ correct: this.correct, count: this.count } = trainer.state());
    const step = trainer.optimizer.step.bind(trainer.optimizer);
    // Where one step is asked for, this is the moment after it on every device: a GPU is given several ahead otherwise.
    trainer.optimizer.step = (grads) => {
      step(grads);
      if (!this.single) return;
      this.stopping = true;
      this.inner.abort();
    };
  }

  static async make(settings: RunSettings, emit: Emit): Promise<LearnSession> {
    const now = Date.now();
    const record: RunRecord = {
      ...{ id: `run-${now.toString(36)}`, settings, created: now, updated: now, step: 0, totalSteps: 0 },
      ...{ losses: [], accuracies: [], tests: [], images: 0, seconds: 0, hash: null, device: '' },
    };
    return LearnSession.of(record, null, emit);
  }

  /** @throws Error when there is no such run */
  static async open(id: string, emit: Emit): Promise<LearnSession> {
    const saved = await loadRun(id);
    if (saved === null) throw new Error(`there is no saved run ${id}`);
    const session = await LearnSession.of(saved.record, saved.checkpoint, emit);
    emit('saved', { step: saved.record.step });
    return session;
  }

  private static async of(record: RunRecord, checkpoint: Uint8Array | null, emit: Emit): Promise<LearnSession> {
    emit('phase', { phase: 'loading', record });
    const { config, device: name, threads } = record.settings;
    const making = makeDevice(name, threads, config.math, (message) => emit('warning', message));
    try {
      const [device, trainData, testData] = await Promise.all([
        making,
        loadImages('train', config.limit),
        loadImages('test', Math.max(WATCHED, config.testLimit ?? 10_000)),
      ]);
      return await LearnSession.on(device, trainData, testData, record, checkpoint, emit);
    } catch (error) {
      // Its threads and its memory would stay.
      (await making.catch(() => null))?.dispose();
      throw error;
    }
  }

  private static async on(
    device: Device,
    trainData: ImageDataset,
    testData: ImageDataset,
    record: RunRecord,
    checkpoint: Uint8Array | null,
    emit: Emit,
  ): Promise<LearnSession> {
    const { config, shortcuts } = record.settings;
    const generator = new Generator(config.seed);
    const numClasses = fashionMnistClasses.length;
    const model = makeNetwork(config.model, shortcuts, { device, generator, inChannels: config.channels, numClasses });
    const optimizer = makeOptimizer(model, config);
    const { epochs, batchSize, resize, labelSmoothing } = config;
    const schedule = makeSchedule(config, countBatches(trainData, { batchSize }));
    const trainer = new Trainer({
      ...{ model, optimizer, trainData, epochs, batchSize, resize, schedule, labelSmoothing, generator },
      // The twin's are drawn already: see `makeNetwork`.
      init: shortcuts ? 'xavierUniform' : 'asIs',
    });
    if (checkpoint !== null) {
      restoreCheckpoint(trainer, decodeCheckpoint(checkpoint, record.id), { ...config, shortcuts });
    }
    const first = batches(testData, { batchSize: WATCHED, limit: WATCHED, resize, prefetch: 'inline' });
    const watched = (await first.next()).value as { images: Float32Array };
    const own = { ...record, totalSteps: trainer.totalSteps, device: describeDevice(device) };
    const session = new LearnSession(own, emit, device, model, trainer, testData, watched.images);
    emit('blocks', {
      blocks: session.blocks,
      pictures: imageTiles(testData.images, SHOWN),
      labels: testData.labels.slice(0, SHOWN) as Uint8Array,
    });
    return session;
  }

  private snapshot(): RunRecord {
    const { step, images, seconds } = this.trainer.state();
    const { losses, accuracies, tests, hash } = this;
    return { ...this.record, updated: Date.now(), step, images, seconds, losses, accuracies, tests, hash };
  }

  /** The record has all losses; what `tellProgress` tells comes after them. */
  private phase(phase: Phase, message?: string, hash = this.hash): void {
    this.told = this.losses.length;
    this.emit('phase', { phase, message, record: { ...this.snapshot(), hash } });
  }

  get finished(): boolean {
    return this.trainer.state().epoch === this.trainer.epochs;
  }

  /** Trains on; until one step is done where `single`. */
  go(single: boolean): Promise<void> {
    this.stopping = false;
    this.single = single;
    this.busy = this.busy.then(() => this.telling(() => this.work()));
    return this.busy;
  }

  async pause(): Promise<void> {
    this.stopping = true;
    // Not even the test after a single step goes on.
    this.single = false;
    this.inner.abort();
    await this.busy;
  }

  watch(block: string, picture: number): Promise<void> {
    // The page may still show another run's blocks.
    if (!this.blocks.some(({ name }) => name === block)) return Promise.resolve();
    this.watched = { block, picture };
    // While it trains, the next step shows them.
    if (!this.stopping && !this.finished) return Promise.resolve();
    const looked = this.busy.then(() => this.look());
    // A run that goes on, or ends, waits for it; whoever asked is told of what goes wrong.
    this.busy = looked.catch(() => {});
    return looked;
  }

  /** Tells where it stands, as after a pause. */
  show(): Promise<void> {
    this.stopping = true;
    this.busy = this.busy.then(() => this.telling(() => this.tellStanding(false)));
    return this.busy;
  }

  /** What goes wrong ends the run, and is told: a later call finds `busy` kept. */
  private async telling(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.phase('failed', error instanceof Error ? error.message : String(error));
    }
  }

  async dispose(): Promise<void> {
    await this.pause();
    this.device.dispose();
  }

  private async work(): Promise<void> {
    for (;;) {
      await this.testIfDue();
      if (this.stopping || this.finished) break;
      this.phase('running');
      this.inner = new AbortController();
      await this.trainer.run({
        signal: this.inner.signal,
        onStep: (event) => this.onStep(event),
        // Between two epochs this class tests, and sees what is said of each image.
        onEpoch: () => this.inner.abort(),
      });
    }
    await this.tellStanding(true);
  }

  private async tellStanding(saving: boolean): Promise<void> {
    this.tellProgress();
    await this.glimpse();
    await this.look();
    const hash = await hashWeights(this.model);
    const done = this.finished;
    // Of weights on the way it is told, not saved.
    if (done) this.hash = hash;
    if (saving) await this.save();
    this.phase(done ? 'done' : 'paused', undefined, hash);
  }

  private async onStep(event: StepEvent): Promise<void> {
    // Means over the epoch tell what this batch had.
    if (event.position === 1) [this.correct, this.count] = [0, 0];
    this.count += event.images;
    const correct = Math.round(event.trainAcc * this.count);
    this.losses.push(event.loss);
    this.accuracies.push((correct - this.correct) / event.images);
    this.correct = correct;
    const forward = (FORWARD_SHARE * event.seconds) / event.images;
    this.watching = forward * WATCHED < 1 ? WATCHED : SHOWN;
    this.recent.push({ images: event.images, seconds: event.seconds });
    if (this.recent.length > 24) this.recent.shift();
    if (performance.now() - this.lastTold > PROGRESS_MS) this.tellProgress();
    // A GPU's steps are told of together: only after the last are the weights those of the step.
    if (this.single || this.losses.length !== this.trainer.state().step) return;
    if (this.showing.due) await this.showing.spend(() => this.glimpse());
    if (this.looking.due) await this.looking.spend(() => this.look());
    if (this.saving.due && event.step > 1) await this.saving.spend(() => this.save());
  }

  private tellProgress(testing: number | null = null): void {
    this.lastTold = performance.now();
    const { step } = this.trainer.state();
    const images = this.recent.reduce((sum, r) => sum + r.images, 0);
    const seconds = this.recent.reduce((sum, r) => sum + r.seconds, 0);
    const each = this.recent.length === 0 ? 0 : seconds / this.recent.length;
    this.emit('progress', {
      testing,
      losses: this.losses.slice(this.told),
      accuracies: this.accuracies.slice(this.told),
      imagesPerSecond: seconds > 0 ? images / seconds : 0,
      memoryBytes: this.device.memory().reserved || this.device.memory().used,
      secondsLeft: each * (this.trainer.totalSteps - step),
    });
    this.told = this.losses.length;
  }

  /** Logits of the watched images in eval mode. */
  private async glimpse(): Promise<void> {
    const { resize } = this.record.settings.config;
    const size = resize * resize;
    const { watching } = this;
    const { step } = this.trainer.state();
    const predicted = new Uint8Array(SHOWN);
    const sure = new Float32Array(SHOWN);
    const confusion = new Uint32Array(100);
    for (let from = 0; from < watching; from += PASS) {
      const images = this.watchedImages.subarray(from * size, (from + PASS) * size);
      const logits = await predictLogits(this.model, images, [PASS, 1, resize, resize]);
      for (let i = 0; i < PASS; i++) {
        const share = shares(logits, i * 10, 10);
        const best = share.indexOf(Math.max(...share));
        confusion[this.testData.labels[from + i] * 10 + best]++;
        if (from + i < SHOWN) [predicted[from + i], sure[from + i]] = [best, share[best]];
      }
      await pause();
    }
    this.tellTest(confusion, watching, false);
    this.emit('glimpse', { step, predicted, sure, confusion, images: watching });
  }

  private tellTest(confusion: Uint32Array, images: number, whole: boolean): void {
    let correct = 0;
    for (let c = 0; c < 10; c++) correct += confusion[c * 11];
    const { step } = this.trainer.state();
    const last = this.tests.at(-1);
    // The whole test counts beside an earlier look at as many: a run that has none is tested again.
    if (last?.step === step && !(whole && !last.whole) && last.images >= images) return;
    const test = { step, accuracy: correct / images, images, whole };
    this.tests.push(test);
    this.emit('test', test);
  }

  /** At the end of an epoch, on all test images of the run. */
  private async testIfDue(): Promise<void> {
    const { position, epoch, step } = this.trainer.state();
    if (position !== 0 || epoch === 0 || this.tests.some((t) => t.whole && t.step === step)) return;
    this.phase('testing');
    const { config } = this.record.settings;
    const limit = Math.min(config.testLimit ?? 10_000, this.testData.shape[0]);
    const confusion = new Uint32Array(100);
    const options = { batchSize: PASS, limit, resize: config.resize, prefetch: 'inline' as const };
    let done = 0;
    for await (const { images, shape, labels } of batches(this.testData, options)) {
      if (this.stopping && !this.single) return;
      const logits = await predictLogits(this.model, images, shape);
      labels.forEach((label, i) => {
        let best = 0;
        for (let c = 1; c < 10; c++) if (logits[i * 10 + c] > logits[i * 10 + best]) best = c;
        confusion[label * 10 + best]++;
      });
      done += labels.length;
      if (performance.now() - this.lastTold > PROGRESS_MS) this.tellProgress(done / limit);
      await pause();
    }
    this.tellTest(confusion, limit, true);
    const none = new Uint8Array(0);
    this.emit('glimpse', { step, predicted: none, sure: new Float32Array(0), confusion, images: limit });
  }

  private async look(): Promise<void> {
    const { block, picture } = this.watched;
    const { resize } = this.record.settings.config;
    const size = resize * resize;
    const image = this.watchedImages.subarray(picture * size, (picture + 1) * size);
    const { maps } = await lookInside(this.model, this.device, image, [1, 1, resize, resize], block);
    this.emit('maps', maps);
  }

  private async save(): Promise<void> {
    const { config, shortcuts } = this.record.settings;
    const bytes = await encodeCheckpoint(this.trainer, { ...config, shortcuts }, `atalho ${__VERSION__}`);
    const record = this.snapshot();
    try {
      await saveRun(record, bytes);
      this.emit('saved', { step: record.step });
    } catch (error) {
      // A browser without room for it trains all the same.
      this.emit('unsaved', error instanceof Error ? error.message : String(error));
    }
  }
}
