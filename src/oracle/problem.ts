/** A call of a suite as a stranger sees it: named inputs, attributes, and the outputs that are wanted, in either layout. */
import { type Shape, sizeOf } from '../shape.js';
import type { Expected } from './bounds.js';
import { numbers } from './draw.js';
import { type Numbers, roundTo, type SuiteItem } from './suites.js';

/** How images lie: [N, C, H, W] and weights [O, I, H, W], or [N, H, W, C] and weights [H, W, I, O]. */
export type Layout = 'NCHW' | 'NHWC';

/** An input of a question. */
export interface NamedArray {
  readonly name: string;
  readonly shape: Shape;
  readonly data: Float32Array;
}

/** `result`: what the op returns, `y`; `gradient`: of ⟨y, dy⟩ by an input; `changed`: an input after the call. */
export type OutputKind = 'result' | 'gradient' | 'changed';

/** An output that is wanted, and what it must be. */
export interface WantedOutput {
  /** `y`, `grad.x`, `new.runningMean`. */
  readonly name: string;
  readonly kind: OutputKind;
  readonly shape: Shape;
  readonly expected: Expected;
}

/** One question of a suite. */
export interface Problem {
  readonly item: SuiteItem;
  readonly id: string;
  readonly title: string;
  /** The row of the case table, such as `conv2d` or `batchNorm.train`. */
  readonly op: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  /** In the order of the op's arguments; with gradients the last is `dy`. */
  readonly inputs: readonly NamedArray[];
  /** What is wanted, found once, when it is first asked for. */
  solve(): readonly WantedOutput[];
}

/** `kind`: what `dy` is made of, as the inputs of the suite are. */
export function problemOf(item: SuiteItem, kind: Numbers = 'float32'): Problem {
  const { id, title, row, trial } = item;
  const { salt } = trial.options;
  const inputs: NamedArray[] = trial.inputs.map(({ name, shape, data }) => ({ name, shape, data }));
  const differentiable = item.gradients ? trial.inputs.filter((x) => x.differentiable) : [];
  if (differentiable.length > 0) {
    const dy = numbers(salt, 'dy', sizeOf(trial.shape), -1, 1);
    inputs.push({ name: 'dy', shape: trial.shape, data: dy.map(roundTo[kind]) });
  }
  const solve = (): WantedOutput[] => {
    const values = trial.inputs.map((x) => Float64Array.from(x.data));
    const { y, changed } = trial.forward(values);
    const wanted: WantedOutput[] = [];
    if (y) wanted.push({ name: 'y', kind: 'result', shape: trial.shape, expected: y });
    if (differentiable.length > 0) {
      const grads = trial.backward(values, Float64Array.from(inputs[inputs.length - 1].data));
      for (const { name, shape } of differentiable) {
        wanted.push({ name: `grad.${name}`, kind: 'gradient', shape, expected: grads[name] });
      }
    }
    for (const { name, shape } of trial.inputs) {
      if (name in changed) wanted.push({ name: `new.${name}`, kind: 'changed', shape, expected: changed[name] });
    }
    return wanted;
  };
  let solved: readonly WantedOutput[] | null = null;
  return {
    ...{ item, id, title, op: row.name, attributes: trial.attributes, inputs },
    solve() {
      solved ??= solve();
      return solved;
    },
  };
}

const IMAGES = /^(x|y|dy|residual|grad\.x|grad\.residual)$/;
const WEIGHTS = /^(grad\.)?weight$/;
const WITH_CHANNELS = /^(conv2d|batchNorm|maxPool2d|avgPool2d|adaptiveAvgPool2d)/;

/** Where each axis of an array lies in the other layout; null where there is no other. */
function axesOf(op: string, name: string, rank: number): readonly number[] | null {
  if (op === 'conv2d' && WEIGHTS.test(name)) return [2, 3, 1, 0];
  if (!WITH_CHANNELS.test(op) || !IMAGES.test(name) || rank < 3) return null;
  return [0, ...Array.from({ length: rank - 2 }, (_, i) => i + 2), 1];
}

/** The shape of an array in a layout. */
export function shapeIn(layout: Layout, op: string, name: string, shape: Shape): Shape {
  const axes = layout === 'NHWC' ? axesOf(op, name, shape.length) : null;
  return axes ? axes.map((axis) => shape[axis]) : shape;
}

/** The index in NCHW of an element of an array in a layout. */
export function indexInNchw(layout: Layout, op: string, name: string, index: readonly number[]): readonly number[] {
  const axes = layout === 'NHWC' ? axesOf(op, name, index.length) : null;
  if (!axes) return index;
  const own = [...index];
  axes.forEach((axis, i) => {
    own[axis] = index[i];
  });
  return own;
}

/** Flat positions in NCHW of the elements of an array in a layout, in order; null where they are the same. */
export function orderIn(layout: Layout, op: string, name: string, shape: Shape): Int32Array | null {
  const axes = layout === 'NHWC' ? axesOf(op, name, shape.length) : null;
  if (!axes) return null;
  const strides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
  const order = new Int32Array(sizeOf(shape));
  const index = axes.map(() => 0);
  for (let i = 0; i < order.length; i++) {
    order[i] = index.reduce((at, own, k) => at + own * strides[axes[k]], 0);
    for (let k = axes.length - 1; k >= 0; k--) {
      if (++index[k] < shape[axes[k]]) break;
      index[k] = 0;
    }
  }
  return order;
}
