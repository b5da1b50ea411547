import { numberFrom, Optimizer, type OptimizerOptions, type Params, type Update } from './optimizer.js';

/** Options of `rmsprop`. */
export interface RmspropOptions extends Partial<OptimizerOptions> {
  /** Decay of the average of g². Default 0.99. */
  readonly alpha?: number;
  /** Added to the denominator. Default 1e-8. */
  readonly eps?: number;
  /** Share of the last step's direction that is kept. Default 0. */
  readonly momentum?: number;
}

type Options = Required<RmspropOptions>;

function check(o: Options): Options {
  const from0 = (option: 'alpha' | 'eps' | 'momentum'): number =>
    numberFrom('rmsprop', option, o[option], 0, Number.POSITIVE_INFINITY);
  return { ...o, alpha: from0('alpha'), eps: from0('eps'), momentum: from0('momentum') };
}

class Rmsprop extends Optimizer<Options> {
  constructor(params: Params<RmspropOptions>, o: RmspropOptions) {
    const { lr = 1e-2, weightDecay = 0, alpha = 0.99, eps = 1e-8, momentum = 0 } = o;
    super('rmsprop', params, { lr, weightDecay, alpha, eps, momentum }, check, (group) =>
      group.momentum ? ['square_avg', 'momentum_buffer'] : ['square_avg'],
    );
  }

  protected override update({ options, kernels, param, grad, state }: Update<Options>): void {
    const velocity = state.length > 1 ? state[1] : null;
    const { lr, alpha, eps, weightDecay, momentum } = options;
    kernels.rmsprop({ param, grad, v: state[0], velocity, lr, alpha, eps, weightDecay, momentum });
  }
}

/**
 * RMSprop, not centred: v = α·v + (1 − α)·g²; p −= lr·g/(√v + eps), through a momentum buffer if momentum is set.
 * Defaults: lr 1e-2, alpha 0.99, eps 1e-8, momentum 0, weightDecay 0.
 * @param params tensors, or groups of them with options of their own, as PyTorch's
 * @throws ArgumentError when an option is out of its range
 * @see https://pytorch.org/docs/1.13/generated/torch.optim.RMSprop.html
 */
export function rmsprop(params: Params<RmspropOptions>, o: RmspropOptions = {}): Optimizer {
  return new Rmsprop(params, o ?? {});
}
