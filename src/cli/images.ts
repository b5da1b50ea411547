/** PNG and JPEG files to pixels. Sizes are read and bounded before anything is decoded. */
import { inflateSync } from 'node:zlib';
import { decode as decodeJpegPixels } from 'jpeg-js';
import { PNG } from 'pngjs';
import type { ImagePlanes } from '../data/preprocess.js';
import { AtalhoError, FormatError } from '../errors.js';
import { readFileBounded } from '../io/readFile.js';
import { attempt } from './errors.js';

/** Transparency is left out, as Pillow's `convert('L')` and `convert('RGB')` do. */
export interface DecodedImage extends ImagePlanes {
  /** 1 for gray, 3 for red, green, blue. */
  readonly channels: 1 | 3;
}

/** Most pixels that are decoded: enough for a 40-megapixel photograph. */
export const MAX_PIXELS = 40_000_000;
export const MAX_FILE_BYTES = 64 * 1024 * 1024;
/** Each is an object in memory, and may hold nothing. */
const MAX_PNG_CHUNKS = 65_536;
/** Each may go over the whole picture, and take but a few bytes. Progressive encoders write about ten. */
const MAX_JPEG_SCANS = 100;
/** Pixels times scans: those of the largest picture with the scans that encoders write. */
const MAX_SCANNED_PIXELS = 12 * MAX_PIXELS;
const JPEG_MEMORY_MB = 1024;

function checkSize(format: string, width: number, height: number): void {
  if (width < 1 || height < 1 || width * height > MAX_PIXELS) {
    throw new FormatError(`${format}: image is ${width}×${height}; want 1 to ${MAX_PIXELS} pixels`);
  }
}

/** `[channels, height, width]` from a decoder's red, green, blue, alpha. */
function planes(rgba: Uint8Array, width: number, height: number, channels: 1 | 3): DecodedImage {
  const size = width * height;
  const data = new Uint8Array(channels * size);
  for (let c = 0; c < channels; c++) for (let i = 0; i < size; i++) data[c * size + i] = rgba[4 * i + c];
  return { width, height, channels, data };
}

const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** Samples a pixel, by colour type. */
const PNG_SAMPLES: ReadonlyMap<number, number> = new Map([
  [0, 1],
  [2, 3],
  [3, 1],
  [4, 2],
  [6, 4],
]);

/** Only the chunks that hold the picture: ancillary ones (tRNS among them, which would blacken pixels) are dropped. */
function pngEssentials(bytes: Buffer): { file: Buffer; data: Buffer; header: Buffer } {
  const kept = [bytes.subarray(0, 8)];
  const data: Buffer[] = [];
  let header: Buffer | undefined;
  for (let at = 8, count = 1; ; count++) {
    if (count > MAX_PNG_CHUNKS) throw new FormatError(`PNG: more than ${MAX_PNG_CHUNKS} chunks`);
    if (at + 12 > bytes.length) throw new FormatError('PNG: truncated: the file ends before its IEND chunk');
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    const next = at + 12 + length;
    if (next > bytes.length) {
      throw new FormatError(`PNG: truncated: chunk of ${length} bytes in the last ${bytes.length - at}`);
    }
    if (!header && (type !== 'IHDR' || length !== 13)) throw new FormatError('PNG: want an IHDR of 13 bytes first');
    if (type === 'IHDR') {
      if (header) throw new FormatError('PNG: two IHDR chunks');
      header = bytes.subarray(at + 8, at + 21);
    }
    if (type === 'IDAT') data.push(bytes.subarray(at + 8, at + 8 + length));
    // An upper-case first letter marks a chunk that no reader may skip.
    if (type < 'a') kept.push(bytes.subarray(at, next));
    if (type === 'IEND') return { file: Buffer.concat(kept), data: Buffer.concat(data), header: header! };
    at = next;
  }
}

/** Red, green, blue, alpha. */
function readPng(file: Buffer): Uint8Array {
  try {
    return PNG.sync.read(file).data;
  } catch (error) {
    // The decoder stops at what it cannot take, and then complains only of the rest.
    if (!(error instanceof Error) || !error.message.startsWith('unrecognised content')) throw error;
    throw new FormatError('PNG: a chunk is damaged (wrong checksum) or of a kind that is not supported');
  }
}

function decodePng(bytes: Buffer): DecodedImage {
  const { file, data, header } = pngEssentials(bytes);
  const width = header.readUInt32BE(0);
  const height = header.readUInt32BE(4);
  const [depth, colour] = header.subarray(8, 10);
  checkSize('PNG', width, height);
  if (header[12] === 1) {
    // The decoder bounds the unpacking of plain images, but not of interlaced ones. Seven passes, each with a
    // filter byte a row; no more than this in all.
    const samples = PNG_SAMPLES.get(colour) ?? 4;
    const maxOutputLength = Math.ceil((width * height * samples * depth) / 8) + 7 * (width + 2 * height + 16);
    inflateSync(data, { maxOutputLength });
  }
  return planes(readPng(file), width, height, colour === 0 || colour === 4 ? 1 : 3);
}

