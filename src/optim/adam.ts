/** adam and adamw: one update, which differs only in where weight decay enters. */
import { ArgumentError } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { numberFrom, Optimizer, type OptimizerOptions, type Update } from './optimizer.js';

export interface AdamOptions extends Partial<OptimizerOptions> {
  /** Decay of the averages of g and of g². Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Added to the denominator. Default 1e-8. */
  readonly eps?: number;
}

class Adam extends Optimizer {
  private readonly betas: readonly [number, number];
  private readonly eps: number;
  /** βᵗ, by repeated multiplication: the same bits everywhere, and after resuming. */
  private powers: [number, number] = [1, 1];

  constructor(
    params: Iterable<Tensor>,
    o: AdamOptions,
    private readonly decoupled: boolean,
  ) {
    const name = decoupled ? 'adamw' : 'adam';
    const { lr = 1e-3, weightDecay = decoupled ? 1e-2 : 0, betas = [0.9, 0.999], eps = 1e-8 } = o;
    super(name, params, { lr, weightDecay }, ['exp_avg', 'exp_avg_sq']);
    if (!Array.isArray(betas) || betas.length !== 2) {
      throw new ArgumentError(`${name}: betas is ${JSON.stringify(betas)}; want two numbers`);
    }
    this.betas = [numberFrom(name, 'betas[0]', betas[0], 0, 1), numberFrom(name, 'betas[1]', betas[1], 0, 1)];
    this.eps = numberFrom(name, 'eps', eps, 0, Number.POSITIVE_INFINITY);
  }

  protected override restart(): void {
    this.powers = [1, 1];
  }

  protected override advance(steps: number): void {
    const [beta1, beta2] = this.betas;
    for (let t = 0; t < steps; t++) {
      const [a, b] = this.powers;
      this.powers = [a * beta1, b * beta2];
      // Both have vanished: no later step changes them, however many a state claims.
      if (this.powers[0] === a && this.powers[1] === b) return;
    }
  }

  protected override update({ kernels, param, grad, state: [m, v] }: Update): void {
    const { lr, eps, weightDecay, decoupled } = this;
    const [beta1, beta2] = this.betas;
    const [correction1, correction2] = [1 - this.powers[0], 1 - this.powers[1]];
    const scalars = { lr, beta1, beta2, eps, weightDecay, decoupled, correction1, correction2 };
    kernels.adam({ param, grad, m, v, ...scalars });
  }
}

/**
 * Adam (Kingma and Ba 2015), weight decay added to the gradient. Defaults: lr 1e-3, betas [0.9, 0.999], eps 1e-8,
 * weightDecay 0.
 * @throws ArgumentError when an option is out of its range
 * @see https://pytorch.org/docs/1.13/generated/torch.optim.Adam.html
 */
export function adam(params: Iterable<Tensor>, o: AdamOptions = {}): Optimizer {
  return new Adam(params, o, false);
}

/**
 * AdamW (Loshchilov and Hutter 2019): Adam with weight decay taken from the parameter itself. Defaults: lr 1e-3,
 * betas [0.9, 0.999], eps 1e-8, weightDecay 0.01.
 * @throws ArgumentError when an option is out of its range
 * @see https://pytorch.org/docs/1.13/generated/torch.optim.AdamW.html
 */
export function adamw(params: Iterable<Tensor>, o: AdamOptions = {}): Optimizer {
  return new Adam(params, o, true);
}
