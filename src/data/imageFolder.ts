/**
 * Pictures in folders, one folder a class, as torchvision's ImageFolder reads them. Needs Node for the folders; what
 * decodes a file is the caller's.
 * @see https://pytorch.org/vision/stable/generated/torchvision.datasets.ImageFolder.html
 */
import { ArgumentError, AtalhoError, FormatError } from '../errors.js';
import type { ImageDataset } from './dataset.js';
import { centerCrop, type ImagePlanes, resizeShorterSide } from './preprocess.js';

/** Where the pictures are, and how they become images of one size. */
export interface ImageFolderOptions {
  /** The folder that holds one folder a class. */
  root: string;
  /** Height and width of the result in pixels: the shorter side is resized to it, then the centre cut out. */
  size: number;
  /** A file's bytes to its pixels; all pictures with the same number of channels. */
  decode: (bytes: Uint8Array) => ImagePlanes;
  /** Takes only so many pictures: the first of each class, then the second, and so on. */
  limit?: number;
  /** Largest file that is read, in bytes; 64 MiB by default. */
  maxFileBytes?: number;
}

/** torchvision's: what ends otherwise is no picture and passed over. */
const EXTENSIONS: readonly string[] = ['jpg', 'jpeg', 'png', 'ppm', 'bmp', 'pgm', 'tif', 'tiff', 'webp'];
const MAX_CLASSES = 65_536;

/** Python's order of strings, by code point; JavaScript's own goes by UTF-16 units. */
function byCodePoint(a: string, b: string): number {
  const [x, y] = [Array.from(a), Array.from(b)];
  const at = x.findIndex((character, i) => character !== y[i]);
  if (at < 0) return x.length - y.length;
  return at >= y.length ? 1 : (x[at].codePointAt(0) as number) - (y[at].codePointAt(0) as number);
}

type Files = typeof import('node:fs');

function isFolder({ statSync }: Files, path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch (error) {
    // A link to itself, or what may not be looked at, is no folder, as os.path.isdir has it.
    if (['ELOOP', 'EACCES', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

function classesIn(fs: Files, root: string): string[] {
  if (!isFolder(fs, root)) throw new ArgumentError(`imageFolder: root ${root} is no folder; want one`);
  const names = fs.readdirSync(root).filter((name) => isFolder(fs, `${root}/${name}`));
  if (names.length === 0 || names.length > MAX_CLASSES) {
    throw new ArgumentError(
      `imageFolder: root ${root} holds ${names.length} folders; want one a class, 1 to ${MAX_CLASSES}`,
    );
  }
  return names.sort(byCodePoint);
}

/** The names of the classes in `root`: its folders, sorted. */
export async function imageFolderClasses(root: string): Promise<string[]> {
  return classesIn(await import('node:fs'), root);
}

/** Pictures in `folder` and the folders in it: folder by folder, then by name. Links are followed, but not round. */
function picturesIn(fs: Files, folder: string): string[] {
  const files = new Map<string, string[]>();
  const walk = (path: string, above: ReadonlySet<string>): void => {
    const real = fs.realpathSync(path);
    if (above.has(real)) return;
    const own: string[] = [];
    files.set(path, own);
    for (const name of fs.readdirSync(path)) {
      if (isFolder(fs, `${path}/${name}`)) walk(`${path}/${name}`, new Set([...above, real]));
      else if (EXTENSIONS.some((extension) => name.toLowerCase().endsWith(`.${extension}`))) own.push(name);
    }
  };
  walk(folder, new Set());
  return [...files.keys()]
    .sort(byCodePoint)
    .flatMap((path) => (files.get(path) as string[]).sort(byCodePoint).map((name) => `${path}/${name}`));
}

/** How many of each class to take so that there are `limit` in all, one of each class in turn. */
function shares(sizes: readonly number[], limit: number): number[] {
  const taken = sizes.map(() => 0);
  let left = limit;
  for (let more = true; more && left > 0; ) {
    more = false;
    for (let i = 0; i < sizes.length && left > 0; i++) {
      if (taken[i] === sizes[i]) continue;
      taken[i]++;
      left--;
      more = true;
    }
  }
  return taken;
}

function allocate(count: number, bytes: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(count * bytes);
  } catch (error) {
    throw new AtalhoError(
      `imageFolder: there is no memory for ${count} pictures of ${bytes} bytes; want fewer or smaller`,
      {
        cause: error,
      },
    );
  }
}

/**
 * All pictures under `root`, held in memory: `[N, C, size, size]`. Classes are the folders in it, sorted by name; in each
 * the files of folders within too, sorted, whose names end as pictures' do. Labels are Uint16Array beyond 256 classes.
 * @throws ArgumentError when `root` is no folder, holds none, or a class has no picture
 * @throws FormatError that names the file that cannot be decoded or has other channels than the first
 */
export async function imageFolder(o: ImageFolderOptions): Promise<ImageDataset> {
  const { root, size, decode, limit = Number.POSITIVE_INFINITY, maxFileBytes = 2 ** 26 } = o;
  if (limit !== Number.POSITIVE_INFINITY && !(Number.isInteger(limit) && limit >= 1)) {
    throw new ArgumentError(`imageFolder: limit is ${limit}; want a whole number of at least 1`);
  }
  const [fs, { readFileBounded }] = await Promise.all([import('node:fs'), import('../io/readFile.js')]);
  const classes = classesIn(fs, root);
  const files = classes.map((name) => picturesIn(fs, `${root}/${name}`));
  const empty = classes.filter((_, i) => files[i].length === 0);
  if (empty.length > 0) {
    throw new ArgumentError(
      `imageFolder: root ${root} has no picture for ${empty.slice(0, 10).join(', ')}; want at least one a class ` +
        `(${EXTENSIONS.join(', ')})`,
    );
  }
  const taken = shares(
    files.map(({ length }) => length),
    limit,
  );
  const count = taken.reduce((a, b) => a + b, 0);
  const labels = classes.length > 256 ? new Uint16Array(count) : new Uint8Array(count);
  let images: Uint8Array<ArrayBuffer> | null = null;
  let channels = 0;
  let at = 0;
  files.forEach((paths, label) => {
    for (const path of paths.slice(0, taken[label])) {
      const bytes = readFileBounded(path, maxFileBytes);
      try {
        const picture = centerCrop(resizeShorterSide(decode(bytes), size), size);
        images ??= allocate(count, picture.data.length);
        if (at === 0) channels = picture.channels;
        if (picture.channels !== channels) {
          throw new FormatError(`picture has ${picture.channels} channels; want ${channels}, as the first has`);
        }
        images.set(picture.data, at * picture.data.length);
      } catch (error) {
        if (error instanceof AtalhoError && !(error instanceof FormatError || error instanceof ArgumentError))
          throw error;
        throw new FormatError(`${path}: ${(error as Error).message}`, { cause: error });
      }
      labels[at++] = label;
    }
  });
  return { images: images ?? new Uint8Array(), shape: [count, channels || 1, size, size], labels, classes };
}
