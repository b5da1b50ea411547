/**
 * A model laid out for inference at one input shape: its ops are recorded once, a convolution and what follows it become one
 * step with weights laid out in advance, and every buffer is planned, so that a run allocates nothing.
 */
import type { BuffersOf, OpNode } from '../autograd.js';
import type { BatchNormGeometry, Buffer, ChannelNorm, Device, DType, Prepared } from '../device/device.js';
import { ArgumentError, DeviceError, show } from '../errors.js';
import { type ConvGeometry, formatShape, type Shape, sameShape, sizeOf } from '../shape.js';
import { keep, Tensor } from '../tensor.js';
import { checkModule, type Module } from './module.js';
import { type Recording, recordForward } from './record.js';

/** What a plan is made for. */
export interface CompileOptions {
  /** Of every input, the batch included: `[N, C, H, W]`. */
  readonly inputShape: Shape;
}

/** Memory that steps read and write: an activation, or a constant such as a weight. */
interface Value {
  readonly size: number;
  /** The weight's memory; null for activations, whose place is planned. */
  readonly constant: Buffer | null;
}

/** One call, on values. */
interface Step {
  readonly name: string;
  readonly node: OpNode | null;
  readonly inputs: readonly (Value | null)[];
  readonly output: Value;
  /** What a convolution goes on to do. */
  readonly fused: Fused | null;
}

interface Fused {
  readonly geometry: ConvGeometry;
  /** x, weight, bias. */
  readonly conv: readonly (Value | null)[];
  /** mean, variance, weight, bias. */
  readonly norm: { readonly values: readonly (Value | null)[]; readonly eps: number } | null;
  readonly residual: Value | null;
  readonly relu: boolean;
}

/** The recorded calls as steps; `constants` takes a hold on what they read besides. */
function stepsOf({ x, y, calls }: Recording, constants: Buffer[]): { steps: Step[]; input: Value; output: Value } {
  const values = new Map<Tensor, Value>();
  const input: Value = { size: x.size, constant: null };
  values.set(x, input);
  const lookUp = (t: Tensor): Value => {
    const known = values.get(t);
    if (known !== undefined) return known;
    const constant = t.buffer.retain();
    constants.push(constant);
    const value = { size: t.size, constant };
    values.set(t, value);
    return value;
  };
  const steps: Step[] = [];
  for (const node of calls) {
    const inputs = node.inputs.map((one) => one && lookUp(one));
    if (node.call.view) values.set(node.output, inputs[0] as Value);
    else {
      const output = { size: node.output.size, constant: null };
      values.set(node.output, output);
      steps.push({ name: node.name, node, inputs, output, fused: null });
    }
  }
  return { steps, input, output: lookUp(y) };
}

/** Read once, when it is laid out; so it may not be computed. */
const isConstant = (value: Value | null): boolean => value === null || value.constant !== null;

/** What the plans of the ops that are fused hold. */
interface ConvPlan {
  readonly geometry: ConvGeometry;
}
interface NormPlan {
  readonly geometry: BatchNormGeometry;
  readonly training: boolean;
  readonly eps: number;
}
interface BinaryPlan {
  readonly shape: Shape;
  readonly aShape: Shape;
  readonly bShape: Shape;
}

/** The convolution with `next` absorbed, or null where that is something else. */
function absorb(fused: Fused, result: Value, next: Step): Fused | null {
  if (fused.relu || next.node === null) return null;
  const { batch, outChannels, outHeight, outWidth } = fused.geometry;
  const { plan } = next.node.call;
  const bare = fused.norm === null && fused.residual === null;
  const [first, second] = next.inputs;
  switch (next.name) {
    case 'relu':
      return { ...fused, relu: true };
    case 'batchNorm':
    case 'batchNormRelu': {
      const { training, eps, geometry } = plan as unknown as NormPlan;
      const [x, weight, bias, mean, variance, residual] = next.inputs;
      if (!bare || training || x !== result || residual === result) return null;
      // There may be a reshape between, and computed factors.
      const same = geometry.batch === batch && geometry.channels === outChannels;
      if (!same || geometry.spatial !== outHeight * outWidth) return null;
      if (![weight, bias, mean, variance].every(isConstant)) return null;
      return {
        ...fused,
        norm: { values: [mean, variance, weight, bias], eps },
        residual,
        relu: next.name !== 'batchNorm',
      };
    }
    case 'add': {
      const { shape, aShape, bShape } = plan as unknown as BinaryPlan;
      if (fused.residual !== null || first === second || second === null) return null;
      if (!sameShape(aShape, shape) || !sameShape(bShape, shape)) return null;
      return { ...fused, residual: first === result ? second : first };
    }
    default:
      return null;
  }
}

