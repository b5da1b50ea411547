import { defineOp } from '../autograd.js';
import type { Buffer, Kernels } from '../device/device.js';
import { ArgumentError } from '../errors.js';
import { broadcastShapes, broadcastStrides, formatShape, type Shape, sizeOf } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { sumTo } from './arithmetic.js';

interface MatmulPlan {
  readonly shape: Shape;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Batch axes of each operand and of the result. */
  readonly aBatch: Shape;
  readonly bBatch: Shape;
  readonly batch: Shape;
}

function plan([a, b]: readonly [Tensor, Tensor]): MatmulPlan {
  if (a.shape.length === 0 || b.shape.length === 0) {
    throw new ArgumentError(
      `matmul: a ${formatShape(a.shape)} and b ${formatShape(b.shape)}; want at least one axis each (mul multiplies by a scalar)`,
    );
  }
  // A vector stands for a row on the left and for a column on the right; its axis is not in the result.
  const left = a.shape.length === 1 ? [1, ...a.shape] : a.shape;
  const right = b.shape.length === 1 ? [...b.shape, 1] : b.shape;
  const [m, k] = left.slice(-2);
  const [inner, n] = right.slice(-2);
  if (k !== inner) {
    throw new ArgumentError(
      `matmul: a ${formatShape(a.shape)} has ${k} columns but b ${formatShape(b.shape)} has ${inner} rows; want [..., m, k] and [..., k, n]`,
    );
  }
  const aBatch = left.slice(0, -2);
  const bBatch = right.slice(0, -2);
  const batch = broadcastShapes('matmul', aBatch, bBatch);
  const shape = [...batch];
  if (a.shape.length > 1) shape.push(m);
  if (b.shape.length > 1) shape.push(n);
  return { shape, m, n, k, aBatch, bBatch, batch };
}

/**
 * An operand as the kernel takes it: a buffer and the distance between its matrices. One matrix for all is read with
 * distance 0; only an operand repeated along some batch axes and not along others is written out.
 */
function batched(
  x: Buffer,
  own: Shape,
  batch: Shape,
  matrix: readonly [number, number],
  context: { kernels: Kernels; scratch(size: number): Buffer },
): [Buffer, number] {
  const size = matrix[0] * matrix[1];
  const count = sizeOf(own);
  if (count === sizeOf(batch)) return [x, size];
  if (count === 1) return [x, 0];
  const out = context.scratch(sizeOf(batch) * size);
  const shape = [...batch, ...matrix];
  context.kernels.expand({ x, out, shape, xStrides: broadcastStrides([...own, ...matrix], shape), divisor: 1 });
  return [out, size];
}

const op = defineOp({
  name: 'matmul',
  inputs: ['a', 'b'],
  plan,
  forward(context, { m, n, k, aBatch, bBatch, batch }) {
    const { kernels, inputs, out } = context;
    const common = { bias: null, out, n, k, transposeA: false, transposeB: false };
    // One right-hand matrix for all: the batch is more rows of the left one.
    if (sizeOf(bBatch) === 1) {
      const rows = m * sizeOf(batch);
      kernels.matmul({ a: inputs[0], b: inputs[1], m: rows, batch: 1, aBatchStride: 0, bBatchStride: 0, ...common });
      return;
    }
    const [a, aBatchStride] = batched(inputs[0], aBatch, batch, [m, k], context);
    const [b, bBatchStride] = batched(inputs[1], bBatch, batch, [k, n], context);
    kernels.matmul({ a, b, m, batch: sizeOf(batch), aBatchStride, bBatchStride, ...common });
  },
  needs: { out: false },
  backward(context, { m, n, k, aBatch, bBatch, batch }) {
    const { kernels, inputs, dy } = context;
    const da = context.grad(0);
    const db = context.grad(1);
    const count = sizeOf(batch);
    if (sizeOf(bBatch) === 1) {
      const one = { bias: null, batch: 1, aBatchStride: 0, bBatchStride: 0 };
      const rows = m * count;
      const [a, b] = inputs;
      if (da) kernels.matmul({ ...one, a: dy, b, out: da, m: rows, n: k, k: n, transposeA: false, transposeB: true });
      if (db) kernels.matmul({ ...one, a, b: dy, out: db, m: k, n, k: rows, transposeA: true, transposeB: false });
      return;
    }
    if (da) {
      const [b, bBatchStride] = batched(inputs[1], bBatch, batch, [k, n], context);
      const whole = sizeOf(aBatch) === count;
      const out = whole ? da : context.scratch(count * m * k);
      const strides = { aBatchStride: m * n, bBatchStride };
      kernels.matmul({
        ...{ a: dy, b, bias: null, out, m, n: k, k: n, transposeA: false, transposeB: true, batch: count },
        ...strides,
      });
      if (!whole) sumTo(kernels, out, [...batch, m, k], da, [...aBatch, m, k]);
    }
    if (db) {
      const [a, aBatchStride] = batched(inputs[0], aBatch, batch, [m, k], context);
      const whole = sizeOf(bBatch) === count;
      const out = whole ? db : context.scratch(count * k * n);
      const strides = { aBatchStride, bBatchStride: m * n };
      kernels.matmul({
        ...{ a, b: dy, bias: null, out, m: k, n, k: m, transposeA: true, transposeB: false, batch: count },
        ...strides,
      });
      if (!whole) sumTo(kernels, out, [...batch, k, n], db, [...bBatch, k, n]);
    }
  },
});

/**
 * Matrix product by torch.matmul's rules: `[k]·[k]` is a scalar, a vector on one side is a row or a column,
 * `[..., m, k]·[..., k, n]` is `[..., m, n]` with the batch axes broadcast.
 * @throws ArgumentError when the inner extents differ or the batch axes do not broadcast
 * @see https://pytorch.org/docs/stable/generated/torch.matmul.html
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  return op([a, b], undefined);
}
