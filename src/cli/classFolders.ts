/** Pictures of one's own as a data set: a folder with train/CLASS/*.png and test/CLASS/*.png, or val/ in test's place. */
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageDataset } from '../data/dataset.js';
import { imageFolder, imageFolderClasses } from '../data/imageFolder.js';
import { AtalhoError } from '../errors.js';
import { decodeImage, MAX_FILE_BYTES, toGray, toRgb } from './images.js';

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** Whether a `--data` is such a folder, and not one of Fashion-MNIST's files. */
export function isClassFolders(data: string | null): data is string {
  return data !== null && isFolder(join(data, 'train'));
}

function splitFolder(data: string, split: 'train' | 'test'): string {
  const names = split === 'train' ? ['train'] : ['test', 'val'];
  const found = names.map((name) => join(data, name)).find(isFolder);
  if (found === undefined) throw new AtalhoError(`${data} has no folder ${names.join('/ and no folder ')}/; want one`);
  return found;
}

const some = (names: readonly string[]): string =>
  names.slice(0, 10).join(', ') + (names.length > 10 ? `, and ${names.length - 10} more` : '');

/**
 * The classes of the folder.
 * @throws AtalhoError when train/ and test/ do not hold the same ones
 */
export async function classesOf(data: string): Promise<string[]> {
  const folders = (['train', 'test'] as const).map((split) => splitFolder(data, split));
  const [train, test] = await Promise.all(folders.map((folder) => imageFolderClasses(folder)));
  const without = (a: readonly string[], b: readonly string[]): string[] => a.filter((name) => !b.includes(name));
  for (const [missing, where] of [
    [without(train, test), folders[1]],
    [without(test, train), folders[0]],
  ] as const) {
    if (missing.length > 0) {
      throw new AtalhoError(`${where} has no folder ${some(missing)}; want the same classes for training and testing`);
    }
  }
  return train;
}

export interface ClassFolderOptions {
  /** The classes that the run was begun with. */
  readonly classes: readonly string[];
  /** Height and width that the pictures are brought to: shorter side resized, centre cut out. */
  readonly size: number;
  readonly channels: 1 | 3;
  readonly limit: number | null;
}

/** The training or test pictures of the folder. Throws `AtalhoError` when its classes are not `classes`. */
export async function loadClassFolder(
  data: string,
  split: 'train' | 'test',
  { classes, size, channels, limit }: ClassFolderOptions,
): Promise<ImageDataset> {
  const root = splitFolder(data, split);
  process.stderr.write(`reading the pictures in ${root}\n`);
  const convert = channels === 1 ? toGray : toRgb;
  const images = await imageFolder({
    root,
    size,
    decode: (bytes) => convert(decodeImage(bytes)),
    limit: limit ?? undefined,
    maxFileBytes: MAX_FILE_BYTES,
  });
  if (JSON.stringify(images.classes) !== JSON.stringify(classes)) {
    throw new AtalhoError(`${root} holds the classes ${some(images.classes)}; the run was begun with ${some(classes)}`);
  }
  return images;
}

/** SHA-256 of all pixels, labels and names of classes: what tells one data set from another. */
export function hashImages(...sets: readonly ImageDataset[]): string {
  const hash = createHash('sha256');
  for (const { images, shape, labels, classes } of sets) {
    hash
      .update(`${JSON.stringify({ shape, classes })}\n`)
      .update(images)
      .update(Uint16Array.from(labels));
  }
  return hash.digest('hex');
}
