/**
 * Traces: every kernel call of a run as it happened, with what its operands held, judged one by one. The first that leaves
 * its bound is where a wrong result began.
 */
import { Buffer, type Device, type Kernels, type Prepared, type TypedArray } from '../device/device.js';
import { ArgumentError } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { allowance, type Expected, type Precision, WIDE } from './bounds.js';
import { type CallArguments, expectedOf, type KernelName, outputsOf } from './calls.js';
import { type Worst, worse, worstOf } from './worst.js';

/** One kernel call. Operands are named by argument; those of a norm as `norm.mean`. */
export interface Call {
  readonly kernel: KernelName;
  /** The arguments that are no buffers. */
  readonly options: Readonly<Record<string, unknown>>;
  /** What operands held before; buffers that the kernel fills hold 0. */
  readonly before: Readonly<Record<string, TypedArray>>;
  /** What the written buffers held afterwards. */
  readonly after: Readonly<Record<string, TypedArray>>;
  /** Names that were given to operands, by argument. */
  readonly names: Readonly<Record<string, string>>;
  /** What each operand is, by argument: a name that was given, or that of the result that it is. */
  readonly inputs: Readonly<Record<string, string>>;
  /** Names of the results, each its own: the number of the call, what it is about, the argument. */
  readonly outputs: Readonly<Record<string, string>>;
}

/** A device that keeps what is computed on it. */
export interface Tracer {
  /** Stands for the traced device: tensors made on it, and all that is done with them, are traced. */
  readonly device: Device;
  /** Names tensors, for the report: `tracer.name(model.namedParameters())`. */
  name(tensors: Iterable<readonly [string, Tensor]>): void;
  /** The calls since the last time. Waits for the device. */
  take(): Promise<Call[]>;
}

type Arguments = Readonly<Record<string, unknown>>;

const isRecord = (value: unknown): value is Arguments =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;

/** The arguments of a kernel with `of(name, buffer)` in place of each buffer. */
function mapBuffers(o: Arguments, of: (name: string, buffer: Buffer) => unknown, prefix = ''): Record<string, unknown> {
  const entries = Object.entries(o).map(([key, value]) => {
    const name = prefix + key;
    if (value instanceof Buffer) return [key, of(name, value)];
    return [key, isRecord(value) ? mapBuffers(value, of, `${name}.`) : value];
  });
  return Object.fromEntries(entries);
}

function buffersOf(o: Arguments): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  mapBuffers(o, (name, buffer) => found.set(name, buffer));
  return found;
}

/** The arguments with values put where buffers were. */
export function withValues(
  options: Arguments,
  values: (name: string) => unknown,
  names: readonly string[],
): Record<string, unknown> {
  const all: Record<string, unknown> = structuredClone(options) as Record<string, unknown>;
  for (const name of names) {
    const path = name.split('.');
    const last = path.pop() as string;
    // A name may come from a file.
    const step = (o: Record<string, unknown>, key: string): Record<string, unknown> => {
      const inner = Object.hasOwn(o, key) ? o[key] : undefined;
      if (!isRecord(inner)) throw new ArgumentError(`trace: there is no argument ${JSON.stringify(name)}`);
      return inner as Record<string, unknown>;
    };
    if (last === '__proto__') throw new ArgumentError(`trace: there is no argument ${JSON.stringify(name)}`);
    const at = path.reduce(step, all);
    at[last] = values(name);
  }
  return all;
}

/**
 * A device that does what `device` does and remembers each kernel call with copies of its operands: the memory of a step
 * many times over, so for small inputs. Dispose of the original.
 */
