/**
 * Reverse-mode differentiation: `defineOp` runs an op and records it, `grad` walks the record backwards.
 * Nothing is global but the depth of `noGrad`.
 */
import type { Buffer, Device, DType, Kernels } from './device/device.js';
import { synchronously } from './device/scope.js';
import { AutogradError, DeviceError, reading } from './errors.js';
import { checkShape, formatShape, type Shape, sameShape } from './shape.js';
import { checkDevice, checkTensor, type GraphNode, Tensor } from './tensor.js';

/** The buffers of an op's inputs: null only where the input may be. */
export type BuffersOf<I extends readonly (Tensor | null)[]> = {
  readonly [K in keyof I]: I[K] extends Tensor ? Buffer : Buffer | null;
};

/** What an op's forward pass works with. */
export interface ForwardContext<I extends readonly (Tensor | null)[]> {
  readonly device: Device;
  readonly kernels: Kernels;
  /** Buffers of the inputs, null where an optional one was left out. */
  readonly inputs: BuffersOf<I>;
  /** Where the result goes, already allocated. */
  readonly out: Buffer;
  /** Whether a backward pass may follow; if not, nothing needs saving. */
  readonly recorded: boolean;
  /** Memory that the backward pass will find as `saved[i]`, i counting calls. Freed by the graph. */
  save(size: number, dtype: DType): Buffer;
  /** Memory in the device's dtype until the forward pass ends. */
  scratch(size: number): Buffer;
}

/** What an op's backward pass works with. */
export interface BackwardContext<I extends readonly (Tensor | null)[]> {
  readonly kernels: Kernels;
  readonly inputs: BuffersOf<I>;
  /** The op's result. */
  readonly out: Buffer;
  readonly saved: readonly Buffer[];
  /** Gradient of the result. */
  readonly dy: Buffer;
  /** Memory in the device's dtype until the backward pass of this op ends. */
  scratch(size: number): Buffer;
  /** A buffer to fill with the gradient of input i, or null when nobody asks for it. */
  grad(i: number): Buffer | null;
  /** Says that the gradient of input i is `dy` itself. */
  pass(i: number): void;
}

/** What follows from the inputs' shapes and the options alone. */
export interface Plan {
  /** Shape of the result. */
  readonly shape: Shape;
}

/**
 * An op in one place. `plan` checks shapes and options and throws `ArgumentError`; `forward` and `backward`
 * call kernels.
 */
export interface OpDefinition<I extends readonly (Tensor | null)[], O, P extends Plan> {
  readonly name: string;
  /** Names of the inputs, for messages; `bias?` may be null. */
  readonly inputs: { readonly [K in keyof I]: string };
  /**
   * Checks the inputs and the options, and says the shape of the result.
   * @throws ArgumentError naming the op, what it got and what it wanted
   */
  plan(inputs: I, options: O): P;
  /** Computes the result into the buffer that the context has for it. */
  forward(context: ForwardContext<I>, plan: P): void;
  /** Computes the gradients that are asked for from that of the result. */
  backward(context: BackwardContext<I>, plan: P): void;
  /** The result shares the first input's memory; `forward` is then not called. */
  readonly view?: boolean;
  /** Which buffers `backward` reads besides `dy`; others may be disposed before `grad`. Default: all. */
  readonly needs?: { readonly inputs?: boolean; readonly out?: boolean };
}

/** What was called: enough to do it again on other buffers. */
export interface OpCall {
  readonly view: boolean;
  readonly plan: Plan;
  forward(context: ForwardContext<readonly (Tensor | null)[]>): void;
}

/** One recorded call: a node of the graph. */
export class OpNode implements GraphNode {
  released = false;

  constructor(
    readonly name: string,
    readonly call: OpCall,
    readonly inputs: readonly (Tensor | null)[],
    readonly inputNames: readonly string[],
    readonly output: Tensor,
    readonly saved: readonly Buffer[],
    /** Gradients of the inputs marked in `wanted`, given the result's. */
    readonly backward: (dy: Buffer, wanted: readonly boolean[]) => (Buffer | null)[],
  ) {}

