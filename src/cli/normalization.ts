/** What `--normalize` says: a mean and a deviation for each channel. */
import { imagenetNormalization, type Normalization } from '../data/normalize.js';

export const NORMALIZATION_WANTED =
  'none, imagenet, or MEAN/STD with a number a channel, such as 0.5,0.5,0.5/0.2,0.2,0.2';

const numbers = (list: string): number[] =>
  list.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));

/** Undefined for 'none', null for what is none of the three. */
export function parseNormalization(text: string): Normalization | undefined | null {
  if (text === 'none') return undefined;
  if (text === 'imagenet') return imagenetNormalization;
  const [mean, std, ...more] = text.split('/').map(numbers);
  const good = std !== undefined && more.length === 0 && mean.length === std.length;
  return good && mean.every(Number.isFinite) && std.every((v) => Math.fround(v) > 0 && Number.isFinite(v))
    ? { mean, std }
    : null;
}

/** Of a config that was checked. */
export function normalizationOf({ normalize }: { readonly normalize: string }): Normalization | undefined {
  return parseNormalization(normalize) ?? undefined;
}
