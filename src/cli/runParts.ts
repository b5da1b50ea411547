/** What the commands make from a run's settings: data, the trained network. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Augmentation } from '../data/augment.js';
import type { ImageDataset } from '../data/dataset.js';
import { fashionMnist, fashionMnistClasses } from '../data/fashionMnist.js';
import type { Device } from '../device/device.js';
import { ArgumentError, AtalhoError } from '../errors.js';
import type { Module } from '../nn/module.js';
import { NUMERICS_VERSION } from '../numerics.js';
import { loadModel } from '../train/checkpoint.js';
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
  const options = { device, initWeights: false, ...sizesOfData(run.settings) };
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
