/** The chapter's recipe, which is the default, and named departures from it. */
import type { TrainConfig } from './config.js';

/** lr, num_epochs, batch_size = 0.05, 10, 256, resize=96, plain SGD: section 7.6 of d2l.ai. */
export const CHAPTER: TrainConfig = {
  model: 'd2l-resnet18',
  lr: 0.05,
  epochs: 10,
  batchSize: 256,
  resize: 96,
  channels: 1,
  normalize: 'none',
  cropPadding: 0,
  flip: 'none',
  seed: 0,
  limit: null,
  testLimit: null,
  optimizer: 'sgd',
  momentum: 0,
  weightDecay: 0,
  decay: 'all',
  schedule: 'constant',
  stepSize: 30,
  milestones: '',
  gamma: 0.1,
  warmup: 0,
  labelSmoothing: 0,
  weights: '',
  freeze: '',
  patience: 0,
  math: 'exact',
};

/** How to run it from a clone. */
export const CHAPTER_COMMAND = 'npm run train -- --lr 0.05 --epochs 10 --batch-size 256 --resize 96';

export interface Preset {
  readonly config: TrainConfig;
  /** SHA-256 of the weights that it ends with, on any machine; null while it is not published. */
  readonly publishedHash: string | null;
}

export type Presets = Readonly<Record<string, Preset>>;

export const PRESETS: Presets = {
  /** The chapter's network at the chapter's size, on as many images as a slow machine trains on in minutes. */
  quick: {
    config: {
      ...CHAPTER,
      optimizer: 'adam',
      lr: 0.001,
      epochs: 1,
      batchSize: 16,
      limit: 3200,
      testLimit: 1000,
      schedule: 'cosine',
    },
    publishedHash: '8c11912a155544a712cb7008c25df4bf72631d96302a5bd04366c29c9325cb2a',
  },
};
