/**
 * Runs the case table on any device: is each result within what its arithmetic allows, are the gradients right,
 * are the bits those of the reference, do wrong calls fail cleanly? For whoever writes a device, and for our own.
 */
import { grad, noGrad } from '../autograd.js';
import type { Device, TypedArray } from '../device/device.js';
import { reference } from '../device/reference.js';
import { ArgumentError, DeviceError } from '../errors.js';
import { formatShape, sameShape, sizeOf } from '../shape.js';
import { type Tensor, tensor } from '../tensor.js';
import { allowance, DOUBLE, type Expected, FAST, gamma, type Precision, WIDE } from './bounds.js';
import type { OpCase, Outcome, Trial } from './cases/case.js';
import { cases as table } from './cases.js';
import { numbers, seededDraw } from './draw.js';
import { type Candidate, classDifference, flushed, show, specialsFor, withSpecials } from './special.js';
import { type Worst, worse, worstOf } from './worst.js';

const LARGEST_FLOAT32 = (2 - 2 ** -23) * 2 ** 127;

/**
 * - `forward`: result and in-place changes within the bound, shape right, other inputs untouched;
 * - `gradient`: within the bound of the analytic gradients; on a float64 device also against central finite
 *   differences;
 * - `bits`: every element of results, changes and gradients equal to the reference's by `Object.is`;
 * - `special`: with NaN, infinities, signed zeros and subnormals among the inputs, each result NaN or infinite where the
 *   reference's is and within the bound elsewhere; for a device that claims the bits, equal, huge numbers too;
 * - `badInput`: a wrong call throws ArgumentError or DeviceError, names the op, and leaves the memory as it was;
 * - `memory`: a call gives back everything once its tensors are disposed.
 */
export type Check = 'forward' | 'gradient' | 'bits' | 'special' | 'badInput' | 'memory';

/** What one check of one row found. */
export interface Finding {
  readonly case: string;
  readonly check: Check;
  readonly passed: boolean;
  /** The worst element and its share of the bound, or what went wrong and how to see it again. */
  readonly detail: string;
  /** What was drawn, as JSON. */
  readonly options: string;
  /** `conformance(device, { seed, runs: 1, cases: [case] })` repeats this run; null when the draw was not ours. */
  readonly seed: number | null;
}

/** How a device is judged. */
export interface Judgement {
  /** The device claims the reference's bits: check them. Default false. */
  readonly exact?: boolean;
  /** `fast`: the reference is that of the fast modes, whose convolutions may be Winograd's. Default `exact`. */
  readonly math?: 'exact' | 'fast';
  /**
   * The arithmetic that the bounds assume. Default: DOUBLE for a float64 device, WIDE for a float32 one, FAST for one with
   * `math: 'fast'`; a float32 device without float64 inside takes NARROW.
   */
  readonly precision?: Precision;
}

export interface ConformanceOptions extends Judgement {
  /** Default 1. */
  readonly seed?: number;
  /** Draws per row. Default 10. */
  readonly runs?: number;
  /** Names of the rows to run. Default: all. */
  readonly cases?: readonly string[];
}

type Numbers = Float32Array | Float64Array;

/** What one call left behind, read back. */
interface Execution {
  readonly shape: readonly number[] | null;
  readonly y: TypedArray | null;
  /** Every input after the call. */
  readonly inputs: readonly TypedArray[];
  /** Gradients by input name. */
  readonly grads: Readonly<Record<string, TypedArray>>;
}

