import { ArgumentError } from '../errors.js';
import { numberFrom, Optimizer, type OptimizerOptions, type Params, type Update } from './optimizer.js';

/** Options of `sgd`. */
export interface SgdOptions extends OptimizerOptions {
  /** Share of the last step's direction that is kept. Default 0. */
  readonly momentum?: number;
  /** Nesterov's form of momentum. Default false. */
  readonly nesterov?: boolean;
}

function check(o: SgdOptions): SgdOptions {
  const momentum = numberFrom('sgd', 'momentum', o.momentum ?? 0, 0, Number.POSITIVE_INFINITY);
  const nesterov = o.nesterov ?? false;
  if (nesterov && momentum === 0) {
    throw new ArgumentError('sgd: nesterov is true with momentum 0; want a momentum above 0');
  }
  return { ...o, momentum, nesterov };
}

class Sgd extends Optimizer<SgdOptions> {
  constructor(params: Params<SgdOptions>, o: SgdOptions) {
    super('sgd', params, o, check, ({ momentum }) => (momentum ? ['momentum_buffer'] : []));
  }

  protected override update(
    { options, kernels, param, grad, state }: Update<Required<SgdOptions>>,
    first: boolean,
  ): void {
    const { lr, momentum, nesterov, weightDecay } = options;
    kernels.sgd({ param, grad, velocity: state[0] ?? null, first, lr, momentum, nesterov, weightDecay });
  }
}

/**
 * Stochastic gradient descent: g = grad + weightDecay·p; v = momentum·v + g (v = g at first); p −= lr·v, or with
 * `nesterov` p −= lr·(g + momentum·v).
 * @param params tensors, or groups of them with options of their own, as PyTorch's
 * @throws ArgumentError when an option is out of its range
 * @see https://pytorch.org/docs/1.13/generated/torch.optim.SGD.html
 */
export function sgd(params: Params<SgdOptions>, o: SgdOptions): Optimizer {
  return new Sgd(params, o);
}
