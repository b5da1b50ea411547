/**
 * Vectors: a suite as files, for backends of any language. `manifest.json` says what is asked; `inputs.safetensors` holds the inputs,
 * called `ID/NAME`; `truth.safetensors` the float64 results, `ID/NAME`, and `ID/NAME.strict`, `ID/NAME.probable`, the bounds. A
 * backend answers with a safetensors file of the outputs that the manifest names.
 */
import { ArgumentError, FormatError } from '../errors.js';
import {
  readSafetensors,
  type Safetensors,
  type SafetensorsData,
  type SafetensorsInput,
  writeSafetensors,
} from '../io/safetensors.js';
import { formatShape, type Shape } from '../shape.js';
import { BFLOAT16, FLOAT16, NARROW } from './bounds.js';
import {
  type CaseVerdict,
  diagnoseFailures,
  type Failure,
  problems,
  questionOf,
  type Report,
  type SuiteOptions,
  verdictOf,
  wantedOf,
} from './judge.js';
import type { Layout, OutputKind, Problem } from './problem.js';
import { NUMBERS, type Numbers, SUITES, type SuiteName } from './suites.js';
import type { BoundKind, Wanted } from './verdict.js';

const FORMAT = 'atalho-oracle';
const VERSION = 1;

/** One question. */
export interface ManifestCase {
  readonly id: string;
  readonly title: string;
  readonly op: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly inputs: readonly { readonly name: string; readonly shape: Shape }[];
  readonly outputs: readonly { readonly name: string; readonly kind: OutputKind; readonly shape: Shape }[];
  /** The same call as an ONNX file, beside the manifest, where there is one: the first input is its own, the others are inside. */
  readonly onnx?: string;
}

/** The questions of a suite, as `manifest.json` has them. */
export interface Manifest {
  readonly format: typeof FORMAT;
  readonly version: typeof VERSION;
  readonly suite: SuiteName;
  readonly seed: number;
  readonly layout: Layout;
  /** What the inputs are: float32 numbers, or among them those of float16 or bfloat16. */
  readonly numbers: Numbers;
  readonly cases: readonly ManifestCase[];
}

/** Which questions are written. */
export interface VectorOptions extends SuiteOptions {
  /** Called after each case. */
  readonly onCase?: (done: number, of: number) => void | Promise<void>;
  /** The path of a case's ONNX file, if it has one. */
  readonly onnx?: (problem: Problem) => string | null;
}

/** The files of a suite. */
export interface Vectors {
  readonly manifest: Manifest;
  readonly inputs: Uint8Array<ArrayBuffer>;
  readonly truth: Uint8Array<ArrayBuffer>;
}

/** The least float32 number that is no smaller: bounds must not shrink when stored. */
export function roundedUp(values: ArrayLike<number>): Float32Array {
  const out = Float32Array.from(values);
  const bits = new Uint32Array(out.buffer);
  for (let i = 0; i < out.length; i++) if (out[i] < values[i]) bits[i]++;
  return out;
}

