/**
 * The judge: asks a backend for every call of a suite, or takes its answers from a file, and says which are within their bounds.
 */
import { grad, noGrad } from '../autograd.js';
import type { Device, TypedArray } from '../device/device.js';
import { reference } from '../device/reference.js';
import { ArgumentError } from '../errors.js';
import type { Shape } from '../shape.js';
import { type Tensor, tensor } from '../tensor.js';
import { allowance, NARROW, type Precision, probableAllowance } from './bounds.js';
import { type Diagnosis, diagnose, type WrongOutput } from './diagnose.js';
import { indexInNchw, type Layout, type OutputKind, orderIn, type Problem, problemOf, shapeIn } from './problem.js';
import { type Numbers, type SuiteName, suite } from './suites.js';
import { largestTerms, type Term } from './terms.js';
import { type BoundKind, judgeArray, type OutputVerdict, type Wanted } from './verdict.js';

/** What a backend is asked. */
export interface Question {
  readonly id: string;
  /** A row of the case table, such as `conv2d` or `batchNorm.train`. */
  readonly op: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly inputs: Readonly<Record<string, { readonly shape: Shape; readonly data: Float32Array }>>;
  /** Names of the wanted outputs and their shapes. */
  readonly outputs: Readonly<Record<string, Shape>>;
  readonly layout: Layout;
}

/** The outputs that a backend gives, by name: numbers, or numbers with their shape. */
export type Answer = Readonly<
  Record<string, ArrayLike<number> | { readonly shape: Shape; readonly data: ArrayLike<number> }>
>;

/** Computes one call; null says that the backend has no such op. May be asynchronous. */
export type Backend = (question: Question) => Answer | null | Promise<Answer | null>;

/** How one call was answered. */
export interface CaseVerdict {
  readonly id: string;
  readonly title: string;
  readonly op: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  /** `absent`: the backend has no such op; `error`: it threw. */
  readonly status: 'passed' | 'failed' | 'absent' | 'error';
  /** What it threw. */
  readonly message: string | null;
  readonly outputs: readonly OutputVerdict[];
  /** The largest terms of the worst element, where it is a sum of products; only for the smallest failures of an op. */
  readonly terms?: readonly Term[];
  /** What would explain a failure, the likeliest first; only for the smallest failures of an op. */
  readonly diagnosis?: readonly Diagnosis[];
}

/** How a backend answered a suite. */
export interface Report {
  readonly backend: string;
  /** A suite, or what else was judged. */
  readonly suite: string;
  readonly seed: number;
  readonly layout: Layout;
  readonly bound: BoundKind;
  readonly cases: readonly CaseVerdict[];
}

/** Which calls are asked, and with which numbers. */
export interface SuiteOptions {
  /** Default `resnet`. */
  readonly suite?: SuiteName;
  /** Decides the numbers, and the random calls. Default 1. */
  readonly seed?: number;
  /** Default NCHW. */
  readonly layout?: Layout;
  /** The arithmetic that the bounds assume. Default NARROW: float32 throughout, any order, fused or not. */
  readonly precision?: Precision;
  /** What the inputs are; those of float16 and bfloat16 go with the precisions of that name. Default float32. */
  readonly numbers?: Numbers;
  /** Also the bits of exact mode, by `reference()`. Default false. */
  readonly bits?: boolean;
}

/** Which calls are asked, and how the answers are judged. */
export interface JudgeOptions extends SuiteOptions {
  /** Name in the report. Default `backend`. */
  readonly name?: string;
  /** Default `probable`. */
  readonly bound?: BoundKind;
  /** Only calls whose id begins so: `conv2d`, `conv2d-03`. Default: all. */
  readonly only?: string;
  /** Whether failures are compared with known mistakes. Default true. */
  readonly diagnose?: boolean;
  /** Called after each case. */
  readonly onCase?: (verdict: CaseVerdict, done: number, of: number) => void | Promise<void>;
}

