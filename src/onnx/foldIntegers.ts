/**
 * Operators on a few integers that the file holds: exporters compute the options of other operators with them, PyTorch the
 * padding of Pad.
 */
import { axis, type Shape, sizeOf, stridesOf } from '../shape.js';
import { DATA_TYPE, type OnnxTensor } from './messages.js';
import type { NodeReader } from './nodeReader.js';
import { checkTensor, decodeTensor, int64Tensor, showName } from './tensorData.js';

/** Larger tensors are no options. */
const MAX_SIZE = 64;

interface Integers {
  readonly shape: Shape;
  readonly data: readonly number[];
}

/** The integers that operand i is, or null. */
function integersAt(n: NodeReader, i: number): Integers | null {
  const stored = n.stored(i);
  if (stored === null) return null;
  const { size, format } = checkTensor(stored.proto, stored.what);
  if (format.float || size > MAX_SIZE) return null;
  const { shape, data } = stored.decode();
  return { shape, data: [...data] };
}

/** A tensor of shape `shape`, each element where `from` finds it, given its index in every axis. */
function gather(shape: Shape, from: (index: readonly number[]) => number): Integers {
  const strides = stridesOf(shape);
  const data = Array.from({ length: sizeOf(shape) }, (_, i) =>
    from(shape.map((extent, j) => Math.floor(i / strides[j]) % extent)),
  );
  return { shape, data };
}

const at = ({ shape, data }: Integers, index: readonly number[]): number =>
  data[stridesOf(shape).reduce((sum, stride, i) => sum + stride * index[i], 0)];

function concat(n: NodeReader, parts: readonly Integers[]): Integers | null {
  const [{ shape }] = parts;
  const dim = axis('Concat', 'axis', n.int('axis', 0), shape.length);
  const alike = parts.every(
    (p) => p.shape.length === shape.length && p.shape.every((e, i) => i === dim || e === shape[i]),
  );
  if (!alike) return null;
  const owners = parts.flatMap((part) => Array.from({ length: part.shape[dim] }, (_, i) => ({ part, i })));
  return gather(
    shape.map((extent, i) => (i === dim ? owners.length : extent)),
    (index) => {
      const { part, i } = owners[index[dim]];
      return at(
        part,
        index.map((one, j) => (j === dim ? i : one)),
      );
    },
  );
}

function slice(parts: readonly Integers[]): Integers | null {
  const [x, starts, ends, axes, steps] = parts;
  if (starts === undefined || ends === undefined) return null;
  return starts.data.reduce<Integers | null>((y, start, i) => {
    const step = steps?.data[i] ?? 1;
    const dim = axes?.data[i] ?? i;
    if (y === null || step === 0 || !(dim >= -y.shape.length && dim < y.shape.length)) return null;
    const along = dim < 0 ? dim + y.shape.length : dim;
    const extent = y.shape[along];
    // As Python: a negative step runs down to index 0 where the end lies before it.
    const [low, high] = step > 0 ? [0, extent] : [-1, extent - 1];
    const clamp = (v: number): number => Math.min(Math.max(v < 0 ? v + extent : v, low), high);
    const [from, to] = [clamp(start), clamp(ends.data[i] ?? 0)];
    const count = Math.max(0, Math.ceil((to - from) / step));
    const shape = y.shape.map((e, j) => (j === along ? count : e));
    return gather(shape, (index) =>
      at(
        y,
        index.map((one, j) => (j === along ? from + one * step : one)),
      ),
    );
  }, x);
}

function reshape(x: Integers, { data }: Integers, zeros: boolean): Integers | null {
  const copied = data.map((extent, i) => (extent === 0 && !zeros ? (x.shape[i] ?? -2) : extent));
  const rest = copied.reduce((product, extent) => (extent === -1 ? product : product * extent), 1);
  const shape = copied.map((extent) => (extent === -1 ? x.data.length / rest : extent));
  const sound = shape.every((extent) => Number.isInteger(extent) && extent >= 0);
  return sound && sizeOf(shape) === x.data.length ? { shape, data: x.data } : null;
}

function evaluate(n: NodeReader, parts: readonly Integers[]): Integers | null {
  const [x] = parts;
  switch (n.opType) {
    case 'Cast': {
      const to = n.int('to', 0);
      return to === DATA_TYPE.INT64 || (to === DATA_TYPE.INT32 && x.data.every((v) => (v | 0) === v)) ? x : null;
    }
    case 'ConstantOfShape': {
      const value = n.tensorAttribute('value');
      if (value === undefined || checkTensor(value, `attribute "value" of ${showName(n.name)}`).size !== 1) return null;
      const { float, data } = decodeTensor(value, '');
      if (float || x.shape.length !== 1 || x.data.length > 8 || sizeOf(x.data) > MAX_SIZE) return null;
      if (x.data.some((extent) => extent < 0)) return null;
      return gather(x.data, () => data[0]);
    }
    case 'Concat':
      return concat(n, parts);
    case 'Reshape':
      return parts.length === 2 ? reshape(x, parts[1], n.flag('allowzero', false)) : null;
    case 'Slice':
      return slice(parts);
    case 'Transpose': {
      const perm = n.ints('perm') ?? x.shape.map((_, i) => x.shape.length - 1 - i);
      if (perm.length !== x.shape.length || new Set(perm).size !== perm.length || perm.some((p) => !(p in x.shape))) {
        return null;
      }
      return gather(
        perm.map((p) => x.shape[p]),
        (index) =>
          at(
            x,
            x.shape.map((_, i) => index[perm.indexOf(i)]),
          ),
      );
    }
    default:
      return null;
  }
}

/** What the node computes of small integer tensors that the file holds; null where it is another kind of node. */
export function foldIntegers(n: NodeReader): OnnxTensor | null {
  const parts: Integers[] = [];
  for (let i = 0; i < n.inputs; i++) {
    const part = integersAt(n, i);
    if (part === null) return null;
    parts.push(part);
  }
  if (parts.length === 0 || parts.length > MAX_SIZE) return null;
  const result = evaluate(n, parts);
  if (result === null || result.data.length > MAX_SIZE) return null;
  return int64Tensor('', result.data, result.shape);
}
