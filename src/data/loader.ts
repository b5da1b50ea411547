/** Batches of a data set, in file order or shuffled by a seed, from any position on, prepared ahead of use. */
import { ArgumentError } from '../errors.js';
import { type Pair, pair } from '../shape.js';
import { type Augmentation, checkAugmentation, type EpochKey } from './augment.js';
import { checkDataset, type ImageDataset } from './dataset.js';
import { byteTable, type Normalization } from './normalize.js';
import { type Prefetch, startPreparer } from './prefetch.js';

/** Images that take a training step together. */
export interface Batch {
  /** Pixels / 255 in float32, normalised if asked for, row-major in `shape`. The receiver's own: nothing else writes to it. */
  readonly images: Float32Array;
  /** `[n, C, H, W]` */
  readonly shape: readonly [number, number, number, number];
  readonly labels: Int32Array;
  /** The batch's position in the epoch, counted from 0, `start` included. */
  readonly index: number;
  /** Which images of the data set these are. */
  readonly indices: Int32Array;
}

/** How a data set is cut into batches and prepared. */
export interface BatchOptions {
  /** Images a batch. */
  batchSize: number;
  /** Takes the images in an order drawn from `generator`; file order by default. */
  shuffle?: boolean;
  /**
   * Where the order comes from, and the crops and flips of `augment`. `batches` draws one permutation from it, and then
   * for `augment` two words, at once, whatever `start` is: to repeat an epoch, restore the state that the generator had
   * before the call.
   */
  generator?: {
    /** The numbers below n in a drawn order. */
    permutation(n: number): ArrayLike<number>;
    /** A drawn number below 2³². Only for `augment`. */
    uint32?(): number;
  };
  /** `size` or `[height, width]` in pixels, as Pillow's BILINEAR does; the images' own size by default. */
  resize?: Pair;
  /** Random crops and flips, after the resize, drawn anew each epoch; none by default. */
  augment?: Augmentation;
  /** Mean and std of each channel, after all else: (pixel / 255 − mean) / std; none by default. */
  normalization?: Normalization;
  /** Leaves out a last batch that is not full. */
  dropLast?: boolean;
  /** Takes only the first so many images of the data set (before shuffling). */
  limit?: number;
  /** The batch to begin with, counted from 0: where an interrupted epoch goes on. */
  start?: number;
  /**
   * 'worker': a thread resizes the next batches while this one computes (Node, built package). 'inline': this thread,
   * when a batch is asked for. 'auto', the default: a worker where there can be one. The batches are the same bits.
   */
  prefetch?: Prefetch;
}

/** Batches that the worker may be ahead. */
const AHEAD = 2;

function wholeOption(option: string, value: number, min: number): number {
  if (!Number.isInteger(value) || value < min) {
    throw new ArgumentError(`batches: ${option} is ${value}; want a whole number of at least ${min}`);
  }
  return value;
}

/** How many batches one epoch has, from its beginning. */
export function countBatches(
  dataset: ImageDataset,
  { batchSize, dropLast = false, limit }: Pick<BatchOptions, 'batchSize' | 'dropLast' | 'limit'>,
): number {
  wholeOption('batchSize', batchSize, 1);
  const count = Math.min(
    dataset.shape[0],
    limit === undefined ? Number.POSITIVE_INFINITY : wholeOption('limit', limit, 0),
  );
  return dropLast ? Math.floor(count / batchSize) : Math.ceil(count / batchSize);
}

function drawOrder(count: number, shuffle: boolean, generator: BatchOptions['generator']): Int32Array {
  if (!shuffle) return Int32Array.from({ length: count }, (_, i) => i);
  if (!generator) throw new ArgumentError('batches: shuffle without a generator; want a seeded one as `generator`');
  return Int32Array.from(generator.permutation(count));
}

function drawKey(generator: BatchOptions['generator']): EpochKey {
  if (!generator?.uint32) {
    throw new ArgumentError('batches: augment without a generator; want a seeded one as `generator`');
  }
  return [generator.uint32(), generator.uint32()];
}

/**
 * One epoch of batches, for `for await`. Options are checked and the order is drawn at once; a worker starts with the
 * first batch and ends with the loop, however that ends.
 * @throws ArgumentError for an option out of its range, `shuffle` or `augment` without `generator`, an inconsistent data set.
 */
export function batches(dataset: ImageDataset, options: BatchOptions): AsyncGenerator<Batch, void, undefined> {
  checkDataset('batches', dataset);
  const { batchSize, shuffle = false, generator, resize, limit, prefetch = 'auto', augment, normalization } = options;
  const total = countBatches(dataset, options);
  const start = wholeOption('start', options.start ?? 0, 0);
  if (start > total) throw new ArgumentError(`batches: start is ${start}; the epoch has ${total} batches`);
  if (!['auto', 'worker', 'inline'].includes(prefetch)) {
    throw new ArgumentError(`batches: prefetch is ${prefetch}; want 'auto', 'worker' or 'inline'`);
  }
  const [stored, channels, height, width] = dataset.shape;
  const [outHeight, outWidth] = resize === undefined ? [height, width] : pair('batches', 'resize', resize, 1);
  byteTable('batches', channels, normalization);
  if (augment !== undefined) checkAugmentation('batches', augment);
  const order = drawOrder(Math.min(stored, limit ?? stored), shuffle, generator);
  const drawn = augment === undefined ? undefined : { ...augment, key: drawKey(generator) };
  const indicesOf = (index: number): Int32Array => order.slice(index * batchSize, (index + 1) * batchSize);

  async function* run(): AsyncGenerator<Batch, void, undefined> {
    if (start === total) return;
    const recipe = { channels, height, width, outHeight, outWidth, normalization, augment: drawn };
    const preparer = await startPreparer(dataset.images, recipe, prefetch);
    try {
      let asked = start;
      for (let index = start; index < total; index++) {
        while (asked < total && asked <= index + AHEAD) preparer.request(indicesOf(asked++));
        const images = await preparer.next();
        const indices = indicesOf(index);
        const labels = Int32Array.from(indices, (i) => dataset.labels[i]);
        yield { images, shape: [indices.length, channels, outHeight, outWidth], labels, index, indices };
      }
    } finally {
      await preparer.close();
    }
  }
  return run();
}