const NAMES: readonly Layout[] = ['NCHW', 'NHWC'];

/** The calls of a suite as problems. */
export function problems({
  suite: name = 'resnet',
  seed = 1,
  layout = 'NCHW',
  numbers = 'float32',
}: SuiteOptions): Problem[] {
  if (!NAMES.includes(layout)) throw new ArgumentError(`oracle: layout is ${layout}; want NCHW or NHWC`);
  return suite(name, seed, numbers).map((item) => problemOf(item, numbers));
}

function inOrder<T extends Float32Array | Float64Array>(values: T, order: Int32Array | null): T {
  if (order === null) return values;
  const out = values.slice() as T;
  order.forEach((place, i) => {
    out[i] = values[place];
  });
  return out;
}

/** What a backend is asked, in a layout. */
export function questionOf(problem: Problem, layout: Layout): Question {
  const { id, op, attributes, inputs } = problem;
  return {
    ...{ id, op, attributes, layout },
    inputs: Object.fromEntries(
      inputs.map(({ name, shape, data }) => [
        name,
        { shape: shapeIn(layout, op, name, shape), data: inOrder(data, orderIn(layout, op, name, shape)).slice() },
      ]),
    ),
    outputs: Object.fromEntries(
      problem.solve().map(({ name, shape }) => [name, shapeIn(layout, op, name, shape)] as const),
    ),
  };
}

/** What a problem wants, in a layout. */
export async function wantedOf(
  problem: Problem,
  { layout = 'NCHW', precision = NARROW, bits = false }: SuiteOptions,
): Promise<(Wanted & { readonly kind: OutputKind })[]> {
  const { op } = problem;
  const exact = bits ? await exactBits(problem) : null;
  return problem.solve().map(({ name, kind, shape, expected }) => {
    const order = orderIn(layout, op, name, shape);
    const own = exact?.[name];
    return {
      name,
      kind,
      shape: shapeIn(layout, op, name, shape),
      value: inOrder(expected.value, order),
      strict: inOrder(allowance(expected, precision), order),
      probable: inOrder(probableAllowance(expected, precision), order),
      bits: own ? inOrder(Float32Array.from(own as Float32Array), order) : null,
    };
  });
}

/** The outputs of a problem on a device of our own contract, by name. */
export async function runOn(device: Device, problem: Problem): Promise<Record<string, TypedArray>> {
  const { trial, gradients } = problem.item;
  const made: Tensor[] = [];
  const track = <T extends Tensor>(t: T): T => {
    made.push(t);
    return t;
  };
  try {
    const asked = gradients && trial.inputs.some((x) => x.differentiable);
    const tensors = trial.inputs.map(({ shape, data, differentiable }) =>
      track(tensor(data, shape, { device, requiresGrad: asked && differentiable })),
    );
    const y = asked ? trial.run(tensors) : noGrad(() => trial.run(tensors));
    const outputs: Record<string, TypedArray> = {};
    if (y) {
      track(y);
      if (asked) {
        const dy = problem.inputs[problem.inputs.length - 1];
        const xs = tensors.filter((t) => t.requiresGrad);
        const names = trial.inputs.filter((x) => x.differentiable).map((x) => x.name);
        const found = grad(y, xs, track(tensor(dy.data, dy.shape, { device }))).map(track);
        for (let i = 0; i < found.length; i++) outputs[`grad.${names[i]}`] = await found[i].data();
      }
      outputs.y = await y.data();
    }
    for (let i = 0; i < tensors.length; i++) outputs[`new.${trial.inputs[i].name}`] = await tensors[i].data();
    return outputs;
  } finally {
    for (const t of made) t.dispose();
  }
}

async function exactBits(problem: Problem): Promise<Record<string, TypedArray>> {
  const device = reference();
  try {
    return await runOn(device, problem);
  } finally {
    device.dispose();
  }
}

