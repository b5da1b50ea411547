/** Accuracy of a model on a data set, in eval mode. */
import { noGrad } from '../autograd.js';
import type { ImageDataset } from '../data/dataset.js';
import { batches } from '../data/loader.js';
import type { Normalization } from '../data/normalize.js';
import type { Prefetch } from '../data/prefetch.js';
import type { Device } from '../device/device.js';
import { ArgumentError } from '../errors.js';
import type { Module } from '../nn/module.js';
import type { Pair, Shape } from '../shape.js';
import { tensor } from '../tensor.js';
import { countCorrect } from './accuracy.js';
import { yieldToEventLoop } from './yieldToEventLoop.js';

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
  readonly signal?: AbortSignal;
  /** Told after each batch. */
  readonly onBatch?: (done: number, total: number) => void;
}

/** The device that the model's parameters are on. */
export function deviceOf(model: Module): Device {
  const [first] = model.stateDict().values();
  if (first === undefined) throw new ArgumentError('deviceOf: the model has no parameter; want one with weights');
  return first.device;
}

/**
 * The result of `model` in eval mode on pixels `[N, C, H, W]`, row-major, as plain numbers; each module's mode
 * is restored and everything made on the way freed.
 */
export async function predictLogits(model: Module, images: Float32Array, shape: Shape): Promise<ArrayLike<number>> {
  const device = deviceOf(model);
  const logits = model.inMode(false, () =>
    device.scope(() => noGrad(() => model.forward(tensor(images, shape, { device })))),
  );
  try {
    return (await logits.data()) as Float32Array;
  } finally {
    logits.dispose();
  }
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
