/** Rows of the kernels that work in place: accumulate, and the steps of the optimizers. */
import type { Tensor } from '../../tensor.js';
import { type Ball, type Balls, type Expected, rounded, stepwise } from '../bounds.js';
import type { Draw } from '../draw.js';
import {
  type AdamStep,
  adamStep,
  type RmspropStep,
  rmspropStep,
  type SgdStep,
  sgdStep,
} from '../formulas/optimizers.js';
import * as naive from '../naive.js';
import { defineCase, drawSalt, type Input, input, LANES, type OpCase } from './case.js';

function drawSize(d: Draw): number {
  return d.int(0, 3) === 0 ? d.int(18, 400) : d.pick(LANES);
}

const noGradient = { differentiable: false };
/** A running mean of squares: away from 0, where a square root has no bound. */
const square = { low: 0.01, high: 1, ...noGradient };

/** What an in-place row has in common: no result, no gradient. */
function inPlace(
  inputs: readonly Input[],
  attributes: Readonly<Record<string, unknown>>,
  flops: number,
  run: (tensors: readonly Tensor[]) => void,
  changed: (values: readonly Float64Array[]) => Record<string, Expected>,
) {
  return {
    inputs,
    shape: [],
    smooth: false,
    attributes,
    flops,
    run(tensors: readonly Tensor[]) {
      run(tensors);
      return null;
    },
    forward: (values: readonly Float64Array[]) => ({ y: null, changed: changed(values) }),
    backward: () => ({}),
  };
}

/** One ball per element of several results at once: `step(i)` gives them all. */
function results<K extends string>(
  size: number,
  values: Readonly<Record<K, Float64Array>>,
  step: (balls: Balls, i: number) => Readonly<Record<K, Ball>>,
): Record<K, Expected> {
  const names = Object.keys(values) as K[];
  const entries = names.map((name) => [
    name,
    stepwise(values[name], (balls) => Array.from({ length: size }, (_, i) => step(balls, i)[name])),
  ]);
  return Object.fromEntries(entries) as Record<K, Expected>;
}

/** A call on this many elements. */
export interface SizeOptions {
  readonly salt: number;
  readonly size: number;
}

/** out + x: one rounding. */
export const accumulateCase = defineCase<SizeOptions>({
  name: 'accumulate',
  op: null,
  options: (d) => ({ salt: drawSalt(d), size: drawSize(d) }),
  trial: ({ salt, size }) =>
    inPlace(
      [input(salt, 'x', [size], noGradient), input(salt, 'out', [size], noGradient)],
      {},
      size,
      ([x, out]) => x.device.kernels.accumulate({ x: x.buffer, out: out.buffer }),
      ([x, out]) => ({ out: rounded(out.map((v, i) => v + x[i])) }),
    ),
});

/** A step of sgd. */
export interface SgdOptions extends SizeOptions, SgdStep {}

/** The contract's formula in balls, every operation rounded, scalars once when received; fused ones round less. */
export const sgdCase = defineCase<SgdOptions>({
  name: 'sgd',
  op: null,
  options(d) {
    const momentum = d.pick([0, 0.9, 0.5]);
    return {
      salt: drawSalt(d),
      size: drawSize(d),
      first: d.bool(),
      lr: d.pick([0.1, 0.05, 1e-3]),
      momentum,
      nesterov: momentum > 0 && d.bool(),
      weightDecay: d.pick([0, 1e-4, 0.1]),
    };
  },
  trial({ salt, size, ...o }) {
    const inputs = [input(salt, 'param', [size], noGradient), input(salt, 'grad', [size], noGradient)];
    if (o.momentum > 0) inputs.push(input(salt, 'velocity', [size], noGradient));
    return inPlace(
      inputs,
      o,
      6 * size,
      ([param, grad, velocity]) =>
        param.device.kernels.sgd({
          param: param.buffer,
          grad: grad.buffer,
          velocity: velocity?.buffer ?? null,
          ...o,
        }),
      ([param, grad, velocity]) => {
        const found = naive.sgd(param, grad, velocity ?? null, o);
        return results(size, velocity ? found : ({ param: found.param } as typeof found), (balls, i) =>
          sgdStep(balls, o, param, grad, velocity ?? null, i),
        );
      },
    );
  },
});

