/**
 * A whole training step as files: every kernel call of a model's forward and backward pass, what goes in and what must come out. A
 * backend that computes the same step hands in what it found, as much of it as it likes; each call is judged by the operands that the
 * backend itself had, so that the first that is outside its bound is where it went wrong.
 */
import { grad } from '../autograd.js';
import type { Device, TypedArray } from '../device/device.js';
import { wasm } from '../device/wasm/index.js';
import { ArgumentError, FormatError } from '../errors.js';
import { readSafetensors, type SafetensorsInput, writeSafetensors } from '../io/safetensors.js';
import type { Module } from '../nn/module.js';
import { crossEntropy } from '../ops/index.js';
import { MAX_SIZE, type Shape, sizeOf } from '../shape.js';
import { type Tensor, tensor } from '../tensor.js';
import { allowance, NARROW, type Precision, probableAllowance } from './bounds.js';
import { type CallArguments, expectedOf, isKernel, type KernelName } from './calls.js';
import { labelsOf, numbers } from './draw.js';
import { type CaseVerdict, type Report, verdictOf } from './judge.js';
import { trace, withValues } from './trace.js';
import { roundedUp } from './vectors.js';
import type { BoundKind, Wanted } from './verdict.js';

const FORMAT = 'atalho-oracle-trace';
const VERSION = 1;

/** Numbers that follow from the seed, the name and the position, and so are not stored: see docs/ORACLE.md. */
export interface TraceLeaf {
  readonly name: string;
  readonly shape: Shape;
  readonly low: number;
  readonly high: number;
}

/** One kernel call of a trace. */
export interface TraceNode {
  readonly kernel: KernelName;
  readonly options: Readonly<Record<string, unknown>>;
  /** Names of leaves or of earlier results, by argument. */
  readonly inputs: Readonly<Record<string, string>>;
  /** Names of results, by argument, and how many elements each has. */
  readonly outputs: Readonly<Record<string, { readonly name: string; readonly size: number }>>;
}

/** A training step as kernel calls. */
export interface TraceManifest {
  readonly format: typeof FORMAT;
  readonly version: typeof VERSION;
  readonly model: string;
  readonly seed: number;
  readonly labels: readonly number[];
  readonly leaves: readonly TraceLeaf[];
  readonly nodes: readonly TraceNode[];
}

/** What is traced. */
export interface ModelTraceOptions {
  /** Its name in the manifest. */
  readonly name: string;
  /** Of the input, [N, C, H, W]. */
  readonly inputShape: Shape;
  readonly classes: number;
  /** Default 1. */
  readonly seed?: number;
}

/** Where a leaf's numbers lie: activations and gradients of about 1 throughout. */
function rangeOf(name: string, shape: Shape): readonly [number, number] {
  if (shape.length > 1) {
    const bound = Math.fround(Math.sqrt(3 / sizeOf(shape.slice(1))));
    return [-bound, bound];
  }
  if (/running_var$|weight$/.test(name)) return [0.5, 1.5];
  return [-0.125, 0.125];
}

const leafValues = (seed: number, { name, shape, low, high }: TraceLeaf): Float32Array =>
  numbers(seed, name, sizeOf(shape), low, high);

/**
 * Traces one training step's forward and backward pass, in exact mode. `make` builds the model on the device that it is given; its
 * parameters, floating-point buffers and input are filled by the formula.
 */