async function execute(
  device: Device,
  trial: Trial,
  values: readonly Numbers[],
  dy: Numbers | null,
): Promise<Execution> {
  const made: Tensor[] = [];
  const track = <T extends Tensor>(t: T): T => {
    made.push(t);
    return t;
  };
  try {
    const tensors = trial.inputs.map(({ shape, differentiable }, i) =>
      track(tensor(values[i], shape, { device, requiresGrad: differentiable })),
    );
    const y = dy ? trial.run(tensors) : noGrad(() => trial.run(tensors));
    if (y) track(y);
    const xs = tensors.filter((t) => t.requiresGrad);
    const grads: Record<string, TypedArray> = {};
    if (y && dy && xs.length > 0) {
      const direction = track(tensor(dy, trial.shape, { device }));
      const found = grad(y, xs, direction).map(track);
      const names = trial.inputs.filter((x) => x.differentiable).map((x) => x.name);
      for (let i = 0; i < found.length; i++) grads[names[i]] = await found[i].data();
    }
    const inputs: TypedArray[] = [];
    for (const t of tensors) inputs.push(await t.data());
    return { shape: y?.shape ?? null, y: y ? await y.data() : null, inputs, grads };
  } finally {
    for (const t of made) t.dispose();
  }
}

/** The first element that two executions do not share bit for bit, and how many differ; null when none does. */
function difference(a: Execution, b: Execution, trial: Trial): string | null {
  const pairs: [string, TypedArray | undefined, TypedArray | undefined][] = [];
  if (a.y || b.y) pairs.push(['y', a.y ?? undefined, b.y ?? undefined]);
  trial.inputs.forEach(({ name }, i) => {
    pairs.push([`${name} (afterwards)`, a.inputs[i], b.inputs[i]]);
    if (name in a.grads || name in b.grads) pairs.push([`gradient of ${name}`, a.grads[name], b.grads[name]]);
  });
  for (const [what, got, want] of pairs) {
    if (!got || !want || got.length !== want.length) {
      return `${what} has ${got?.length ?? 'no'} elements; the reference has ${want?.length ?? 'none'}`;
    }
    let count = 0;
    let first = -1;
    for (let i = 0; i < got.length; i++) {
      if (Object.is(got[i], want[i])) continue;
      if (count++ === 0) first = i;
    }
    if (count > 0) {
      return `${what}[${first}] is ${show(got[first])}; the reference has ${show(want[first])}; ${count} of ${got.length} elements differ`;
    }
  }
  return null;
}

/**
 * The first result on inputs with special values whose class is not the reference's, or that is off the bound; null
 * when there is none. Where subnormals may be taken as 0, the results of inputs without them are as good.
 */
async function specialDifference(
  device: Device,
  trial: Trial,
  precision: Precision,
  data: readonly Float32Array[],
  dy: Float32Array,
): Promise<string | null> {
  const reader = reference({ dtype: device.dtype });
  try {
    const got = await execute(device, trial, data, dy);
    const asGiven = (v: Float32Array): Float32Array => v;
    const ways = [asGiven, (v: Float32Array) => flushed(v), (v: Float32Array) => flushed(v, true)];
    const versions = precision.flush ? ways : [asGiven];
    const wanted: { execution: Execution; outcome: Outcome; grads: Readonly<Record<string, Expected>> }[] = [];
    for (const version of versions) {
      const [inputs, direction] = [data.map(version), version(dy)];
      const values = inputs.map((v) => Float64Array.from(v));
      wanted.push({
        execution: await execute(reader, trial, inputs, direction),
        outcome: trial.forward(values),
        grads: trial.inputs.some((x) => x.differentiable) ? trial.backward(values, Float64Array.from(direction)) : {},
      });
    }
    const largest = device.dtype === 'float64' ? Number.MAX_VALUE : LARGEST_FLOAT32;
    const judge = (
      what: string,
      own: TypedArray | null | undefined,
      of: (one: (typeof wanted)[number]) => { read: TypedArray | null; expected: Expected | null | undefined },
    ): string | null => {
      const candidates: Candidate[] = [];
      for (const one of wanted) {
        const { read, expected } = of(one);
        if (read && expected) candidates.push({ reference: read, expected });
      }
      return candidates.length === 0 ? null : classDifference(what, own, candidates, precision, largest);
    };
    const findings = [judge('y', got.y, (one) => ({ read: one.execution.y, expected: one.outcome.y }))];
    trial.inputs.forEach(({ name }, i) => {
      if (name in wanted[0].outcome.changed) {
        findings.push(
          judge(`${name} (afterwards)`, got.inputs[i], (one) => ({
            read: one.execution.inputs[i],
            expected: one.outcome.changed[name],
          })),
        );
      } else if (!got.inputs[i].every((v, j) => Object.is(Number(v), data[i][j]))) {
        findings.push(`input ${name} was written to`);
      }
      findings.push(
        judge(`gradient of ${name}`, got.grads[name], (one) => ({
          read: one.execution.grads[name] ?? null,
          expected: one.grads[name],
        })),
      );
    });
    return findings.find((found) => found !== null) ?? null;
  } finally {
    reader.dispose();
  }
}