  release(): void {
    if (this.released) return;
    this.released = true;
    for (const buffer of this.saved) buffer.release();
  }
}

let noGradDepth = 0;

/**
 * Runs `fn` without recording: results require no gradient. Returns what `fn` returns.
 * @see https://pytorch.org/docs/stable/generated/torch.no_grad.html
 */
export function noGrad<T>(fn: () => T): T {
  noGradDepth++;
  try {
    return synchronously('noGrad', fn);
  } finally {
    noGradDepth--;
  }
}

/**
 * The same for what is computed on one device: nothing is global then. Returns what `fn` returns.
 * @see https://pytorch.org/docs/stable/generated/torch.autograd.grad_mode.inference_mode.html
 */
export function inferenceMode<T>(device: Device, fn: () => T): T {
  checkDevice('inferenceMode', device);
  return device.scopes.withoutRecording(fn);
}

/**
 * The same elements, shared and not copied, without the graph behind them: a leaf that requires no gradient.
 * @see https://pytorch.org/docs/stable/generated/torch.Tensor.detach.html
 */
export function detach(t: Tensor): Tensor {
  checkTensor('detach', 't', t);
  return new Tensor(t.device, t.shape, t.buffer.retain());
}

function commonDevice(
  name: string,
  inputNames: readonly string[],
  optional: readonly boolean[],
  inputs: readonly (Tensor | null)[],
): Device {
  let device: Device | null = null;
  let first = '';
  inputs.forEach((input, i) => {
    if (input === null && optional[i]) return;
    if (!(input instanceof Tensor)) throw new DeviceError(`${name}: ${inputNames[i]} is not a Tensor`);
    if (input.disposed) throw new DeviceError(`${name}: ${inputNames[i]} ${formatShape(input.shape)} was disposed`);
    if (device !== null && input.device !== device) {
      throw new DeviceError(
        `${name}: ${first} is on device ${device.name} but ${inputNames[i]} is on device ${input.device.name}${input.device.name === device.name ? ' (another instance)' : ''}; want all on one`,
      );
    }
    if (input.dtype !== input.device.dtype) {
      throw new DeviceError(`${name}: ${inputNames[i]} has dtype ${input.dtype}; want ${input.device.dtype}`);
    }
    if (device === null) {
      device = input.device;
      first = inputNames[i];
    }
  });
  if (device === null) throw new DeviceError(`${name}: no tensor given`);
  return device;
}

