/** Data: the resize against Pillow, Fashion-MNIST from every source, batches and their order, picture files. */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { gunzipSync } from 'node:zlib';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type DecodedImage, decodeImage, MAX_PIXELS, toGray } from '../src/cli/images.js';
import { download } from '../src/data/download.js';
import {
  type Batch,
  type BatchOptions,
  batches,
  countBatches,
  fashionMnist,
  fashionMnistClasses,
  type ImageDataset,
  Resizer,
  resizeBilinear,
} from '../src/data/index.js';
import type { startPreparer } from '../src/data/prefetch.js';
import { ArgumentError, AtalhoError, FormatError } from '../src/errors.js';
import { readSafetensors } from '../src/io/index.js';
import { Generator } from '../src/random.js';
import { pixels, toPlanes } from './pictures.js';

// The worker is a file of the built package, which `npm test` builds first.
const built = new URL('../dist/data/loader.js', import.meta.url);
const DATA = fileURLToPath(new URL('../data/fashion-mnist', import.meta.url));
const goldens = readSafetensors(readFileSync(new URL('goldens/pillow-resize.safetensors', import.meta.url)));

function golden(name: string): Uint8Array {
  const data = goldens.get(name)?.data;
  if (!(data instanceof Uint8Array)) throw new Error(`no golden value ${name}`);
  return data;
}

let test: ImageDataset;
beforeAll(async () => {
  test = await fashionMnist({ split: 'test' });
});

describe('resizeBilinear', () => {
  interface Case {
    from: [number, number];
    to: [number, number];
    channels: number;
    fashion?: number;
  }
  const cases = Object.entries(JSON.parse(goldens.metadata.cases) as Record<string, Case>);

  it.each(cases)('equals Pillow: %s', (name, { from: [h, w], to: [outH, outW], channels, fashion }) => {
    const source =
      fashion === undefined
        ? toPlanes(pixels(name, h * w * channels), channels)
        : test.images.subarray(784 * fashion, 784 * (fashion + 1));
    const want = toPlanes(golden(name), channels);
    expect(Buffer.compare(resizeBilinear(source, h, w, outH, outW, channels), want)).toBe(0);
    // A prepared one gives the same, at any place, and again.
    const resizer = new Resizer(h, w, outH, outW);
    const target = new Uint8Array(outH * outW + 5).fill(77);
    for (const plane of [channels - 1, 0]) {
      resizer.plane(source, plane * h * w, target, 3);
      const part = want.subarray(plane * outH * outW, (plane + 1) * outH * outW);
      expect(Buffer.compare(target.subarray(3, 3 + outH * outW), part)).toBe(0);
    }
    expect([...target.subarray(0, 3), ...target.subarray(-2)]).toEqual([77, 77, 77, 77, 77]);
  });

  it('clips where rounded weights add up to more than 1', () => {
    // Every weight lies between 1/2 and 1 units and rounds up to 1: a third too much. Pillow 9.4 gives 255 for both.
    for (const value of [200, 255]) {
      const source = new Uint8Array(5_592_000).fill(value);
      expect([...resizeBilinear(source, 1, source.length, 1, 1)]).toEqual([255]);
    }
  });

  it('refuses sizes and sources that disagree', () => {
    expect(() => resizeBilinear(new Uint8Array(4), 2, 2, 0, 2)).toThrow(/from 2×2 to 0×2; want whole/);
    expect(() => resizeBilinear(new Uint8Array(4), 2, 2, 1.5, 2)).toThrow(ArgumentError);
    expect(() => resizeBilinear(new Uint8Array(5), 2, 2, 3, 3)).toThrow(/5 pixels; 1 planes of 2×2/);
    expect(() => new Resizer(2, 2, 3, 3).plane(new Uint8Array(4), 0, new Uint8Array(9), 1)).toThrow(ArgumentError);
  });
});

