import { ArgumentError } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { BatchNorm2d } from './batchNorm2d.js';
import { Module } from './module.js';
import { ReLU } from './stateless.js';

/**
 * Modules one after the other, named "0", "1", ... An array of modules, such as `resnetBlock` gives, becomes a
 * Sequential of its own. Iterable.
 * @see https://pytorch.org/docs/stable/generated/torch.nn.Sequential.html
 */
export class Sequential extends Module implements Iterable<Module> {
  readonly #layers: readonly Module[];

  constructor(...layers: readonly (Module | readonly Module[])[]) {
    super();
    this.#layers = layers.map((layer, i) => {
      if (layer instanceof Module) return layer;
      if (Array.isArray(layer)) return new Sequential(...layer);
      throw new ArgumentError(`Sequential: layer ${i} is not a Module; want modules or arrays of them`);
    });
  }

  get length(): number {
    return this.#layers.length;
  }

  /** Layer i; negative ones count from the back. */
  at(i: number): Module {
    const layer = this.#layers.at(i);
    if (layer === undefined) {
      throw new ArgumentError(`Sequential: layer ${i} of ${this.length}; want ${-this.length} to ${this.length - 1}`);
    }
    return layer;
  }

  [Symbol.iterator](): IterableIterator<Module> {
    return this.#layers[Symbol.iterator]();
  }

  override children(): Map<string, Module> {
    return new Map(this.#layers.map((layer, i) => [String(i), layer]));
  }

  override forward(x: Tensor): Tensor {
    let y = x;
    for (let i = 0; i < this.#layers.length; i++) {
      const layer = this.#layers[i];
      // A batch norm and the ReLU after it in one pass: the same bits, and one tensor less. Not of classes derived from them.
      if (layer.constructor === BatchNorm2d && this.#layers[i + 1]?.constructor === ReLU) {
        y = (layer as BatchNorm2d).forwardRelu(y);
        i++;
      } else y = layer.forward(y);
    }
    return y;
  }
}
