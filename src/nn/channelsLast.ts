import { permute } from '../ops/permute.js';
import type { Tensor } from '../tensor.js';
import { checkModule, Module } from './module.js';

/**
 * A module of images `[N, C, H, W]` as one of images `[N, H, W, C]`, TensorFlow's order: what has four axes is permuted, x on
 * the way in and the result on the way out. Weights keep their layout and their names. Iterating over the one around a
 * Sequential gives its layers, each as one of `[N, H, W, C]`.
 */
export class ChannelsLast<M extends Module = Module> extends Module implements Iterable<Module> {
  readonly #inner: M;

  constructor(inner: M) {
    super();
    checkModule('ChannelsLast', inner);
    this.#inner = inner;
  }

  /** The module that it stands around, in NCHW. */
  get inner(): M {
    return this.#inner;
  }

  override children(): Map<string, Module> {
    return new Map([['', this.#inner]]);
  }

  override forward(x: Tensor): Tensor {
    const y = this.#inner.forward(x.shape.length === 4 ? permute(x, [0, 3, 1, 2]) : x);
    return y.shape.length === 4 ? permute(y, [0, 2, 3, 1]) : y;
  }

  /** The layers inside, if it has any, each as ChannelsLast. */
  *[Symbol.iterator](): IterableIterator<Module> {
    const inner: Module & Partial<Iterable<Module>> = this.#inner;
    if (inner[Symbol.iterator] === undefined) return;
    for (const layer of inner as Iterable<Module>) yield new ChannelsLast(layer);
  }
}
