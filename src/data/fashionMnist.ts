/**
 * Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28×28 gray, ten classes. Read from a clone of the
 * repository, else from the cache, else downloaded; in each case the content is checked by its SHA-256.
 * @see https://github.com/zalandoresearch/fashion-mnist
 */
import { hexSha256, unshared } from '../bytes.js';
import { ArgumentError, AtalhoError, FormatError } from '../errors.js';
import { gunzip } from '../io/gzip.js';
import { readIdx } from '../io/idx.js';
import type { ImageDataset } from './dataset.js';
import { download } from './download.js';

/** The text label of each class, as the book's chapter writes them. */
export const fashionMnistClasses: readonly string[] = Object.freeze([
  't-shirt',
  'trouser',
  'pullover',
  'dress',
  'coat',
  'sandal',
  'shirt',
  'sneaker',
  'bag',
  'ankle boot',
]);

const MIRRORS: readonly string[] = [
  'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/',
  'https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/',
];

/** Even stored without compression, a gz is barely larger than its content. */
const GZ_OVERHEAD = 65_536;

/** A write into the cache that has stood still for so long, in milliseconds, is nobody's. */
const LEFTOVER_AGE = 3_600_000;

interface DataFile {
  readonly name: string;
  /** Length and SHA-256 of the uncompressed IDX file. Those of the gz would depend on who compressed it. */
  readonly bytes: number;
  readonly sha256: string;
}

const FILES: Readonly<Record<'train' | 'test', { readonly images: DataFile; readonly labels: DataFile }>> = {
  train: {
    images: {
      name: 'train-images-idx3-ubyte',
      bytes: 47_040_016,
      sha256: 'c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888',
    },
    labels: {
      name: 'train-labels-idx1-ubyte',
      bytes: 60_008,
      sha256: 'bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9',
    },
  },
  test: {
    images: {
      name: 't10k-images-idx3-ubyte',
      bytes: 7_840_016,
      sha256: '5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b',
    },
    labels: {
      name: 't10k-labels-idx1-ubyte',
      bytes: 10_008,
      sha256: '0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34',
    },
  },
};

/** Which part of Fashion-MNIST, and where it comes from. */
export interface FashionMnistOptions {
  split: 'train' | 'test';
  /**
   * Where to look, instead of the clone's own folder and the public addresses: a folder with the four files (`.gz` or
   * not), or the http(s) address that they stand under. Without it, an address in the environment variable
   * ATALHO_FASHION_MNIST_URL takes the place of the public ones.
   */
  source?: string;
  /** Where downloads are kept; `$XDG_CACHE_HOME/atalho/fashion-mnist` or `~/.cache/atalho/fashion-mnist`. */
  cacheFolder?: string;
  /** Longest wait for the next bytes of a download, in milliseconds; 30 seconds by default. */
  timeoutMs?: number;
  /** Told before each download. */
  onDownload?: (url: string) => void;
}

/** The IDX file in `bytes`, unpacked if need be. Throws `FormatError` unless it is exactly the published one. */
async function unpack(file: DataFile, bytes: Uint8Array, origin: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    // Some servers unpack a .gz on the way; the magic numbers of gzip and IDX differ.
    const packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
    const content = packed ? await gunzip(bytes, { maxBytes: file.bytes }) : unshared(bytes);
    const got = await hexSha256(content);
    if (got !== file.sha256) throw new FormatError(`SHA-256 of the content is ${got}; want ${file.sha256}`);
    return content;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new FormatError(`${origin} is not Fashion-MNIST's ${file.name}: ${error.message}`, { cause: error });
  }
}

/** The file in a folder, with or without `.gz`; null when it is not there. */
async function readFrom(folder: string, file: DataFile): Promise<Uint8Array<ArrayBuffer> | null> {
  const [{ readFileBounded }, { join }] = await Promise.all([import('../io/readFile.js'), import('node:path')]);
  for (const name of [file.name, `${file.name}.gz`]) {
    const path = join(folder, name);
    let bytes: Uint8Array;
    try {
      bytes = readFileBounded(path, file.bytes + GZ_OVERHEAD);
    } catch (error) {
      if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) continue;
      throw error;
    }
    return unpack(file, bytes, path);
  }
  return null;
}

async function defaultCacheFolder(): Promise<string> {
  const [{ homedir }, { isAbsolute, join }] = await Promise.all([import('node:os'), import('node:path')]);
  // The XDG specification has relative paths ignored.
  const base = process.env.XDG_CACHE_HOME;
  return join(base && isAbsolute(base) ? base : join(homedir(), '.cache'), 'atalho', 'fashion-mnist');
}