/** A step of adam or adamw. */
export interface AdamOptions extends SizeOptions, Omit<AdamStep, 'correction1' | 'correction2'> {
  /** Counted from 1; the first finds m = v = 0. */
  readonly step: number;
}

/** As sgd: the contract's formula in balls. 1 − β is taken from the rounded β or rounded itself: either way one more. */
function defineAdam(decoupled: boolean) {
  return defineCase<AdamOptions>({
    name: decoupled ? 'adamw' : 'adam',
    op: null,
    options: (d) => ({
      salt: drawSalt(d),
      size: drawSize(d),
      lr: d.pick([0.1, 1e-3]),
      beta1: d.pick([0.9, 0.5]),
      beta2: d.pick([0.999, 0.9]),
      eps: d.pick([1e-8, 1e-3]),
      weightDecay: d.pick([0, 0.01, 0.1]),
      decoupled,
      step: d.int(1, 20),
    }),
    trial({ salt, size, step, ...o }) {
      let power1 = 1;
      let power2 = 1;
      for (let t = 0; t < step; t++) {
        power1 *= o.beta1;
        power2 *= o.beta2;
      }
      const settings = { ...o, correction1: 1 - power1, correction2: 1 - power2 };
      const zero = { low: 0, high: 0, ...noGradient };
      const inputs = [
        input(salt, 'param', [size], noGradient),
        input(salt, 'grad', [size], noGradient),
        input(salt, 'm', [size], step === 1 ? zero : noGradient),
        input(salt, 'v', [size], step === 1 ? zero : square),
      ];
      return inPlace(
        inputs,
        { ...o, step },
        14 * size,
        ([param, grad, m, v]) =>
          param.device.kernels.adam({
            param: param.buffer,
            grad: grad.buffer,
            m: m.buffer,
            v: v.buffer,
            ...settings,
          }),
        ([param, grad, m, v]) =>
          results(size, naive.adam(param, grad, m, v, settings), (balls, i) =>
            adamStep(balls, settings, param, grad, m, v, i),
          ),
      );
    },
  });
}

/** The row of adam. */
export const adamCase = defineAdam(false);
/** The row of adamw. */
export const adamwCase = defineAdam(true);

/** A step of rmsprop; the `first` finds v = 0. */
export interface RmspropOptions extends SizeOptions, RmspropStep {
  readonly first: boolean;
}

/** As sgd: the contract's formula in balls. */
export const rmspropCase = defineCase<RmspropOptions>({
  name: 'rmsprop',
  op: null,
  options: (d) => ({
    salt: drawSalt(d),
    size: drawSize(d),
    lr: d.pick([0.01, 1e-3]),
    alpha: d.pick([0.99, 0.9]),
    eps: d.pick([1e-8, 1e-3]),
    weightDecay: d.pick([0, 1e-4, 0.1]),
    momentum: d.pick([0, 0.9]),
    first: d.bool(),
  }),
  trial({ salt, size, first, ...o }) {
    const inputs = [
      input(salt, 'param', [size], noGradient),
      input(salt, 'grad', [size], noGradient),
      input(salt, 'v', [size], first ? { low: 0, high: 0, ...noGradient } : square),
    ];
    if (o.momentum > 0) inputs.push(input(salt, 'velocity', [size], noGradient));
    return inPlace(
      inputs,
      o,
      10 * size,
      ([param, grad, v, velocity]) =>
        param.device.kernels.rmsprop({
          param: param.buffer,
          grad: grad.buffer,
          v: v.buffer,
          velocity: velocity?.buffer ?? null,
          ...o,
        }),
      ([param, grad, v, velocity]) => {
        const found = naive.rmsprop(param, grad, v, velocity ?? null, o);
        const wanted = velocity ? found : ({ param: found.param, v: found.v } as typeof found);
        return results(size, wanted, (balls, i) => rmspropStep(balls, o, param, grad, v, velocity ?? null, i));
      },
    );
  },
});

/** All rows of this file. */
export const inPlaceCases: readonly OpCase[] = [accumulateCase, sgdCase, adamCase, adamwCase, rmspropCase];