/** Each convolution and what follows it as one step, where the last of them stood. */
function fuse(steps: readonly Step[], output: Value): Step[] {
  const consumers = new Map<Value, Step[]>();
  for (const step of steps) {
    for (const value of new Set(step.inputs)) {
      if (value !== null) consumers.set(value, [...(consumers.get(value) ?? []), step]);
    }
  }
  /** What becomes of a step: itself, another, or nothing. */
  const instead = new Map<Step, Step | null>();
  for (const step of steps) {
    if (step.name !== 'conv2d' || step.node === null) continue;
    const [, weight, bias] = step.inputs;
    if (!isConstant(weight) || !isConstant(bias)) continue;
    const { geometry } = step.node.call.plan as unknown as ConvPlan;
    let fused: Fused = { geometry, conv: step.inputs, norm: null, residual: null, relu: false };
    let last = step;
    for (;;) {
      const users = consumers.get(last.output) ?? [];
      // Of two convolutions before an addition one has it.
      if (users.length !== 1 || last.output === output || instead.has(users[0])) break;
      const more = absorb(fused, last.output, users[0]);
      if (more === null) break;
      instead.set(last, null);
      [fused, last] = [more, users[0]];
    }
    const inputs = [...fused.conv, ...(fused.norm?.values ?? []), fused.residual];
    instead.set(last, { name: 'prepareConv2d', node: null, inputs, output: last.output, fused });
  }
  return steps.flatMap((step) => {
    const other = instead.get(step);
    return other === undefined ? [step] : other === null ? [] : [other];
  });
}

/** A buffer for each activation; those whose lives do not meet, and whose sizes agree, share one. */
function place(
  device: Device,
  steps: readonly Step[],
  input: Value,
  output: Value,
): { at: Map<Value, Buffer>; own: Buffer[] } {
  const lastUse = new Map<Value, number>();
  steps.forEach((step, i) => {
    for (const value of step.inputs) if (value !== null) lastUse.set(value, i);
  });
  const at = new Map<Value, Buffer>();
  const own: Buffer[] = [];
  const free = new Map<number, Buffer[]>();
  const take = (value: Value): void => {
    const reused = free.get(value.size)?.pop();
    const buffer = reused ?? device.alloc(value.size);
    if (reused === undefined) own.push(buffer);
    at.set(value, buffer);
  };
  try {
    take(input);
    steps.forEach((step, i) => {
      take(step.output);
      for (const value of new Set([...step.inputs, step.output])) {
        // The input and the result belong to the caller between runs.
        if (value === null || value.constant !== null || value === input || value === output) continue;
        if ((lastUse.get(value) ?? i) > i) continue;
        free.set(value.size, [...(free.get(value.size) ?? []), at.get(value) as Buffer]);
      }
    });
  } catch (error) {
    for (const buffer of own) buffer.release();
    throw error;
  }
  return { at, own };
}

/** A compiled model. The weights are those of the moment of compiling. */
export class CompiledModel {
  readonly #device: Device;
  readonly #steps: readonly Prepared[];
  readonly #own: readonly Buffer[];
  readonly #input: Buffer;
  readonly #output: Tensor;
  #disposed = false;

  /** Use `compile`. */
  constructor(
    device: Device,
    readonly inputShape: Shape,
    parts: { steps: readonly Prepared[]; own: readonly Buffer[]; input: Buffer; output: Tensor },
  ) {
    this.#device = device;
    this.#steps = parts.steps;
    this.#own = parts.own;
    this.#input = parts.input;
    this.#output = parts.output;
  }

  /** Shape of the result. */
  get outputShape(): Shape {
    return this.#output.shape;
  }

