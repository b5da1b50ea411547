/** What a convolution or a pool adds around its input: every form of the `padding` option. */
import { ArgumentError, show } from '../errors.js';
import { type Pair, pair } from '../shape.js';

/**
 * Padding on each side: one number, `[height, width]`, `[[top, bottom], [left, right]]` as JAX writes it, or a word.
 * `'valid'` is none. `'same'` is PyTorch's: the output has the input's extents, for stride 1 alone. `'SAME'` is that of
 * TensorFlow and JAX: ⌈extent / stride⌉ outputs, with as little padding as these need. Of an odd number both put the odd one
 * after the input.
 * @see https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html
 * @see https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
 */
export type Padding =
  | Pair
  | readonly [readonly [top: number, bottom: number], readonly [left: number, right: number]]
  | 'same'
  | 'valid'
  | 'SAME';

type Two = readonly [number, number];

/** How a window slides, by axis. */
export interface Sliding {
  readonly kernel: Two;
  readonly stride: Two;
  readonly dilation: Two;
}

/** Padding of each axis, before the input and after it. */
export interface Sides {
  readonly before: Two;
  readonly after: Two;
}

const isSides = (padding: Padding): padding is readonly [Two, Two] =>
  Array.isArray(padding) && padding.some((one) => Array.isArray(one));

/** Throws `ArgumentError` unless `padding` is one of its forms and goes with the stride. */
export function checkPadding(op: string, padding: Padding, stride: Two): void {
  if (padding === 'valid' || padding === 'SAME') return;
  if (padding === 'same') {
    if (stride[0] === 1 && stride[1] === 1) return;
    throw new ArgumentError(
      `${op}: padding 'same' with stride [${stride.join(', ')}]; it wants stride 1 ('SAME' is TensorFlow's, for any)`,
    );
  }
  if (typeof padding === 'string') {
    throw new ArgumentError(
      `${op}: padding is '${String(padding)}'; want 'same', 'valid', 'SAME', whole numbers or pairs of them`,
    );
  }
  if (!isSides(padding)) {
    pair(op, 'padding', padding, 0);
    return;
  }
  const whole = (one: unknown): boolean =>
    Array.isArray(one) && one.length === 2 && one.every((v) => Number.isInteger(v) && v >= 0);
  if (padding.length !== 2 || !padding.every(whole)) {
    throw new ArgumentError(
      `${op}: padding is [${padding.map((one) => show(one)).join(', ')}]; want [[top, bottom], [left, right]], whole numbers of at least 0`,
    );
  }
}

/** The padding of an input of `extents` (height, width). Throws `ArgumentError` as `checkPadding` does. */
export function paddingSides(op: string, padding: Padding, extents: Two, window: Sliding): Sides {
  const { kernel, stride, dilation } = window;
  checkPadding(op, padding, stride);
  if (padding === 'valid') return { before: [0, 0], after: [0, 0] };
  if (padding === 'same' || padding === 'SAME') {
    const total = ([0, 1] as const).map((i) => {
      const span = dilation[i] * (kernel[i] - 1) + 1;
      if (padding === 'same') return span - 1;
      return Math.max((Math.ceil(extents[i] / stride[i]) - 1) * stride[i] + span - extents[i], 0);
    });
    const before: Two = [Math.floor(total[0] / 2), Math.floor(total[1] / 2)];
    return { before, after: [total[0] - before[0], total[1] - before[1]] };
  }
  if (isSides(padding)) {
    const [[top, bottom], [left, right]] = padding;
    return { before: [top, left], after: [bottom, right] };
  }
  const both = pair(op, 'padding', padding as Pair, 0);
  return { before: both, after: both };
}
