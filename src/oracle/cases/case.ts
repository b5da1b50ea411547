/** What a row of the case table is, and the few helpers that rows share. */
import type { Shape } from '../../shape.js';
import { type Pair, sizeOf } from '../../shape.js';
import type { Tensor } from '../../tensor.js';
import type { Expected } from '../bounds.js';
import { type Draw, type Fill, numbers } from '../draw.js';

/** One input of a trial: float32 numbers, which every device holds exactly. */
export interface Input {
  readonly name: string;
  readonly shape: Shape;
  readonly data: Float32Array;
  readonly differentiable: boolean;
}

/** What an op is expected to have done. */
export interface Outcome {
  /** The result; null where the op only works in place. */
  readonly y: Expected | null;
  /** Inputs that the op changes in place, by name. All others must stay as they are. */
  readonly changed: Readonly<Record<string, Expected>>;
}

/** One concrete call of an op, with everything needed to judge it on any device. */
export interface Trial {
  /** What was drawn, in a form that prints; `salt` decides the numbers. */
  readonly options: { readonly salt: number };
  readonly inputs: readonly Input[];
  /** Shape of the result; `[]` where there is none. */
  readonly shape: Shape;
  /** False where the numbers lie on kinks or ties on purpose: no finite differences then. */
  readonly smooth: boolean;
  /** The op's options as any library would take them: axes counted from the front, padding side by side. */
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Multiplications and additions of one forward pass. */
  readonly flops: number;
  /** Runs the op on one tensor per input, in order. Null where it only works in place. */
  run(tensors: readonly Tensor[]): Tensor | null;
  /** What the naive function finds, given the inputs as float64. */
  forward(values: readonly Float64Array[]): Outcome;
  /** The analytic gradients of ⟨y, dy⟩ by input name, one for each differentiable input. */
  backward(values: readonly Float64Array[], dy: Float64Array): Readonly<Record<string, Expected>>;
}

/** A wrong call: it must throw, name the op, and leave the device's memory as it was. */
export interface BadInput {
  /** What is wrong, for the report. */
  readonly why: string;
  /** Shapes of the tensors that `call` gets. */
  readonly shapes: readonly Shape[];
  /** Calls the op as it must not be called. */
  call(tensors: readonly Tensor[]): unknown;
}

/** One row of the table. */
export interface OpCase {
  readonly name: string;
  /** The public op that it calls, as errors name it; null for kernels that have no op. */
  readonly op: string | null;
  /** A valid call, by construction. */
  draw(d: Draw): Trial;
  readonly badInput: readonly BadInput[];
}

/** A row whose options are known to the type system: `trial` builds a chosen call instead of a drawn one. */
export interface TypedCase<O> extends OpCase {
  /** The call with these options. */
  trial(options: O): Trial;
}

/** A row: `options` draws a valid call, `trial` says what it is given and what must come out. */
export function defineCase<O extends { readonly salt: number }>(row: {
  name: string;
  op: string | null;
  options(d: Draw): O;
  trial(options: O): Omit<Trial, 'options'>;
  badInput?: readonly BadInput[];
}): TypedCase<O> {
  const trial = (options: O): Trial => ({ ...row.trial(options), options });
  return {
    name: row.name,
    op: row.op,
    trial,
    draw: (d) => trial(row.options(d)),
    badInput: row.badInput ?? [],
  };
}

/** An input filled from (salt, name), in [low, high]; [−1, 1] by default. */
export function input(
  salt: number,
  name: string,
  shape: Shape,
  o: { low?: number; high?: number; fill?: Fill; differentiable?: boolean } = {},
): Input {
  const { low = -1, high = 1, fill = 'uniform', differentiable = true } = o;
  return { name, shape, data: numbers(salt, name, sizeOf(shape), low, high, fill), differentiable };
}

export function drawSalt(d: Draw): number {
  return d.int(0, 2 ** 31 - 1);
}

/** Extents around the widths of vectors and register tiles, 1 first. */
export const LANES: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17];

/** A shape of the given rank with at most `limit` elements. */
export function drawShape(d: Draw, rank: number, limit: number): number[] {
  const shape: number[] = [];
  for (let i = 0; i < rank; i++) {
    const extent = d.pick(LANES);
    shape.push(extent * sizeOf(shape) <= limit ? extent : 1);
  }
  return shape;
}

/** Now and then one of the axes in `which` has no extent: an empty tensor is valid wherever PyTorch takes one. */
export function emptied(
  d: Draw,
  shape: readonly number[],
  which: readonly number[] = shape.map((_, i) => i),
): number[] {
  if (which.length === 0 || d.int(0, 11) > 0) return [...shape];
  const at = d.pick(which);
  return shape.map((extent, i) => (i === at ? 0 : extent));
}

/** `value` as an op's option: a pair of equal numbers is given as one number half of the time. */
export function pairOrNumber(d: Draw, value: readonly [number, number]): number | readonly [number, number] {
  return value[0] === value[1] && d.bool() ? value[0] : value;
}

type Axes = readonly [number, number];

/** Every form of `padding`, as PyTorch, JAX and TensorFlow write it. */
export type DrawnPadding = Pair | readonly [Axes, Axes] | 'same' | 'valid' | 'SAME';

/** A window that slides over an input of `extents`, each [height, width]. */
export interface DrawnWindow {
  readonly extents: Axes;
  readonly kernel: Axes;
  readonly stride: Axes;
  readonly dilation: Axes;
}

/** top, bottom, left, right; 'same' and 'SAME' put the odd zero behind. */
export function drawnSides(padding: DrawnPadding, w: DrawnWindow): [number, number, number, number] {
  if (padding === 'valid') return [0, 0, 0, 0];
  if (typeof padding === 'number') return [padding, padding, padding, padding];
  if (typeof padding !== 'string') {
    const [rows, columns] = padding;
    const [top, bottom] = typeof rows === 'number' ? [rows, rows] : rows;
    const [left, right] = typeof columns === 'number' ? [columns, columns] : columns;
    return [top, bottom, left, right];
  }
  const zeros = (i: 0 | 1): Axes => {
    // 'SAME': a window starts at every stride-th element; what the last one lacks is added.
    let last = 0;
    while (last + w.stride[i] < w.extents[i]) last += w.stride[i];
    const reach = w.dilation[i] * (w.kernel[i] - 1);
    const all = padding === 'same' ? reach : Math.max(0, last + reach + 1 - w.extents[i]);
    return [(all - (all % 2)) / 2, (all + (all % 2)) / 2];
  };
  const [rows, columns] = [zeros(0), zeros(1)];
  return [rows[0], rows[1], columns[0], columns[1]];
}
