/** The networks that the command knows by name. */
import { ArgumentError } from '../errors.js';
import { d2lResnet, d2lResnet18 } from '../models/index.js';
import type { InitOptions } from '../nn/init.js';
import type { Sequential } from '../nn/sequential.js';

const MODELS: ReadonlyMap<string, (o: InitOptions) => Sequential> = new Map([
  ['d2l-resnet18', d2lResnet18],
  // The chapter's network a hundred times smaller, for tests and demonstrations.
  ['d2l-resnet-tiny', (o) => d2lResnet({ ...o, channels: [8, 16, 32, 64], blocks: [1, 1, 1, 1] })],
]);

export const modelNames: readonly string[] = [...MODELS.keys()];

/** The network of that name, for gray images of ten classes. Throws `ArgumentError`, listing what there is. */
export function makeModel(name: string, o: InitOptions): Sequential {
  const make = MODELS.get(name);
  if (make === undefined) {
    throw new ArgumentError(`there is no model ${JSON.stringify(name)}; want one of ${modelNames.join(', ')}`);
  }
  return make(o);
}
