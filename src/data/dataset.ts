/** What a set of labelled images is: everything in `data/` takes or gives one. */
import { ArgumentError } from '../errors.js';
import { formatShape } from '../shape.js';

/** Labelled images, as everything in `atalho/data` takes and gives them. */
export interface ImageDataset {
  /** Pixels 0 to 255, row-major in `shape`. */
  readonly images: Uint8Array;
  /** `[N, C, H, W]` */
  readonly shape: readonly [number, number, number, number];
  /** The class of each image: an index into `classes`. Uint16Array for more than 256 classes. */
  readonly labels: Uint8Array | Uint16Array;
  /** The name of each class. */
  readonly classes: readonly string[];
}

/** Throws `ArgumentError` unless shape, images and labels agree. */
export function checkDataset(op: string, { images, shape, labels }: ImageDataset): void {
  const whole =
    shape.length === 4 && shape.every((extent, i) => Number.isInteger(extent) && extent >= (i === 0 ? 0 : 1));
  if (!whole) throw new ArgumentError(`${op}: dataset has shape ${formatShape(shape)}; want [N, C, H, W]`);
  const [count, channels, height, width] = shape;
  if (images.length !== count * channels * height * width) {
    throw new ArgumentError(
      `${op}: dataset has ${images.length} pixels; shape ${formatShape(shape)} wants another number`,
    );
  }
  if (labels.length !== count)
    throw new ArgumentError(`${op}: dataset has ${labels.length} labels for ${count} images`);
}