describe('fashionMnist', () => {
  it('gives the published images, labels and names', async () => {
    expect(test.shape).toEqual([10000, 1, 28, 28]);
    expect(test.images.length).toBe(7_840_000);
    // The first test images, as everybody shows them.
    expect([...test.labels.subarray(0, 8)].map((label) => test.classes[label])).toEqual([
      'ankle boot',
      'pullover',
      'trouser',
      'trouser',
      'shirt',
      'trouser',
      'coat',
      'shirt',
    ]);
    const train = await fashionMnist({ split: 'train' });
    expect(train.shape).toEqual([60000, 1, 28, 28]);
    const counts = new Array<number>(10).fill(0);
    for (const label of train.labels) counts[label]++;
    expect(counts).toEqual(new Array(10).fill(6000));
    expect(fashionMnistClasses).toHaveLength(10);
  });

  it('refuses a split that there is not', async () => {
    await expect(fashionMnist({ split: 'validation' as 'test' })).rejects.toThrow(/split is validation; want/);
  });
});

describe('fashionMnist: folders, cache and downloads', () => {
  const IMAGES = 't10k-images-idx3-ubyte';
  const LABELS = 't10k-labels-idx1-ubyte';
  const file = (name: string): Buffer => readFileSync(join(DATA, `${name}.gz`));
  let folder: string;
  let cacheFolder: string;
  let server: Server | undefined;
  let requests: string[];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'atalho-data-'));
    cacheFolder = join(folder, 'cache', 'deep');
    requests = [];
  });
  afterEach(async () => {
    rmSync(folder, { recursive: true });
    server?.closeAllConnections();
    await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
    server = undefined;
  });

  async function serve(listener: RequestListener): Promise<string> {
    server = createServer((request, response) => {
      requests.push(request.url ?? '');
      listener(request, response);
    });
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
  const good: RequestListener = (request, response) => {
    response.end(file((request.url ?? '').replace(/^.*\//, '').replace('.gz', '')));
  };

  it('reads a folder, packed or not', async () => {
    writeFileSync(join(folder, IMAGES), gunzipSync(file(IMAGES)));
    writeFileSync(join(folder, `${LABELS}.gz`), file(LABELS));
    const read = await fashionMnist({ split: 'test', source: folder });
    expect(Buffer.compare(read.images, test.images)).toBe(0);
    expect(read.labels).toEqual(test.labels);
  });

  it('says what is wrong with a folder', async () => {
    await expect(fashionMnist({ split: 'test', source: folder })).rejects.toThrow(/has no t10k-labels-idx1-ubyte/);
    writeFileSync(join(folder, LABELS), gunzipSync(file(LABELS)).fill(9, 100, 101));
    await expect(fashionMnist({ split: 'test', source: folder })).rejects.toThrow(FormatError);
    await expect(fashionMnist({ split: 'test', source: folder })).rejects.toThrow(
      /SHA-256 of the content is .* want 0402/,
    );
    rmSync(join(folder, LABELS));
    writeFileSync(join(folder, `${LABELS}.gz`), file(LABELS).subarray(0, 3000));
    await expect(fashionMnist({ split: 'test', source: folder })).rejects.toThrow(/t10k.*unexpected end/);
  });

  it('downloads once, then reads the cache', async () => {
    const source = await serve(good);
    const told: string[] = [];
    const options = { split: 'test', source, cacheFolder, onDownload: (url: string) => told.push(url) } as const;
    const first = await fashionMnist(options);
    expect(requests.sort()).toEqual([`/${IMAGES}.gz`, `/${LABELS}.gz`]);
    expect(told).toHaveLength(2);
    expect(readdirSync(cacheFolder).sort()).toEqual([IMAGES, LABELS]);
    const second = await fashionMnist(options);
    expect(requests).toHaveLength(2);
    for (const read of [first, second]) expect(Buffer.compare(read.images, test.images)).toBe(0);
    // A damaged copy is replaced.
    writeFileSync(join(cacheFolder, LABELS), 'damaged');
    expect((await fashionMnist(options)).labels).toEqual(test.labels);
    expect(requests).toHaveLength(3);
    expect(readFileSync(join(cacheFolder, LABELS)).length).toBe(10_008);
  });

  it('follows redirects, takes unpacked bodies and does without a cache', async () => {
    const source = await serve((request, response) => {
      const url = request.url ?? '';
      if (url.startsWith('/old/')) response.writeHead(302, { location: url.replace('/old/', '/new/') }).end();
      else
        response.writeHead(200, { 'content-encoding': 'gzip' }).end(file(url.replace('/new/', '').replace('.gz', '')));
    });
    writeFileSync(join(folder, 'occupied'), '');
    const unwritable = join(folder, 'occupied', 'cache');
    const read = await fashionMnist({ split: 'test', source: `${source}/old/`, cacheFolder: unwritable });
    expect(Buffer.compare(read.images, test.images)).toBe(0);
    expect(requests[0]).toBe(`/old/${LABELS}.gz`);
  });

  it.each<[string, RequestListener, RegExp]>([
    ['a 404', (_, response) => response.writeHead(404).end('none'), /answered 404/],
    ['a 500', (_, response) => response.writeHead(500).end(), /answered 500/],
    ['a page instead of the file', (_, response) => response.end('<html>log in</html>'), /SHA-256 of the content/],
    ['other content', (_, response) => response.end(file(IMAGES)), /larger than/],
    ['a cut-off file', (_, response) => response.end(file(LABELS).subarray(0, 3000)), /unexpected end/],
    [
      'a connection that breaks',
      (_, response) => {
        response.writeHead(200, { 'content-length': '5125' });
        response.write(file(LABELS).subarray(0, 3000), () => response.destroy());
      },
      /terminated|other side closed|aborted/,
    ],
    ['silence', () => {}, /nothing arrived for 200 ms/],
    [
      'silence in the middle',
      (_, response) => {
        response.write(file(LABELS).subarray(0, 3000));
      },
      /nothing arrived for 200 ms/,
    ],
    [
      'a body without end',
      (_, response) => {
        const more = (): void => {
          while (!response.destroyed && response.write(new Uint8Array(65536)));
        };
        response.on('drain', more);
        more();
      },
      /larger than/,
    ],
    [
      'a redirect to itself',
      (request, response) => response.writeHead(302, { location: request.url }).end(),
      /redirect/,
    ],
  ])('reports %s', async (_, listener, message) => {
    const source = await serve(listener);
    const failed = fashionMnist({ split: 'test', source, cacheFolder, timeoutMs: 200 });
    await expect(failed).rejects.toThrow(AtalhoError);
    await expect(failed).rejects.toThrow(message);
    await expect(failed).rejects.toThrow(/ATALHO_FASHION_MNIST_URL/);
    expect(existsSync(cacheFolder) ? readdirSync(cacheFolder) : []).toEqual([]);
  });

  it('ends a download that trickles', async () => {
    const source = await serve((_, response) => {
      const timer = setInterval(() => response.write('x'), 20);
      response.on('close', () => clearInterval(timer));
    });
    const failed = download(source, { maxBytes: 1000, timeoutMs: 200, minRate: 5000 });
    await expect(failed).rejects.toThrow(/^it was not done in 400 ms$/);
    await expect(failed).rejects.toThrow(AtalhoError);
  }, 10_000);

  it('leaves alone what another process is writing into the cache', async () => {
    const source = await serve(good);
    mkdirSync(cacheFolder, { recursive: true });
    const live = `.${IMAGES}.01234567-89ab-4cde-8f01-23456789abcd.tmp`;
    writeFileSync(join(cacheFolder, live), 'half');
    await fashionMnist({ split: 'test', source, cacheFolder });
    expect(readdirSync(cacheFolder).sort()).toEqual([live, IMAGES, LABELS]);
  });

  // Without the clone's own files, as npm installs the package.
  it('published package: address and cache folder from the environment', async () => {
    const root = join(folder, 'package');
    cpSync(new URL('..', built), join(root, 'dist'), { recursive: true });
    writeFileSync(join(root, 'package.json'), '{"type":"module"}');
    const script = `
      import { fashionMnist } from './dist/data/fashionMnist.js';
      const { images, shape } = await fashionMnist({ split: 'test' });
      console.log(JSON.stringify([shape, images.reduce((sum, value) => sum + value, 0)]));`;
    const env = { ...process.env, ATALHO_FASHION_MNIST_URL: await serve(good), XDG_CACHE_HOME: join(folder, 'xdg') };
    const want = [[10000, 1, 28, 28], test.images.reduce((sum, value) => sum + value, 0)];
    for (let run = 0; run < 2; run++) {
      const node = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { cwd: root, env });
      expect(JSON.parse((await node).stdout)).toEqual(want);
      expect(requests).toHaveLength(2);
    }
    expect(readdirSync(join(folder, 'xdg', 'atalho', 'fashion-mnist')).sort()).toEqual([IMAGES, LABELS]);
  });

  it('reports an address where nothing listens', async () => {
    const source = await serve(good);
    await new Promise((resolve) => server?.close(resolve));
    server = undefined;
    await expect(fashionMnist({ split: 'test', source, cacheFolder })).rejects.toThrow(/ECONNREFUSED/);
  });
});

const numbered: ImageDataset = {
  images: pixels('numbered', 23 * 2 * 5 * 4),
  shape: [23, 2, 5, 4],
  labels: Uint8Array.from({ length: 23 }, (_, i) => i),
  classes: Array.from({ length: 23 }, (_, i) => `class ${i}`),
};

async function all(dataset: ImageDataset, options: BatchOptions, from = batches): Promise<Batch[]> {
  const list: Batch[] = [];
  for await (const batch of from(dataset, options)) list.push(batch);
  return list;
}

describe('batches', () => {
  it('gives every image once, in file order, as value / 255', async () => {
    const list = await all(numbered, { batchSize: 5 });
    expect(list.map((batch) => batch.shape[0])).toEqual([5, 5, 5, 5, 3]);
    expect(list.map((batch) => batch.index)).toEqual([0, 1, 2, 3, 4]);
    expect(list.flatMap((batch) => [...batch.indices])).toEqual([...numbered.labels]);
    expect(list.flatMap((batch) => [...batch.labels])).toEqual([...numbered.labels]);
    const floats = list.flatMap((batch) => [...batch.images]);
    expect(floats).toEqual([...numbered.images].map((value) => Math.fround(value / 255)));
    expect(list[0].labels).toBeInstanceOf(Int32Array);
    expect(list[4].shape).toEqual([3, 2, 5, 4]);
  });

  it('resizes each channel as resizeBilinear does', async () => {
    const [batch] = await all(numbered, { batchSize: 4, resize: [7, 9], start: 2, limit: 12 });
    expect(batch.shape).toEqual([4, 2, 7, 9]);
    for (let n = 0; n < 4; n++) {
      const image = numbered.images.subarray((8 + n) * 40, (9 + n) * 40);
      const want = Float32Array.from(resizeBilinear(image, 5, 4, 7, 9, 2), (value) => value / 255);
      expect(batch.images.subarray(n * 126, (n + 1) * 126)).toEqual(want);
    }
  });

  it('counts, limits and drops', async () => {
    for (const options of [
      { batchSize: 5 },
      { batchSize: 5, dropLast: true },
      { batchSize: 5, limit: 11 },
      { batchSize: 5, limit: 11, dropLast: true },
      { batchSize: 5, limit: 999 },
      { batchSize: 99 },
      { batchSize: 99, dropLast: true },
      { batchSize: 1, limit: 0 },
    ]) {
      const list = await all(numbered, options);
      expect(list.length).toBe(countBatches(numbered, options));
      const seen = list.flatMap((batch) => [...batch.indices]);
      const count = Math.min(23, options.limit ?? 23);
      const want = options.dropLast ? count - (count % options.batchSize) : count;
      expect(seen).toEqual(Array.from({ length: want }, (_, i) => i));
    }
  });

  it('shuffles by the seed, and again in the next epoch', async () => {
    const order = async (seed: number, epochs: number): Promise<number[][]> => {
      const generator = new Generator(seed);
      const orders: number[][] = [];
      for (let epoch = 0; epoch < epochs; epoch++) {
        const list = await all(numbered, { batchSize: 4, shuffle: true, generator, limit: 20 });
        orders.push(list.flatMap((batch) => [...batch.indices]));
        for (const batch of list) expect([...batch.labels]).toEqual([...batch.indices]);
      }
      return orders;
    };
    const [first, second] = await order(5, 2);
    expect([...first].sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(second).not.toEqual(first);
    expect(await order(5, 2)).toEqual([first, second]);
    expect(await order(6, 1)).not.toEqual([first]);
  });

  it('goes on from any position as if never interrupted', async () => {
    const generator = new Generator(11);
    const state = generator.state();
    const options = { batchSize: 4, shuffle: true, resize: 8 };
    const whole = await all(numbered, { ...options, generator });
    for (let start = 0; start <= whole.length; start++) {
      const again = Generator.fromState(state);
      const rest = await all(numbered, { ...options, generator: again, start });
      expect(rest).toEqual(whole.slice(start));
      expect(again.state()).toEqual(generator.state());
    }
  });

  it('draws the order when called, not when read', () => {
    const generator = new Generator(3);
    const before = generator.state();
    batches(numbered, { batchSize: 4, shuffle: true, generator });
    expect(generator.state()).not.toEqual(before);
  });

  it.each<[string, Partial<BatchOptions>, RegExp]>([
    ['no batch size', { batchSize: 0 }, /batchSize is 0/],
    ['a broken one', { batchSize: 2.5 }, /batchSize is 2.5/],
    ['a negative limit', { limit: -1 }, /limit is -1/],
    ['a negative start', { start: -1 }, /start is -1/],
    ['a start behind the end', { start: 7 }, /start is 7; the epoch has 6 batches/],
    ['shuffle without a generator', { shuffle: true }, /generator/],
    ['a size of 0', { resize: 0 }, /resize is 0/],
    ['another prefetch', { prefetch: 'thread' as 'inline' }, /prefetch is thread/],
  ])('refuses %s', (_, options, message) => {
    expect(() => batches(numbered, { batchSize: 4, ...options })).toThrow(ArgumentError);
    expect(() => batches(numbered, { batchSize: 4, ...options })).toThrow(message);
  });

  it('refuses a data set that disagrees with itself', () => {
    const broken = (part: Partial<ImageDataset>) => () => batches({ ...numbered, ...part }, { batchSize: 4 });
    expect(broken({ shape: [22, 2, 5, 4] })).toThrow(/920 pixels/);
    expect(broken({ labels: new Uint8Array(22) })).toThrow(/22 labels for 23/);
    expect(broken({ shape: [23, 40] as never })).toThrow(/want \[N, C, H, W\]/);
  });

  it('says so where a worker is asked for and there is none', async () => {
    // These are the sources: the worker's file exists only in the built package.
    await expect(all(numbered, { batchSize: 4, prefetch: 'worker' })).rejects.toThrow(
      /prefetch is 'worker', but there is/,
    );
  });
});

describe('batches: the worker of the built package', () => {
  let fromDist: typeof batches;
  let startFromDist: typeof startPreparer;
  beforeAll(async () => {
    fromDist = ((await import(/* @vite-ignore */ built.href)) as { batches: typeof batches }).batches;
    const { href } = new URL('prefetch.js', built);
    startFromDist = ((await import(/* @vite-ignore */ href)) as { startPreparer: typeof startPreparer }).startPreparer;
  });
  it('gives the same bits as inline', async () => {
    for (const options of [
      { batchSize: 4, resize: 31 },
      { batchSize: 5, dropLast: true, start: 1 },
      { batchSize: 100, resize: [3, 40] as [number, number] },
    ]) {
      const want = await all(numbered, { ...options, prefetch: 'inline' });
      expect(await all(numbered, { ...options, prefetch: 'worker' }, fromDist)).toEqual(want);
      expect(await all(numbered, { ...options, prefetch: 'auto' }, fromDist)).toEqual(want);
    }
  });

  it('prepares while this thread is blocked', async () => {
    const geometry = { channels: 1, height: 28, width: 28, outHeight: 96, outWidth: 96 };
    const preparer = await startFromDist(test.images, geometry, 'worker');
    for (let i = 0; i < 3; i++) preparer.request(Int32Array.of(i, i + 1));
    // Nothing of this thread's event loop runs until the worker has made all three.
    while (Atomics.load(preparer.made, 0) < 3) {
      expect(Atomics.wait(preparer.made, 0, Atomics.load(preparer.made, 0), 60_000)).not.toBe('timed-out');
    }
    const inline = await startFromDist(test.images, geometry, 'inline');
    for (let i = 0; i < 3; i++) {
      inline.request(Int32Array.of(i, i + 1));
      expect(await preparer.next()).toEqual(await inline.next());
    }
    await preparer.close();
  });

  it('is asked for two batches ahead', async () => {
    const asked = vi.spyOn(Worker.prototype, 'postMessage');
    const iterator = fromDist(test, { batchSize: 4, limit: 40, prefetch: 'worker' });
    await iterator.next();
    expect(asked).toHaveBeenCalledTimes(3);
    await iterator.next();
    expect(asked).toHaveBeenCalledTimes(4);
    await iterator.return();
    asked.mockRestore();
  });

  it('that sends what cannot be read is an error, not a wait', async () => {
    const asked = vi.spyOn(Worker.prototype, 'postMessage').mockImplementation(function (this: Worker) {
      this.emit('messageerror', new Error('cut off'));
    });
    const failed = fromDist(test, { batchSize: 4, limit: 40, prefetch: 'worker' }).next();
    await expect(failed).rejects.toThrow(/batches: worker's answer is lost: Error: cut off/);
    asked.mockRestore();
  });

  it('keeps the process alive while awaited, and ends with the loop, however that ends', async () => {
    const script = `
      import { readdirSync } from 'node:fs';
      import { batches } from ${JSON.stringify(built.href)};
      const data = { images: new Uint8Array(400), shape: [4, 1, 10, 10], labels: new Uint8Array(4), classes: ['a'] };
      const options = { batchSize: 1, resize: 300, prefetch: 'worker' };
      // Threads of this process, where the system tells; the first worker starts others that stay.
      const threads = () => process.platform === 'linux' ? readdirSync('/proc/self/task').length : 0;
      let count = 0;
      for await (const batch of batches(data, options)) count++;
      const before = threads();
      for (let i = 0; i < 3; i++) for await (const batch of batches(data, options)) break;
      try {
        for await (const batch of batches(data, options)) throw new Error('stop');
      } catch (error) {
        if (error.message === 'stop') count++;
      }
      console.log(JSON.stringify([count, threads() - before]));
      // Abandoned in the middle: the process must still end.
      await batches(data, options).next();`;
    const node = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { timeout: 20_000 });
    expect(JSON.parse((await node).stdout)).toEqual([5, 0]);
  });
});

describe('picture files', () => {
  const names = JSON.parse(goldens.metadata.files) as string[];

  it.each(names)('reads %s as Pillow does', (name) => {
    const image = decodeImage(golden(`file.${name}`));
    expect([image.width, image.height]).toEqual([32, 24]);
    expect(image.channels).toBe(/^(gray|bilevel|transparent)/.test(name) ? 1 : 3);
    const gray = toGray(image).data;
    const want = golden(`gray.${name}`);
    const worst = Math.max(...want.map((value, i) => Math.abs(value - gray[i])));
    // JPEG leaves the rounding of its transforms to the decoder.
    expect(worst).toBeLessThanOrEqual(name.endsWith('.png') ? 0 : 2);
  });

  it("turns colour to gray as Pillow's convert('L')", () => {
    const colour: DecodedImage = { width: 40, height: 48, channels: 3, data: toPlanes(pixels('gray', 48 * 40 * 3), 3) };
    expect(Buffer.compare(toGray(colour).data, golden('gray'))).toBe(0);
  });

  /** A PNG whose header claims a size. */
  function pngOf(width: number, height: number, interlaced = false): Uint8Array {
    const png = new PNG({ width: 8, height: 8, fill: true });
    const bytes = PNG.sync.write(png);
    bytes.writeUInt32BE(width, 16);
    bytes.writeUInt32BE(height, 20);
    if (interlaced) bytes[28] = 1;
    return bytes;
  }

  it('refuses pixel bombs before decoding them', () => {
    expect(() => decodeImage(pngOf(100_000, 100_000))).toThrow(
      /PNG: image is 100000×100000; want 1 to 40000000 pixels/,
    );
    expect(() => decodeImage(pngOf(0, 5))).toThrow(/0×5/);
    const { data } = jpeg.encode({ width: 8, height: 8, data: new Uint8Array(256) }, 90);
    const frame = data.indexOf(Buffer.from([0xff, 0xc0]));
    data.writeUInt16BE(65_500, frame + 5);
    data.writeUInt16BE(65_500, frame + 7);
    expect(() => decodeImage(data)).toThrow(/JPEG: image is 65500×65500/);
    expect(65_500 ** 2).toBeGreaterThan(MAX_PIXELS);
  });

  it('refuses a JPEG of many scans and a PNG of many chunks before decoding them', () => {
    const { data } = jpeg.encode({ width: 8, height: 8, data: new Uint8Array(256) }, 90);
    const scan = data.indexOf(Buffer.from([0xff, 0xda]));
    const scans = (count: number): Buffer =>
      Buffer.concat([data.subarray(0, scan), ...Array<Buffer>(count).fill(data.subarray(scan, -2)), data.subarray(-2)]);
    expect(decodeImage(scans(100)).width).toBe(8);
    expect(() => decodeImage(scans(101))).toThrow(/^JPEG: 101 scans of 8×8; want at most 100, fewer if large$/);
    // As many scans as small pictures may have, over a large one.
    const frame = data.indexOf(Buffer.from([0xff, 0xc0]));
    data.writeUInt16BE(6000, frame + 5);
    data.writeUInt16BE(6000, frame + 7);
    expect(() => decodeImage(scans(100))).toThrow(/^JPEG: 100 scans of 6000×6000; want at most 100, fewer if large$/);

    const png = golden('file.gray.png');
    const end = png.length - 12;
    const empty = Buffer.from('000000004944415435af061e', 'hex');
    const chunks = (count: number): Buffer =>
      Buffer.concat([png.subarray(0, end), ...Array<Buffer>(count).fill(empty), png.subarray(end)]);
    expect(decodeImage(chunks(1000))).toEqual(decodeImage(png));
    expect(() => decodeImage(chunks(70_000))).toThrow(/^PNG: more than 65536 chunks$/);
  });

  it.each<[string, Uint8Array, RegExp]>([
    ['another format', Buffer.from('GIF89a'), /neither PNG nor JPEG/],
    ['nothing', new Uint8Array(0), /neither PNG nor JPEG/],
    ['a cut-off PNG', golden('file.rgb.png').subarray(0, 200), /PNG: truncated/],
    ['a PNG with a changed size', pngOf(8, 9), /PNG: a chunk is damaged/],
    ['a cut-off JPEG', golden('file.rgb.jpg').subarray(0, 400), /JPEG/],
    ['a JPEG without data', golden('file.rgb.jpg').subarray(0, 20), /JPEG: truncated/],
  ])('refuses %s', (_, bytes, message) => {
    expect(() => decodeImage(bytes)).toThrow(FormatError);
    expect(() => decodeImage(bytes)).toThrow(message);
  });

  it('ignores what follows the end of a PNG', () => {
    const bytes = Buffer.concat([golden('file.gray.png'), Buffer.from('more')]);
    expect(decodeImage(bytes)).toEqual(decodeImage(golden('file.gray.png')));
  });

  it('answers every damaged picture with a FormatError or an image', () => {
    let refused = 0;
    let x = 12345;
    const random = (below: number): number => {
      x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
      return Math.floor((x / 2 ** 32) * below);
    };
    for (let round = 0; round < 60; round++) {
      for (const name of names) {
        const bytes = golden(`file.${name}`).slice(0, random(4) === 0 ? random(900) : undefined);
        for (let flip = 0; flip < 1 + random(4) && bytes.length > 0; flip++)
          bytes[random(bytes.length)] ^= 1 << random(8);
        try {
          expect(decodeImage(bytes).data.length).toBeGreaterThan(0);
        } catch (error) {
          if (!(error instanceof FormatError)) throw error;
          refused++;
        }
      }
    }
    expect(refused).toBeGreaterThan(200);
  });
});
