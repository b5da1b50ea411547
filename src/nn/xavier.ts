import { ArgumentError, show } from '../errors.js';
import { Generator } from '../random.js';
import { Conv2d } from './conv2d.js';
import { Linear } from './linear.js';
import { checkModule, type Module } from './module.js';

/**
 * Draws the weight of every Conv2d and Linear in `module` anew, uniform in ±√(6 / (fanIn + fanOut)), in the order of
 * the state dict; biases stay. What the chapter's trainer (`train_ch6`) does first. Returns `module`.
 * @see https://pytorch.org/docs/stable/nn.init.html#torch.nn.init.xavier_uniform_
 */
export function initXavierUniform<M extends Module>(module: M, generator: Generator): M {
  checkModule('initXavierUniform', module);
  if (!(generator instanceof Generator))
    throw new ArgumentError(`initXavierUniform: generator is ${show(generator)}; want a Generator`);
  // What has no weights yet would go without.
  module.parameters();
  return module.apply((layer) => {
    if (layer instanceof Conv2d || layer instanceof Linear) {
      layer.weight.write(generator.xavierUniform(layer.weight.shape));
    }
  });
}
