/**
 * What torchvision's presets do to a picture before a classifier sees it: the shorter side resized, the centre cut out,
 * the channels normalised. Pixels in and floats out; decoding files is the caller's.
 * @see https://github.com/pytorch/vision/blob/main/torchvision/transforms/_presets.py
 */
import { ArgumentError } from '../errors.js';
import { type Pair, pair } from '../shape.js';
import { byteTable, imagenetNormalization, type Normalization } from './normalize.js';
import { resizeBilinear } from './resize.js';

/** One picture: pixels 0 to 255, row-major `[channels, height, width]`. */
export interface ImagePlanes {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly data: Uint8Array;
}

/** Sizes and normalisation of ImageNet's evaluation. */
export interface PreprocessOptions {
  /** Pixels that the shorter side is resized to. Default 256. */
  readonly resize?: number;
  /** `size` or `[height, width]` that is cut out of the centre. Default 224. */
  readonly crop?: Pair;
  /** ImageNet's by default; null leaves the pixels in [0, 1]. */
  readonly normalization?: Normalization | null;
}

/** Most pixels that a result may have: a thin strip would grow without end. */
const MAX_PIXELS = 2 ** 26;

function checkSize(op: string, from: string, height: number, width: number): void {
  if (height * width <= MAX_PIXELS) return;
  throw new ArgumentError(`${op}: ${from} would become ${height}×${width}; want at most ${MAX_PIXELS} pixels`);
}

function checkPlanes(op: string, { channels, height, width, data }: ImagePlanes): void {
  const whole = [channels, height, width].every((extent) => Number.isInteger(extent) && extent >= 1);
  if (!whole || data.length !== channels * height * width) {
    throw new ArgumentError(
      `${op}: image has ${data.length} pixels for shape [${channels}, ${height}, ${width}]; want [C, H, W] of as many`,
    );
  }
}

/**
 * Height and width once the shorter side is `size`: the longer one is ⌊size · long / short⌋, torchvision's rule for
 * `Resize(size)`.
 */
export function shorterSideSize(height: number, width: number, size: number): [number, number] {
  const long = Math.trunc((size * Math.max(height, width)) / Math.min(height, width));
  return height <= width ? [size, long] : [long, size];
}

/**
 * The picture with its shorter side at `size` pixels: torchvision's `Resize(size)` of a Pillow image, bit for bit.
 * @throws ArgumentError when `size` is no whole number of at least 1, or the result has more than 2²⁶ pixels
 */
export function resizeShorterSide(image: ImagePlanes, size: number): ImagePlanes {
  checkPlanes('resizeShorterSide', image);
  if (!Number.isInteger(size) || size < 1) {
    throw new ArgumentError(`resizeShorterSide: size is ${size}; want a whole number of at least 1`);
  }
  const { channels, height, width, data } = image;
  const [outHeight, outWidth] = shorterSideSize(height, width, size);
  checkSize('resizeShorterSide', `${height}×${width}`, outHeight, outWidth);
  const resized = resizeBilinear(data, height, width, outHeight, outWidth, channels);
  return { channels, height: outHeight, width: outWidth, data: resized };
}

/** Python's `round`, which torchvision places the cut with: halves go to the even neighbour. */
function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

/** Where a cut of `size` begins on an axis of `extent` pixels; before 0 where the picture is smaller. */
export function centerStart(extent: number, size: number): number {
  return extent >= size ? roundHalfEven((extent - size) / 2) : -Math.floor((size - extent) / 2);
}

/**
 * The middle of the picture: torchvision's `CenterCrop(size)`, bit for bit. A smaller picture has black around it.
 * @throws ArgumentError when `size` is not one or two whole numbers of at least 1, or 2²⁶ pixels are too few
 */
export function centerCrop(image: ImagePlanes, size: Pair): ImagePlanes {
  checkPlanes('centerCrop', image);
  const [outHeight, outWidth] = pair('centerCrop', 'size', size, 1);
  const { channels, height, width, data } = image;
  checkSize('centerCrop', `${height}×${width}`, outHeight, outWidth);
  const top = centerStart(height, outHeight);
  const left = centerStart(width, outWidth);
  const out = new Uint8Array(channels * outHeight * outWidth);
  const [from, to] = [Math.max(0, left), Math.min(width, left + outWidth)];
  for (let c = 0; c < channels; c++) {
    for (let y = Math.max(0, -top); y < outHeight && y + top < height; y++) {
      const row = (c * height + y + top) * width;
      out.set(data.subarray(row + from, row + to), (c * outHeight + y) * outWidth + from - left);
    }
  }
  return { channels, height: outHeight, width: outWidth, data: out };
}

/**
 * Pixels in [0, 1], then (x − mean) / std per channel: `[channels, height, width]` in float32, with the bits of
 * torchvision's `ToTensor` and `Normalize`. Without a normalisation x / 255 alone.
 * @throws ArgumentError when mean and std are not one number a channel
 */
export function normalize(image: ImagePlanes, normalization?: Normalization | null): Float32Array<ArrayBuffer> {
  checkPlanes('normalize', image);
  const { channels, height, width, data } = image;
  const table = byteTable('normalize', channels, normalization ?? undefined);
  const size = height * width;
  const out = new Float32Array(data.length);
  for (let c = 0; c < channels; c++) {
    for (let i = c * size; i < (c + 1) * size; i++) out[i] = table[c * 256 + data[i]];
  }
  return out;
}

/**
 * A picture as torchvision's classifiers take it, `[channels, height, width]` of `crop`: shorter side to `resize`
 * (256), centre cut of `crop` (224), ImageNet's mean and deviation.
 * @throws ArgumentError for an option out of its range, or an image of other than 3 channels with ImageNet's numbers
 */
export function preprocess(image: ImagePlanes, o: PreprocessOptions = {}): Float32Array<ArrayBuffer> {
  const { resize = 256, crop = 224, normalization = imagenetNormalization } = o;
  return normalize(centerCrop(resizeShorterSide(image, resize), crop), normalization);
}
