/** Where a layer's first weights come from: a seeded generator, by PyTorch's distributions unless told otherwise. */
import type { Device } from '../device/device.js';
import { ArgumentError, reading, show } from '../errors.js';
import { fans, Generator } from '../random.js';
import { type Shape, sizeOf } from '../shape.js';
import { checkDevice, keep, Tensor } from '../tensor.js';

/** The seed of a layer or network that is given neither a seed nor a generator. */
export const DEFAULT_SEED = 0;

/** Where weights lie, and where they are drawn from. */
export interface InitOptions {
  readonly device: Device;
  /** Where the weights are drawn from; pass one on to many layers, or equal layers start equal. */
  readonly generator?: Generator;
  /** Seed of a generator of its own. Default `DEFAULT_SEED`. */
  readonly seed?: number;
  /**
   * False: weights and biases are 0, and no initialiser is called. For those that are about to be loaded: drawing takes seconds for a
   * large network. Default true.
   */
  readonly initWeights?: boolean;
}

/** Passed on to layers whose weights stay 0. */
class NoGenerator extends Generator {}

/** The generator that the options ask for. */
export function generatorOf(op: string, o: InitOptions): Generator {
  checkDevice(op, o?.device);
  if (o.generator !== undefined && o.seed !== undefined) {
    throw new ArgumentError(`${op}: got a generator and seed ${show(o.seed)}; want one of them`);
  }
  if (o.generator !== undefined && !(o.generator instanceof Generator)) {
    throw new ArgumentError(`${op}: generator is ${show(o.generator)}; want a Generator`);
  }
  const { initWeights = true, generator = new Generator(o.seed ?? DEFAULT_SEED) } = o;
  if (typeof initWeights !== 'boolean') {
    throw new ArgumentError(`${op}: initWeights is ${show(initWeights)}; want true or false`);
  }
  return initWeights ? generator : new NoGenerator(0);
}

/** More than any extent. */
const MOST = 2 ** 31;

/** Makes a network; where that fails, for want of memory say, its first layers do not stay behind. */
export function building<T>(op: string, o: InitOptions, make: () => T): T {
  checkDevice(op, o?.device);
  return o.device.scopes.attempt(() => reading(op, make));
}

/** Throws unless `value` is a whole number from 1 to `MOST`. */
export function whole(op: string, argument: string, value: number): void {
  if (!Number.isInteger(value) || value < 1 || value > MOST) {
    throw new ArgumentError(`${op}: ${argument} is ${show(value)}; want a whole number from 1 to ${MOST}`);
  }
}

/** First values of a layer's weight or bias, given the shape of its weight: drawn from the generator, rounded to float32. */
export type Initializer = (generator: Generator, weightShape: Shape) => Float32Array;

/** How a layer with a weight and a bias starts. */
export interface LayerInit {
  /** Default: Kaiming uniform with a = √5, which is ±1/√fanIn, as PyTorch's Conv2d and Linear start. */
  readonly weightInit?: Initializer;
  /** Default: uniform in ±1/√fanIn, as PyTorch's. */
  readonly biasInit?: Initializer;
}

const torchWeight: Initializer = (generator, shape) => generator.kaimingUniform(shape);

const torchBias: Initializer = (generator, shape) =>
  generator.uniformArray([shape[0]], 1 / Math.sqrt(fans(shape).fanIn));

/**
 * Weight and bias of a layer, drawn in this order; the bias has one element for each output, `weightShape[0]`. Nothing is
 * drawn for a device that holds nothing.
 */
export function weightAndBias(
  weightShape: Shape,
  hasBias: boolean,
  o: LayerInit & { readonly device: Device },
  generator: Generator,
): { weight: Tensor; bias: Tensor | null } {
  const { device, weightInit = torchWeight, biasInit = torchBias } = o;
  const make = (init: Initializer, shape: Shape): Tensor => {
    // First the memory: a device that has none says so before anything is drawn.
    const buffer = device.alloc(sizeOf(shape));
    const made = keep(new Tensor(device, shape, buffer, true));
    // Drawing takes the longest by far of making a large network.
    if (!device.holdsNothing) {
      device.write(
        buffer,
        generator instanceof NoGenerator ? new Float32Array(made.size) : init(generator, weightShape),
      );
    }
    return made;
  };
  return device.scopes.attempt(() => {
    const weight = make(weightInit, weightShape);
    return { weight, bias: hasBias ? make(biasInit, [weightShape[0]]) : null };
  });
}
