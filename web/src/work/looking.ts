/** A network to look into: its shapes, and what it makes of a picture. */
import {
  Conv2d,
  Generator,
  MaxPool2d,
  type Module,
  meta,
  readSafetensors,
  type Sequential,
  type WasmDevice,
  wasm,
} from 'atalho';
import { modelEntry } from 'atalho/cli/models.js';
import { type ImagePlanes, imagenetNormalization, Resizer } from 'atalho/data';
import { summarize } from 'atalho/nn';
import { decodeCheckpoint, loadModel } from 'atalho/train';
import { loadRun } from '../state/runStore.js';
import { loadImages } from './dataset.js';
import { lookInside, shares } from './insight.js';
import type { LookRequest, NetworkSummary, OwnPicture, Seen, Tiles } from './messages.js';
import { makeNetwork, modulesOf } from './networks.js';
import { autoThreads } from './threads.js';
import { imageTiles, mapTiles } from './tiles.js';

/** ImageNet's networks take colour, and know a thousand classes. */
const ofImagenet = (model: string): boolean => modelEntry(model).inputShape[2] === 224;
const sizesOf = (model: string): { inChannels: number; numClasses: number } =>
  ofImagenet(model) ? { inChannels: 3, numClasses: 1000 } : { inChannels: 1, numClasses: 10 };

/** The middle square of a picture, `[channels, side, side]`. */
function squareOf({ width, height, rgba }: OwnPicture, channels: number): ImagePlanes {
  const side = Math.min(width, height);
  const [left, top] = [(width - side) >> 1, (height - side) >> 1];
  const data = new Uint8Array(channels * side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const from = 4 * ((y + top) * width + x + left);
      const alpha = rgba[from + 3] / 255;
      // Transparent is white, as on a page.
      const [r, g, b] = [0, 1, 2].map((c) => rgba[from + c] * alpha + 255 * (1 - alpha));
      const at = y * side + x;
      if (channels === 3) for (const [c, v] of [r, g, b].entries()) data[c * side * side + at] = v;
      else data[at] = 0.299 * r + 0.587 * g + 0.114 * b;
    }
  }
  return { channels, height: side, width: side, data };
}

/** Fashion-MNIST lies on black: a picture with a light border is inverted. */
function onBlack(image: ImagePlanes): ImagePlanes {
  const { height, width, data } = image;
  let [sum, count] = [0, 0];
  for (let i = 0; i < width; i++) {
    for (const at of [i, (height - 1) * width + i, i * width, i * width + width - 1]) {
      sum += data[at];
      count++;
    }
  }
  return sum / count > 127 ? { ...image, data: data.map((v) => 255 - v) } : image;
}

function resized({ channels, height, width, data }: ImagePlanes, side: number): Uint8Array<ArrayBuffer> {
  const resizer = new Resizer(height, width, side, side);
  const out = new Uint8Array(channels * side * side);
  for (let c = 0; c < channels; c++) resizer.plane(data, c * height * width, out, c * side * side);
  return out;
}

const sideOf = (value: unknown): number => Number(Array.isArray(value) ? value[0] : value);

/** "3×3", "7×7, /2". */
function kernelOf(module: Module | undefined): string {
  const [side, stride] =
    module instanceof Conv2d
      ? [module.weight.shape[2], sideOf(module.options.stride ?? 1)]
      : module instanceof MaxPool2d
        ? [sideOf(module.kernelSize), sideOf(module.options.stride ?? module.kernelSize)]
        : [0, 1];
  return side === 0 ? '' : `${side}×${side}${stride > 1 ? `, /${stride}` : ''}`;
}

/** Most pixels of a side that a picture of one's own keeps. */
const MOST_SIDE = 512;

/** Here and not on the page, which a large photograph would hold up. */
export async function decodePicture(file: Blob): Promise<OwnPicture> {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, MOST_SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((v) => Math.max(1, Math.round(v * scale)));
  const context = new OffscreenCanvas(width, height).getContext('2d') as OffscreenCanvasRenderingContext2D;
  context.imageSmoothingQuality = 'high';
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return { width, height, rgba: context.getImageData(0, 0, width, height).data };
}

export class Looker {
  private device: WasmDevice | null = null;
  /** A safetensors file to take weights from. */
  file: Uint8Array | null = null;
  private open: { key: string; net: Sequential } | null = null;
  /** One picture after the other: the network of one would be taken away while another is computed. */
  private busy: Promise<unknown> = Promise.resolve();
  private asked = 0;

