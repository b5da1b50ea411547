import { type BackwardContext, defineOp, type ForwardContext } from '../autograd.js';
import type { Buffer } from '../device/device.js';
import { ArgumentError, show } from '../errors.js';
import { axis, formatShape, type Shape, stridesOf } from '../shape.js';
import type { Tensor } from '../tensor.js';

type Inputs = readonly Tensor[];

function plan(tensors: Inputs, { dim }: { dim: number }) {
  const [{ shape: first }] = tensors;
  const at = axis('cat', 'dim', dim, first.length);
  let extent = 0;
  tensors.forEach(({ shape }, i) => {
    if (shape.length !== first.length || shape.some((e, j) => j !== at && e !== first[j])) {
      throw new ArgumentError(
        `cat: tensors[${i}] has shape ${formatShape(shape)}, tensors[0] ${formatShape(first)}; want equal but for axis ${at}`,
      );
    }
    extent += shape[at];
  });
  const shape: Shape = first.map((e, i) => (i === at ? extent : e));
  const strides = stridesOf(shape);
  let offset = 0;
  const parts = tensors.map((t) => {
    const part = { shape: t.shape, dense: stridesOf(t.shape), offset };
    offset += t.shape[at] * strides[at];
    return part;
  });
  return { shape, strides, parts };
}

type CatPlan = ReturnType<typeof plan>;

function forward({ kernels, inputs, out }: ForwardContext<Inputs>, { parts, strides }: CatPlan): void {
  parts.forEach(({ shape, dense, offset }, i) => {
    const x: Buffer = inputs[i];
    kernels.copy({ x, out, shape, xOffset: 0, xStrides: dense, outOffset: offset, outStrides: strides });
  });
}

function backward({ kernels, dy, grad }: BackwardContext<Inputs>, { parts, strides }: CatPlan): void {
  parts.forEach(({ shape, dense, offset }, i) => {
    const dx = grad(i);
    if (dx)
      kernels.copy({ x: dy, out: dx, shape, xOffset: offset, xStrides: strides, outOffset: 0, outStrides: dense });
  });
}

/**
 * The tensors one behind the other along axis `dim` (negative ones count from the back); they agree in all other extents.
 * @throws ArgumentError when there is none, or shapes differ elsewhere
 * @see https://pytorch.org/docs/stable/generated/torch.cat.html
 */
export function cat(tensors: readonly Tensor[], dim = 0): Tensor {
  if (!Array.isArray(tensors) || tensors.length === 0) {
    throw new ArgumentError(`cat: tensors is ${show(tensors)}; want an array of at least one`);
  }
  // An op for this many inputs.
  const op = defineOp<Inputs, { dim: number }, CatPlan>({
    name: 'cat',
    inputs: tensors.map((_, i) => `tensors[${i}]`),
    needs: { inputs: false, out: false },
    ...{ plan, forward, backward },
  });
  return op(tensors, { dim });
}
