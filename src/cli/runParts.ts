/** What the commands make from a run's settings: data, optimizer, the trained network. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Augmentation } from '../data/augment.js';
import type { ImageDataset } from '../data/dataset.js';
import { fashionMnist, fashionMnistClasses } from '../data/fashionMnist.js';
import type { Device } from '../device/device.js';
import { ArgumentError, AtalhoError } from '../errors.js';
import type { Module } from '../nn/module.js';
import { NUMERICS_VERSION } from '../numerics.js';
import { adam, adamw } from '../optim/adam.js';
import type { Optimizer } from '../optim/optimizer.js';
import { rmsprop } from '../optim/rmsprop.js';
import { sgd } from '../optim/sgd.js';
import { loadModel } from '../train/checkpoint.js';
import { noDecayGroups } from '../train/noDecay.js';
import { type Schedule, type ScheduleName, scheduleOf, withWarmup } from '../train/schedule.js';
import { loadClassFolder } from './classFolders.js';
import type { TrainConfig } from './config.js';
import { makeDevice, type Threads } from './devices.js';
import { makeModel } from './models.js';
import { warn } from './output.js';
import type { RunFolder, RunSettings } from './runFolder.js';
import { loadWeights, readWeights } from './weights.js';

/** Classes of the run's data set, and channels of its images. */
export function sizesOfData({ config, classes = fashionMnistClasses }: RunSettings): {
  inChannels: number;
  numClasses: number;
} {
  return { inChannels: config.channels, numClasses: classes.length };
}

/**
 * The run's training or test images: the first `limit` of Fashion-MNIST, of one's own pictures so many of all classes in
 * turn; all for null.
 */
export async function loadImages(
  split: 'train' | 'test',
  { config, classes, data }: RunSettings,
  limit: number | null,
): Promise<ImageDataset> {
  if (classes !== undefined) {
    const channels = config.channels as 1 | 3;
    return loadClassFolder(data as string, split, { classes, size: config.resize, channels, limit });
  }
  if (config.channels !== 1)
    throw new ArgumentError(`channels is ${config.channels}; want 1 for Fashion-MNIST, which is gray`);
  const onDownload = (url: string): boolean => process.stderr.write(`downloading ${url}\n`);
  const all = await fashionMnist({ split, source: data ?? undefined, onDownload });
  const [stored, channels, height, width] = all.shape;
  const count = Math.min(stored, limit ?? stored);
  const images = all.images.subarray(0, count * channels * height * width);
  return { ...all, images, shape: [count, channels, height, width], labels: all.labels.subarray(0, count) };
}

/** The crops and flips that the config asks for; undefined for none. */
export function augmentationOf({ cropPadding, flip }: TrainConfig): Augmentation | undefined {
  if (cropPadding === 0 && flip === 'none') return undefined;
  return { cropPadding, horizontalFlip: flip === 'horizontal' };
}

/** The course of the learning rate that the config asks for, whose epochs have so many steps. */
export function makeSchedule(config: TrainConfig, batchesPerEpoch: number): Schedule {
  const { schedule, stepSize, milestones, gamma, warmup } = config;
  const epochs = milestones === '' ? [] : milestones.split(',').map(Number);
  const inSteps = { stepSize: stepSize * batchesPerEpoch, milestones: epochs.map((e) => e * batchesPerEpoch), gamma };
  const main = scheduleOf(schedule as ScheduleName, inSteps);
  return warmup === 0 ? main : withWarmup(main, warmup);
}

/** The optimizer that the config asks for, over all parameters of `model`. */
export function makeOptimizer(model: Module, config: TrainConfig): Optimizer {
  const { optimizer, lr, momentum, weightDecay } = config;
  const parameters = config.decay === 'all' ? model.parameters() : noDecayGroups(model);
  switch (optimizer) {
    case 'adam':
      return adam(parameters, { lr, weightDecay });
    case 'adamw':
      return adamw(parameters, { lr, weightDecay });
    case 'rmsprop':
      return rmsprop(parameters, { lr, momentum, weightDecay });
    default:
      return sgd(parameters, { lr, momentum, weightDecay });
  }
}

/** The weights of the epoch that tested best, in the run folder. */
export const BEST = 'best.safetensors';

/** Which of a run's weights, and where to compute. */
export interface TrainedFlags {
  readonly device: string;
  readonly threads?: Threads;
  /** Those of the best test accuracy, in the place of the newest. */
  readonly best?: boolean;
}

/**
 * The run's network with the weights of its newest whole checkpoint, or of its best epoch.
 * @throws AtalhoError when it has saved none yet
 */
export async function loadTrained(run: RunFolder, flags: TrainedFlags): Promise<{ model: Module; device: Device }> {
  const device = await makeDevice(flags.device, flags.threads, run.settings.config.math);
  const options = { device, ...sizesOfData(run.settings) };
  const model = makeModel(run.settings.config.model, options);
  if (flags.best) {
    const file = join(run.path, BEST);
    if (!existsSync(file)) throw new AtalhoError(`${run.path} has no ${BEST} yet: no epoch is tested`);
    loadWeights(model, file, readWeights(file));
    return { model, device };
  }
  const load = run.checkpoints.newest(
    (checkpoint) => {
      loadModel(model, checkpoint);
      return checkpoint;
    },
    (_, message) => warn(`${message}; taking the one before`),
  );
  if (load === null) throw new AtalhoError(`${run.path} has no checkpoint yet; train it first`);
  if (load.numerics !== NUMERICS_VERSION) {
    warn(
      `${load.name}: written under numerics ${load.numerics}; this is numerics ${NUMERICS_VERSION}, whose last bits differ`,
    );
  }
  return { model, device };
}