/** Makes an op callable: checks devices, plans, runs, and records the call when a gradient may be asked for. */
export function defineOp<I extends readonly (Tensor | null)[], O, P extends Plan>(
  definition: OpDefinition<I, O, P>,
): (inputs: I, options: O) => Tensor {
  const { name } = definition;
  const given = definition.inputs as readonly string[];
  const optional = given.map((input) => input.endsWith('?'));
  const inputNames = given.map((input, i) => (optional[i] ? input.slice(0, -1) : input));
  const needsInputs = definition.needs?.inputs ?? true;
  const needsOut = definition.needs?.out ?? true;

  return (inputs, options) => {
    const device = commonDevice(name, inputNames, optional, inputs);
    const plan = reading(name, () => definition.plan(inputs, options));
    checkShape(name, 'the result', plan.shape);
    const recorded = noGradDepth === 0 && device.scopes.recording && inputs.some((input) => input?.requiresGrad);
    const saved: Buffer[] = [];
    const scratch: Buffer[] = [];
    const takeScratch = (size: number): Buffer => {
      const buffer = device.alloc(size);
      scratch.push(buffer);
      return buffer;
    };
    const freeScratch = (): void => {
      while (scratch.length > 0) scratch.pop()?.release();
    };

    let out: Buffer;
    if (definition.view) {
      out = (inputs[0] as Tensor).buffer.retain();
    } else {
      out = device.alloc(plan.shape.reduce((a, b) => a * b, 1));
      try {
        definition.forward(
          {
            device,
            kernels: device.kernels,
            inputs: inputs.map((input) => input?.buffer ?? null) as unknown as BuffersOf<I>,
            out,
            recorded,
            save(size, dtype) {
              const buffer = device.alloc(size, dtype);
              saved.push(buffer);
              return buffer;
            },
            scratch: takeScratch,
          },
          plan,
        );
      } catch (error) {
        out.release();
        for (const buffer of saved) buffer.release();
        throw error;
      } finally {
        freeScratch();
      }
    }
    const y = new Tensor(device, plan.shape, out, recorded);
    if (!recorded) {
      for (const buffer of saved) buffer.release();
      return y;
    }

    const versions = inputs.map((input) => input?.buffer.version);
    const outVersion = out.version;
    const call: OpCall = {
      view: definition.view ?? false,
      plan,
      forward: (context) => definition.forward(context as unknown as ForwardContext<I>, plan),
    };
    y.node = new OpNode(name, call, inputs, inputNames, y, saved, (dy, wanted) => {
      const grads: (Buffer | null)[] = inputs.map(() => null);
      const bufferOf = (what: string, t: Tensor, version: number | undefined): Buffer => {
        if (t.disposed)
          throw new AutogradError(
            `grad: ${what} of ${name} ${formatShape(t.shape)} was disposed before its gradient was taken`,
          );
        if (t.buffer.version !== version) {
          throw new AutogradError(
            `grad: ${what} of ${name} ${formatShape(t.shape)} was changed in place, by write() or an optimizer, after the op read it`,
          );
        }
        return t.buffer;
      };
      try {
        definition.backward(
          {
            kernels: device.kernels,
            inputs: (needsInputs
              ? inputs.map((input, i) => input && bufferOf(inputNames[i], input, versions[i]))
              : []) as unknown as BuffersOf<I>,
            out: needsOut ? bufferOf('the result', y, outVersion) : dy,
            saved,
            dy,
            scratch: takeScratch,
            grad(i) {
              if (!wanted[i]) return null;
              grads[i] = device.alloc((inputs[i] as Tensor).size);
              return grads[i];
            },
            pass(i) {
              if (wanted[i]) grads[i] = dy.retain();
            },
          },
          plan,
        );
      } catch (error) {
        for (const buffer of grads) buffer?.release();
        throw error;
      } finally {
        freeScratch();
      }
      return grads;
    });
    return y;
  };
}

/** The recorded tensors that `y` depends on, each after all of its inputs. Iterative: depth is no limit. */
export function topologicalOrder(y: Tensor): Tensor[] {
  const order: Tensor[] = [];
  const state = new Map<Tensor, 'open' | 'done'>();
  const stack: Tensor[] = [y];
  while (stack.length > 0) {
    const t = stack[stack.length - 1];
    if (state.get(t) === 'done') {
      stack.pop();
      continue;
    }
    if (state.get(t) === 'open' || t.node === null) {
      state.set(t, 'done');
      order.push(t);
      stack.pop();
      continue;
    }
    state.set(t, 'open');
    const { inputs } = t.node as OpNode;
    for (let i = inputs.length - 1; i >= 0; i--) {
      const input = inputs[i];
      if (input !== null && !state.has(input)) stack.push(input);
    }
  }
  return order;
}

/**
 * Gradients of the scalar `y` (or of ⟨y, dy⟩) with respect to each of `xs`, on their device, not recorded.
 * Contributions to one tensor are added in the order in which its consumers are met, last op first. The
 * graph is spent: a second `grad` through it is an error. Inside a scope, intermediates of the graph that the
 * scope made are freed on the way, except `y`, `xs`, leaves and kept tensors.
 * @throws AutogradError when y is not a scalar and no dy is given, or an x does not influence y
 * @see https://pytorch.org/docs/stable/generated/torch.autograd.grad.html
 */