  static async summary(model: string, shortcuts: boolean, size: number): Promise<NetworkSummary> {
    const device = meta();
    const sizes = sizesOf(model);
    const net = makeNetwork(model, shortcuts, { device, generator: new Generator(0), ...sizes });
    const modules = modulesOf(net);
    const { layers, parameters, macs } = summarize(net, { inputShape: [1, sizes.inChannels, size, size] });
    return {
      ...{ parameters, macs },
      layers: layers.map((l) => ({
        ...{ name: l.name, type: l.type, depth: l.depth, output: l.outputShape },
        ...{ parameters: l.parameters, macs: l.macs, leaf: l.leaf, kernel: kernelOf(modules.get(l.name)) },
      })),
    };
  }

  static async pictures(count: number): Promise<{ pictures: Tiles; labels: Uint8Array }> {
    const data = await loadImages('test', count);
    return { pictures: imageTiles(data.images, count), labels: data.labels.slice(0, count) as Uint8Array };
  }

  /** @throws Error where something else was asked for before its turn came */
  see(request: LookRequest, picture: number | OwnPicture, block: string): Promise<Seen> {
    const mine = ++this.asked;
    const seen = this.busy.then(() => {
      if (mine !== this.asked) throw new Error('something else is asked for by now');
      return this.compute(request, picture, block);
    });
    this.busy = seen.catch(() => {});
    return seen;
  }

  /** Gives the device back. */
  async close(): Promise<void> {
    this.asked++;
    await this.busy;
    this.device?.dispose();
  }

  private async compute(request: LookRequest, picture: number | OwnPicture, block: string): Promise<Seen> {
    const net = await this.network(request);
    const { size, model } = request;
    const { inChannels } = sizesOf(model);
    let image: ImagePlanes;
    if (typeof picture === 'number') {
      const { images } = await loadImages('test', picture + 1);
      const gray = images.subarray(picture * 784, (picture + 1) * 784);
      const data = new Uint8Array(inChannels * 784);
      for (let c = 0; c < inChannels; c++) data.set(gray, c * 784);
      image = { channels: inChannels, height: 28, width: 28, data };
    } else {
      const square = squareOf(picture, inChannels);
      // Through 28×28, which is what the network has learnt from.
      image = inChannels === 3 ? square : onBlack(square);
      if (inChannels === 1) image = { channels: 1, height: 28, width: 28, data: resized(image, 28) };
    }
    const pixels = resized(image, size);
    const { mean, std } = imagenetNormalization;
    const x = Float32Array.from(pixels, (v, i) => {
      const c = Math.floor(i / (size * size));
      return inChannels === 3 ? (v / 255 - mean[c]) / std[c] : Math.fround(v / 255);
    });
    const { maps, logits } = await lookInside(net, this.device as WasmDevice, x, [1, inChannels, size, size], block);
    const classes = shares(logits)
      .map((share, index) => ({ index, share }))
      .sort((a, b) => b.share - a.share)
      .slice(0, 5);
    return { maps, classes, input: mapTiles(pixels, 1, size, size) };
  }

  /** Kept while the same is asked for. */
  private async network({ model, shortcuts, source }: LookRequest): Promise<Sequential> {
    const detail = source.kind === 'run' ? source.id : source.kind === 'file' ? source.number : '';
    const key = [model, shortcuts, source.kind, detail].join('|');
    if (this.open?.key === key) return this.open.net;
    this.device ??= await wasm({ threads: autoThreads(), math: 'fast' });
    this.open?.net.dispose();
    this.open = null;
    const loads = source.kind === 'run' || (source.kind === 'file' && this.file !== null);
    const options = { device: this.device, generator: new Generator(0), initWeights: !loads, ...sizesOf(model) };
    const net = makeNetwork(model, shortcuts, options);
    try {
      if (source.kind === 'run') {
        const saved = await loadRun(source.id);
        if (saved === null) throw new Error(`there is no saved run ${source.id}`);
        loadModel(net, decodeCheckpoint(saved.checkpoint, source.id));
      } else if (source.kind === 'file' && this.file !== null) net.loadStateDict(readSafetensors(this.file));
    } catch (error) {
      net.dispose();
      throw error;
    }
    this.open = { key, net };
    return net;
  }
}
