/** Files with the names of classes, for `atalho predict --labels`. */
import { FormatError } from '../errors.js';
import { readFileBounded } from '../io/readFile.js';
import { attempt } from './errors.js';

const MAX_BYTES = 2 ** 24;

/** `["tench", ...]`, or `{"0": "tench", ...}`, or `{"0": ["n01440764", "tench"], ...}` as Keras' class index. */
function fromJson(path: string, value: unknown): string[] {
  const items: unknown[] = Array.isArray(value) ? value : Array.from({ length: Object.keys(Object(value)).length });
  return items.map((item, i) => {
    const entry = Array.isArray(value) ? item : (value as Readonly<Record<string, unknown>>)[i];
    const name: unknown = Array.isArray(entry) ? entry.at(-1) : entry;
    if (typeof name !== 'string') {
      throw new FormatError(`${path}: class ${i} is ${JSON.stringify(entry)?.slice(0, 80) ?? 'missing'}; want a name`);
    }
    return name;
  });
}

/**
 * The names in a file: one a line, or JSON, either a list or an object by number.
 * @throws FormatError that names the file when there are not `count` of them
 */
export function readLabels(path: string, count: number): readonly string[] {
  const text = new TextDecoder().decode(attempt(`read ${path}`, () => readFileBounded(path, MAX_BYTES)));
  let labels: readonly string[];
  if (/^\s*[[{]/.test(text)) {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new FormatError(`${path} is not valid JSON`, { cause: error });
    }
    labels = fromJson(path, value);
  } else labels = text.trimEnd().split(/\r?\n/);
  if (labels.length !== count) {
    throw new FormatError(`${path}: has ${labels.length} names; the network has ${count} classes`);
  }
  return labels;
}
