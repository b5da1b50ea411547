/**
 * Random crops and flips, the standard for CIFAR (He et al. 2015, section 4.2): what is drawn for an image follows from
 * the epoch's key and the image's number alone, so it is the same in every thread and wherever a run goes on.
 */
import { ArgumentError } from '../errors.js';
import { fmix32, Generator } from '../random.js';

export interface Augmentation {
  /**
   * Black pixels put around the image on each side, before a window of the image's own size is taken at random:
   * torchvision's `RandomCrop(size, padding)`. Default 0: none.
   */
  readonly cropPadding?: number;
  /** Whether half of the images, at random, are flipped left to right. Default false. */
  readonly horizontalFlip?: boolean;
}

/** Two random words of 32 bits that all draws of one epoch follow from. */
export type EpochKey = readonly [number, number];

/** What happens to one image: the window's place in the image, from −padding to padding, and whether it is flipped. */
export interface Draw {
  readonly top: number;
  readonly left: number;
  readonly flip: boolean;
}

/** Throws `ArgumentError` unless the options are in their range. */
export function checkAugmentation(op: string, { cropPadding = 0, horizontalFlip = false }: Augmentation): void {
  if (!Number.isInteger(cropPadding) || cropPadding < 0 || cropPadding > 65_535) {
    throw new ArgumentError(`${op}: cropPadding is ${cropPadding}; want a whole number from 0 to 65535`);
  }
  if (typeof horizontalFlip !== 'boolean') {
    throw new ArgumentError(`${op}: horizontalFlip is ${String(horizontalFlip)}; want true or false`);
  }
}

/** What is drawn for image `index` in the epoch of `key`: all places and both directions are equally likely. */
export function drawFor(index: number, key: EpochKey, { cropPadding = 0, horizontalFlip = false }: Augmentation): Draw {
  // A bijection of the images within an epoch; the generator folds its seed into 32 bits.
  const generator = new Generator((key[1] & 0x1fffff) * 2 ** 32 + fmix32(index ^ key[0]));
  const top = generator.int(2 * cropPadding + 1) - cropPadding;
  const left = generator.int(2 * cropPadding + 1) - cropPadding;
  return { top, left, flip: horizontalFlip && generator.int(2) === 1 };
}
