import type { Tensor } from '../tensor.js';
import { numberFrom, Optimizer, type OptimizerOptions, type Update } from './optimizer.js';

export interface RmspropOptions extends Partial<OptimizerOptions> {
  /** Decay of the average of g². Default 0.99. */
  readonly alpha?: number;
  /** Added to the denominator. Default 1e-8. */
  readonly eps?: number;
  /** Share of the last step's direction that is kept. Default 0. */
  readonly momentum?: number;
}

class Rmsprop extends Optimizer {
  private readonly alpha: number;
  private readonly eps: number;
  private readonly momentum: number;

  constructor(params: Iterable<Tensor>, o: RmspropOptions) {
    const { lr = 1e-2, weightDecay = 0, alpha = 0.99, eps = 1e-8, momentum = 0 } = o;
    super('rmsprop', params, { lr, weightDecay }, momentum ? ['square_avg', 'momentum_buffer'] : ['square_avg']);
    this.alpha = numberFrom('rmsprop', 'alpha', alpha, 0, Number.POSITIVE_INFINITY);
    this.eps = numberFrom('rmsprop', 'eps', eps, 0, Number.POSITIVE_INFINITY);
    this.momentum = numberFrom('rmsprop', 'momentum', momentum, 0, Number.POSITIVE_INFINITY);
  }

  protected override update({ kernels, param, grad, state }: Update): void {
    const velocity = state.length > 1 ? state[1] : null;
    const { lr, alpha, eps, weightDecay, momentum } = this;
    kernels.rmsprop({ param, grad, v: state[0], velocity, lr, alpha, eps, weightDecay, momentum });
  }
}

/**
 * RMSprop, not centred: v = α·v + (1 − α)·g²; p −= lr·g/(√v + eps), through a momentum buffer if momentum is set.
 * Defaults: lr 1e-2, alpha 0.99, eps 1e-8, momentum 0, weightDecay 0.
 * @throws ArgumentError when an option is out of its range
 * @see https://pytorch.org/docs/1.13/generated/torch.optim.RMSprop.html
 */
export function rmsprop(params: Iterable<Tensor>, o: RmspropOptions = {}): Optimizer {
  return new Rmsprop(params, o);
}
