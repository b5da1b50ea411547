/** What a guess about a wrong result is: a function that would have given it. */
import type { Shape } from '../../shape.js';

/** A call whose results are wrong, its arrays in NCHW. */
export interface WrongCall {
  readonly op: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly values: Readonly<Record<string, Float64Array>>;
  readonly shapes: Readonly<Record<string, Shape>>;
  /** What is right, by output. */
  readonly truth: Readonly<Record<string, Float64Array>>;
  readonly outputShapes: Readonly<Record<string, Shape>>;
}

/** What a guess comes to: some of the outputs, with their shapes where these are wrong too. */
export type Prediction = Readonly<
  Record<string, Float64Array | { readonly shape: Shape; readonly data: Float64Array }>
>;

export interface Hypothesis {
  /** What went wrong, as a person would say it. */
  readonly name: string;
  /** Ops that it is about. */
  readonly ops: RegExp;
  /** Share of the elements that may be otherwise, where a rounding goes either way. Default 0. */
  readonly strays?: number;
  /** Null where it makes no sense for this call. */
  predict(call: WrongCall): Prediction | null;
}

/** The elements of an array with its last axes `axes` reversed. */
export function reversed(data: Float64Array, shape: Shape, axes: readonly number[]): Float64Array {
  return reindexed(data, shape, (index) => index.map((i, axis) => (axes.includes(axis) ? shape[axis] - 1 - i : i)));
}

/** out[index] = data[where(index)]; 0 where that is null. */
export function reindexed(
  data: Float64Array,
  shape: Shape,
  where: (index: readonly number[]) => readonly number[] | null,
  outShape: Shape = shape,
): Float64Array {
  const out = new Float64Array(outShape.reduce((a, b) => a * b, 1));
  const index = outShape.map(() => 0);
  for (let i = 0; i < out.length; i++) {
    const from = where(index);
    if (from !== null) out[i] = data[from.reduce((at, own, axis) => at * shape[axis] + own, 0)];
    for (let axis = outShape.length - 1; axis >= 0; axis--) {
      if (++index[axis] < outShape[axis]) break;
      index[axis] = 0;
    }
  }
  return out;
}
