/** Guesses about the steps of optimizers. */
import * as naive from '../naive.js';
import type { Hypothesis, Prediction, WrongCall } from './hypothesis.js';

type Options = Parameters<typeof naive.sgd>[3];

const renamed = (found: Readonly<Record<string, Float64Array | null>>): Prediction =>
  Object.fromEntries(Object.entries(found).flatMap(([name, data]) => (data ? [[`new.${name}`, data] as const] : [])));

function sgd({ values }: WrongCall, o: Options): Prediction {
  const { param, velocity } = naive.sgd(values.param, values.grad, values.velocity ?? null, o);
  return renamed(values.velocity ? { param, velocity } : { param });
}

interface AdamOptions {
  readonly step: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly lr: number;
  readonly eps: number;
  readonly weightDecay: number;
  readonly decoupled: boolean;
}

function adam({ values }: WrongCall, o: AdamOptions, corrections = true): Prediction {
  const power = (base: number): number => base ** o.step;
  const correction1 = corrections ? 1 - power(o.beta1) : 1;
  const correction2 = corrections ? 1 - power(o.beta2) : 1;
  return renamed(naive.adam(values.param, values.grad, values.m, values.v, { ...o, correction1, correction2 }));
}

const onSgd = (name: string, change: (o: Options) => Partial<Options> | null): Hypothesis => ({
  name,
  ops: /^sgd$/,
  predict(call) {
    const o = call.attributes as unknown as Options;
    const changed = change(o);
    return changed === null ? null : sgd(call, { ...o, ...changed });
  },
});

const onAdam = (name: string, predict: (call: WrongCall, o: AdamOptions) => Prediction | null): Hypothesis => ({
  name,
  ops: /^adamw?$/,
  predict: (call) => predict(call, call.attributes as unknown as AdamOptions),
});

export const optimizerHypotheses: readonly Hypothesis[] = [
  onSgd('weight decay is ignored', ({ weightDecay }) => (weightDecay === 0 ? null : { weightDecay: 0 })),
  onSgd('Nesterov’s term is missing', ({ nesterov }) => (nesterov ? { nesterov: false } : null)),
  onSgd('Nesterov’s term is there unasked', ({ nesterov, momentum }) =>
    nesterov || momentum === 0 ? null : { nesterov: true },
  ),
  onSgd('the first step is taken for a later one', ({ first }) => (first ? { first: false } : null)),
  onSgd('every step is taken for the first', ({ first }) => (first ? null : { first: true })),
  {
    name: 'the gradient is damped by 1 − momentum',
    ops: /^sgd$/,
    predict(call) {
      const o = call.attributes as unknown as Options;
      const { grad, param, velocity } = call.values;
      if (o.momentum === 0 || velocity === undefined || o.first) return null;
      const damped = grad.map((g, i) => (1 - o.momentum) * (g + o.weightDecay * param[i]));
      return sgd({ ...call, values: { ...call.values, grad: damped } }, { ...o, weightDecay: 0 });
    },
  },
  {
    name: 'the step goes uphill',
    ops: /^(sgd|adamw?|rmsprop)$/,
    predict: ({ truth, values }) => ({ 'new.param': truth['new.param'].map((p, i) => 2 * values.param[i] - p) }),
  },
  onAdam('the moments are not corrected for their start', (call, o) => adam(call, o, false)),
  onAdam('weight decay joins the gradient, not the parameter', (call, o) =>
    o.decoupled && o.weightDecay !== 0 ? adam(call, { ...o, decoupled: false }) : null,
  ),
  onAdam('weight decay shrinks the parameter, not the gradient', (call, o) =>
    !o.decoupled && o.weightDecay !== 0 ? adam(call, { ...o, decoupled: true }) : null,
  ),
  onAdam('weight decay is ignored', (call, o) => (o.weightDecay === 0 ? null : adam(call, { ...o, weightDecay: 0 }))),
  onAdam('the betas are swapped', (call, o) => adam(call, { ...o, beta1: o.beta2, beta2: o.beta1 })),
  onAdam('the step is counted from 0', (call, o) => (o.step < 2 ? null : adam(call, { ...o, step: o.step - 1 }))),
  onAdam('eps is inside the square root', ({ truth, values }, o) => {
    const [m, v] = [truth['new.m'], truth['new.v']];
    const [c1, c2] = [1 - o.beta1 ** o.step, 1 - o.beta2 ** o.step];
    const shrunk = o.decoupled ? 1 - o.lr * o.weightDecay : 1;
    return {
      'new.param': values.param.map((p, i) => p * shrunk - (o.lr / c1) * (m[i] / Math.sqrt(v[i] / c2 + o.eps))),
    };
  }),
  {
    name: 'eps is inside the square root',
    ops: /^rmsprop$/,
    predict({ truth, values, attributes }) {
      const { lr, eps, momentum, weightDecay } = attributes as Record<string, number>;
      const v = truth['new.v'];
      const u = values.grad.map((g, i) => (g + weightDecay * values.param[i]) / Math.sqrt(v[i] + eps));
      const b = values.velocity ? values.velocity.map((old, i) => momentum * old + u[i]) : u;
      return { 'new.param': values.param.map((p, i) => p - lr * b[i]) };
    },
  },
];
