/** One step of training: forward, loss, gradients, update. */
import { grad, inferenceMode } from '../autograd.js';
import type { Batch } from '../data/loader.js';
import type { Module } from '../nn/module.js';
import { cat } from '../ops/cat.js';
import { crossEntropy } from '../ops/crossEntropy.js';
import { reshape } from '../ops/reshape.js';
import type { Optimizer } from '../optim/optimizer.js';
import { keep, type Tensor, tensor } from '../tensor.js';
import { countCorrect } from './accuracy.js';
import { firstNonFinite, NonFiniteLossError } from './nonFinite.js';

/** What a step tells of its batch. */
export interface StepResult {
  /** Mean cross-entropy of the batch before the update, in nats. */
  readonly loss: number;
  /** Images of the batch whose largest logit was the label's. */
  readonly correct: number;
}

/** Options of a step. */
export interface StepOptions {
  /** Share of the target that is spread over all classes; see `crossEntropy`. Default 0. */
  readonly labelSmoothing?: number;
}

/** What a step needs of a batch. */
export type StepBatch = Pick<Batch, 'images' | 'shape'> & { readonly labels: Int32Array | readonly number[] };

/** What one batch gives before an update; to be disposed. */
export interface Gradients {
  readonly loss: Tensor;
  readonly logits: Tensor;
  /** In the order of the parameters. */
  readonly grads: readonly Tensor[];
}

/** The error of a loss that is NaN or infinite. */
export function nonFinite(loss: number, step: number, layer: string | null): NonFiniteLossError {
  const from = layer === null ? '' : `; the first value that is not finite came from ${layer}`;
  return new NonFiniteLossError(`train: loss is ${loss} at step ${step}${from}`, step, loss, layer);
}

/**
 * Cross-entropy of `model` on a batch and its gradients, times `share`, the part that the batch is of a larger one.
 * Everything else that is made on the way is freed, whatever happens.
 * @throws NonFiniteLossError on a device that the CPU can read at once
 */
export function differentiate(
  model: Module,
  params: readonly Tensor[],
  batch: StepBatch,
  step: number,
  { share = 1, labelSmoothing }: StepOptions & { readonly share?: number } = {},
): Gradients {
  const [{ device }] = params;
  const kept: Tensor[] = [];
  try {
    return device.scope(() => {
      const x = tensor(batch.images, batch.shape, { device });
      const logits = model.forward(x);
      const loss = crossEntropy(logits, batch.labels, { labelSmoothing });
      // The logits are an intermediate, which grad would free.
      kept.push(keep(loss), keep(logits));
      if (device.readSync && !Number.isFinite(loss.item()))
        throw nonFinite(loss.item(), step, firstNonFinite(loss, model));
      const dy = share === 1 ? undefined : tensor(share, { device });
      return { loss, logits, grads: grad(loss, params, dy) };
    });
  } catch (error) {
    for (const t of kept) t.dispose();
    throw error;
  }
}

/** A step whose commands are given and whose results nobody has waited for. */
export interface LaunchedStep {
  readonly loss: Tensor;
  readonly logits: Tensor;
  readonly labels: ArrayLike<number>;
}

/** Everything of a step but waiting for its results. What is returned is to be disposed. */
export function launchStep(
  model: Module,
  optimizer: Optimizer,
  batch: StepBatch,
  step: number,
  options: StepOptions = {},
): LaunchedStep {
  const [{ device }] = optimizer.params;
  // One scope, so that a device that collects commands gets them all at once.
  return device.scope(() => {
    const { loss, logits, grads } = differentiate(model, optimizer.params, batch, step, options);
    const launched = { loss, logits, labels: batch.labels };
    try {
      optimizer.step(grads);
    } catch (error) {
      // Its state may be more than there is memory for, and what was kept is in no scope.
      disposeSteps([launched]);
      throw error;
    }
    return launched;
  });
}

/**
 * The results of steps in a row, read together; disposes them.
 * @param step number of the first, counted from 1, for messages
 * @throws NonFiniteLossError for the first loss that is NaN or infinite; the updates were made
 */
export async function settleSteps(steps: readonly LaunchedStep[], step: number): Promise<StepResult[]> {
  const [{ loss: first }] = steps;
  const joined: Tensor[] = [];
  try {
    const both = first.device.scope(() =>
      inferenceMode(first.device, () => [
        cat(steps.map(({ loss }) => reshape(loss, [1]))),
        cat(steps.map(({ logits }) => logits)),
      ]),
    );
    joined.push(...both);
    const [losses, logits] = await Promise.all(both.map((t) => t.data()));
    const classes = steps[0].logits.shape[1];
    let at = 0;
    return steps.map(({ labels }, i) => {
      const loss = Number(losses[i]);
      if (!Number.isFinite(loss)) throw nonFinite(loss, step + i, null);
      const from = at;
      at += labels.length * classes;
      return { loss, correct: countCorrect(logits.subarray(from, at) as Float32Array, labels) };
    });
  } finally {
    for (const t of joined) t.dispose();
    disposeSteps(steps);
  }
}

export function disposeSteps(steps: readonly LaunchedStep[]): void {
  for (const { loss, logits } of steps) {
    loss.dispose();
    logits.dispose();
  }
}

/**
 * Trains `model` on one batch: cross-entropy, its gradients, one step of `optimizer`. Everything made on the way is
 * freed, whatever happens.
 * @param step number of the step, counted from 1, for messages
 * @throws NonFiniteLossError when the loss is NaN or infinite; nothing was updated then, except the running statistics
 *   of batch norm. (On a device that the CPU cannot read at once it is noticed after the update.)
 */
export async function trainStep(
  model: Module,
  optimizer: Optimizer,
  batch: StepBatch,
  step: number,
  { labelSmoothing }: StepOptions = {},
): Promise<StepResult> {
  const launched = launchStep(model, optimizer, batch, step, { labelSmoothing });
  const [result] = await settleSteps([launched], step);
  return result;
}