export function trace(device: Device): Tracer {
  const pending: (() => Promise<Call>)[] = [];
  const named = new WeakMap<Buffer, string>();
  /** What each buffer holds now: its given name until a call writes to it. */
  const holding = new WeakMap<Buffer, string>();
  let count = 0;

  /** What the buffer holds now: a read begins at once, whatever is done to the buffer before it is over. */
  const snapshot = (buffer: Buffer): Promise<TypedArray> => {
    const values = device.readSync ? Promise.resolve(device.readSync(buffer)) : device.read(buffer);
    // Who takes the calls is told.
    values.catch(() => {});
    return values;
  };
  const snapshots = (buffers: ReadonlyMap<string, Buffer>, names: readonly string[]) =>
    names.flatMap((name) => {
      const buffer = buffers.get(name);
      return buffer ? [[name, snapshot(buffer)] as const] : [];
    });
  const readAll = async (taken: ReturnType<typeof snapshots>): Promise<Record<string, TypedArray>> => {
    const all: Record<string, TypedArray> = {};
    for (const [name, values] of taken) all[name] = await values;
    return all;
  };

  /** Runs a kernel between copies of what it reads and of what it writes. `seen`: copies taken earlier. */
  const observe = (
    kernel: KernelName,
    o: Arguments,
    run: () => void,
    seen: ReturnType<typeof snapshots> = [],
  ): void => {
    const buffers = buffersOf(o);
    const { writes, changes } = outputsOf(kernel);
    const already = new Set([...writes, ...seen.map(([name]) => name)]);
    const before = [
      ...seen,
      ...snapshots(
        buffers,
        [...buffers.keys()].filter((name) => !already.has(name)),
      ),
    ];
    const filled = writes.filter((name) => buffers.has(name));
    const sizes = filled.map((name) => [name, buffers.get(name)?.size ?? 0] as const);
    const names: Record<string, string> = {};
    const inputs: Record<string, string> = {};
    for (const [name, buffer] of buffers) {
      const own = named.get(buffer);
      if (own !== undefined) names[name] = own;
      if (!writes.includes(name)) inputs[name] = holding.get(buffer) ?? own ?? `unnamed ${count}.${name}`;
    }
    run();
    const outputs: Record<string, string> = {};
    // A layer is its parameters' name without the last part.
    const layer = Object.values(names).find((own) => own.includes('.'));
    const label = layer === undefined ? kernel : layer.replace(/\.[^.]*$/, '');
    for (const name of [...writes, ...changes]) {
      const buffer = buffers.get(name);
      if (buffer === undefined) continue;
      outputs[name] = `${String(count).padStart(3, '0')} ${label}.${name}`;
      holding.set(buffer, outputs[name]);
    }
    count++;
    const after = snapshots(buffers, [...writes, ...changes]);
    const options = mapBuffers(o, () => null);
    pending.push(async () => {
      const held = await readAll(before);
      for (const [name, size] of sizes) held[name] = new Float32Array(size);
      return { kernel, options, before: held, after: await readAll(after), names, inputs, outputs };
    });
  };

  const kernels: Record<string, unknown> = {};
  for (const kernel of Object.keys(device.kernels) as KernelName[]) {
    const run = device.kernels[kernel].bind(device.kernels) as (o: Arguments) => unknown;
    kernels[kernel] = (o: Arguments): void => observe(kernel, o, () => run(o));
  }
  // Each call is looked at alone, so none may begin before it.
  kernels.prepareConv2d = ({ since: _, ...o }: Parameters<Kernels['prepareConv2d']>[0]): Prepared => {
    // All but x and the residual are read now.
    const own = o as unknown as Arguments;
    const fixed = new Map([...buffersOf(own)].filter(([name]) => !['x', 'residual', 'out'].includes(name)));
    const prepared = device.kernels.prepareConv2d(o);
    const laidOut = snapshots(fixed, [...fixed.keys()]);
    return {
      run: () => observe('prepareConv2d', own, () => prepared.run(), laidOut),
      release: () => prepared.release(),
    };
  };

  const traced = new Proxy(device, {
    get(target, key) {
      if (key === 'kernels') return kernels;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  return {
    device: traced,
    name(tensors) {
      for (const [name, tensor] of tensors) named.set(tensor.buffer, name);
    },
    async take() {
      const calls: Call[] = [];
      for (const read of pending.splice(0)) calls.push(await read());
      return calls;
    },
  };
}

/** Does one call again, on another device: what its outputs then hold. */
export async function replay(call: Call, device: Device): Promise<Record<string, TypedArray>> {
  const buffers = new Map<string, Buffer>();
  try {
    for (const [name, values] of Object.entries(call.before)) {
      const buffer = device.alloc(values.length, dtypeOf(name, values, device));
      buffers.set(name, buffer);
      device.write(buffer, values as ArrayLike<number>);
    }
    const o = withValues(call.options, (name) => buffers.get(name), [...buffers.keys()]);
    const run = device.kernels[call.kernel].bind(device.kernels) as (o: Arguments) => Prepared | undefined;
    const prepared = run(o);
    if (prepared) {
      prepared.run();
      prepared.release();
    }
    const { writes, changes } = outputsOf(call.kernel);
    const after: Record<string, TypedArray> = {};
    for (const name of [...writes, ...changes]) {
      const buffer = buffers.get(name);
      if (buffer) after[name] = await device.read(buffer);
    }
    return after;
  } finally {
    for (const buffer of buffers.values()) buffer.release();
  }
}

/** The dtypes of the contract: statistics that ops keep are wide, indices whole numbers, whatever a buffer held before. */
function dtypeOf(name: string, values: TypedArray, device: Device): Buffer['dtype'] {
  if (name === 'indices' || values instanceof Int32Array) return 'int32';
  if (values instanceof BigInt64Array) return 'int64';
  return name === 'saved' ? 'float64' : device.dtype;
}

/** How a trace is judged. */
export interface TraceJudgement {
  /** The arithmetic of the traced device. Default WIDE. */
  readonly precision?: Precision;
  /**
   * A device whose results are the reference, such as `wasm()`: each call is done there again with the operands that the
   * traced one had, and the bounds of both are allowed. Default: the float64 result of the naive functions.
   */
  readonly against?: Device;
  /** The arithmetic of `against`. Default WIDE. */
  readonly againstPrecision?: Precision;
}

/** What one call came to. */
export interface CallFinding {
  /** Position in the trace, from 0. */
  readonly at: number;
  readonly kernel: KernelName;
  readonly passed: boolean;
  /** The largest |result − reference| as a share of what is allowed. */
  readonly share: number;
  /** The call, its worst element and its options. */
  readonly detail: string;
}

/** A line that tells which call it was: kernel, named operands, sizes. */
function describe({ kernel, options, before, names }: Call, at: number): string {
  const operands = Object.entries(before).map(([name, { length }]) => {
    const own = names[name];
    return own === undefined ? `${name} ${length}` : `${name} ${length} (${own})`;
  });
  const plain = Object.entries(options).filter(([, value]) => value !== null);
  return `call ${at}, ${kernel} of ${operands.join(', ')} with ${JSON.stringify(Object.fromEntries(plain))}`;
}

/** Judges every call of a trace by what its own operands allow: errors that a call inherits are not its own. */
export async function judgeTrace(calls: readonly Call[], options: TraceJudgement = {}): Promise<CallFinding[]> {
  const { precision = WIDE, against, againstPrecision = WIDE } = options;
  const findings: CallFinding[] = [];
  for (const [at, call] of calls.entries()) {
    const names = Object.keys(call.before);
    const values = withValues(call.options, (name) => Float64Array.from(call.before[name] as Float32Array), names);
    const expected = expectedOf(call.kernel, values as unknown as CallArguments<KernelName>);
    const reference = against ? await replay(call, against) : null;
    let worst: Worst = { what: '', share: 0, text: 'exact' };
    for (const [name, got] of Object.entries(call.after)) {
      const own = expected[name];
      if (own === undefined) throw new ArgumentError(`judgeTrace: ${call.kernel} has no result called ${name}`);
      if (reference) {
        const error = own.error(againstPrecision);
        const allowed = allowance(own, precision).map((e, i) => e + error[i]);
        const wanted: Expected = { ...own, value: Float64Array.from(reference[name] as Float32Array) };
        worst = worse(worst, worstOf(name, got, wanted, precision, allowed));
      } else {
        worst = worse(worst, worstOf(name, got, own, precision));
      }
    }
    findings.push({
      at,
      kernel: call.kernel,
      passed: worst.share <= 1,
      share: worst.share,
      detail: `${describe(call, at)}: ${worst.text}`,
    });
  }
  return findings;
}
