import { ArgumentError } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { numberFrom, Optimizer, type OptimizerOptions, type Update } from './optimizer.js';

export interface SgdOptions extends OptimizerOptions {
  /** Share of the last step's direction that is kept. Default 0. */
  readonly momentum?: number;
  /** Nesterov's form of momentum. Default false. */
  readonly nesterov?: boolean;
}

class Sgd extends Optimizer {
  private readonly momentum: number;
  private readonly nesterov: boolean;

  constructor(params: Iterable<Tensor>, o: SgdOptions) {
    super('sgd', params, o, o.momentum ? ['momentum_buffer'] : []);
    this.momentum = numberFrom('sgd', 'momentum', o.momentum ?? 0, 0, Number.POSITIVE_INFINITY);
    this.nesterov = o.nesterov ?? false;
    if (this.nesterov && this.momentum === 0) {
      throw new ArgumentError('sgd: nesterov is true with momentum 0; want a momentum above 0');
    }
  }

  protected override update({ kernels, param, grad, state }: Update, first: boolean): void {
    const { lr, momentum, nesterov, weightDecay } = this;
    kernels.sgd({ param, grad, velocity: state[0] ?? null, first, lr, momentum, nesterov, weightDecay });
  }
}

/**
 * Stochastic gradient descent: g = grad + weightDecay·p; v = momentum·v + g (v = g at first); p −= lr·v, or with
 * `nesterov` p −= lr·(g + momentum·v).
 * @throws ArgumentError when an option is out of its range
 * @see https://pytorch.org/docs/1.13/generated/torch.optim.SGD.html
 */
export function sgd(params: Iterable<Tensor>, o: SgdOptions): Optimizer {
  return new Sgd(params, o);
}
