/** Fashion-MNIST beside the page: only as much of a file is fetched and unpacked as a run takes. */
import { fashionMnistClasses, type ImageDataset } from 'atalho/data';

const NAMES = { train: ['train', 60_000], test: ['t10k', 10_000] } as const;
export type Split = keyof typeof NAMES;

let base = '';
/** Where the page lies; its data is below. */
export function setBase(url: string): void {
  base = url;
}

/** The first `count` bytes of what the file holds, unpacked. A server may have unpacked it on the way: the first bytes tell. */
async function firstBytes(name: string, count: number): Promise<Uint8Array> {
  const url = new URL(`data/${name}.gz`, base);
  const response = await fetch(url).catch((error: Error) => {
    throw new Error(`${url.pathname}: ${error.message}`);
  });
  if (!response.ok || response.body === null) throw new Error(`${url.pathname}: ${response.status}`);
  const source = response.body.getReader();
  const first = await source.read();
  const packed = first.value?.[0] === 0x1f && first.value?.[1] === 0x8b;
  const whole = new ReadableStream<BufferSource>({
    start(controller) {
      if (first.value) controller.enqueue(first.value as Uint8Array<ArrayBuffer>);
    },
    async pull(controller) {
      const { done, value } = await source.read();
      if (done) controller.close();
      else controller.enqueue(value as Uint8Array<ArrayBuffer>);
    },
    cancel: (reason) => source.cancel(reason),
  });
  const reader = (packed ? whole.pipeThrough(new DecompressionStream('gzip')) : whole).getReader();
  const out = new Uint8Array(count);
  let at = 0;
  while (at < count) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`${url.pathname}: ends after ${at} bytes; want ${count}`);
    const part = (value as Uint8Array).subarray(0, count - at);
    out.set(part, at);
    at += part.length;
  }
  void reader.cancel();
  return out;
}

const loaded = new Map<Split, Promise<ImageDataset>>();

async function read(split: Split, count: number): Promise<ImageDataset> {
  const [name, total] = NAMES[split];
  const [images, labels] = await Promise.all([
    firstBytes(`${name}-images-idx3-ubyte`, 16 + count * 784),
    firstBytes(`${name}-labels-idx1-ubyte`, 8 + count),
  ]);
  const [ofImages, ofLabels] = [images, labels].map((bytes) => new DataView(bytes.buffer));
  const header = [0, 4, 8, 12].map((at) => ofImages.getUint32(at)).join();
  if (header !== `2051,${total},28,28` || ofLabels.getUint32(0) !== 2049) throw new Error(`${name}: no Fashion-MNIST`);
  return {
    images: images.subarray(16),
    shape: [count, 1, 28, 28],
    labels: labels.subarray(8),
    classes: fashionMnistClasses,
  };
}

/** The first `limit` images of a split; all for null. */
export async function loadImages(split: Split, limit: number | null): Promise<ImageDataset> {
  const total = NAMES[split][1];
  const count = Math.min(limit ?? total, total);
  const known = await loaded.get(split)?.catch(() => undefined);
  if (known === undefined || known.shape[0] < count) loaded.set(split, read(split, count));
  const all = await (loaded.get(split) as Promise<ImageDataset>);
  return {
    ...all,
    images: all.images.subarray(0, count * 784),
    shape: [count, 1, 28, 28],
    labels: all.labels.subarray(0, count),
  };
}
