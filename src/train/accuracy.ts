/** From logits to classes, and how many of them are right. */
import { ArgumentError } from '../errors.js';

/** The position of the largest value; the first of equals, and a NaN before any number, as PyTorch's argmax. */
function argmax(values: ArrayLike<number>, from: number, to: number): number {
  let best = from;
  for (let i = from; i < to; i++) {
    if (Number.isNaN(values[i])) return i - from;
    if (values[i] > values[best]) best = i;
  }
  return best - from;
}

/** How many rows of `logits` `[N, classes]`, row-major, have their maximum at the row's label; N is `labels.length`. */
export function countCorrect(logits: ArrayLike<number>, labels: ArrayLike<number>): number {
  const rows = labels.length;
  const classes = rows === 0 ? 0 : logits.length / rows;
  if (!Number.isInteger(classes)) {
    throw new ArgumentError(`countCorrect: got ${logits.length} logits for ${rows} labels; want whole rows`);
  }
  let correct = 0;
  for (let n = 0; n < rows; n++) {
    if (argmax(logits, n * classes, (n + 1) * classes) === labels[n]) correct++;
  }
  return correct;
}

/** The share of rows of `logits` `[N, classes]` that `countCorrect` counts; NaN for none. */
export function accuracy(logits: ArrayLike<number>, labels: ArrayLike<number>): number {
  return countCorrect(logits, labels) / labels.length;
}
