import { Counter } from '../counter.js';
import type { Device } from '../device/device.js';
import { type BatchNormOptions, batchNorm, batchNormRelu, checkNumbers } from '../ops/batchNorm.js';
import { checkRank } from '../shape.js';
import { checkDevice, keep, type Tensor, tensor } from '../tensor.js';
import { whole } from './init.js';
import { Module } from './module.js';

/** Options of a batch norm, with PyTorch's defaults. */
export interface BatchNorm2dOptions {
  readonly device: Device;
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number;
  /** Share of a batch in the running statistics; null averages over all batches alike. Default 0.1. */
  readonly momentum?: number | null;
  /** Whether the running variance takes the batch's unbiased one. Default true; MXNet's on a CPU does not. */
  readonly unbiasedRunningVar?: boolean;
  /** Whether to scale and shift. Default true. */
  readonly affine?: boolean;
  /** Whether to keep running statistics; without, `eval` uses the batch's own too. Default true. */
  readonly trackRunningStats?: boolean;
}

/**
 * Batch normalisation of x `[N, C, H, W]` per channel. Weight starts at 1, bias at 0, running mean at 0, running
 * variance at 1.
 * @see https://pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html
 */
export class BatchNorm2d extends Module {
  readonly weight: Tensor | null;
  readonly bias: Tensor | null;
  readonly runningMean: Tensor | null;
  readonly runningVar: Tensor | null;
  /** Training batches seen. */
  readonly numBatchesTracked: Counter | null;
  readonly eps: number;
  readonly momentum: number | null;
  readonly unbiasedRunningVar: boolean;
  /** Whether it is as in eval mode whatever its mode: running statistics are used and stay. See `freeze`. */
  frozen = false;

  constructor(
    readonly numFeatures: number,
    o: BatchNorm2dOptions,
  ) {
    super();
    const { device, eps = 1e-5, momentum = 0.1, affine = true, trackRunningStats = true } = o ?? {};
    whole('BatchNorm2d', 'numFeatures', numFeatures);
    checkDevice('BatchNorm2d', device);
    checkNumbers('BatchNorm2d', eps, momentum ?? 0, 'null or ');
    const filled = (value: number, requiresGrad: boolean): Tensor =>
      keep(tensor(new Float32Array(numFeatures).fill(value), { device, requiresGrad }));
    [this.weight, this.bias, this.runningMean, this.runningVar, this.numBatchesTracked] = device.scopes.attempt(() => [
      affine ? filled(1, true) : null,
      affine ? filled(0, true) : null,
      trackRunningStats ? filled(0, false) : null,
      trackRunningStats ? filled(1, false) : null,
      trackRunningStats ? new Counter(device) : null,
    ]);
    this.eps = eps;
    this.momentum = momentum;
    this.unbiasedRunningVar = o.unbiasedRunningVar ?? true;
  }

  override forward(x: Tensor): Tensor {
    return this.#normalised(x, batchNorm);
  }

  /** relu(forward(x) + residual) in one pass, the same bits; without a residual relu(forward(x)). */
  forwardRelu(x: Tensor, residual: Tensor | null = null): Tensor {
    return this.#normalised(x, (t, o) => batchNormRelu(t, { ...o, residual }));
  }

  #normalised(x: Tensor, op: (x: Tensor, o: BatchNormOptions) => Tensor): Tensor {
    checkRank('BatchNorm2d', 'x', x.shape, 4, '[N, C, H, W]');
    const { weight, bias, runningMean, runningVar, eps, unbiasedRunningVar } = this;
    const learning = this.training && !this.frozen;
    const training = learning || runningMean === null;
    const counter = learning ? this.numBatchesTracked : null;
    const seen = counter === null ? 0n : counter.value + 1n;
    const momentum = this.momentum ?? (seen > 0n ? 1 / Number(seen) : 0);
    const y = op(x, { runningMean, runningVar, weight, bias, training, momentum, eps, unbiasedRunningVar });
    if (counter !== null) counter.value = seen;
    return y;
  }
}