/** A suite as files. */
export async function makeVectors(options: VectorOptions = {}): Promise<Vectors> {
  const { suite = 'resnet', seed = 1, layout = 'NCHW', numbers = 'float32' } = options;
  const inputs: [string, SafetensorsInput][] = [];
  const truth: [string, SafetensorsInput][] = [];
  const cases: ManifestCase[] = [];
  const all = problems(options);
  for (const problem of all) {
    const { id, title, op, attributes } = problem;
    const question = questionOf(problem, layout);
    for (const [name, { shape, data }] of Object.entries(question.inputs))
      inputs.push([`${id}/${name}`, { shape, data }]);
    const wanted = await wantedOf(problem, options);
    for (const { name, shape, value, strict, probable, bits } of wanted) {
      const key = `${id}/${name}`;
      truth.push([key, { shape, data: value }]);
      truth.push([`${key}.strict`, { shape, data: roundedUp(strict) }]);
      truth.push([`${key}.probable`, { shape, data: roundedUp(probable) }]);
      if (bits) truth.push([`${key}.bits`, { shape, data: bits }]);
    }
    const file = options.onnx?.(problem) ?? null;
    cases.push({
      ...{ id, title, op, attributes },
      inputs: Object.entries(question.inputs).map(([name, { shape }]) => ({ name, shape })),
      outputs: wanted.map(({ name, kind, shape }) => ({ name, kind, shape })),
      ...(file !== null && { onnx: file }),
    });
    await options.onCase?.(cases.length, all.length);
  }
  return {
    manifest: { format: FORMAT, version: VERSION, suite, seed, layout, numbers, cases },
    inputs: writeSafetensors(inputs),
    truth: writeSafetensors(truth),
  };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isShape = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((extent) => Number.isSafeInteger(extent) && extent >= 0);
const isNamed = (value: unknown): boolean => isRecord(value) && typeof value.name === 'string' && isShape(value.shape);

function isCase(value: unknown): value is ManifestCase {
  if (!isRecord(value)) return false;
  const { id, title, op, attributes, inputs, outputs } = value;
  const words = [id, title, op].every((word) => typeof word === 'string');
  const lists = [inputs, outputs].every((list) => Array.isArray(list) && list.every(isNamed));
  return words && isRecord(attributes) && lists;
}

/** A manifest from its text. @throws FormatError for what is none */
export function readManifest(text: string): Manifest {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (error) {
    throw new FormatError(`manifest: not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!isRecord(found) || found.format !== FORMAT) throw new FormatError(`manifest: format is not ${FORMAT}`);
  if (found.version !== VERSION) {
    throw new FormatError(`manifest: version is ${JSON.stringify(found.version)}; this program reads ${VERSION}`);
  }
  const { suite, seed, layout, numbers, cases } = found;
  const known = SUITES.includes(suite as SuiteName) && NUMBERS.includes(numbers as Numbers);
  const settings = known && typeof seed === 'number' && /^N(CHW|HWC)$/.test(String(layout));
  if (!settings) throw new FormatError('manifest: suite, seed, layout or numbers is missing or unknown');
  if (!Array.isArray(cases)) throw new FormatError('manifest: cases is no list');
  const wrong = cases.findIndex((one) => !isCase(one));
  if (wrong >= 0)
    throw new FormatError(`manifest: case ${wrong} lacks an id, title, op, attributes, inputs or outputs`);
  return found as unknown as Manifest;
}

/** An array of a file of ours, of the shape that the manifest says. */
function arrayOf(truth: Safetensors, key: string, shape: Shape): SafetensorsData {
  const entry = truth.get(key);
  if (entry === undefined) throw new FormatError(`truth: ${key} is missing`);
  if (formatShape(entry.shape) !== formatShape(shape)) {
    throw new FormatError(
      `truth: ${key} has shape ${formatShape(entry.shape)}; the manifest says ${formatShape(shape)}`,
    );
  }
  if (entry.dtype !== 'F32' && entry.dtype !== 'F64') {
    throw new FormatError(`truth: ${key} has dtype ${entry.dtype}; want F32 or F64`);
  }
  return entry.data;
}

/** How the answers in a file are judged. */
export interface CheckOptions {
  /** Name in the report. Default `results`. */
  readonly name?: string;
  /** Default `probable`. */
  readonly bound?: BoundKind;
}

/**
 * Judges the answers in `results`, a safetensors file with the outputs that the manifest names. A case of which it holds none is
 * `absent`. float16 and bfloat16 are widened.
 * @throws FormatError for files that are not what they should be, ArgumentError for a result that no case asked for
 */
export function checkResults(
  manifest: Manifest,
  truthFile: Uint8Array,
  resultsFile: Uint8Array,
  options: CheckOptions = {},
): Report {
  const { name: backend = 'results', bound = 'probable' } = options;
  const truth = readSafetensors(truthFile);
  const results = readSafetensors(resultsFile);
  const asked = new Set(manifest.cases.flatMap(({ id, outputs }) => outputs.map(({ name }) => `${id}/${name}`)));
  for (const key of results.keys()) {
    if (!asked.has(key)) throw new ArgumentError(`results: no case asks for ${JSON.stringify(key)}`);
  }
  const failures: Failure[] = [];
  const { suite, seed, layout, numbers } = manifest;
  // The same suite, made again: what the files do not hold.
  const again = new Map(problems({ suite, seed, layout, numbers }).map((problem) => [problem.id, problem]));
  const judged = manifest.cases.map((one): CaseVerdict => {
    const given = one.outputs.filter(({ name }) => results.has(`${one.id}/${name}`));
    if (given.length === 0) return verdictOf(one, [], null, bound);
    const wanted = one.outputs.map(({ name, shape }): Wanted => {
      const key = `${one.id}/${name}`;
      const bits = truth.has(`${key}.bits`) ? (arrayOf(truth, `${key}.bits`, shape) as Float32Array) : null;
      return {
        ...{ name, shape, bits },
        value: arrayOf(truth, key, shape) as Float64Array,
        strict: arrayOf(truth, `${key}.strict`, shape) as Float32Array,
        probable: arrayOf(truth, `${key}.probable`, shape) as Float32Array,
      };
    });
    const answer = Object.fromEntries(
      given.map(({ name }) => {
        const { shape, data } = results.get(`${one.id}/${name}`) as NonNullable<ReturnType<Safetensors['get']>>;
        return [name, { shape, data: data as ArrayLike<number> }];
      }),
    );
    const verdict = verdictOf(one, wanted, answer, bound);
    const problem = again.get(one.id);
    if (verdict.status === 'failed' && problem !== undefined) failures.push({ problem, answer, unstable: false });
    return verdict;
  });
  const precision = { float32: NARROW, float16: FLOAT16, bfloat16: BFLOAT16 }[numbers];
  const cases = diagnoseFailures(judged, failures, { layout, precision });
  return { backend, suite, seed, layout, bound, cases };
}