/** Width, height and components from the first frame header, found without decoding. */
function jpegFrame(bytes: Buffer): { width: number; height: number; components: number } {
  for (let at = 2; at + 4 <= bytes.length; ) {
    if (bytes[at] !== 0xff) throw new FormatError(`JPEG: byte ${at} begins no segment`);
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at++;
      continue;
    }
    // Start of frame: C0 to CF, less DHT (C4), JPG (C8) and DAC (CC).
    if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc) {
      if (at + 10 > bytes.length) break;
      return { height: bytes.readUInt16BE(at + 5), width: bytes.readUInt16BE(at + 7), components: bytes[at + 9] };
    }
    at += 2 + bytes.readUInt16BE(at + 2);
  }
  throw new FormatError('JPEG: truncated: the file ends before its frame header');
}

/**
 * How often the marker that begins a scan stands in the file. In compressed data it cannot occur, in an embedded preview
 * it may: a few too many are no harm.
 */
function countScans(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf('ffda', 0, 'hex'); at >= 0; at = bytes.indexOf('ffda', at + 2, 'hex')) count++;
  return count;
}

function decodeJpeg(bytes: Buffer): DecodedImage {
  const { width, height, components } = jpegFrame(bytes);
  checkSize('JPEG', width, height);
  const scans = countScans(bytes);
  if (scans > MAX_JPEG_SCANS || scans * width * height > MAX_SCANNED_PIXELS) {
    throw new FormatError(`JPEG: ${scans} scans of ${width}×${height}; want at most ${MAX_JPEG_SCANS}, fewer if large`);
  }
  const decoded = decodeJpegPixels(bytes, {
    useTArray: true,
    tolerantDecoding: false,
    maxResolutionInMP: MAX_PIXELS / 1e6,
    maxMemoryUsageInMB: JPEG_MEMORY_MB,
  });
  return planes(decoded.data, decoded.width, decoded.height, components === 1 ? 1 : 3);
}

/**
 * Decodes a PNG or JPEG file, told apart by its first bytes. PNG pixels are exact; JPEG ones may differ by a few
 * levels from another decoder's, since that format leaves the arithmetic open.
 * @throws FormatError for another format, a damaged file, or more than `MAX_PIXELS` pixels.
 */
export function decodeImage(bytes: Uint8Array): DecodedImage {
  if (bytes.length > MAX_FILE_BYTES) {
    throw new FormatError(`image: file has ${bytes.length} bytes; want at most ${MAX_FILE_BYTES}`);
  }
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const png = PNG_SIGNATURE.every((byte, i) => bytes[i] === byte);
  const jpeg = bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;
  if (!png && !jpeg) throw new FormatError('image: file is neither PNG nor JPEG');
  try {
    return png ? decodePng(file) : decodeJpeg(file);
  } catch (error) {
    if (error instanceof FormatError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new FormatError(`${png ? 'PNG' : 'JPEG'}: ${reason}`, { cause: error });
  }
}

/** The image in gray, equal to Pillow's `convert('L')`: ITU-R 601 luma in 16-bit fixed point. Gray stays as it is. */
export function toGray(image: DecodedImage): DecodedImage {
  if (image.channels === 1) return image;
  const { width, height, data } = image;
  const size = width * height;
  const gray = new Uint8Array(size);
  for (let i = 0; i < size; i++) {
    gray[i] = (data[i] * 19595 + data[size + i] * 38470 + data[2 * size + i] * 7471 + 0x8000) >> 16;
  }
  return { width, height, channels: 1, data: gray };
}

/** The image in red, green and blue, equal to Pillow's `convert('RGB')`: gray is repeated. */
export function toRgb(image: DecodedImage): DecodedImage {
  if (image.channels === 3) return image;
  const { width, height, data } = image;
  const size = width * height;
  const colour = new Uint8Array(3 * size);
  for (let c = 0; c < 3; c++) colour.set(data, c * size);
  return { width, height, channels: 3, data: colour };
}

/**
 * Reads and decodes a picture, in gray or in colour, and hands it to `use`.
 * @throws AtalhoError or FormatError that names the file when it cannot be read, decoded or used
 */
export function usePicture<T>(path: string, channels: 1 | 3, use: (image: DecodedImage) => T): T {
  const bytes = attempt(`read ${path}`, () => readFileBounded(path, MAX_FILE_BYTES));
  try {
    const image = decodeImage(bytes);
    return use(channels === 1 ? toGray(image) : toRgb(image));
  } catch (error) {
    if (!(error instanceof AtalhoError)) throw error;
    throw new FormatError(`${path}: ${error.message}`, { cause: error });
  }
}
