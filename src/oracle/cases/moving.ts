/** Rows of the ops that only move elements: permute, slice, pad, cat. All are exact. */
import { cat, pad, permute, slice } from '../../ops/index.js';
import { type Shape, sizeOf } from '../../shape.js';
import { exact } from '../bounds.js';
import type { Draw } from '../draw.js';
import * as naive from '../naive.js';
import { defineCase, drawSalt, drawShape, emptied, input, type OpCase } from './case.js';

/** The same axis, counted from the back half of the time. */
const signed = (d: Draw, dim: number, rank: number): number => (d.bool() ? dim - rank : dim);
const unsigned = (dim: number, rank: number): number => (dim < 0 ? dim + rank : dim);

/** A call of permute. */
export interface PermuteOptions {
  readonly salt: number;
  readonly shape: Shape;
  readonly dims: readonly number[];
}

/** The row of permute. */
export const permuteCase = defineCase<PermuteOptions>({
  name: 'permute',
  op: 'permute',
  options(d) {
    const shape = emptied(d, drawShape(d, d.int(0, 5), 2000));
    const left = shape.map((_, i) => i);
    const dims = shape.map(() => signed(d, left.splice(d.int(0, left.length - 1), 1)[0], shape.length));
    return { salt: drawSalt(d), shape, dims };
  },
  trial({ salt, shape, dims }) {
    const plain = dims.map((dim) => unsigned(dim, shape.length));
    const origins = naive.permuteOrigins(shape, plain);
    return {
      inputs: [input(salt, 'x', shape)],
      shape: plain.map((dim) => shape[dim]),
      smooth: true,
      attributes: { dims: plain },
      flops: 0,
      run: ([x]) => permute(x, dims),
      forward: (v) => ({ y: exact(naive.gather(v, origins, 0)), changed: {} }),
      backward: (v, dy) => ({ x: exact(naive.scatter(dy, origins, [v[0].length])[0]) }),
    };
  },
  badInput: [
    { why: 'an axis named twice', shapes: [[2, 3]], call: ([x]) => permute(x, [0, 0]) },
    { why: 'an axis left out', shapes: [[2, 3]], call: ([x]) => permute(x, [1]) },
    { why: 'an axis out of range', shapes: [[2, 3]], call: ([x]) => permute(x, [0, 2]) },
  ],
});

/** A call of slice. */
export interface SliceRowOptions {
  readonly salt: number;
  readonly shape: Shape;
  readonly dim: number;
  readonly start?: number;
  readonly end?: number;
  readonly step?: number;
}

/** The row of slice. */
export const sliceCase = defineCase<SliceRowOptions>({
  name: 'slice',
  op: 'slice',
  options(d) {
    const shape = emptied(d, drawShape(d, d.int(1, 4), 2000));
    const dim = d.int(0, shape.length - 1);
    const extent = shape[dim];
    // Indices out of range are cut to it, as in Python.
    const index = (): number => d.int(-extent - 2, extent + 2);
    const chosen = { ...(d.bool() && { start: index() }), ...(d.bool() && { end: index() }) };
    return { salt: drawSalt(d), shape, dim: signed(d, dim, shape.length), ...chosen, step: d.pick([1, 1, 2, 3, 20]) };
  },
  trial({ salt, shape, dim, start, end, step = 1 }) {
    const at = unsigned(dim, shape.length);
    const indices = Array.from({ length: shape[at] }, (_, i) => i).slice(start ?? 0, end ?? shape[at]);
    const count = indices.filter((_, i) => i % step === 0).length;
    const origins = naive.sliceOrigins(shape, at, indices[0] ?? 0, step, count);
    return {
      inputs: [input(salt, 'x', shape)],
      shape: shape.map((extent, i) => (i === at ? count : extent)),
      smooth: true,
      attributes: { dim: at, start: indices[0] ?? 0, end: (indices[0] ?? 0) + indices.length, step },
      flops: 0,
      run: ([x]) => slice(x, dim, { start, end, step }),
      forward: (v) => ({ y: exact(naive.gather(v, origins, 0)), changed: {} }),
      backward: (v, dy) => ({ x: exact(naive.scatter(dy, origins, [v[0].length])[0]) }),
    };
  },
  badInput: [
    { why: 'an axis out of range', shapes: [[2, 3]], call: ([x]) => slice(x, 2) },
    { why: 'a step of 0', shapes: [[2, 3]], call: ([x]) => slice(x, 0, { step: 0 }) },
    { why: 'half an index', shapes: [[2, 3]], call: ([x]) => slice(x, 0, { start: 0.5 }) },
  ],
});