function isShaped(value: Answer[string]): value is { readonly shape: Shape; readonly data: ArrayLike<number> } {
  return 'data' in value && 'shape' in value;
}

/** Failures of an op that are looked into, the smallest first, and how large they may be in multiplications. */
const LOOKED_INTO = 6;
const LARGEST = 4e7;

/** A failure with what came of it. */
export interface Failure {
  readonly problem: Problem;
  readonly answer: Answer;
  /** A second run gave other numbers. */
  readonly unstable: boolean;
}

const UNSTABLE: Diagnosis = {
  cause: 'two runs give different results: a race, or memory that nothing was written to',
  outputs: [],
};

/**
 * The verdicts with a diagnosis for the smallest failures of each op. What explains more of them comes first: one fault is likelier
 * than several.
 */
export function diagnoseFailures(
  cases: readonly CaseVerdict[],
  failures: readonly Failure[],
  { layout = 'NCHW', precision = NARROW }: SuiteOptions,
): CaseVerdict[] {
  const byId = new Map(cases.map((verdict) => [verdict.id, verdict]));
  const found = new Map<string, Diagnosis[]>();
  for (const op of new Set(failures.map(({ problem }) => problem.op))) {
    const flops = ({ problem }: Failure): number => problem.item.trial.flops;
    const chosen = failures
      .filter((one) => one.problem.op === op && flops(one) <= LARGEST)
      .sort((a, b) => flops(a) - flops(b))
      .slice(0, LOOKED_INTO);
    const named = new Map<string, number>();
    for (const { problem, answer, unstable } of chosen) {
      const wrong = wrongOutputs(byId.get(problem.id) as CaseVerdict, answer);
      const causes = diagnose(problem, wrong, precision, layout);
      found.set(problem.id, unstable ? [UNSTABLE, ...causes] : causes);
      for (const { cause } of found.get(problem.id) as Diagnosis[]) named.set(cause, (named.get(cause) ?? 0) + 1);
    }
    const times = ({ cause }: Diagnosis): number => named.get(cause) as number;
    const rank = ({ cause }: Diagnosis): number => (cause === UNSTABLE.cause ? 0 : 1);
    for (const { problem } of chosen) {
      found.get(problem.id)?.sort((a, b) => rank(a) - rank(b) || times(b) - times(a));
    }
  }
  // That two runs differ needs no looking into.
  for (const { problem, unstable } of failures)
    if (unstable && !found.has(problem.id)) found.set(problem.id, [UNSTABLE]);
  return cases.map((verdict) => {
    const diagnosis = found.get(verdict.id);
    if (diagnosis === undefined) return verdict;
    const { problem } = failures.find((one) => one.problem.id === verdict.id) as Failure;
    const terms = verdict.outputs.flatMap(({ name, passed, worst }) =>
      passed || worst === null ? [] : largestTerms(problem, name, indexInNchw(layout, problem.op, name, worst.index)),
    );
    return { ...verdict, ...(terms.length > 0 && { terms }), diagnosis };
  });
}

/** The outputs of a case that are wrong, as they were given. */
function wrongOutputs({ outputs }: CaseVerdict, answer: Answer): WrongOutput[] {
  return outputs.flatMap(({ name, passed }) => {
    const got = passed ? undefined : answer[name];
    if (got === undefined || got === null) return [];
    return [isShaped(got) ? { name, ...got } : { name, data: got, shape: null }];
  });
}

/** What was given, in arrays of its own: a backend may use its buffers again. */
function copied(answer: Answer | null): Answer | null {
  if (answer === null) return null;
  const own = (value: Answer[string]): Answer[string] =>
    isShaped(value)
      ? { shape: [...value.shape], data: Float64Array.from(value.data, Number) }
      : Float64Array.from(value, Number);
  const given = Object.entries(answer).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(given.map(([name, value]) => [name, own(value)]));
}

