import { ArgumentError, show } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { BatchNorm2d } from './batchNorm2d.js';
import { Module } from './module.js';
import { ReLU } from './stateless.js';

/** A module, or an array that becomes a Sequential. */
export type Layer = Module | readonly Module[];

/**
 * Modules one after the other, named "0", "1", ..., or as the keys of a record say, in its order. An array of modules, such
 * as `resnetBlock` gives, becomes a Sequential of its own. Iterable.
 * @see https://pytorch.org/docs/stable/generated/torch.nn.Sequential.html
 */
export class Sequential extends Module implements Iterable<Module> {
  readonly #names: readonly string[];
  readonly #layers: readonly Module[];

  constructor(named: Readonly<Record<string, Layer>>);
  constructor(...layers: readonly Layer[]);
  constructor(...given: readonly (Layer | Readonly<Record<string, Layer>>)[]) {
    super();
    const [first] = given;
    const isRecord =
      given.length === 1 &&
      typeof first === 'object' &&
      first !== null &&
      !(first instanceof Module) &&
      !Array.isArray(first);
    // Object.entries puts whole numbers first, whatever their place.
    const entries: [string, unknown][] = Object.entries(isRecord ? Object(first) : given);
    this.#names = entries.map(([name]) => {
      if (!isRecord || /^[A-Za-z_]\w*$/.test(name)) return name;
      throw new ArgumentError(
        `Sequential: layer name ${JSON.stringify(name)}; want letters, digits and _, no digit first`,
      );
    });
    this.#layers = entries.map(([name, layer]) => {
      if (layer instanceof Module) return layer;
      if (Array.isArray(layer)) return new Sequential(...layer);
      throw new ArgumentError(`Sequential: layer ${name} is not a Module; want modules or arrays of them`);
    });
  }

  /** Number of layers. */
  get length(): number {
    return this.#layers.length;
  }

  /** Layer i; negative ones count from the back. */
  at(i: number): Module {
    const layer = Number.isInteger(i) ? this.#layers.at(i) : undefined;
    if (layer === undefined) {
      throw new ArgumentError(
        `Sequential: layer ${show(i)} of ${this.length}; want ${-this.length} to ${this.length - 1}`,
      );
    }
    return layer;
  }

  /** The layers, in order. */
  [Symbol.iterator](): IterableIterator<Module> {
    return this.#layers[Symbol.iterator]();
  }

  override children(): Map<string, Module> {
    return new Map(this.#layers.map((layer, i) => [this.#names[i], layer]));
  }

  override forward(x: Tensor): Tensor {
    let y = x;
    for (let i = 0; i < this.#layers.length; i++) {
      const layer = this.#layers[i].resolved;
      // A batch norm and the ReLU after it in one pass: the same bits, and one tensor less. Not of classes derived from them.
      if (layer.constructor === BatchNorm2d && this.#layers[i + 1]?.constructor === ReLU) {
        y = (layer as BatchNorm2d).forwardRelu(y);
        i++;
      } else y = layer.forward(y);
    }
    return y;
  }
}
