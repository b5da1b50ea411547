/** A model's answer to images, within bounds. */
import { AtalhoError, reading } from '../errors.js';
import { checkModule, type Module } from '../nn/module.js';
import { predictLogits } from '../train/predict.js';
import { type Bounds, checkAbort, checkBounds, checkCount, type Progress } from './bounds.js';
import { checkImages, gather, type Images } from './images.js';

/** Images, and how many at a time. */
export interface PredictOptions extends Images, Bounds<Progress> {
  /** Images at a time, which memory depends on and the result does not. Default 16. */
  readonly batchSize?: number;
}

/**
 * The logits of images, by `model` in eval mode: one row of classes for each, row-major. Modes are restored, and what was made on
 * the device is freed, whatever happens.
 * @throws ArgumentError when the images are not what the shape says or the model refuses them
 * @throws OutOfMemoryError past the device's `maxMemoryBytes`
 * @throws AbortedError once `signal` is aborted
 */
export async function predict(model: Module, options: PredictOptions): Promise<Float32Array> {
  checkModule('predict', model);
  const { images, shape, batchSize = 16, signal, onProgress } = options ?? {};
  const size = checkImages('predict', options);
  checkCount('predict', 'batchSize', batchSize);
  checkBounds('predict', options);
  const [total, ...rest] = shape;
  let logits: Float32Array | null = null;
  for (let done = 0; done < total; ) {
    checkAbort('predict', signal, done, total, 'images');
    const numbers = Array.from({ length: Math.min(batchSize, total - done) }, (_, i) => done + i);
    const rows = await predictLogits(model, gather('predict', images, size, numbers), [numbers.length, ...rest]);
    const classes = rows.length / numbers.length;
    logits ??= reading('predict', () => new Float32Array(total * classes));
    if (logits.length !== total * classes) throw new AtalhoError('predict: the model changed its number of classes');
    logits.set(rows, done * classes);
    done += numbers.length;
    await onProgress?.({ done, total });
  }
  return logits as Float32Array;
}
