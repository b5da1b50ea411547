/** From what a PyTorch file holds to a state dict that can be loaded. */
import { ArgumentError } from '../../errors.js';
import { showName } from '../safetensorsHeader.js';
import { describe, isTensor, type PthTensor, type PthValue } from './values.js';

/** Where training scripts keep the model's state dict in a checkpoint. */
const USUAL_KEYS = ['state_dict', 'model_state_dict', 'model'];
/** What DistributedDataParallel and DataParallel put before every name. */
const WRAPPER = 'module.';

function fail(problem: string): never {
  throw new ArgumentError(`pthStateDict: ${problem}`);
}

/** The first few keys of a dict and what each holds, for errors. */
function contents(dict: Map<PthValue, PthValue>): string {
  const shown = [...dict].slice(0, 10).map(([key, value]) => {
    return `${typeof key === 'string' ? showName(key) : describe(key)}: ${describe(value)}`;
  });
  return `${shown.join(', ')}${dict.size > shown.length ? `, and ${dict.size - shown.length} more` : ''}`;
}

function isStateDict(value: PthValue | undefined): value is Map<string, PthTensor> {
  if (!(value instanceof Map)) return false;
  for (const [key, entry] of value) if (typeof key !== 'string' || !isTensor(entry)) return false;
  return true;
}

function find(value: PthValue, key: string | undefined): Map<string, PthTensor> {
  if (key === undefined && isStateDict(value)) return value;
  if (!(value instanceof Map)) fail(`the file holds ${describe(value)}; want a dict`);
  const candidates = key === undefined ? USUAL_KEYS.filter((usual) => value.has(usual)) : [key];
  if (candidates.length !== 1) {
    const problem = candidates.length === 0 ? 'none of' : 'more than one of';
    fail(
      `the file holds ${problem} ${USUAL_KEYS.join(', ')}; say which key the state dict is under. ` +
        `It holds ${contents(value)}`,
    );
  }
  const [name] = candidates;
  const inner = value.get(name);
  if (inner === undefined) fail(`there is no key ${showName(name)}; the file holds ${contents(value)}`);
  if (isStateDict(inner)) return inner;
  if (!(inner instanceof Map)) fail(`${showName(name)} is ${describe(inner)}; want a dict of tensors`);
  const odd = new Map([...inner].filter(([inKey, entry]) => typeof inKey !== 'string' || !isTensor(entry)));
  return fail(`${showName(name)} must hold tensors under strings alone; it holds ${contents(odd)}`);
}

/**
 * The state dict in a file that `readPth` read, for `loadStateDict`: `value` itself if it is a dict of tensors, else
 * what is under `key`, or, without one, under `state_dict`, `model_state_dict` or `model`, when there is exactly one
 * of these. DistributedDataParallel's `module.` goes from the names if every name has it. The tensors are not copied.
 * @throws ArgumentError that lists what was found, when that is no dict of tensors
 */
export function pthStateDict(value: PthValue, key?: string): Map<string, PthTensor> {
  const dict = find(value, key);
  const wrapped = dict.size > 0 && [...dict.keys()].every((name) => name.startsWith(WRAPPER));
  return new Map([...dict].map(([name, entry]) => [wrapped ? name.slice(WRAPPER.length) : name, entry]));
}
