/** Softmax, its logarithm and cross-entropy: float64 from first to last, sums in order, the project's own exp and log. */
import { exp, log } from '../../math.js';
import type { AxisGeometry, Kernels } from '../device.js';
import type { Floats, Host } from './host.js';

/** Largest of `extent` elements `stride` apart; NaN is passed over here and comes back through the sum. */
function largest(x: Floats, first: number, extent: number, stride: number): number {
  let max = -Infinity;
  for (let i = 0; i < extent; i++) {
    const value = x[first + i * stride];
    if (value > max) max = value;
  }
  return max;
}

/** Σ exp(x − max), in order. */
function sumExp(x: Floats, first: number, extent: number, stride: number, max: number): number {
  let sum = 0;
  for (let i = 0; i < extent; i++) sum += exp(x[first + i * stride] - max);
  return sum;
}

/** The first element of each line along the axis; its others lie `inner` apart. */
function forLine({ outer, extent, inner }: AxisGeometry, visit: (first: number) => void): void {
  for (let i = 0; i < outer; i++) {
    for (let j = 0; j < inner; j++) visit(i * extent * inner + j);
  }
}

type Softmax = Pick<
  Kernels,
  'softmax' | 'softmaxBackward' | 'logSoftmax' | 'logSoftmaxBackward' | 'crossEntropy' | 'crossEntropyBackward'
>;

export function softmax(host: Host): Softmax {
  return {
    softmax(o) {
      const { extent, inner } = o;
      const size = o.outer * extent * inner;
      const x = host.floats('softmax', 'x', o.x, size);
      const out = host.floats('softmax', 'out', o.out, size);
      forLine(o, (first) => {
        const max = largest(x, first, extent, inner);
        const sum = sumExp(x, first, extent, inner, max);
        for (let i = 0; i < extent; i++) {
          const at = first + i * inner;
          out[at] = exp(x[at] - max) / sum;
        }
      });
    },

    softmaxBackward(o) {
      const { extent, inner } = o;
      const size = o.outer * extent * inner;
      const y = host.floats('softmaxBackward', 'y', o.y, size);
      const dy = host.floats('softmaxBackward', 'dy', o.dy, size);
      const dx = host.floats('softmaxBackward', 'dx', o.dx, size);
      forLine(o, (first) => {
        let sum = 0;
        for (let i = 0; i < extent; i++) sum += dy[first + i * inner] * y[first + i * inner];
        for (let i = 0; i < extent; i++) {
          const at = first + i * inner;
          dx[at] = y[at] * (dy[at] - sum);
        }
      });
    },

    logSoftmax(o) {
      const { extent, inner } = o;
      const size = o.outer * extent * inner;
      const x = host.floats('logSoftmax', 'x', o.x, size);
      const out = host.floats('logSoftmax', 'out', o.out, size);
      forLine(o, (first) => {
        const max = largest(x, first, extent, inner);
        const logSum = log(sumExp(x, first, extent, inner, max));
        for (let i = 0; i < extent; i++) {
          const at = first + i * inner;
          out[at] = x[at] - max - logSum;
        }
      });
    },

    logSoftmaxBackward(o) {
      const { extent, inner } = o;
      const size = o.outer * extent * inner;
      const y = host.floats('logSoftmaxBackward', 'y', o.y, size);
      const dy = host.floats('logSoftmaxBackward', 'dy', o.dy, size);
      const dx = host.floats('logSoftmaxBackward', 'dx', o.dx, size);
      forLine(o, (first) => {
        let sum = 0;
        for (let i = 0; i < extent; i++) sum += dy[first + i * inner];
        for (let i = 0; i < extent; i++) {
          const at = first + i * inner;
          dx[at] = dy[at] - exp(y[at]) * sum;
        }
      });
    },

    crossEntropy({ rows, classes, labelSmoothing, ...o }) {
      const x = host.floats('crossEntropy', 'logits', o.logits, rows * classes);
      const labels = host.ints('crossEntropy', 'labels', o.labels, rows);
      const out = host.floats('crossEntropy', 'out', o.out, 1);
      const saved = host.wide('crossEntropy', 'saved', o.saved, rows);
      let loss = 0;
      for (let row = 0; row < rows; row++) {
        const first = row * classes;
        const max = largest(x, first, classes, 1);
        const lse = max + log(sumExp(x, first, classes, 1, max));
        saved[row] = lse;
        let term = (1 - labelSmoothing) * (lse - x[first + labels[row]]);
        // Left out at 0, where a logit of −∞ would make it 0·∞.
        if (labelSmoothing !== 0) {
          let sum = 0;
          for (let i = 0; i < classes; i++) sum += lse - x[first + i];
          term += (labelSmoothing / classes) * sum;
        }
        loss += term;
      }
      out[0] = loss / rows;
    },

    crossEntropyBackward({ rows, classes, labelSmoothing, ...o }) {
      const x = host.floats('crossEntropyBackward', 'logits', o.logits, rows * classes);
      const labels = host.ints('crossEntropyBackward', 'labels', o.labels, rows);
      const saved = host.wide('crossEntropyBackward', 'saved', o.saved, rows);
      const dy = host.floats('crossEntropyBackward', 'dy', o.dy, 1);
      const dlogits = host.floats('crossEntropyBackward', 'dlogits', o.dlogits, rows * classes);
      const share = dy[0] / rows;
      for (let row = 0; row < rows; row++) {
        for (let i = 0; i < classes; i++) {
          const at = row * classes + i;
          const target = i === labels[row] ? 1 - labelSmoothing : 0;
          dlogits[at] = (exp(x[at] - saved[row]) - target - labelSmoothing / classes) * share;
        }
      }
    },
  };
}
