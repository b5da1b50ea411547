/** One step of training: forward, loss, gradients, update. */
import { grad } from '../autograd.js';
import type { Batch } from '../data/loader.js';
import type { Module } from '../nn/module.js';
import { crossEntropy } from '../ops/crossEntropy.js';
import type { Optimizer } from '../optim/optimizer.js';
import { keep, type Tensor, tensor } from '../tensor.js';
import { countCorrect } from './accuracy.js';
import { firstNonFinite, NonFiniteLossError } from './nonFinite.js';

export interface StepResult {
  /** Mean cross-entropy of the batch before the update, in nats. */
  readonly loss: number;
  /** Images of the batch whose largest logit was the label's. */
  readonly correct: number;
}

/**
 * Trains `model` on one batch: cross-entropy, its gradients, one step of `optimizer`. Everything made on the way is
 * freed, whatever happens.
 * @param step number of the step, counted from 1, for messages
 * @throws NonFiniteLossError when the loss is NaN or infinite; nothing was updated then, except the running statistics
 *   of batch norm. (On a device that the CPU cannot read at once it is noticed after the update.)
 */
export async function trainStep(model: Module, optimizer: Optimizer, batch: Batch, step: number): Promise<StepResult> {
  const [{ device }] = optimizer.params;
  const results: Tensor[] = [];
  const fail = (loss: number, layer: string | null): never => {
    const from = layer === null ? '' : `; the first value that is not finite came from ${layer}`;
    throw new NonFiniteLossError(`train: loss is ${loss} at step ${step}${from}`, step, loss, layer);
  };
  try {
    device.scope(() => {
      const x = tensor(batch.images, batch.shape, { device });
      const logits = model.forward(x);
      const loss = crossEntropy(logits, batch.labels);
      // The logits are an intermediate, which grad would free.
      results.push(keep(loss), keep(logits));
      if (device.readSync && !Number.isFinite(loss.item())) fail(loss.item(), firstNonFinite(loss, model));
      optimizer.step(grad(loss, optimizer.params));
    });
    const [loss, logits] = await Promise.all(results.map((t) => t.data()));
    const value = Number(loss[0]);
    if (!Number.isFinite(value)) fail(value, null);
    return { loss: value, correct: countCorrect(logits as Float32Array, batch.labels) };
  } finally {
    for (const t of results) t.dispose();
  }
}