export function grad(y: Tensor, xs: readonly Tensor[], dy?: Tensor): Tensor[] {
  checkTensor('grad', 'y', y);
  if (dy !== undefined) checkTensor('grad', 'dy', dy);
  if (!Array.isArray(xs)) throw new AutogradError('grad: xs is no array; want tensors');
  for (const [i, x] of xs.entries()) checkTensor('grad', `xs[${i}]`, x);
  const { device } = y;
  if (dy === undefined && y.size !== 1) {
    throw new AutogradError(`grad: y has shape ${formatShape(y.shape)}; want a scalar, or pass dy`);
  }
  if (dy !== undefined && (!sameShape(dy.shape, y.shape) || dy.device !== device || dy.dtype !== y.dtype)) {
    throw new AutogradError(
      `grad: dy has shape ${formatShape(dy.shape)} on ${dy.device.name}; want ${formatShape(y.shape)} on ${device.name}`,
    );
  }

  const order = topologicalOrder(y);
  for (const t of order) {
    if (t.severed) {
      throw new AutogradError(
        `grad: a tensor ${formatShape(t.shape)} between xs and y was disposed, by dispose(), the end of its scope or an earlier grad inside the scope, and took the graph behind it along; keep(t) prevents the last two, detach(t) cuts on purpose`,
      );
    }
  }
  // Only what lies between xs and y needs a gradient.
  const relevant = new Set<Tensor>(xs);
  for (const t of order) {
    const node = t.node as OpNode | null;
    if (node?.inputs.some((input) => input !== null && relevant.has(input))) relevant.add(t);
  }
  const reached = new Set(order);
  xs.forEach((x, i) => {
    if (!reached.has(x)) throw new AutogradError(`grad: xs[${i}] ${formatShape(x.shape)} does not influence y`);
    if (!x.requiresGrad) throw new AutogradError(`grad: xs[${i}] ${formatShape(x.shape)} has requiresGrad false`);
  });

  const wantedResults = new Set<Tensor>(xs);
  const grads = new Map<Tensor, Buffer>();
  const seed = dy === undefined ? device.alloc(1) : dy.buffer.retain();
  if (dy === undefined) device.kernels.fill({ out: seed, value: 1 });
  grads.set(y, seed);
  /** What an op gave and is not yet added up. */
  let given: (Buffer | null)[] = [];

  try {
    for (let i = order.length - 1; i >= 0; i--) {
      const t = order[i];
      const node = t.node as OpNode | null;
      const dt = grads.get(t);
      if (node === null) continue;
      if (dt !== undefined) {
        if (node.released)
          throw new AutogradError(`grad: the graph behind ${node.name} ${formatShape(t.shape)} is already spent`);
        const wanted = node.inputs.map((input) => input !== null && input.requiresGrad && relevant.has(input));
        given = wanted.includes(true) ? node.backward(dt, wanted) : [];
        given.forEach((g, j) => {
          if (g !== null) addInto(grads, node.inputs[j] as Tensor, g);
          given[j] = null;
        });
        if (!wantedResults.has(t)) {
          grads.delete(t);
          dt.release();
        }
      }
      node.release();
      if (t !== y && !t.kept && !wantedResults.has(t) && device.scopes.ownsInnermost(t)) t.dispose();
    }
    return device.scopes.attempt(() =>
      xs.map((x) => new Tensor(device, x.shape, ownBuffer(device, grads.get(x) as Buffer))),
    );
  } finally {
    for (const buffer of [...grads.values(), ...given]) buffer?.release();
  }
}

/** The buffer itself when only `grad` holds it, else a copy: two results must not share memory that users write to. */
function ownBuffer(device: Device, buffer: Buffer): Buffer {
  if (buffer.exclusive) return buffer.retain();
  const out = device.alloc(buffer.size);
  device.kernels.expand({ x: buffer, out, shape: [buffer.size], xStrides: [1], divisor: 1 });
  return out;
}

/** Adds a contribution, in place where the sum so far is nobody else's. Takes `g` over. */
function addInto(grads: Map<Tensor, Buffer>, t: Tensor, g: Buffer): void {
  const sum = grads.get(t);
  if (sum === undefined) {
    grads.set(t, g);
    return;
  }
  const { device } = t;
  if (sum.exclusive) {
    device.kernels.accumulate({ x: g, out: sum });
  } else {
    const out = device.alloc(sum.size);
    device.kernels.binary({ operator: 'add', a: sum, b: g, out, shape: [t.size], aStrides: [1], bStrides: [1] });
    sum.release();
    grads.set(t, out);
  }
  g.release();
}
