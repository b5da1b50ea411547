/** From stored pixels to the floats a model takes: one function, run by the worker and by the main thread alike. */
import { Resizer } from './resize.js';

/** value / 255, rounded once to float32. */
const UNIT = Float32Array.from({ length: 256 }, (_, value) => value / 255);

export interface Geometry {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly outHeight: number;
  readonly outWidth: number;
}

export class BatchMaker {
  private readonly resizer: Resizer;
  private readonly resized: Uint8Array;

  constructor(
    /** `[N, channels, height, width]` */
    private readonly images: Uint8Array,
    private readonly geometry: Geometry,
  ) {
    const { height, width, outHeight, outWidth } = geometry;
    this.resizer = new Resizer(height, width, outHeight, outWidth);
    this.resized = new Uint8Array(outHeight * outWidth);
  }

  /** The images at these indices, resized, in [0, 1]: `[indices.length, channels, outHeight, outWidth]`. */
  make(indices: Int32Array): Float32Array<ArrayBuffer> {
    const { channels, height, width } = this.geometry;
    const { images, resizer, resized } = this;
    const out = new Float32Array(indices.length * channels * resized.length);
    let at = 0;
    for (const index of indices) {
      for (let c = 0; c < channels; c++) {
        resizer.plane(images, (index * channels + c) * height * width, resized, 0);
        for (let i = 0; i < resized.length; i++) out[at + i] = UNIT[resized[i]];
        at += resized.length;
      }
    }
    return out;
  }
}