export async function makeModelTrace(
  make: (device: Device) => Module,
  { name, inputShape, classes, seed = 1 }: ModelTraceOptions,
): Promise<{ manifest: TraceManifest; values: Uint8Array<ArrayBuffer> }> {
  const device = await wasm();
  try {
    const tracer = trace(device);
    const model = make(tracer.device);
    model.train();
    const leaves: TraceLeaf[] = [];
    const fill = (own: string, t: Tensor, [low, high]: readonly [number, number]): void => {
      const leaf = { name: own, shape: t.shape, low, high };
      leaves.push(leaf);
      device.write(t.buffer, leafValues(seed, leaf));
    };
    const state = [...model.stateDict()].filter(([, t]) => t.dtype === 'float32');
    for (const [own, t] of state) fill(own, t, rangeOf(own, t.shape));
    const x = tensor(new Float32Array(sizeOf(inputShape)), inputShape, { device: tracer.device });
    fill('x', x, [0, 1]);
    tracer.name([...state, ['x', x]]);
    await tracer.take();
    const labels = labelsOf(seed, inputShape[0], classes);
    tracer.device.scope(() => {
      grad(crossEntropy(model.forward(x), labels), model.parameters());
    });
    const calls = await tracer.take();
    const values: [string, SafetensorsInput][] = [];
    const nodes = calls.map((call): TraceNode => {
      const expected = expectedOf(
        call.kernel,
        withValues(
          call.options,
          (arg) => Float64Array.from(call.before[arg] as Float32Array),
          Object.keys(call.before),
        ) as never,
      );
      const outputs: Record<string, { name: string; size: number }> = {};
      for (const [arg, own] of Object.entries(call.outputs)) {
        const data = call.after[arg] as Float32Array;
        const shape = [data.length];
        outputs[arg] = { name: own, size: data.length };
        values.push([own, { shape, data }]);
        values.push([`${own}.strict`, { shape, data: roundedUp(allowance(expected[arg], NARROW)) }]);
        values.push([`${own}.probable`, { shape, data: Float32Array.from(probableAllowance(expected[arg], NARROW)) }]);
      }
      // What no call made and nobody named: the labels, the gradient of the loss.
      for (const [arg, own] of Object.entries(call.inputs)) {
        if (!own.startsWith('unnamed ')) continue;
        const data = call.before[arg];
        values.push([own, { shape: [data.length], data: data as Float32Array }]);
      }
      return { kernel: call.kernel, options: call.options, inputs: call.inputs, outputs };
    });
    const manifest = {
      format: FORMAT,
      version: VERSION,
      model: name,
      seed,
      labels: Array.from(labels),
      leaves,
      nodes,
    } as const;
    return { manifest, values: writeSafetensors(values) };
  } finally {
    device.dispose();
  }
}

function isLeaf(leaf: unknown): leaf is TraceLeaf {
  if (typeof leaf !== 'object' || leaf === null) return false;
  const { name, shape, low, high } = leaf as Partial<TraceLeaf>;
  const extents = Array.isArray(shape) && shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0);
  return typeof name === 'string' && extents && sizeOf(shape) <= MAX_SIZE && [low, high].every(Number.isFinite);
}

function isNode(node: unknown): node is TraceNode {
  if (typeof node !== 'object' || node === null) return false;
  const { kernel, options, inputs, outputs } = node as Partial<TraceNode>;
  if (typeof kernel !== 'string' || !isKernel(kernel) || typeof options !== 'object' || options === null) return false;
  if (typeof inputs !== 'object' || inputs === null || typeof outputs !== 'object' || outputs === null) return false;
  const results = Object.values(outputs);
  const named = results.every(
    (out) => typeof out?.name === 'string' && Number.isSafeInteger(out.size) && out.size >= 0,
  );
  // Windows of no stride would never end.
  const strides = Object.entries(options).every(
    ([name, value]) => !/^(stride|dilation|groups)/.test(name) || (Number.isSafeInteger(value) && Number(value) >= 1),
  );
  return results.length > 0 && named && strides && Object.values(inputs).every((own) => typeof own === 'string');
}

/** Whether a text is a trace's manifest. @throws FormatError for one of another version, or damaged */
export function readTraceManifest(text: string): TraceManifest | null {
  let found: TraceManifest;
  try {
    found = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof found !== 'object' || found === null || found.format !== FORMAT) return null;
  if (found.version !== VERSION) {
    throw new FormatError(`manifest: version is ${JSON.stringify(found.version)}; this program reads ${VERSION}`);
  }
  const whole = [found.leaves, found.nodes, found.labels].every(Array.isArray) && typeof found.seed === 'number';
  if (!whole) throw new FormatError('manifest: leaves, nodes, labels or seed is missing');
  const wrong = found.nodes.findIndex((node) => !isNode(node));
  if (wrong >= 0) {
    throw new FormatError(`manifest: node ${wrong} has no known kernel, or its options, inputs or outputs are none`);
  }
  const odd = found.leaves.findIndex((leaf) => !isLeaf(leaf));
  if (odd >= 0) throw new FormatError(`manifest: leaf ${odd} lacks a name, a shape, low or high`);
  return found;
}

