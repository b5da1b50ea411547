/** Diagnosis: a wrong result is compared with what known mistakes would have given, and the ones that fit are named. */
import type { Shape } from '../shape.js';
import { type Precision, probableAllowance } from './bounds.js';
import { commonHypotheses, toBfloat, toHalf } from './hypotheses/anywhere.js';
import type { Hypothesis, Prediction, WrongCall } from './hypotheses/hypothesis.js';
import { normalizationHypotheses } from './hypotheses/normalization.js';
import { optimizerHypotheses } from './hypotheses/optimizers.js';
import { pointwiseHypotheses } from './hypotheses/pointwise.js';
import { poolingHypotheses } from './hypotheses/pooling.js';
import { productHypotheses } from './hypotheses/products.js';
import { type Layout, orderIn, type Problem, shapeIn, type WantedOutput } from './problem.js';
import { shareOf } from './worst.js';

/** The particular before the general: among guesses that fit alike the first is named first. */
const HYPOTHESES: readonly Hypothesis[] = [
  ...productHypotheses,
  ...poolingHypotheses,
  ...normalizationHypotheses,
  ...pointwiseHypotheses,
  ...optimizerHypotheses,
  ...commonHypotheses,
];

/** A mistake's own rounding is not bounded by what is right; it is about the same size. */
const SLACK = 4;
/** Nor is what it does to results that have no error at all when right: two roundings. */
const ROUNDED = 2 ** -23;

/** A mistake that would explain wrong results. */
export interface Diagnosis {
  /** The mistake, in words. */
  readonly cause: string;
  /** Outputs that it explains, to the last element. */
  readonly outputs: readonly string[];
}

/** One wrong output as it came, in its own layout; without a shape where none was given. */
export interface WrongOutput {
  readonly name: string;
  readonly data: ArrayLike<number>;
  readonly shape: Shape | null;
}

const toNchw = (data: ArrayLike<number>, order: Int32Array | null): Float64Array => {
  const out = Float64Array.from(data, Number);
  order?.forEach((place, i) => {
    out[place] = Number(data[i]);
  });
  return out;
};

function callOf({ op, attributes, inputs }: Problem, wanted: readonly WantedOutput[]): WrongCall {
  return {
    ...{ op, attributes },
    values: Object.fromEntries(inputs.map(({ name, data }) => [name, Float64Array.from(data)])),
    shapes: Object.fromEntries(inputs.map(({ name, shape }) => [name, shape])),
    truth: Object.fromEntries(wanted.map(({ name, expected }) => [name, expected.value])),
    outputShapes: Object.fromEntries(wanted.map(({ name, shape }) => [name, shape])),
  };
}

/** Whether a prediction is the wrong result, of the right shape or of the same wrong one. */
function fits(
  prediction: Prediction[string],
  got: Float64Array,
  gotShape: Shape,
  { shape, expected }: WantedOutput,
  allowed: Float64Array,
  strays: number,
): boolean {
  const [data, own] = 'data' in prediction ? [prediction.data, prediction.shape] : [prediction, shape];
  if (data.length !== got.length || own.join() !== gotShape.join()) return false;
  // A mistake may put elements where others belong, so the largest bound counts for all.
  let most = 0;
  for (const bound of allowed) most = Math.max(most, bound);
  const mayDiffer = Math.floor(strays * got.length);
  let differing = 0;
  // What is as good as the truth explains nothing.
  let informative = own.join() !== shape.join();
  for (let i = 0; i < got.length; i++) {
    if (shareOf(got[i], data[i], SLACK * most + ROUNDED * Math.abs(data[i])) > 1 && ++differing > mayDiffer)
      return false;
    if (!informative && shareOf(data[i], expected.value[i], allowed[i]) > 1) informative = true;
  }
  return informative;
}

