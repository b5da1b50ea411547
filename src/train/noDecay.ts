/** Which parameters weight decay is for. */
import { BatchNorm2d } from '../nn/batchNorm2d.js';
import type { Module } from '../nn/module.js';
import type { Tensor } from '../tensor.js';

/** A group of `noDecayGroups`; `weightDecay` is 0 where its parameters do not decay, else the optimizer's. */
export interface NoDecayGroup {
  readonly params: readonly Tensor[];
  readonly weightDecay?: number;
}

/**
 * The parameters of `model` as groups for an optimizer: the weights of convolutions and linear layers, which its
 * `weightDecay` holds for, then all biases and what batch norms have, which do not decay. An empty group is left out.
 * @see https://arxiv.org/abs/1812.01187 section 3.1
 */
export function noDecayGroups(model: Module): NoDecayGroup[] {
  const norms = new Set<Tensor | null>();
  model.apply((module) => {
    if (module instanceof BatchNorm2d) norms.add(module.weight).add(module.bias);
  });
  const all = [...model.namedParameters()];
  const exempt = ([name, t]: readonly [string, Tensor]): boolean => norms.has(t) || /(?:^|\.)bias$/.test(name);
  const groups: NoDecayGroup[] = [
    { params: all.filter((entry) => !exempt(entry)).map(([, t]) => t) },
    { params: all.filter(exempt).map(([, t]) => t), weightDecay: 0 },
  ];
  return groups.filter(({ params }) => params.length > 0);
}
