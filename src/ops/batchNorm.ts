import { defineOp } from '../autograd.js';
import { ArgumentError } from '../errors.js';
import { formatShape, sizeOf } from '../shape.js';
import type { Tensor } from '../tensor.js';

export interface BatchNormOptions {
  /** Running statistics `[C]`, both or neither; updated in place when `training`. */
  readonly runningMean?: Tensor | null;
  readonly runningVar?: Tensor | null;
  /** Scale and shift `[C]`. */
  readonly weight?: Tensor | null;
  readonly bias?: Tensor | null;
  /** Normalise by the batch's statistics (true) or by the running ones (false, the default). */
  readonly training?: boolean;
  /** Share of the batch's statistics in the new running ones. Default 0.1. */
  readonly momentum?: number;
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number;
}

type Inputs = readonly [Tensor, Tensor | null, Tensor | null, Tensor | null, Tensor | null];

const op = defineOp({
  name: 'batchNorm',
  inputs: ['x', 'weight', 'bias', 'runningMean', 'runningVar'],
  plan: ([x, ...perChannel]: Inputs, o: { training: boolean; momentum: number; eps: number }) => {
    const { shape } = x;
    if (shape.length < 2) {
      throw new ArgumentError(`batchNorm: x has shape ${formatShape(shape)}; want [N, C, ...]`);
    }
    const [batch, channels] = shape;
    const spatial = sizeOf(shape.slice(2));
    ['weight', 'bias', 'runningMean', 'runningVar'].forEach((name, i) => {
      const t = perChannel[i];
      if (t !== null && (t.shape.length !== 1 || t.shape[0] !== channels)) {
        throw new ArgumentError(
          `batchNorm: ${name} has shape ${formatShape(t.shape)}; want [${channels}] for x ${formatShape(shape)}`,
        );
      }
    });
    const [, , runningMean, runningVar] = perChannel;
    if ((runningMean === null) !== (runningVar === null)) {
      throw new ArgumentError(
        `batchNorm: runningMean is ${runningMean && 'given'} and runningVar ${runningVar && 'given'}; want both or neither`,
      );
    }
    if (runningMean?.requiresGrad || runningVar?.requiresGrad) {
      throw new ArgumentError('batchNorm: runningMean or runningVar requires a gradient; statistics have none');
    }
    if (!o.training && runningMean === null) {
      throw new ArgumentError('batchNorm: training is false and there is no runningMean and runningVar to use');
    }
    if (o.training && batch * spatial <= 1) {
      throw new ArgumentError(
        `batchNorm: x ${formatShape(shape)} has ${batch * spatial} value per channel; training wants more than 1`,
      );
    }
    if (!(o.momentum >= 0 && o.momentum <= 1)) {
      throw new ArgumentError(`batchNorm: momentum is ${o.momentum}; want a number from 0 to 1`);
    }
    if (!(o.eps >= 0 && o.eps < Number.POSITIVE_INFINITY)) {
      throw new ArgumentError(`batchNorm: eps is ${o.eps}; want a finite number of at least 0`);
    }
    return { shape, geometry: { batch, channels, spatial }, ...o };
  },
  forward({ kernels, inputs, out, save }, { geometry, training, momentum, eps }) {
    const [x, weight, bias, runningMean, runningVar] = inputs;
    const saved = save(2 * geometry.channels, 'float64');
    const common = { ...geometry, x, weight, bias, eps, saved, out };
    if (training) kernels.batchNormTrain({ ...common, runningMean, runningVar, momentum });
    else if (runningMean && runningVar) kernels.batchNormEval({ ...common, runningMean, runningVar });
  },
  needs: { out: false },
  backward({ kernels, inputs: [x, weight], saved: [saved], dy, grad }, { geometry, training }) {
    const [dx, dweight, dbias] = [grad(0), grad(1), grad(2)];
    kernels.batchNormBackward({ ...geometry, x, dy, weight, saved, training, dx, dweight, dbias });
  },
});

/**
 * (x − mean) / √(var + eps) · weight + bias, per channel: x `[N, C, ...]`, the result has its shape. With `training`
 * mean and var are the batch's, and the running ones become (1 − momentum)·running + momentum·batch, in place, with
 * the unbiased variance; without, they are the running ones.
 * @throws ArgumentError when a shape does not fit, training has one value per channel, or statistics are missing
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.batch_norm.html
 */
export function batchNorm(x: Tensor, o: BatchNormOptions = {}): Tensor {
  const { runningMean = null, runningVar = null, weight = null, bias = null } = o;
  const { training = false, momentum = 0.1, eps = 1e-5 } = o;
  return op([x, weight, bias, runningMean, runningVar], { training, momentum, eps });
}