const STEP = 2 ** -14;
/** Elements of each input whose gradient is compared with a finite difference. */
const SAMPLES = 3;

/**
 * Central differences of ⟨y, dy⟩ at a few elements of each input. The allowance is what the difference itself may
 * be off: the rounding of y, as its bound has it, over the step; and the truncation, of which the change from step
 * h to step 2h is three times the amount.
 */
async function finiteDifferences(
  device: Device,
  trial: Trial,
  values: readonly Float64Array[],
  dy: Float64Array,
  y: Expected,
  grads: Readonly<Record<string, TypedArray>>,
): Promise<Worst> {
  const along = async (at: number, element: number, step: number): Promise<number> => {
    const moved = values.slice();
    moved[at] = Float64Array.from(values[at]);
    moved[at][element] += step;
    const result = await execute(device, trial, moved, null);
    return (result.y as Float64Array).reduce((sum, v, i) => sum + v * dy[i], 0);
  };
  const error = allowance(y, DOUBLE);
  let noise = 0;
  let magnitude = 0;
  for (let i = 0; i < dy.length; i++) {
    noise += error[i] * Math.abs(dy[i]);
    magnitude += Math.abs(y.value[i] * dy[i]);
  }
  noise = (2 * (noise + gamma(dy.length + 1, DOUBLE.unit) * magnitude)) / STEP;

  let worst: Worst = { what: 'finite differences', share: 0, text: 'finite differences agree' };
  const draw = seededDraw(trial.options.salt, 'differences');
  for (let at = 0; at < trial.inputs.length; at++) {
    const { name, differentiable } = trial.inputs[at];
    if (!differentiable || values[at].length === 0) continue;
    for (let sample = 0; sample < SAMPLES; sample++) {
      const element = draw.int(0, values[at].length - 1);
      const narrow = ((await along(at, element, STEP)) - (await along(at, element, -STEP))) / (2 * STEP);
      const broad = ((await along(at, element, 2 * STEP)) - (await along(at, element, -2 * STEP))) / (4 * STEP);
      const allowed = noise + Math.abs(narrow - broad) + 1e-300;
      const got = Number(grads[name][element]);
      const share = Math.abs(got - narrow) / allowed;
      worst = worse(worst, {
        what: name,
        share: Number.isNaN(share) ? Infinity : share,
        text: `gradient of ${name}[${element}] is ${got}; the finite difference is ${narrow}, good to ${allowed.toPrecision(3)}`,
      });
    }
  }
  return worst;
}

