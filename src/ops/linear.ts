import { defineOp } from '../autograd.js';
import { ArgumentError } from '../errors.js';
import { checkRank, formatShape, sizeOf } from '../shape.js';
import type { Tensor } from '../tensor.js';

const op = defineOp({
  name: 'linear',
  inputs: ['x', 'weight', 'bias?'],
  plan: ([x, weight, bias]: readonly [Tensor, Tensor, Tensor | null]) => {
    checkRank('linear', 'weight', weight.shape, 2, '[out, in]');
    const [outFeatures, inFeatures] = weight.shape;
    if (x.shape.length === 0 || x.shape[x.shape.length - 1] !== inFeatures) {
      throw new ArgumentError(
        `linear: x has shape ${formatShape(x.shape)}; want [..., ${inFeatures}] for weight ${formatShape(weight.shape)}`,
      );
    }
    if (bias !== null && (bias.shape.length !== 1 || bias.shape[0] !== outFeatures)) {
      throw new ArgumentError(`linear: bias has shape ${formatShape(bias.shape)}; want [${outFeatures}]`);
    }
    const lead = x.shape.slice(0, -1);
    return { shape: [...lead, outFeatures], rows: sizeOf(lead), inFeatures, outFeatures };
  },
  forward({ kernels, inputs: [x, weight, bias], out }, { rows, inFeatures, outFeatures }) {
    kernels.matmul({
      ...{ a: x, b: weight, bias, out, m: rows, n: outFeatures, k: inFeatures },
      ...{ transposeA: false, transposeB: true, batch: 1, aBatchStride: 0, bBatchStride: 0 },
    });
  },
  needs: { out: false },
  backward({ kernels, inputs: [x, weight], dy, grad }, { rows, inFeatures, outFeatures }) {
    const one = { bias: null, transposeB: false, batch: 1, aBatchStride: 0, bBatchStride: 0 };
    const dx = grad(0);
    if (dx) {
      const extents = { m: rows, n: inFeatures, k: outFeatures };
      kernels.matmul({ ...one, ...extents, a: dy, b: weight, out: dx, transposeA: false });
    }
    const dweight = grad(1);
    if (dweight) {
      const extents = { m: outFeatures, n: inFeatures, k: rows };
      kernels.matmul({ ...one, ...extents, a: dy, b: x, out: dweight, transposeA: true });
    }
    const dbias = grad(2);
    if (dbias) kernels.sum({ x: dy, out: dbias, shape: [rows, outFeatures], reduce: [true, false], divisor: 1 });
  },
});

/**
 * x·weightᵀ + bias: x `[..., in]`, weight `[out, in]`, bias `[out]` or null; result `[..., out]`.
 * @throws ArgumentError when the extents disagree
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.linear.html
 */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null = null): Tensor {
  return op([x, weight, bias], undefined);
}