/**
 * Judges what a backend found: a safetensors file with results under the names of the trace. A call is judged by the operands in that
 * file; one of which it lacks a result, or an operand that another call made, is absent: nobody can say whose error it is. Statistics
 * that ops keep are the trace's own where they are not handed in. The bound is the strict one unless said otherwise: in a network terms
 * repeat, and equal terms are rounded alike.
 */
export function checkModelTrace(
  manifest: TraceManifest,
  valuesFile: Uint8Array,
  resultsFile: Uint8Array,
  o: { readonly name?: string; readonly bound?: BoundKind; readonly precision?: Precision } = {},
): Report {
  const { name: backend = 'results', bound = 'strict', precision = NARROW } = o;
  const values = readSafetensors(valuesFile);
  const results = readSafetensors(resultsFile);
  const leaves = new Map(manifest.leaves.map((leaf) => [leaf.name, leaf]));
  const sizes = new Map(
    manifest.nodes.flatMap(({ outputs }) => Object.values(outputs).map((out) => [out.name, out.size] as const)),
  );
  for (const key of results.keys()) {
    const size = sizes.get(key);
    if (size === undefined) throw new ArgumentError(`results: the trace has no result called ${JSON.stringify(key)}`);
    const got = sizeOf((results.get(key) as { shape: Shape }).shape);
    if (got !== size) throw new ArgumentError(`results: ${JSON.stringify(key)} has ${got} elements; want ${size}`);
  }
  const held = (name: string): ArrayLike<number> => {
    const leaf = leaves.get(name);
    const found = results.get(name) ?? values.get(name);
    if (found !== undefined) return found.data as ArrayLike<number>;
    if (leaf === undefined) throw new FormatError(`values: ${JSON.stringify(name)} is missing`);
    return leafValues(manifest.seed, leaf);
  };
  const cases = manifest.nodes.map(({ kernel, options, inputs, outputs }, at): CaseVerdict => {
    const own = Object.entries(outputs);
    const [[, first]] = own;
    const about = {
      id: first.name.split(' ')[0],
      title: first.name.replace(/^\S+ |\.\w+$/g, ''),
      op: kernel,
      attributes: options,
    };
    const given = own.filter(([, out]) => results.has(out.name));
    const complete = Object.entries(inputs).every(
      ([arg, operand]) => arg === 'saved' || results.has(operand) || !sizes.has(operand),
    );
    if (given.length === 0 || !complete) return verdictOf(about, [], null, bound);
    const operands = withValues(
      options,
      (arg) =>
        Float64Array.from(arg in inputs ? held(inputs[arg]) : { length: outputs[arg].size }, (v) => Number(v ?? 0)),
      [...new Set([...Object.keys(inputs), ...Object.keys(outputs)])],
    );
    let expected: ReturnType<typeof expectedOf>;
    try {
      expected = expectedOf(kernel, operands as unknown as CallArguments<KernelName>);
    } catch (error) {
      throw new FormatError(`manifest: node ${at}, ${kernel}, cannot be computed: ${String(error)}`);
    }
    const wanted = given.map(([arg, { size }]): Wanted => {
      const one = expected[arg];
      if (one === undefined) throw new FormatError(`manifest: node ${at}, ${kernel}, has no result ${arg}`);
      return {
        ...{ name: arg, shape: [size], value: one.value, bits: null },
        strict: allowance(one, precision),
        probable: probableAllowance(one, precision),
      };
    });
    const answer = Object.fromEntries(
      given.map(([arg, out]) => [arg, (results.get(out.name) as { data: TypedArray }).data as ArrayLike<number>]),
    );
    return verdictOf(about, wanted, answer, bound);
  });
  return { backend, suite: `trace of ${manifest.model}`, seed: manifest.seed, layout: 'NCHW', bound, cases };
}
