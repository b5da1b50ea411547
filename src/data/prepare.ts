/** From stored pixels to the floats a model takes: one function, run by the worker and by the main thread alike. */
import { type Augmentation, type Draw, drawFor, type EpochKey } from './augment.js';
import { byteTable, type Normalization } from './normalize.js';
import { Resizer } from './resize.js';

export interface Geometry {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly outHeight: number;
  readonly outWidth: number;
}

/** All that a batch's floats follow from besides the stored pixels and which images it has. */
export interface Recipe extends Geometry {
  readonly normalization?: Normalization;
  readonly augment?: Augmentation & { readonly key: EpochKey };
}

export class BatchMaker {
  private readonly resizer: Resizer;
  private readonly resized: Uint8Array;
  /** `[channels, 256]` */
  private readonly table: Float32Array;

  constructor(
    /** `[N, channels, height, width]` */
    private readonly images: Uint8Array,
    private readonly recipe: Recipe,
  ) {
    const { channels, height, width, outHeight, outWidth, normalization } = recipe;
    this.resizer = new Resizer(height, width, outHeight, outWidth);
    this.resized = new Uint8Array(outHeight * outWidth);
    this.table = byteTable('batches', channels, normalization);
  }

  /**
   * The images at these indices: resized, cropped and flipped as drawn, in [0, 1], normalised:
   * `[indices.length, channels, outHeight, outWidth]`.
   */
  make(indices: Int32Array): Float32Array<ArrayBuffer> {
    const { channels, height, width, augment } = this.recipe;
    const { images, resizer, resized, table } = this;
    const out = new Float32Array(indices.length * channels * resized.length);
    let at = 0;
    for (const index of indices) {
      const draw = augment === undefined ? null : drawFor(index, augment.key, augment);
      for (let c = 0; c < channels; c++) {
        const levels = table.subarray(256 * c, 256 * (c + 1));
        resizer.plane(images, (index * channels + c) * height * width, resized, 0);
        if (draw === null) for (let i = 0; i < resized.length; i++) out[at + i] = levels[resized[i]];
        else this.window(draw, levels, out, at);
        at += resized.length;
      }
    }
    return out;
  }

  /** The window that was drawn, of the plane in `resized`: black outside, then flipped. */
  private window({ top, left, flip }: Draw, levels: Float32Array, out: Float32Array, at: number): void {
    const { outHeight, outWidth } = this.recipe;
    const { resized } = this;
    const step = flip ? -1 : 1;
    for (let y = 0; y < outHeight; y++) {
      const fromY = y + top;
      const inside = fromY >= 0 && fromY < outHeight;
      let fromX = (flip ? outWidth - 1 : 0) + left;
      for (let x = 0; x < outWidth; x++, fromX += step) {
        const byte = inside && fromX >= 0 && fromX < outWidth ? resized[fromY * outWidth + fromX] : 0;
        out[at + y * outWidth + x] = levels[byte];
      }
    }
  }
}
