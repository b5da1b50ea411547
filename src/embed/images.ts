/** Images as a guest gives them: pixels in a row, and their shape. */
import { ArgumentError, reading, show } from '../errors.js';
import { formatShape, type Shape } from '../shape.js';
import { checkCount } from './bounds.js';

/** Images as pixels in a row. */
export interface Images {
  /** Pixels, row-major; copied, and rounded to float32. */
  readonly images: ArrayLike<number>;
  /** `[N, C, H, W]`. */
  readonly shape: Shape;
}

/** Pixels of an image. @throws ArgumentError when the pixels are not as many as the shape says */
export function checkImages(op: string, o: Images): number {
  const { images, shape } = o ?? {};
  if (!Array.isArray(shape) || shape.length !== 4) {
    throw new ArgumentError(`${op}: shape is ${show(shape)}; want [N, C, H, W]`);
  }
  for (let i = 0; i < 4; i++) checkCount(op, `shape[${i}]`, shape[i]);
  const size = shape[1] * shape[2] * shape[3];
  const length = typeof images === 'object' && images !== null ? images.length : undefined;
  if (length !== shape[0] * size) {
    throw new ArgumentError(
      `${op}: images has ${show(length)} values; want ${shape[0] * size} for ${formatShape(shape)}`,
    );
  }
  return size;
}

/**
 * Copies of the images with these numbers, one after another.
 * @throws ArgumentError when a pixel is no number, or the host has no memory for them
 */
export function gather(op: string, images: ArrayLike<number>, size: number, numbers: readonly number[]): Float32Array {
  return reading(op, () => {
    const batch = new Float32Array(numbers.length * size);
    numbers.forEach((number, i) => {
      for (let j = 0; j < size; j++) {
        const pixel = images[number * size + j];
        if (typeof pixel !== 'number') throw new ArgumentError(`${op}: a pixel is ${show(pixel)}; want numbers`);
        batch[i * size + j] = pixel;
      }
    });
    return batch;
  });
}
