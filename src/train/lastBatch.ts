/** Whether a model can train on the last batch of an epoch, found out before the epoch comes to it. */
import { inferenceMode } from '../autograd.js';
import type { ImageDataset } from '../data/dataset.js';
import { ArgumentError } from '../errors.js';
import type { Module } from '../nn/module.js';
import { type Pair, pair, sizeOf } from '../shape.js';
import { tensor } from '../tensor.js';
import { deviceOf } from './predict.js';

interface Batching {
  readonly trainData: ImageDataset;
  readonly batchSize: number;
  readonly resize?: Pair;
}

/**
 * Does nothing unless the last batch is a single image; then one blank image goes through the model in training mode,
 * and its buffers are put back as they were.
 * @throws ArgumentError that says which numbers to change when the model refuses it
 */
export async function checkLastBatch(model: Module, { trainData, batchSize, resize }: Batching): Promise<void> {
  const [count, channels, height, width] = trainData.shape;
  if (batchSize === 1 ? count === 0 : count % batchSize !== 1) return;
  const device = deviceOf(model);
  const shape = [1, channels, ...(resize === undefined ? [height, width] : pair('Trainer', 'resize', resize, 1))];
  const buffers = [...model.namedBuffers().values()];
  const before = await Promise.all(buffers.map((t) => t.data()));
  try {
    model.inMode(true, () => {
      device.scope(() =>
        inferenceMode(device, () => void model.forward(tensor(new Float32Array(sizeOf(shape)), shape, { device }))),
      );
    });
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    throw new ArgumentError(
      `Trainer: the last batch of an epoch is 1 image (limit ${count}, batchSize ${batchSize}), which this model cannot ` +
        `train on; want another limit or batchSize (${error.message})`,
      { cause: error },
    );
  } finally {
    buffers.forEach((t, i) => {
      t.write(before[i]);
    });
  }
}
