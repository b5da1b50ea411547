/** Files of weights that others have trained: safetensors, or what torch.save wrote. */
import { ArgumentError, FormatError, StateDictError } from '../errors.js';
import { readPth } from '../io/pth/readPth.js';
import { pthStateDict } from '../io/pth/stateDict.js';
import { readFileBounded } from '../io/readFile.js';
import { readSafetensors } from '../io/safetensors.js';
import type { Module } from '../nn/module.js';
import { sameShape } from '../shape.js';
import type { StateEntry } from '../stateDict.js';
import { attempt } from './errors.js';

/** Four times what the largest network of the family takes. */
const MAX_BYTES = 2 ** 31;

type StateDict = ReadonlyMap<string, StateEntry>;

const OF_FILES = [ArgumentError, FormatError, StateDictError];

/**
 * The state dict in a file: safetensors by its name's ending, else PyTorch's.
 * @throws FormatError that names the file when it is damaged or holds something else
 */
export function readWeights(path: string): StateDict {
  const bytes = attempt(`read ${path}`, () => readFileBounded(path, MAX_BYTES));
  try {
    return path.toLowerCase().endsWith('.safetensors') ? readSafetensors(bytes) : pthStateDict(readPth(bytes));
  } catch (error) {
    throw naming(path, error);
  }
}

/** The library's own errors with the file's name in front; others as they are. */
export function naming(path: string, error: unknown): unknown {
  if (!(error instanceof Error) || !OF_FILES.some((kind) => error instanceof kind)) return error;
  return new FormatError(`${path}: ${error.message}`, { cause: error });
}

/**
 * Channels of the images and number of classes that weights are for: those of the first convolution, and of the last
 * linear layer.
 * @throws FormatError when there is no such layer
 */
export function sizesOf(path: string, weights: StateDict): { inChannels: number; numClasses: number } {
  const shapes = [...weights.values()].map(({ shape }) => shape);
  const convolution = shapes.find((shape) => shape.length === 4);
  const linear = shapes.filter((shape) => shape.length === 2).at(-1);
  if (convolution === undefined || linear === undefined) {
    const missing = convolution === undefined ? 'convolution' : 'linear layer';
    throw new FormatError(`${path}: has no weights of a ${missing}; want those of a classifier`);
  }
  return { inChannels: convolution[1], numClasses: linear[0] };
}

/**
 * Puts the weights of a file into `model`.
 * @throws FormatError that names the file and every entry that does not fit; nothing has changed then
 */
export function loadWeights(model: Module, path: string, weights: StateDict): void {
  try {
    model.loadStateDict(weights);
  } catch (error) {
    throw naming(path, error);
  }
}

/**
 * Puts those of a file's weights into `model` that have the name and the shape of one of its own, for a network with another
 * head. The names of parameters that stay as they were drawn.
 * @throws FormatError that names the file when none fits
 */
export function loadFitting(model: Module, path: string, weights: StateDict): string[] {
  const own = model.stateDict();
  const fitting = new Map(
    [...weights].filter(([name, { shape }]) => {
      const target = own.get(name);
      return target !== undefined && sameShape(target.shape, shape);
    }),
  );
  const drawn = [...model.namedParameters().keys()].filter((name) => !fitting.has(name));
  if (drawn.length === model.parameters().length) {
    throw new FormatError(`${path}: no weight has the name and the shape of one of the network's`);
  }
  try {
    model.loadStateDict(fitting, { strict: false });
  } catch (error) {
    throw naming(path, error);
  }
  return drawn;
}
