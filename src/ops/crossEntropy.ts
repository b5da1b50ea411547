import { defineOp } from '../autograd.js';
import { ArgumentError, show } from '../errors.js';
import { checkRank, formatShape } from '../shape.js';
import type { Tensor } from '../tensor.js';

interface CrossEntropyOptions {
  readonly labels: ArrayLike<number>;
  readonly labelSmoothing: number;
}

const op = defineOp({
  name: 'crossEntropy',
  inputs: ['logits'],
  plan: ([logits]: readonly [Tensor], { labels, labelSmoothing }: CrossEntropyOptions) => {
    checkRank('crossEntropy', 'logits', logits.shape, 2, '[N, classes]');
    const [rows, classes] = logits.shape;
    if (rows === 0 || classes === 0) {
      throw new ArgumentError(
        `crossEntropy: logits has shape ${formatShape(logits.shape)}; want at least one row and one class`,
      );
    }
    if (labels.length !== rows) {
      throw new ArgumentError(
        `crossEntropy: got ${labels.length} labels for logits ${formatShape(logits.shape)}; want ${rows}`,
      );
    }
    for (let i = 0; i < rows; i++) {
      if (!Number.isInteger(labels[i]) || labels[i] < 0 || labels[i] >= classes) {
        throw new ArgumentError(
          `crossEntropy: labels[${i}] is ${show(labels[i])}; want a whole number from 0 to ${classes - 1}`,
        );
      }
    }
    if (!(typeof labelSmoothing === 'number' && labelSmoothing >= 0 && labelSmoothing <= 1)) {
      throw new ArgumentError(`crossEntropy: labelSmoothing is ${show(labelSmoothing)}; want a number from 0 to 1`);
    }
    return { shape: [], rows, classes, labels: Int32Array.from(labels), labelSmoothing };
  },
  forward({ device, kernels, inputs: [logits], out, save }, { rows, classes, labels: values, labelSmoothing }) {
    const lse = save(rows, 'float64');
    const labels = save(rows, 'int32');
    device.write(labels, values);
    kernels.crossEntropy({ logits, labels, out, saved: lse, rows, classes, labelSmoothing });
  },
  needs: { out: false },
  backward({ kernels, inputs: [logits], saved: [lse, labels], dy, grad }, { rows, classes, labelSmoothing }) {
    const dlogits = grad(0);
    if (dlogits) {
      kernels.crossEntropyBackward({ logits, labels, saved: lse, dy, dlogits, rows, classes, labelSmoothing });
    }
  },
});

/**
 * Mean over the rows of logits `[N, classes]` of the cross-entropy (in nats) with class `labels[n]`; a scalar.
 * `labelSmoothing` s mixes the target with the uniform distribution: 1 − s + s/classes for the label, s/classes for
 * the others.
 * @throws ArgumentError when there are not N labels, one is not a class, or s is not in [0, 1]
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html
 */
export function crossEntropy(
  logits: Tensor,
  labels: Int32Array | readonly number[],
  o: { labelSmoothing?: number } = {},
): Tensor {
  return op([logits], { labels, labelSmoothing: o?.labelSmoothing ?? 0 });
}