/** A call of pad. */
export interface PadRowOptions {
  readonly salt: number;
  readonly shape: Shape;
  /** As the op takes it. */
  readonly padding: readonly number[];
  readonly value: number;
}

/** The row of pad. */
export const padCase = defineCase<PadRowOptions>({
  name: 'pad',
  op: 'pad',
  options(d) {
    const shape = emptied(d, drawShape(d, d.int(0, 4), 500));
    const axes = d.int(0, shape.length);
    const padding = Array.from({ length: axes }, (_, i) => {
      const extent = shape[shape.length - 1 - i];
      const before = d.int(-Math.min(extent, 3), 3);
      return [before, d.int(-Math.min(extent + Math.min(before, 0), 3), 3)];
    });
    return { salt: drawSalt(d), shape, padding: padding.flat(), value: d.pick([0, 0, 1.5, -0]) };
  },
  trial({ salt, shape, padding, value }) {
    const side = (i: number, after: 0 | 1): number => padding[2 * (shape.length - 1 - i) + after] ?? 0;
    const before = shape.map((_, i) => side(i, 0));
    const after = shape.map((_, i) => side(i, 1));
    const origins = naive.padOrigins(shape, before, after);
    return {
      inputs: [input(salt, 'x', shape)],
      shape: shape.map((extent, i) => before[i] + extent + after[i]),
      smooth: true,
      attributes: { before, after, value },
      flops: 0,
      run: ([x]) => pad(x, padding, value),
      forward: (v) => ({ y: exact(naive.gather(v, origins, value)), changed: {} }),
      backward: (v, dy) => ({ x: exact(naive.scatter(dy, origins, [v[0].length])[0]) }),
    };
  },
  badInput: [
    { why: 'half a pair', shapes: [[2, 3]], call: ([x]) => pad(x, [1, 1, 1]) },
    { why: 'more axes than there are', shapes: [[2, 3]], call: ([x]) => pad(x, [1, 1, 1, 1, 1, 1]) },
    { why: 'more cut off than there is', shapes: [[2, 3]], call: ([x]) => pad(x, [-2, -2]) },
    { why: 'a fraction', shapes: [[2, 3]], call: ([x]) => pad(x, [0.5, 1]) },
  ],
});

/** A call of cat. */
export interface CatOptions {
  readonly salt: number;
  readonly shapes: readonly Shape[];
  readonly dim: number;
}

/** The row of cat. */
export const catCase = defineCase<CatOptions>({
  name: 'cat',
  op: 'cat',
  options(d) {
    const shape = emptied(d, drawShape(d, d.int(1, 4), 500));
    const dim = d.int(0, shape.length - 1);
    const shapes = Array.from({ length: d.int(1, 4) }, () =>
      shape.map((extent, i) => (i === dim ? d.int(0, 5) : extent)),
    );
    return { salt: drawSalt(d), shapes, dim: signed(d, dim, shape.length) };
  },
  trial({ salt, shapes, dim }) {
    const at = unsigned(dim, shapes[0].length);
    const origins = naive.catOrigins(shapes, at);
    const names = shapes.map((_, i) => `tensors[${i}]`);
    return {
      inputs: shapes.map((shape, i) => input(salt, names[i], shape)),
      shape: shapes[0].map((extent, i) => (i === at ? shapes.reduce((total, s) => total + s[at], 0) : extent)),
      smooth: true,
      attributes: { dim: at },
      flops: 0,
      run: (tensors) => cat(tensors, dim),
      forward: (v) => ({ y: exact(naive.gather(v, origins, 0)), changed: {} }),
      backward(_, dy) {
        const grads = naive.scatter(dy, origins, shapes.map(sizeOf));
        return Object.fromEntries(grads.map((g, i) => [names[i], exact(g)]));
      },
    };
  },
  badInput: [
    { why: 'no tensors', shapes: [], call: () => cat([]) },
    {
      why: 'extents that differ elsewhere',
      shapes: [
        [2, 3],
        [2, 4],
      ],
      call: (t) => cat(t, 0),
    },
    { why: 'ranks that differ', shapes: [[2, 3], [2]], call: (t) => cat(t, 0) },
    { why: 'an axis out of range', shapes: [[2, 3]], call: (t) => cat(t, 2) },
  ],
});

/** All rows of this file. */
export const movingCases: readonly OpCase[] = [permuteCase, sliceCase, padCase, catCase];