async function readCache(folder: string, file: DataFile): Promise<Uint8Array<ArrayBuffer> | null> {
  try {
    return await readFrom(folder, file);
  } catch (error) {
    // A damaged copy is as good as none: it is downloaded again and replaced.
    if (error instanceof FormatError) return null;
    throw error;
  }
}

async function writeCache(folder: string, file: DataFile, content: Uint8Array): Promise<void> {
  const [{ mkdir }, { join }, { removeLeftovers, writeFileAtomic }] = await Promise.all([
    import('node:fs/promises'),
    import('node:path'),
    import('../io/atomic.js'),
  ]);
  try {
    await mkdir(folder, { recursive: true });
    removeLeftovers(folder, LEFTOVER_AGE);
    writeFileAtomic(join(folder, file.name), content);
  } catch (error) {
    // The data is here and checked; a cache that cannot be written costs the next run a download, no more.
    if (!(error instanceof Error && 'code' in error)) throw error;
  }
}

async function fetchFile(
  file: DataFile,
  addresses: readonly string[],
  options: FashionMnistOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  const failures: string[] = [];
  for (const address of addresses) {
    const url = `${address.endsWith('/') ? address : `${address}/`}${file.name}.gz`;
    options.onDownload?.(url);
    try {
      const maxBytes = file.bytes + GZ_OVERHEAD;
      return await unpack(file, await download(url, { maxBytes, timeoutMs: options.timeoutMs ?? 30_000 }), url);
    } catch (error) {
      if (!(error instanceof AtalhoError)) throw error;
      failures.push(`  ${url}: ${error.message}`);
    }
  }
  throw new AtalhoError(
    `fashionMnist: could not download ${file.name}.gz:\n${failures.join('\n')}\n` +
      'Want a network, another address in ATALHO_FASHION_MNIST_URL, or the folder of the four files as `source`.',
  );
}

/** Whether a `source` is an address and not a folder. */
export function isAddress(source: string): boolean {
  return /^https?:\/\//i.test(source);
}

async function load(file: DataFile, options: FashionMnistOptions): Promise<Uint8Array<ArrayBuffer>> {
  const { source } = options;
  const fromAddress = source !== undefined && isAddress(source);
  if (source !== undefined && !fromAddress) {
    const content = await readFrom(source, file);
    if (!content) throw new ArgumentError(`fashionMnist: source ${source} has no ${file.name} and no ${file.name}.gz`);
    return content;
  }
  if (source === undefined) {
    const { fileURLToPath } = await import('node:url');
    // The same from src/data and from dist/data. Present in a clone, not in the published package.
    const content = await readFrom(fileURLToPath(new URL('../../data/fashion-mnist', import.meta.url)), file);
    if (content) return content;
  }
  const cache = options.cacheFolder ?? (await defaultCacheFolder());
  const cached = await readCache(cache, file);
  if (cached) return cached;
  const configured = source ?? process.env.ATALHO_FASHION_MNIST_URL;
  const content = await fetchFile(file, configured ? [configured] : MIRRORS, options);
  await writeCache(cache, file, content);
  return content;
}

/**
 * One part of Fashion-MNIST: images `[60000, 1, 28, 28]` or `[10000, 1, 28, 28]`, labels 0 to 9 with their names in
 * `classes`. Needs Node; where there is no file system, hand the IDX files to `readIdx`.
 *
 * @throws FormatError when the clone or `source` folder holds a damaged file.
 * @throws ArgumentError when `source` is a folder without the files.
 * @throws AtalhoError when nothing is there and every address fails; it tells what each answered.
 */
export async function fashionMnist(
  options: FashionMnistOptions,
): Promise<ImageDataset & { readonly labels: Uint8Array }> {
  const { split } = options;
  if (split !== 'train' && split !== 'test') {
    throw new ArgumentError(`fashionMnist: split is ${String(split)}; want 'train' or 'test'`);
  }
  const files = FILES[split];
  const labels = readIdx(await load(files.labels, options));
  const images = readIdx(await load(files.images, options));
  if (images.dtype !== 'uint8' || labels.dtype !== 'uint8') throw new FormatError('fashionMnist: files hold no uint8');
  const [count, height, width] = images.shape;
  return { images: images.data, shape: [count, 1, height, width], labels: labels.data, classes: fashionMnistClasses };
}
