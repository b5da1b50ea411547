/** Training on images, within bounds: cross-entropy, a step of the optimizer for each batch. */
import { ArgumentError, show } from '../errors.js';
import { checkModule, type Module } from '../nn/module.js';
import { Optimizer } from '../optim/optimizer.js';
import { Generator } from '../random.js';
import { countCorrect } from '../train/accuracy.js';
import { disposeSteps, launchStep } from '../train/step.js';
import { type Bounds, checkAbort, checkBounds, checkCount, type Progress } from './bounds.js';
import { checkImages, gather, type Images } from './images.js';

/** What `fit` tells after each step. */
export interface FitProgress extends Progress {
  /** Mean cross-entropy of the step's batch before its update, in nats. */
  readonly loss: number;
  /** Images of the batch whose largest logit was the label's. */
  readonly correct: number;
}

/** Images, labels, and for how long to train on them. */
export interface FitOptions extends Images, Bounds<FitProgress> {
  /** The class of each image. */
  readonly labels: ArrayLike<number>;
  readonly steps: number;
  /** Images a step, at most all of them. After the last image comes the first again. */
  readonly batchSize: number;
  /** Draws the order of each pass over the images; the order in which they are given by default. */
  readonly generator?: Generator;
  /** Share of each target that is spread over all classes; see `crossEntropy`. Default 0. */
  readonly labelSmoothing?: number;
}

/**
 * Trains `model`, the parameters that `optimizer` holds, for a number of steps; the loss of each. What is made on the way is freed,
 * whatever happens: a run that ends early leaves the weights of its last whole step. `model` is in training mode from then on.
 * @throws ArgumentError when images, labels or an option are not what they should be
 * @throws OutOfMemoryError past the device's `maxMemoryBytes`
 * @throws NonFiniteLossError when the loss is NaN or infinite
 * @throws AbortedError once `signal` is aborted
 */
export async function fit(model: Module, optimizer: Optimizer, options: FitOptions): Promise<Float64Array> {
  checkModule('fit', model);
  if (!(optimizer instanceof Optimizer))
    throw new ArgumentError(`fit: optimizer is ${show(optimizer)}; want one of sgd, adam, …`);
  const { images, shape, labels, steps, batchSize, generator, labelSmoothing, signal, onProgress } = options ?? {};
  const size = checkImages('fit', options);
  const [count, channels, height, width] = shape;
  checkCount('fit', 'steps', steps);
  checkCount('fit', 'batchSize', batchSize, count);
  checkBounds('fit', options);
  if (generator !== undefined && !(generator instanceof Generator)) {
    throw new ArgumentError(`fit: generator is ${show(generator)}; want a Generator`);
  }
  if (typeof labels !== 'object' || labels === null || labels.length !== count) {
    throw new ArgumentError(`fit: labels has ${show(labels?.length)} elements; want ${count}, one for each image`);
  }
  let order: ArrayLike<number> | null = null;
  let seen = 0;
  const next = (): number => {
    if (seen % count === 0) order = generator?.permutation(count) ?? null;
    const at = seen++ % count;
    return order === null ? at : order[at];
  };
  const losses: number[] = [];
  model.train();
  let progress: FitProgress;
  while (losses.length < steps) {
    checkAbort('fit', signal, losses.length, steps, 'steps');
    const numbers = Array.from({ length: batchSize }, next);
    const batch = {
      images: gather('fit', images, size, numbers),
      shape: [batchSize, channels, height, width] as const,
      labels: numbers.map((number) => labels[number]),
    };
    const step = launchStep(model, optimizer, batch, losses.length + 1, { labelSmoothing });
    try {
      const loss = Number((await step.loss.data())[0]);
      const correct = countCorrect((await step.logits.data()) as Float32Array, step.labels);
      losses.push(loss);
      progress = { done: losses.length, total: steps, loss, correct };
    } finally {
      disposeSteps([step]);
    }
    await onProgress?.(progress);
  }
  return Float64Array.from(losses);
}
