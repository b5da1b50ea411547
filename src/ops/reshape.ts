import { defineOp } from '../autograd.js';
import { ArgumentError, show } from '../errors.js';
import { axis, formatShape, type Shape, sizeOf } from '../shape.js';
import { checkTensor, type Tensor } from '../tensor.js';

/** `shape` with its one −1 worked out. */
function resolve(x: Shape, shape: Shape): number[] {
  if (!Array.isArray(shape)) throw new ArgumentError(`reshape: shape is ${show(shape)}; want an array of extents`);
  const size = sizeOf(x);
  const free = shape.indexOf(-1);
  const rest = shape.reduce((product, extent, i) => (i === free ? product : product * extent), 1);
  const bad = (why: string): ArgumentError =>
    new ArgumentError(`reshape: shape ${formatShape(shape)} for x ${formatShape(x)}: ${why}`);
  if (!shape.every((extent, i) => i === free || (Number.isInteger(extent) && extent >= 0))) {
    throw bad('want whole numbers of at least 0, and -1 at most once');
  }
  if (free === -1) {
    if (rest !== size) throw bad(`it has ${rest} elements; want ${size}`);
    return [...shape];
  }
  if (rest === 0 || size % rest !== 0) throw bad(`${size} elements do not divide by ${rest}; -1 has no answer`);
  return shape.map((extent, i) => (i === free ? size / rest : extent));
}

function defineView(name: 'reshape' | 'flatten'): (inputs: readonly [Tensor], shape: Shape) => Tensor {
  return defineOp({
    name,
    inputs: ['x'],
    plan: ([x]: readonly [Tensor], shape: Shape) => ({ shape: resolve(x.shape, shape) }),
    view: true,
    forward() {},
    needs: { inputs: false, out: false },
    backward({ pass }) {
      pass(0);
    },
  });
}

const reshapeOp = defineView('reshape');
const flattenOp = defineView('flatten');

/**
 * The same elements in row-major order under another shape, which may hold one −1. Shares x's memory.
 * @throws ArgumentError when the numbers of elements differ
 * @see https://pytorch.org/docs/stable/generated/torch.reshape.html
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  return reshapeOp([x], shape);
}

/**
 * Axes `startDim` … `endDim` as one; negative ones count from the back. As PyTorch's function, all axes by default
 * (its layer `Flatten` starts at 1). A scalar becomes `[1]`. Shares x's memory.
 * @throws ArgumentError when an axis is out of range or startDim comes after endDim
 * @see https://pytorch.org/docs/stable/generated/torch.flatten.html
 */
export function flatten(x: Tensor, startDim = 0, endDim = -1): Tensor {
  checkTensor('flatten', 'x', x);
  const own = x.shape.length === 0 ? [1] : x.shape;
  const start = axis('flatten', 'startDim', startDim, own.length);
  const end = axis('flatten', 'endDim', endDim, own.length);
  if (start > end) {
    throw new ArgumentError(`flatten: startDim ${startDim} comes after endDim ${endDim} for x ${formatShape(x.shape)}`);
  }
  return flattenOp([x], [...own.slice(0, start), sizeOf(own.slice(start, end + 1)), ...own.slice(end + 1)]);
}