/** What the numbers themselves tell, where no known mistake gives them. */
function clues(
  call: WrongCall,
  wrong: ReadonlyMap<string, Float64Array>,
  allowed: ReadonlyMap<string, Float64Array>,
  narrow: boolean,
): string[] {
  const found: string[] = [];
  const all = [...wrong];
  const every = (of: (v: number) => boolean): boolean => all.every(([, data]) => data.every((v) => of(v)));
  const beyond = (name: string, data: Float64Array, i: number): boolean =>
    shareOf(data[i], call.truth[name][i], (allowed.get(name) as Float64Array)[i]) > 1;
  const inPlace = all.filter(([name, data]) => data.length === call.truth[name].length);
  if (all.some(([name, data]) => data.some((v, i) => Number.isNaN(v) && !Number.isNaN(call.truth[name][i])))) {
    found.push('there is NaN where numbers should be: memory that nothing was written to, or 0/0');
  }
  // Where the right results have few digits themselves, wrong ones tell nothing by theirs.
  const told = !narrow && inPlace.length === all.length;
  const rounded = (round: (v: number) => number): boolean =>
    told && all.every(([name]) => call.truth[name].some((v) => round(v) !== v)) && every((v) => round(v) === v);
  // Eight digits are among eleven.
  if (rounded(toBfloat)) found.push('sums are rounded to bfloat16 as they go');
  else if (rounded(toHalf)) found.push('sums are rounded to float16 as they go');
  for (const [name, data] of inPlace) {
    const off = Array.from(data.keys()).filter((i) => beyond(name, data, i));
    if (off.length === 0 || off.length === data.length) continue;
    const shape = call.outputShapes[name];
    const inner = shape[shape.length - 1] ?? 1;
    const columns = new Set(off.map((i) => i % inner));
    const rest = Math.floor(data.length / inner);
    if (off.length === 1) found.push(`one element of ${name} is wrong`);
    else if (inner > 1 && columns.size === 1) found.push(`only the column ${[...columns][0]} of ${name} is wrong`);
    else if (off.every((i) => i >= data.length - 16)) found.push(`only the end of ${name} is wrong`);
    else if (rest > 1 && off.length <= data.length / 4)
      found.push(`${off.length} of ${data.length} elements of ${name} are wrong`);
  }
  return found;
}

/**
 * What would explain the wrong outputs of a problem, the likeliest first: mistakes that give every one of them, then those that give
 * some, then what the numbers tell by themselves.
 */
export function diagnose(
  problem: Problem,
  outputs: readonly WrongOutput[],
  precision: Precision,
  layout: Layout,
): Diagnosis[] {
  const wanted = problem.solve();
  const call = callOf(problem, wanted);
  const byName = new Map(wanted.map((one) => [one.name, one]));
  const bounds = new Map<string, Float64Array>();
  const arrays = new Map<string, Float64Array>();
  const shapes = new Map<string, Shape>();
  for (const { name, data, shape } of outputs) {
    const own = byName.get(name);
    if (own === undefined) continue;
    const usual = shapeIn(layout, problem.op, name, own.shape);
    const given = shape ?? usual;
    const sameSize = data.length === own.expected.value.length && given.join() === usual.join();
    // A wrong shape has a layout too, which is NCHW's where nothing better is known.
    const order = sameSize ? orderIn(layout, problem.op, name, own.shape) : null;
    arrays.set(name, toNchw(data, order));
    shapes.set(name, sameSize ? own.shape : given);
    bounds.set(name, probableAllowance(own.expected, precision));
  }
  if (arrays.size === 0) return [];
  const whole: Diagnosis[] = [];
  const partial: Diagnosis[] = [];
  for (const { name: cause, ops, strays = 0, predict } of HYPOTHESES) {
    if (!ops.test(problem.op)) continue;
    let prediction: Prediction | null;
    try {
      prediction = predict(call);
    } catch {
      // A guess that does not apply to this call must not cost the report.
      continue;
    }
    if (prediction === null) continue;
    const explained = [...arrays].flatMap(([name, got]) => {
      const own = prediction[name];
      const shape = shapes.get(name) as Shape;
      const target = byName.get(name) as WantedOutput;
      return own && fits(own, got, shape, target, bounds.get(name) as Float64Array, strays) ? [name] : [];
    });
    if (explained.length === 0) continue;
    (explained.length === arrays.size ? whole : partial).push({ cause, outputs: explained });
  }
  if (whole.length > 0 || partial.length > 0) return [...whole, ...partial];
  return clues(call, arrays, bounds, precision.result !== undefined).map((cause) => ({
    cause,
    outputs: [...arrays.keys()],
  }));
}
