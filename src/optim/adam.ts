/** adam and adamw: one update, which differs only in where weight decay enters. */
import { ArgumentError, show } from '../errors.js';
import { numberFrom, Optimizer, type OptimizerOptions, type Params, type Update } from './optimizer.js';

export interface AdamOptions extends Partial<OptimizerOptions> {
  /** Decay of the averages of g and of g². Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Added to the denominator. Default 1e-8. */
  readonly eps?: number;
}

type Options = Required<AdamOptions>;

function checkFor(name: string): (o: Options) => Options {
  return (o) => {
    const { betas } = o;
    if (!Array.isArray(betas) || betas.length !== 2) {
      throw new ArgumentError(`${name}: betas is ${show(betas)}; want two numbers`);
    }
    return {
      ...o,
      betas: [numberFrom(name, 'betas[0]', betas[0], 0, 1), numberFrom(name, 'betas[1]', betas[1], 0, 1)],
      eps: numberFrom(name, 'eps', o.eps, 0, Number.POSITIVE_INFINITY),
    };
  };
}

class Adam extends Optimizer<Options> {
  /** βᵗ for each β of any group, by repeated multiplication: the same bits everywhere, and after resuming. */
  private readonly powers = new Map<number, number>();

  constructor(
    params: Params<AdamOptions>,
    o: AdamOptions,
    private readonly decoupled: boolean,
  ) {
    const name = decoupled ? 'adamw' : 'adam';
    const { lr = 1e-3, weightDecay = decoupled ? 1e-2 : 0, betas = [0.9, 0.999], eps = 1e-8 } = o;
    super(name, params, { lr, weightDecay, betas, eps }, checkFor(name), () => ['exp_avg', 'exp_avg_sq']);
    for (const { betas: own } of this.groupOptions()) for (const beta of own) this.powers.set(beta, 1);
  }

  protected override restart(): void {
    for (const beta of this.powers.keys()) this.powers.set(beta, 1);
  }

  protected override advance(steps: number): void {
    for (const [beta, from] of this.powers) {
      let power = from;
      for (let t = 0; t < steps; t++) {
        const before = power;
        power *= beta;
        // It has vanished: no later step changes it, however many a state claims.
        if (power === before) break;
      }
      this.powers.set(beta, power);
    }
  }

  protected override update({ options, kernels, param, grad, state: [m, v] }: Update<Options>): void {
    const { lr, eps, weightDecay } = options;
    const { decoupled } = this;
    const [beta1, beta2] = options.betas;
    const [correction1, correction2] = options.betas.map((beta) => 1 - (this.powers.get(beta) as number));
    const scalars = { lr, beta1, beta2, eps, weightDecay, decoupled, correction1, correction2 };
    kernels.adam({ param, grad, m, v, ...scalars });
  }
}

/**
 * Adam (Kingma and Ba 2015), weight decay added to the gradient. Defaults: lr 1e-3, betas [0.9, 0.999], eps 1e-8,
 * weightDecay 0.
 * @param params tensors, or groups of them with options of their own, as PyTorch's
 * @throws ArgumentError when an option is out of its range
 * @see https://pytorch.org/docs/1.13/generated/torch.optim.Adam.html
 */
export function adam(params: Params<AdamOptions>, o: AdamOptions = {}): Optimizer {
  return new Adam(params, o ?? {}, false);
}

/**
 * AdamW (Loshchilov and Hutter 2019): Adam with weight decay taken from the parameter itself. Defaults: lr 1e-3,
 * betas [0.9, 0.999], eps 1e-8, weightDecay 0.01.
 * @param params tensors, or groups of them with options of their own, as PyTorch's
 * @throws ArgumentError when an option is out of its range
 * @see https://pytorch.org/docs/1.13/generated/torch.optim.AdamW.html
 */
export function adamw(params: Params<AdamOptions>, o: AdamOptions = {}): Optimizer {
  return new Adam(params, o ?? {}, true);
}