/** Judges one trial on one device. `against` is the reference whose bits count; null when none are claimed. */
export async function examine(
  row: OpCase,
  trial: Trial,
  device: Device,
  against: Device | null,
  precision: Precision,
  seed: number | null = null,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const options = JSON.stringify({
    ...trial.options,
    inputs: Object.fromEntries(trial.inputs.map(({ name, shape }) => [name, shape])),
  });
  const again = seed === null ? '' : `; again: conformance(device, { cases: ['${row.name}'], seed: ${seed}, runs: 1 })`;
  const report = (check: Check, passed: boolean, detail: string): void => {
    findings.push({
      case: row.name,
      check,
      passed,
      detail: passed ? detail : `${row.name} on ${device.name}, ${check}: ${detail}; drawn: ${options}${again}`,
      options,
      seed,
    });
  };
  /** Runs a check; whatever it throws is a failure of it. */
  const attempt = async (check: Check, run: () => Promise<void>): Promise<void> => {
    try {
      await run();
    } catch (error) {
      report(check, false, `threw ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`);
    }
  };

  const used = device.memory().used;
  const data = trial.inputs.map((x) => x.data);
  const values = data.map((v) => Float64Array.from(v));
  const dy = numbers(trial.options.salt, 'dy', sizeOf(trial.shape), -1, 1);
  const wideDy = Float64Array.from(dy);
  const differentiable = trial.inputs.some((x) => x.differentiable);

  await attempt('forward', async () => {
    const outcome = trial.forward(values);
    const result = await execute(device, trial, data, dy);

    let worst: Worst = { what: '', share: 0, text: 'exact' };
    if (outcome.y) {
      if (!result.shape || !sameShape(result.shape, trial.shape)) {
        report('forward', false, `y has shape ${formatShape(result.shape ?? [])}; want ${formatShape(trial.shape)}`);
        return;
      }
      worst = worse(worst, worstOf('y', result.y as TypedArray, outcome.y, precision));
    }
    trial.inputs.forEach(({ name }, i) => {
      const changed = outcome.changed[name];
      if (changed) worst = worse(worst, worstOf(`${name} (afterwards)`, result.inputs[i], changed, precision));
      else if (!result.inputs[i].every((v, j) => Object.is(Number(v), data[i][j])))
        worst = { what: name, share: Infinity, text: `input ${name} was written to` };
    });
    report('forward', worst.share <= 1, worst.text);

    if (outcome.y && differentiable) {
      const expected = trial.backward(values, wideDy);
      let gradient: Worst = { what: '', share: 0, text: 'exact' };
      for (const [name, one] of Object.entries(expected)) {
        const got = result.grads[name];
        gradient = worse(
          gradient,
          got
            ? worstOf(`gradient of ${name}`, got, one, precision)
            : { what: name, share: Infinity, text: `no gradient of ${name}` },
        );
      }
      if (device.dtype === 'float64' && trial.smooth) {
        gradient = worse(gradient, await finiteDifferences(device, trial, values, wideDy, outcome.y, result.grads));
      }
      report('gradient', gradient.share <= 1, gradient.text);
    }
  });

  if (against) {
    await attempt('bits', async () => {
      const got = await execute(device, trial, data, dy);
      const differs = difference(got, await execute(against, trial, data, dy), trial);
      report('bits', differs === null, differs ?? 'equal');
    });
  }
  await attempt('special', async () => {
    const { salt } = trial.options;
    const specials = specialsFor(salt, against !== null);
    const every = salt % 2 === 0 ? 2 : 11;
    const touched = data.map((v, i) => withSpecials(v, specials, salt + i, every));
    // A loss's own gradient is never infinite, and times a difference that may round to 0 it would decide the class.
    const finite = specials.filter((v) => Math.abs(v) !== Infinity);
    const forDy = against !== null || trial.shape.length > 0 ? specials : finite;
    const touchedDy = forDy.length === 0 ? dy : withSpecials(dy, forDy, salt + data.length, 2 * every);
    const differs = against
      ? difference(
          await execute(device, trial, touched, touchedDy),
          await execute(against, trial, touched, touchedDy),
          trial,
        )
      : await specialDifference(device, trial, precision, touched, touchedDy);
    const names = specials.map(show).join(', ');
    report(
      'special',
      differs === null,
      differs === null ? 'as the reference' : `with ${names} among the inputs, ${differs}`,
    );
  });
  const left = device.memory().used - used;
  report('memory', left === 0, left === 0 ? 'all given back' : `${left} bytes stay in use after all was disposed`);
  return findings;
}

