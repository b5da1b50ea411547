/** Fine-tuning: parts of a model that training leaves as they are. */
import { ArgumentError } from '../errors.js';
import { BatchNorm2d } from '../nn/batchNorm2d.js';
import type { Module } from '../nn/module.js';
import type { Tensor } from '../tensor.js';

/** What `freeze` has taken the gradient from: a tensor without one is otherwise a buffer. */
const wereParameters = new WeakSet<Tensor>();

/** Every batch norm in `module` under its full name; '' for itself. */
function batchNorms(module: Module, name = ''): [string, BatchNorm2d][] {
  if (module instanceof BatchNorm2d) return [[name, module]];
  return [...module.children()].flatMap(([child, part]) =>
    batchNorms(part, [name, child].filter((one) => one !== '').join('.')),
  );
}

/**
 * Takes the parts of `model` under these names, such as `['conv1', 'bn1', 'layer1']`, out of training: their parameters
 * require no gradient any more, so that `model.parameters()` leaves them out and `grad` does not go there, and their
 * batch norms are as in eval mode even while the model trains. A name stands for itself and for all that begins with it
 * and a dot; '' is the whole model. Call it before the optimizer is made. In the state dict all stays where it was,
 * unless only some of one layer's own parameters are frozen: those then stand after the others.
 * @param frozen false takes the parts back into training
 * @throws ArgumentError when a name is none of a parameter or batch norm; nothing has changed then
 */
export function freeze(model: Module, prefixes: readonly string[], frozen = true): void {
  const parts = new Map(prefixes.map((prefix) => [prefix, false]));
  const chosen = (name: string): boolean => {
    let any = false;
    for (const prefix of parts.keys()) {
      if (prefix !== '' && name !== prefix && !name.startsWith(`${prefix}.`)) continue;
      parts.set(prefix, true);
      any = true;
    }
    return any;
  };
  const norms = batchNorms(model).filter(([name]) => chosen(name));
  const tensors = [...model.stateDict()].filter(([name]) => chosen(name)).map(([, t]) => t);
  const unknown = [...parts].filter(([, found]) => !found).map(([prefix]) => JSON.stringify(prefix));
  if (unknown.length > 0) {
    throw new ArgumentError(
      `freeze: the model has nothing called ${unknown.join(', ')}; want names of its parts, such as ${[...model.children().keys()].slice(0, 3).join(', ')}`,
    );
  }
  for (const t of tensors) {
    if (frozen ? !t.requiresGrad : !wereParameters.delete(t)) continue;
    t.requiresGrad = !frozen;
    if (frozen) wereParameters.add(t);
  }
  for (const [, norm] of norms) norm.frozen = frozen;
}
