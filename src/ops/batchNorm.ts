import { defineOp } from '../autograd.js';
import { ArgumentError, show } from '../errors.js';
import { formatShape, sameShape, sizeOf } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** Statistics, scale and shift of a batch norm. */
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
  /**
   * Whether the running variance takes the batch's unbiased one, var·n/(n − 1), as PyTorch and Keras's fused kernel do, or the
   * biased one, as MXNet on a CPU. Default true.
   */
  readonly unbiasedRunningVar?: boolean;
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number;
}

interface NormPlanOptions {
  readonly training: boolean;
  readonly momentum: number;
  readonly unbiased: boolean;
  readonly eps: number;
}

type Optional = Tensor | null;
type Inputs = readonly [Tensor, Optional, Optional, Optional, Optional, Optional];

/** @throws ArgumentError unless both are numbers in their ranges */
export function checkNumbers(op: string, eps: number, momentum: number, orNull = ''): void {
  if (!(typeof eps === 'number' && eps >= 0 && eps < Number.POSITIVE_INFINITY)) {
    throw new ArgumentError(`${op}: eps is ${show(eps)}; want a finite number of at least 0`);
  }
  if (!(typeof momentum === 'number' && momentum >= 0 && momentum <= 1)) {
    throw new ArgumentError(`${op}: momentum is ${show(momentum)}; want ${orNull}a number from 0 to 1`);
  }
}

/** Shapes and options of `name`, which is batchNorm or batchNormRelu. */
function planOf(name: string) {
  return ([x, ...others]: Inputs, o: NormPlanOptions) => {
    const { shape } = x;
    const perChannel = others.slice(0, 4);
    const residual = others[4];
    if (shape.length < 2) {
      throw new ArgumentError(`${name}: x has shape ${formatShape(shape)}; want [N, C, ...]`);
    }
    const [batch, channels] = shape;
    const spatial = sizeOf(shape.slice(2));
    ['weight', 'bias', 'runningMean', 'runningVar'].forEach((argument, i) => {
      const t = perChannel[i];
      if (t !== null && (t.shape.length !== 1 || t.shape[0] !== channels)) {
        throw new ArgumentError(
          `${name}: ${argument} has shape ${formatShape(t.shape)}; want [${channels}] for x ${formatShape(shape)}`,
        );
      }
    });
    const [, , runningMean, runningVar] = perChannel;
    if ((runningMean === null) !== (runningVar === null)) {
      throw new ArgumentError(
        `${name}: runningMean is ${runningMean && 'given'} and runningVar ${runningVar && 'given'}; want both or neither`,
      );
    }
    if (runningMean?.requiresGrad || runningVar?.requiresGrad) {
      throw new ArgumentError(`${name}: runningMean or runningVar requires a gradient; statistics have none`);
    }
    if (!o.training && runningMean === null) {
      throw new ArgumentError(`${name}: training is false and there is no runningMean and runningVar to use`);
    }
    if (o.training && batch * spatial <= 1) {
      throw new ArgumentError(
        `${name}: x ${formatShape(shape)} has ${batch * spatial} value per channel; training wants more than 1`,
      );
    }
    checkNumbers(name, o.eps, o.momentum);
    if (residual !== null && !sameShape(residual.shape, shape)) {
      throw new ArgumentError(
        `${name}: residual has shape ${formatShape(residual.shape)}; want that of x, ${formatShape(shape)}`,
      );
    }
    const count = batch * spatial;
    return { shape, geometry: { batch, channels, spatial }, correction: o.unbiased ? count / (count - 1) : 1, ...o };
  };
}

/** Both ops: `relu` adds a residual, if there is one, and takes the positive part. */
const defineBatchNorm = (name: string, relu: boolean) =>
  defineOp({
    name,
    inputs: ['x', 'weight?', 'bias?', 'runningMean?', 'runningVar?', 'residual?'],
    plan: planOf(name),
    forward({ kernels, inputs, out, save }, { geometry, training, momentum, correction, eps }) {
      const [x, weight, bias, runningMean, runningVar, residual] = inputs;
      const saved = save(2 * geometry.channels, 'float64');
      const common = { x, weight, bias, residual, relu, eps, saved, out, ...geometry };
      if (training) kernels.batchNormTrain({ runningMean, runningVar, momentum, correction, ...common });
      else if (runningMean && runningVar) kernels.batchNormEval({ runningMean, runningVar, ...common });
    },
    // The mask of relu comes from the result.
    needs: { out: relu },
    backward({ kernels, inputs: [x, weight], saved: [saved], out, dy, grad }, { geometry, training }) {
      const [dx, dweight, dbias, dresidual] = [grad(0), grad(1), grad(2), grad(5)];
      const y = relu ? out : null;
      kernels.batchNormBackward({ x, dy, y, weight, saved, training, dx, dweight, dbias, dresidual, ...geometry });
    },
  });

const plain = defineBatchNorm('batchNorm', false);
const rectified = defineBatchNorm('batchNormRelu', true);

/**
 * (x − mean) / √(var + eps) · weight + bias, per channel: x `[N, C, ...]`, the result has its shape. With `training`
 * mean and var are the batch's, and the running ones become (1 − momentum)·running + momentum·batch, in place, with
 * the unbiased variance unless told otherwise; without, they are the running ones.
 * @throws ArgumentError when a shape does not fit, training has one value per channel, or statistics are missing
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.batch_norm.html
 */
export function batchNorm(x: Tensor, o: BatchNormOptions = {}): Tensor {
  const { runningMean = null, runningVar = null, weight = null, bias = null } = o ?? {};
  const { training = false, momentum = 0.1, eps = 1e-5, unbiasedRunningVar: unbiased = true } = o ?? {};
  return plain([x, weight, bias, runningMean, runningVar, null], { training, momentum, unbiased, eps });
}

/** Those of `batchNorm`, and what is added before relu. */
export interface BatchNormReluOptions extends BatchNormOptions {
  /** Added before relu; the shape of x. */
  readonly residual?: Tensor | null;
}

/**
 * relu(batchNorm(x) + residual) in one pass over memory, and one backwards: the bits of `batchNorm`, `add` and `relu` one
 * after the other, and no tensor between them. Shapes and errors as `batchNorm`.
 * @throws ArgumentError when the residual's shape is not that of x
 */
export function batchNormRelu(x: Tensor, o: BatchNormReluOptions = {}): Tensor {
  const { runningMean = null, runningVar = null, weight = null, bias = null, residual = null } = o ?? {};
  const { training = false, momentum = 0.1, eps = 1e-5, unbiasedRunningVar: unbiased = true } = o ?? {};
  return rectified([x, weight, bias, runningMean, runningVar, residual], { training, momentum, unbiased, eps });
}