/** The wrong calls of one row, and those that every op must refuse: a disposed tensor, one of another device. */
export function examineBadInput(row: OpCase, device: Device, seed = 1): Finding[] {
  const { op } = row;
  if (op === null) return [];
  const findings: Finding[] = [];

  const check = (why: string, tensors: readonly Tensor[], call: (t: readonly Tensor[]) => unknown): void => {
    const used = device.memory().used;
    let wrong: string | null = null;
    try {
      const y = call(tensors);
      wrong = 'was taken';
      if (typeof y === 'object' && y !== null && 'dispose' in y && typeof y.dispose === 'function') y.dispose();
    } catch (error) {
      if (!(error instanceof ArgumentError || error instanceof DeviceError)) {
        wrong = `threw ${String(error)}; want ArgumentError or DeviceError`;
      } else if (!error.message.includes(op)) {
        wrong = `threw '${error.message}', which does not name ${op}`;
      } else if (device.memory().used !== used) {
        wrong = `left ${device.memory().used - used} bytes in use`;
      }
    }
    findings.push({
      case: row.name,
      check: 'badInput',
      passed: wrong === null,
      detail: wrong === null ? `${why}: refused` : `${row.name} on ${device.name}, badInput: ${why} ${wrong}`,
      options: JSON.stringify({ why }),
      seed,
    });
  };

  for (const { why, shapes, call } of row.badInput) {
    const tensors = shapes.map((shape) => tensor(new Float32Array(sizeOf(shape)), shape, { device }));
    check(why, tensors, call);
    for (const t of tensors) t.dispose();
  }

  const trial = row.draw(seededDraw(seed, row.name));
  const foreign = reference({ dtype: 'float64' });
  trial.inputs.forEach(({ name }, at) => {
    const make = (where: (i: number) => Device): Tensor[] =>
      trial.inputs.map((x, i) => tensor(x.data, x.shape, { device: where(i) }));
    const disposed = make(() => device);
    disposed[at].dispose();
    check(`a disposed ${name}`, disposed, trial.run);
    for (const t of disposed) t.dispose();
    if (trial.inputs.length === 1) return;
    const mixed = make((i) => (i === at ? foreign : device));
    check(`${name} on another device`, mixed, trial.run);
    for (const t of mixed) t.dispose();
  });
  foreign.dispose();
  return findings;
}

/**
 * Runs every row `runs` times and its wrong calls once. Run i uses seed + i, so that each finding's own seed
 * repeats it alone. The device is left as it was found.
 * @throws ArgumentError when a name in `cases` is no row
 */
export async function conformance(device: Device, options: ConformanceOptions = {}): Promise<Finding[]> {
  const { seed = 1, runs = 10, exact = false, math = 'exact' } = options;
  const usual = math === 'fast' ? FAST : WIDE;
  const precision = options.precision ?? (device.dtype === 'float64' ? DOUBLE : usual);
  const unknown = options.cases?.find((name) => !table.some((row) => row.name === name));
  if (unknown !== undefined) {
    throw new ArgumentError(
      `conformance: no case is called ${unknown}; want some of ${table.map((row) => row.name).join(', ')}`,
    );
  }
  const against = exact ? reference({ dtype: device.dtype, math }) : null;
  const findings: Finding[] = [];
  for (const row of table) {
    if (options.cases && !options.cases.includes(row.name)) continue;
    for (let i = 0; i < runs; i++) {
      const own = (seed + i) >>> 0;
      findings.push(...(await examine(row, row.draw(seededDraw(own, row.name)), device, against, precision, own)));
    }
    findings.push(...examineBadInput(row, device, seed));
  }
  against?.dispose();
  return findings;
}