/** Whether a second run gives the same numbers; one that throws does not. */
async function repeats(backend: Backend, problem: Problem, layout: Layout, first: Answer): Promise<boolean> {
  try {
    return sameAnswer(first, copied(await backend(questionOf(problem, layout))));
  } catch {
    return false;
  }
}

function sameAnswer(a: Answer, b: Answer | null): boolean {
  if (b === null) return false;
  const numbersOf = (value: Answer[string]): ArrayLike<number> => (isShaped(value) ? value.data : value);
  return Object.keys(a).every((name) => {
    const [one, other] = [numbersOf(a[name]), name in b ? numbersOf(b[name]) : []];
    return one.length === other.length && Array.prototype.every.call(one, (v, i) => Object.is(v, other[i]));
  });
}

/** Judges one answer. */
export function verdictOf(
  about: Pick<CaseVerdict, 'id' | 'title' | 'op' | 'attributes'>,
  wanted: readonly Wanted[],
  answer: Answer | null,
  bound: BoundKind,
): CaseVerdict {
  const { id, title, op, attributes } = about;
  const common = { id, title, op, attributes, message: null };
  if (answer === null) return { ...common, status: 'absent', outputs: [] };
  const outputs = wanted.map((one) => {
    const got = answer[one.name];
    if (got === undefined || got === null) return judgeArray(null, null, one, bound);
    return isShaped(got) ? judgeArray(got.data, got.shape, one, bound) : judgeArray(got, null, one, bound);
  });
  return { ...common, status: outputs.every((o) => o.passed) ? 'passed' : 'failed', outputs };
}

/**
 * Judges a backend, given as a function that computes one call:
 *
 *     const report = await judge(({ op, inputs: { x, weight }, attributes }) => (op === 'conv2d' ? { y: … } : null));
 */
export async function judge(backend: Backend, options: JudgeOptions = {}): Promise<Report> {
  const { suite: name = 'resnet', seed = 1, layout = 'NCHW', bound = 'probable', only = '' } = options;
  const all = problems(options).filter(({ id }) => id.startsWith(only));
  if (all.length === 0)
    throw new ArgumentError(`judge: no call of the suite ${name} has an id that begins with ${only}`);
  const verdicts: CaseVerdict[] = [];
  const failures: Failure[] = [];
  for (const problem of all) {
    let verdict: CaseVerdict;
    try {
      const answer = copied(await backend(questionOf(problem, layout)));
      const wanted = answer === null ? [] : await wantedOf(problem, options);
      verdict = verdictOf(problem, wanted, answer, bound);
      if (answer !== null && verdict.status === 'failed' && options.diagnose !== false) {
        failures.push({ problem, answer, unstable: !(await repeats(backend, problem, layout, answer)) });
      }
    } catch (error) {
      const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      const { id, title, op, attributes } = problem;
      verdict = { id, title, op, attributes, status: 'error', message, outputs: [] };
    }
    verdicts.push(verdict);
    await options.onCase?.(verdict, verdicts.length, all.length);
  }
  const cases = diagnoseFailures(verdicts, failures, options);
  return { backend: options.name ?? 'backend', suite: name, seed, layout, bound, cases };
}

/** Judges a device of our own contract; its results are also compared with the bits of exact mode where `bits` asks. */
export function judgeDevice(device: Device, options: JudgeOptions = {}): Promise<Report> {
  const byId = new Map(problems(options).map((problem) => [problem.id, problem]));
  const backend = async ({ id, op, layout }: Question): Promise<Answer> => {
    const problem = byId.get(id) as Problem;
    const found = await runOn(device, problem);
    const answer: Record<string, ArrayLike<number>> = {};
    for (const { name, shape } of problem.solve()) {
      const values = Float64Array.from(found[name] as Float32Array);
      answer[name] = inOrder(values, orderIn(layout, op, name, shape));
    }
    return answer;
  };
  return judge(backend, { name: device.name, ...options });
}
