/** Short trainings on a slice of Fashion-MNIST. */
import { Generator, sgd } from 'atalho';
import { fashionMnist } from 'atalho/data';
import { cosineSchedule, Trainer } from 'atalho/train';
import { SingleBar } from 'cli-progress';

/** The first `count` images of a data set. */
function first(dataset, count) {
  const [, ...image] = dataset.shape;
  const pixels = image.reduce((a, b) => a * b, 1);
  return {
    images: dataset.images.subarray(0, count * pixels),
    labels: dataset.labels.subarray(0, count),
    shape: [count, ...image],
    classes: dataset.classes,
  };
}

/** The first images of the training and the test set. */
export async function slice({ train, test }) {
  return {
    trainData: first(await fashionMnist({ split: 'train' }), train),
    testData: first(await fashionMnist({ split: 'test' }), test),
  };
}

/** A bar on a terminal; nothing elsewhere. On stderr. */
function bar(label, total) {
  const one = new SingleBar({
    format: `${label} [{bar}] {value}/{total} steps, loss {loss}`,
    stream: process.stderr,
    barsize: 20,
    barCompleteChar: '#',
    barIncompleteChar: '-',
    clearOnComplete: true,
    noTTYOutput: false,
  });
  one.start(total, 0, { loss: '-' });
  return one;
}

/**
 * @typedef {object} Result
 * @property {[number, number][]} losses epoch, and the mean training loss of the fifth of an epoch that ended there
 * @property {[number, number][]} testErrors epoch, and the share of test images that are wrong after it
 * @property {number} trainLoss mean of the last epoch
 * @property {number} trainError share of the training images that were wrong in the last epoch, as it trained
 * @property {number} testError share of the test images that are wrong at the end
 */

/**
 * Trains from the model's own first weights by SGD with momentum 0.9, the learning rate falling to 0 along half a cosine, in
 * an order that the seed fixes.
 * @param {string} label for the progress bar
 * @param {import('atalho').Module} model
 * @param {{ trainData: import('atalho/data').ImageDataset, testData: import('atalho/data').ImageDataset, epochs: number,
 *   batchSize: number, resize?: number, lr: number, weightDecay?: number, seed: number }} o
 * @returns {Promise<Result>}
 */
export async function train(label, model, { lr, weightDecay = 1e-4, seed, ...o }) {
  const optimizer = sgd(model.parameters(), { lr, momentum: 0.9, weightDecay });
  const trainer = new Trainer({
    ...o,
    model,
    optimizer,
    schedule: cosineSchedule,
    generator: new Generator(seed),
    init: 'asIs',
  });
  const progress = bar(label, trainer.totalSteps);
  const window = Math.max(1, Math.floor(trainer.batchesPerEpoch / 5));
  const [losses, testErrors, recent] = [[], [], []];
  let last = null;
  try {
    await trainer.run({
      onStep({ step, loss }) {
        progress.update(step, { loss: loss.toFixed(3) });
        recent.push(loss);
        if (recent.length < window) return;
        losses.push([step / trainer.batchesPerEpoch, recent.reduce((a, b) => a + b, 0) / recent.length]);
        recent.length = 0;
      },
      onEpoch(point) {
        testErrors.push([point.epoch, 1 - point.testAcc]);
        last = point;
      },
    });
  } finally {
    progress.stop();
  }
  return {
    losses,
    testErrors,
    trainLoss: last.trainLoss,
    trainError: 1 - last.trainAcc,
    testError: 1 - last.testAcc,
  };
}

/** A share as per cent with one digit. */
export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** How `train` trained, in words. */
export function inWords({ train: count }, { epochs, batchSize, resize, weightDecay = 1e-4 }, rate) {
  return `the first ${count} training images of Fashion-MNIST at ${resize}×${resize}, ${epochs} epochs of SGD with momentum 0.9, batch ${batchSize}, weight decay ${weightDecay}, the learning rate falling from ${rate} to 0 along half a cosine`;
}
