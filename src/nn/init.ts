/** Where a layer's first weights come from: PyTorch's distributions, drawn from a seeded generator. */
import type { Device } from '../device/device.js';
import { ArgumentError } from '../errors.js';
import { fans, Generator } from '../random.js';
import type { Shape } from '../shape.js';
import { keep, type Tensor, tensor } from '../tensor.js';

/** The seed of a layer or network that is given neither a seed nor a generator. */
export const DEFAULT_SEED = 0;

export interface InitOptions {
  readonly device: Device;
  /** Where the weights are drawn from; pass one on to many layers, or equal layers start equal. */
  readonly generator?: Generator;
  /** Seed of a generator of its own. Default `DEFAULT_SEED`. */
  readonly seed?: number;
}

/** The generator that the options ask for. */
export function generatorOf(op: string, o: InitOptions): Generator {
  if (!o?.device) throw new ArgumentError(`${op}: no device given; want { device }`);
  if (o.generator !== undefined && o.seed !== undefined) {
    throw new ArgumentError(`${op}: got a generator and seed ${o.seed}; want one of them`);
  }
  return o.generator ?? new Generator(o.seed ?? DEFAULT_SEED);
}

/** Throws unless `value` is a whole number of at least 1. */
export function whole(op: string, argument: string, value: number): void {
  if (!Number.isInteger(value) || value < 1) {
    throw new ArgumentError(`${op}: ${argument} is ${value}; want a whole number of at least 1`);
  }
}

function parameter(data: Float32Array, shape: Shape, device: Device): Tensor {
  return keep(tensor(data, shape, { device, requiresGrad: true }));
}

/** PyTorch's default weight of Conv2d and Linear: Kaiming uniform with a = √5, which is ±1/√fanIn. */
export function defaultWeight(shape: Shape, device: Device, generator: Generator): Tensor {
  return parameter(generator.kaimingUniform(shape), shape, device);
}

/** PyTorch's default bias for a weight of shape `weightShape`: uniform in ±1/√fanIn. */
export function defaultBias(weightShape: Shape, device: Device, generator: Generator): Tensor {
  const shape = [weightShape[0]];
  return parameter(generator.uniformArray(shape, 1 / Math.sqrt(fans(weightShape).fanIn)), shape, device);
}
