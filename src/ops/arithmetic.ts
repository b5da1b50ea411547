/**
 * add, sub, mul and div with NumPy's broadcasting; the second operand may be a plain number. Each is one rounding an
 * element, forward; a gradient is summed over the axes along which its operand was repeated.
 */
import { type BackwardContext, defineOp } from '../autograd.js';
import type { BinaryOperator, Buffer, Kernels } from '../device/device.js';
import { ArgumentError, show } from '../errors.js';
import { broadcastAxes, broadcastShapes, broadcastStrides, type Shape, sameShape, sizeOf } from '../shape.js';
import type { Tensor } from '../tensor.js';

type Operands = readonly [Tensor, Tensor | null];

interface BinaryPlan {
  readonly shape: Shape;
  readonly aShape: Shape;
  /** `[]` when the second operand is a number. */
  readonly bShape: Shape;
  /** The second operand, when it is a number. */
  readonly scalar: number | null;
}

/** out = sign · (`x` of shape `from`, summed to shape `to`); sign 1 or −1. */
export function sumTo(kernels: Kernels, x: Buffer, from: Shape, out: Buffer, to: Shape, sign: 1 | -1 = 1): void {
  const axes = new Set(broadcastAxes(to, from));
  if (axes.size === 0) {
    kernels.expand({ x, out, shape: [sizeOf(from)], xStrides: [1], divisor: sign });
  } else {
    kernels.sum({ x, out, shape: from, reduce: from.map((_, i) => axes.has(i)), divisor: sign });
  }
}

function apply(
  kernels: Kernels,
  operator: BinaryOperator,
  [a, aShape]: readonly [Buffer, Shape],
  [b, bShape]: readonly [Buffer, Shape],
  out: Buffer,
  shape: Shape,
): void {
  const aStrides = broadcastStrides(aShape, shape);
  const bStrides = broadcastStrides(bShape, shape);
  kernels.binary({ operator, a, b, out, shape, aStrides, bStrides });
}

function second(
  b: Buffer | null,
  scalar: number | null,
  context: { kernels: Kernels; scratch(size: number): Buffer },
): Buffer {
  if (b !== null) return b;
  const buffer = context.scratch(1);
  context.kernels.fill({ out: buffer, value: scalar as number });
  return buffer;
}

function defineBinary(
  operator: BinaryOperator,
  needs: { inputs: boolean; out: boolean },
  backward: (context: BackwardContext<Operands>, plan: BinaryPlan) => void,
): (a: Tensor, b: Tensor | number) => Tensor {
  const op = defineOp({
    name: operator,
    inputs: ['a', 'b?'],
    plan: ([a, b]: Operands, scalar: number | null): BinaryPlan => {
      const bShape = b === null ? [] : b.shape;
      return { shape: broadcastShapes(operator, a.shape, bShape), aShape: a.shape, bShape, scalar };
    },
    forward(context, { shape, aShape, bShape, scalar }) {
      const [a, b] = context.inputs;
      apply(context.kernels, operator, [a, aShape], [second(b, scalar, context), bShape], context.out, shape);
    },
    needs,
    backward,
  });
  return (a, b) => {
    if (typeof b === 'number') return op([a, null], b);
    if (typeof b !== 'object' || b === null)
      throw new ArgumentError(`${operator}: b is ${show(b)}; want a Tensor or a number`);
    return op([a, b], null);
  };
}

/** The gradient of an operand that enters with `sign` alone: dy itself where nothing was repeated. */
function linearGradient(context: BackwardContext<Operands>, i: 0 | 1, own: Shape, shape: Shape, sign: 1 | -1): void {
  if (sign === 1 && sameShape(own, shape)) {
    context.pass(i);
    return;
  }
  const d = context.grad(i);
  if (d) sumTo(context.kernels, context.dy, shape, d, own, sign);
}

/**
 * a + b, elementwise, broadcasting. Shapes: any two that broadcast, or a number for `b`.
 * @throws ArgumentError when the shapes do not broadcast
 * @see https://pytorch.org/docs/stable/generated/torch.add.html
 */
export const add = defineBinary('add', { inputs: false, out: false }, (context, { shape, aShape, bShape }) => {
  linearGradient(context, 0, aShape, shape, 1);
  linearGradient(context, 1, bShape, shape, 1);
});

/**
 * a − b, elementwise, broadcasting. Shapes: any two that broadcast, or a number for `b`.
 * @throws ArgumentError when the shapes do not broadcast
 * @see https://pytorch.org/docs/stable/generated/torch.sub.html
 */
export const sub = defineBinary('sub', { inputs: false, out: false }, (context, { shape, aShape, bShape }) => {
  linearGradient(context, 0, aShape, shape, 1);
  linearGradient(context, 1, bShape, shape, -1);
});

/**
 * a · b, elementwise, broadcasting. Shapes: any two that broadcast, or a number for `b`.
 * @throws ArgumentError when the shapes do not broadcast
 * @see https://pytorch.org/docs/stable/generated/torch.mul.html
 */
export const mul = defineBinary('mul', { inputs: true, out: false }, (context, { shape, aShape, bShape, scalar }) => {
  const { kernels, dy } = context;
  const [a, b] = context.inputs;
  const times = (other: Buffer, otherShape: Shape, d: Buffer, own: Shape): void => {
    const whole = sameShape(own, shape);
    const product = whole ? d : context.scratch(sizeOf(shape));
    apply(kernels, 'mul', [dy, shape], [other, otherShape], product, shape);
    if (!whole) sumTo(kernels, product, shape, d, own);
  };
  const da = context.grad(0);
  if (da) times(second(b, scalar, context), bShape, da, aShape);
  const db = context.grad(1);
  if (db) times(a, aShape, db, bShape);
});

/**
 * a / b, elementwise, broadcasting. Shapes: any two that broadcast, or a number for `b`. The gradient of `b` is
 * −dy·(a/b)/b, in PyTorch's order.
 * @throws ArgumentError when the shapes do not broadcast
 * @see https://pytorch.org/docs/stable/generated/torch.div.html
 */
export const div = defineBinary('div', { inputs: true, out: true }, (context, { shape, aShape, bShape, scalar }) => {
  const { kernels, dy, out } = context;
  const divisor = second(context.inputs[1], scalar, context);
  const size = sizeOf(shape);
  const da = context.grad(0);
  if (da) {
    const whole = sameShape(aShape, shape);
    const quotient = whole ? da : context.scratch(size);
    apply(kernels, 'div', [dy, shape], [divisor, bShape], quotient, shape);
    if (!whole) sumTo(kernels, quotient, shape, da, aShape);
  }
  const db = context.grad(1);
  if (db) {
    const quotient = context.scratch(size);
    const product = context.scratch(size);
    apply(kernels, 'div', [out, shape], [divisor, bShape], quotient, shape);
    apply(kernels, 'mul', [dy, shape], [quotient, shape], product, shape);
    sumTo(kernels, product, shape, db, bShape, -1);
  }
});
