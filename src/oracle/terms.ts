/** The largest terms of one result: what went into the element that is worst. */
import { formatShape } from '../shape.js';
import type { Problem } from './problem.js';

/** A product that went into a sum. */
export interface Term {
  /** Its factors, as `x[0, 3, 1, 1]`. */
  readonly factors: readonly string[];
  readonly value: number;
}

const COUNT = 3;

/** Of a sum of products, the largest in size; empty for what is none. `index` in NCHW. */
export function largestTerms({ op, attributes, inputs }: Problem, output: string, index: readonly number[]): Term[] {
  if (output !== 'y') return [];
  const of = Object.fromEntries(inputs.map((one) => [one.name, one]));
  const all: Term[] = [];
  const at = (name: string, where: readonly number[]): number => {
    const { shape, data } = of[name];
    return data[where.reduce((flat, i, axis) => flat * shape[axis] + i, 0)];
  };
  const product = (...factors: (readonly [string, readonly number[]])[]): void => {
    all.push({
      factors: factors.map(([name, where]) => `${name}${formatShape(where)}`),
      value: factors.reduce((value, [name, where]) => value * at(name, where), 1),
    });
  };
  if (op === 'conv2d') {
    const { stride, padding, dilation, groups } = attributes as {
      stride: number[];
      padding: number[];
      dilation: number[];
      groups: number;
    };
    const [n, o, i, j] = index;
    const [outChannels, inGroup, kernelHeight, kernelWidth] = of.weight.shape;
    const [, , height, width] = of.x.shape;
    const first = Math.floor(o / (outChannels / groups)) * inGroup;
    for (let c = 0; c < inGroup; c++)
      for (let p = 0; p < kernelHeight; p++)
        for (let q = 0; q < kernelWidth; q++) {
          const [row, column] = [
            i * stride[0] + p * dilation[0] - padding[0],
            j * stride[1] + q * dilation[1] - padding[2],
          ];
          if (row < 0 || row >= height || column < 0 || column >= width) continue;
          product(['x', [n, first + c, row, column]], ['weight', [o, c, p, q]]);
        }
    if (of.bias) product(['bias', [o]]);
  } else if (op === 'linear') {
    const [lead, o] = [index.slice(0, -1), index[index.length - 1]];
    for (let k = 0; k < of.weight.shape[1]; k++) product(['x', [...lead, k]], ['weight', [o, k]]);
    if (of.bias) product(['bias', [o]]);
  } else if (op === 'matmul' && of.a.shape.length === 2 && of.b.shape.length === 2) {
    for (let k = 0; k < of.b.shape[0]; k++) product(['a', [index[0], k]], ['b', [k, index[1]]]);
  }
  return all.sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, COUNT);
}