  /**
   * The model's result in eval mode. The tensor is the plan's, the same in every run, which overwrites its elements.
   * @param x a tensor of this device, or its elements, row-major
   * @throws ArgumentError when x has another shape
   * @throws DeviceError when x is on another device, or this was disposed
   */
  run(x: Tensor | ArrayLike<number>): Tensor {
    if (this.#disposed) throw new DeviceError('CompiledModel: it was disposed');
    const size = sizeOf(this.inputShape);
    if (typeof x !== 'object' || x === null)
      throw new ArgumentError(`CompiledModel: x is ${show(x)}; want a Tensor or numbers`);
    if (x instanceof Tensor) {
      if (!sameShape(x.shape, this.inputShape)) {
        throw new ArgumentError(
          `CompiledModel: x has shape ${formatShape(x.shape)}; it was compiled for ${formatShape(this.inputShape)}`,
        );
      }
      if (x.device !== this.#device) {
        throw new DeviceError(`CompiledModel: x is on device ${x.device.name}; want that of the model`);
      }
      const { kernels } = this.#device;
      kernels.expand({ x: x.buffer, out: this.#input, shape: [size], xStrides: [1], divisor: 1 });
    } else {
      if (x.length !== size) {
        throw new ArgumentError(
          `CompiledModel: x has ${x.length} elements; want ${size} for ${formatShape(this.inputShape)}`,
        );
      }
      this.#device.write(this.#input, x);
    }
    for (const step of this.#steps) step.run();
    // What was recorded of the last result is of no more use.
    this.#output.buffer.version++;
    return this.#output;
  }

  /** Gives back the memory of the plan, the result's included; the model keeps its own. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const step of this.#steps) step.release();
    for (const buffer of this.#own) buffer.release();
    this.#output.dispose();
  }
}

/** A step that calls its op again, with memory of its own for what it saves. */
function generic(device: Device, step: Step, bufferOf: (value: Value) => Buffer): Prepared {
  const node = step.node as OpNode;
  const inputs = step.inputs.map((value) => value && bufferOf(value));
  const out = bufferOf(step.output);
  const memory: Buffer[] = [];
  return {
    run() {
      let next = 0;
      const take = (size: number, dtype?: DType): Buffer => {
        memory[next] ??= device.alloc(size, dtype);
        return memory[next++];
      };
      const context = { device, kernels: device.kernels, out, recorded: false, save: take, scratch: take };
      node.call.forward({ ...context, inputs: inputs as unknown as BuffersOf<readonly (Tensor | null)[]> });
    },
    release() {
      for (const buffer of memory) buffer.release();
    },
  };
}

/** A convolution and what follows it, laid out by the device. `since`: the steps before it, from that which computes x. */
function convolution(
  device: Device,
  { fused, output }: Step,
  bufferOf: (value: Value) => Buffer,
  since: readonly Prepared[],
): Prepared {
  const { geometry, conv, norm, residual, relu } = fused as Fused;
  const optional = (value: Value | null): Buffer | null => value && bufferOf(value);
  const [x, weight, bias] = conv;
  let channelNorm: ChannelNorm | null = null;
  if (norm !== null) {
    const [mean, variance, scale, shift] = norm.values;
    channelNorm = {
      mean: bufferOf(mean as Value),
      variance: bufferOf(variance as Value),
      weight: optional(scale),
      bias: optional(shift),
      eps: norm.eps,
    };
  }
  return device.kernels.prepareConv2d({
    ...geometry,
    x: bufferOf(x as Value),
    weight: bufferOf(weight as Value),
    bias: optional(bias),
    norm: channelNorm,
    residual: optional(residual),
    relu,
    out: bufferOf(output),
    since,
  });
}

/**
 * Lays a model out for inference at one input shape. In exact mode a run gives the bits of the model's own forward pass in
 * eval mode; fast modes fold batch norm into the weights, which changes the last bits. The model's forward pass is recorded
 * once: it must not depend on the values of x, nor make tensors but by ops.
 * @throws ArgumentError when the model has no parameters, refuses the shape, or uses what is not recorded
 */
export function compile(model: Module, o: CompileOptions): CompiledModel {
  checkModule('compile', model);
  const { inputShape } = o ?? {};
  const constants: Buffer[] = [];
  const release: (() => void)[] = [
    () => {
      for (const buffer of constants) buffer.release();
    },
  ];
  try {
    const recorded = recordForward('compile', model, inputShape, (recording) => ({
      ...{ device: recording.device, shape: recording.y.shape },
      value: stepsOf(recording, constants),
    }));
    const { device } = recorded;
    const { steps, input, output } = recorded.value;
    const fused = fuse(steps, output);
    const { at, own } = place(device, fused, input, output);
    release.push(() => {
      for (const buffer of own) buffer.release();
    });
    const bufferOf = (value: Value): Buffer => {
      const buffer = value.constant ?? at.get(value);
      if (buffer === undefined) throw new ArgumentError('compile: a step reads what no step writes');
      return buffer;
    };
    // Steps that call their op again must not see what becomes of the weights.
    const copies = new Map<Value, Buffer>();
    const ownCopy = (value: Value): Buffer => {
      const { constant, size } = value;
      if (constant === null) return bufferOf(value);
      let copy = copies.get(value);
      if (copy === undefined) {
        copy = device.alloc(size, constant.dtype);
        own.push(copy);
        copies.set(value, copy);
        device.kernels.expand({ x: constant, out: copy, shape: [size], xStrides: [1], divisor: 1 });
      }
      return copy;
    };
    const prepared: Prepared[] = [];
    for (const step of fused) {
      const from = fused.findIndex(({ output }) => output === step.fused?.conv[0]);
      const since = from >= 0 ? prepared.slice(from) : [];
      const one = step.fused ? convolution(device, step, bufferOf, since) : generic(device, step, ownCopy);
      release.push(() => one.release());
      prepared.push(one);
    }
    // A first run, so that a later one allocates nothing.
    for (const step of prepared) step.run();
    const result = keep(new Tensor(device, recorded.shape, bufferOf(output).retain()));
    for (const buffer of constants) buffer.release();
    return new CompiledModel(device, Object.freeze([...inputShape]), {
      steps: prepared,
      own,
      input: bufferOf(input),
      output: result,
    });
  } catch (error) {
    for (const undo of release) undo();
    throw error;
  }
}
