/** Accuracy of a model on a data set, in eval mode. */
import type { ImageDataset } from '../data/dataset.js';
import { batches } from '../data/loader.js';
import type { Normalization } from '../data/normalize.js';
import type { Prefetch } from '../data/prefetch.js';
import { ArgumentError } from '../errors.js';
import type { AbortSignalLike } from '../hostTypes.js';
import type { Module } from '../nn/module.js';
import type { Pair } from '../shape.js';
import { countCorrect } from './accuracy.js';
import { predictLogits } from './predict.js';
import { yieldToEventLoop } from './yieldToEventLoop.js';

/** How the images are prepared, and how the run is watched and ended. */
export interface EvaluateOptions {
  readonly batchSize: number;
  /** `size` or `[height, width]` in pixels; the images' own size by default. */
  readonly resize?: Pair;
  /** As in training. */
  readonly normalization?: Normalization;
  /** Takes only the first so many images. */
  readonly limit?: number;
  readonly prefetch?: Prefetch;
  /** Ends early, between two batches, when it aborts. */
  readonly signal?: AbortSignalLike;
  /** Told after each batch. */
  readonly onBatch?: (done: number, total: number) => void;
}

/**
 * The share of images whose largest logit is the label's, by `model` in eval mode; null when `signal` ended it early.
 * @throws ArgumentError when there is no image
 */
export async function evaluateAccuracy(
  model: Module,
  dataset: ImageDataset,
  o: EvaluateOptions,
): Promise<number | null> {
  const { batchSize, resize, normalization, limit, prefetch, signal, onBatch } = o;
  const total = Math.min(dataset.shape[0], limit ?? dataset.shape[0]);
  if (total === 0) throw new ArgumentError('evaluateAccuracy: the data set has no image; want at least one');
  let correct = 0;
  let done = 0;
  for await (const batch of batches(dataset, { batchSize, resize, normalization, limit, prefetch })) {
    if (signal?.aborted) return null;
    correct += countCorrect(await predictLogits(model, batch.images, batch.shape), batch.labels);
    done += batch.labels.length;
    onBatch?.(done, total);
    await yieldToEventLoop();
  }
  return correct / total;
}
