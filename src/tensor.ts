/**
 * Tensor: a shape and a dtype over a device buffer, and the graph node that made it. Dense, row-major.
 */
import type { Buffer, Device, DType, TypedArray } from './device/device.js';
import { type Resource, ScopeStack } from './device/scope.js';
import { ArgumentError, DeviceError, show } from './errors.js';
import { checkShape, formatShape, type Shape, sizeOf } from './shape.js';

/** What a tensor needs to know of the graph behind it; `autograd.ts` has the rest. */
export interface GraphNode {
  /** Frees what the op saved for its backward pass. */
  release(): void;
}

export class Tensor implements Resource {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly device: Device;
  /** The node of the graph that made this tensor; null for leaves and under `noGrad`. */
  node: GraphNode | null = null;
  /** True once a disposed result has lost the graph behind it: a `grad` that would walk through it is an error. */
  severed = false;
  /** True after `keep`: no scope and no `grad` frees it. */
  kept = false;
  private memory: Buffer | null;
  private differentiable: boolean;

  /** Takes over `buffer`. Users call `tensor()` instead. */
  constructor(device: Device, shape: Shape, buffer: Buffer, requiresGrad = false) {
    this.device = device;
    this.shape = Object.freeze([...shape]);
    this.dtype = buffer.dtype;
    this.memory = buffer;
    this.differentiable = requiresGrad;
    device.scopes.track(this);
  }

  /** Leaves: set by the maker, and may be set anew for the ops to come. Results of ops: true when any input had it. */
  get requiresGrad(): boolean {
    return this.differentiable;
  }

  /** @throws ArgumentError on the result of an op, and for a dtype that has no gradient */
  set requiresGrad(value: boolean) {
    if (this.node !== null || this.severed) {
      throw new ArgumentError(
        `requiresGrad: tensor ${formatShape(this.shape)} is the result of an op; want a leaf, or detach(t)`,
      );
    }
    if (value && this.dtype !== this.device.dtype) {
      throw new ArgumentError(
        `requiresGrad: tensor is ${this.dtype}, which has no gradient; want ${this.device.dtype}`,
      );
    }
    this.differentiable = value;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  /** Whether its memory was given back: it cannot be used any more. */
  get disposed(): boolean {
    return this.memory === null;
  }

  /** The device memory. Throws once disposed. */
  get buffer(): Buffer {
    if (this.memory === null)
      throw new DeviceError(
        `tensor ${formatShape(this.shape)} was used after it was disposed: by dispose(), by the end of its scope, or by grad() inside a scope; keep(t) prevents the last two`,
      );
    return this.memory;
  }

  /** A copy of the elements, row-major. */
  async data(): Promise<TypedArray> {
    return this.device.read(this.buffer);
  }

  /** The same without waiting, on devices whose memory the CPU sees. */
  dataSync(): TypedArray {
    if (!this.device.readSync) {
      throw new DeviceError(`dataSync: device ${this.device.name} can only be read with await x.data()`);
    }
    return this.device.readSync(this.buffer);
  }

  /** The single element of a tensor of size 1, as a number. */
  item(): number {
    if (this.size !== 1) throw new ArgumentError(`item: tensor has shape ${formatShape(this.shape)}; want one element`);
    return Number(this.dataSync()[0]);
  }

  /**
   * A copy on another device, without the graph behind this one and rounded to that device's dtype; this tensor itself where
   * it is there already.
   * @see https://pytorch.org/docs/stable/generated/torch.Tensor.to.html
   */
  async to(device: Device): Promise<Tensor> {
    checkDevice('to', device);
    if (device === this.device) return this;
    const data = await this.data();
    const whole = this.dtype === 'int32' || this.dtype === 'int64';
    const buffer = device.alloc(this.size, whole ? this.dtype : device.dtype);
    device.write(buffer, data);
    return new Tensor(device, this.shape, buffer, this.requiresGrad);
  }

  /** Overwrites the elements in place; identity, shape and dtype stay. */
  write(data: ArrayLike<number> | ArrayLike<bigint>): void {
    if (data?.length !== this.size) {
      throw new ArgumentError(
        `write: got ${show(data?.length)} elements for shape ${formatShape(this.shape)}; want ${this.size}`,
      );
    }
    this.device.write(this.buffer, data);
    this.buffer.version++;
  }

  /** Gives the memory back, and what the op that made it had saved. Twice is fine. */
  dispose(): void {
    if (this.memory === null) return;
    this.memory.release();
    this.memory = null;
    this.severed = this.node !== null;
    this.node?.release();
    this.node = null;
    this.device.scopes.forget(this);
  }
}

/** A number, or arrays of arrays of numbers, as deep as the tensor has axes. */
export type NestedArray = number | readonly NestedArray[];
/** Elements of a tensor: numbers in arrays nested as its shape is, or one array of all, row-major. */
export type TensorData = NestedArray | ArrayLike<number> | ArrayLike<bigint>;

/** Where a tensor lies, and whether `grad` may ask for its gradient (not by default). */
export interface TensorOptions {
  device: Device;
  requiresGrad?: boolean;
}

function isTypedArray(data: unknown): data is ArrayLike<number> | ArrayLike<bigint> {
  return ArrayBuffer.isView(data) && !(data instanceof DataView);
}

/** Shape and flat elements of nested arrays; ragged ones are an error. */
function flattenNested(data: NestedArray): { shape: number[]; flat: number[] } {
  const shape: number[] = [];
  for (let level: NestedArray = data; typeof level !== 'number'; level = level[0]) {
    if (!Array.isArray(level)) {
      throw new ArgumentError(
        `tensor: data holds ${level === null ? 'null' : typeof level}; want numbers, nested arrays of them or a numeric typed array`,
      );
    }
    shape.push(level.length);
    if (level.length === 0) break;
  }
  const flat: number[] = [];
  const walk = (value: NestedArray, depth: number): void => {
    if (typeof value === 'number') {
      if (depth !== shape.length)
        throw new ArgumentError('tensor: nested arrays are ragged: a number stands where an array should');
      flat.push(value);
      return;
    }
    if (!Array.isArray(value)) throw new ArgumentError(`tensor: data holds ${typeof value}; want numbers`);
    if (depth === shape.length || value.length !== shape[depth]) {
      throw new ArgumentError(
        `tensor: nested arrays are ragged at depth ${depth}: got ${value.length} items; want ${shape[depth] ?? 'a number'}`,
      );
    }
    for (const part of value) walk(part, depth + 1);
  };
  walk(data, 0);
  return { shape, flat };
}

/**
 * A tensor that copies `data`: a number, nested arrays or any numeric typed array, each element rounded once
 * to the device's dtype. `BigInt64Array` makes an int64 tensor. Without `shape`, nested arrays give theirs and
 * a typed array is 1-d.
 * @see https://pytorch.org/docs/stable/generated/torch.tensor.html
 */
export function tensor(data: TensorData, shape: Shape | undefined, options: TensorOptions): Tensor;
export function tensor(data: TensorData, options: TensorOptions): Tensor;
export function tensor(
  data: TensorData,
  shapeOrOptions: Shape | TensorOptions | undefined,
  last?: TensorOptions,
): Tensor {
  const bare = shapeOrOptions !== undefined && !Array.isArray(shapeOrOptions);
  const options = bare ? (shapeOrOptions as TensorOptions) : last;
  const shape = bare ? undefined : (shapeOrOptions as Shape | undefined);
  checkDevice('tensor', options?.device);
  const { device, requiresGrad = false } = options as TensorOptions;

  let flat: ArrayLike<number> | ArrayLike<bigint>;
  let own: number[];
  if (isTypedArray(data)) {
    flat = data;
    own = [data.length];
  } else {
    ({ shape: own, flat } = flattenNested(data as NestedArray));
  }
  const target = shape ?? own;
  checkShape('tensor', 'shape', target);
  if (sizeOf(target) !== flat.length) {
    throw new ArgumentError(
      `tensor: data has ${flat.length} elements; shape ${formatShape(target)} wants ${sizeOf(target)}`,
    );
  }
  const integer = flat instanceof BigInt64Array;
  if (flat instanceof BigUint64Array)
    throw new ArgumentError('tensor: data is a BigUint64Array; want BigInt64Array for int64');
  if (integer && requiresGrad) throw new ArgumentError('tensor: an int64 tensor cannot require a gradient');
  const t = new Tensor(device, target, device.alloc(flat.length, integer ? 'int64' : device.dtype), requiresGrad);
  try {
    device.write(t.buffer, flat);
  } catch (error) {
    t.dispose();
    throw error;
  }
  return t;
}

/** @throws ArgumentError unless it is a device */
export function checkDevice(op: string, device: unknown): asserts device is Device {
  const { alloc, scopes } = Object(device ?? {}) as Partial<Device>;
  if (typeof alloc === 'function' && scopes instanceof ScopeStack) return;
  throw new ArgumentError(
    `${op}: ${device === undefined ? 'no device given' : `device is ${show(device)}`}; want { device }`,
  );
}

/** @throws ArgumentError unless it is a tensor */
export function checkTensor(op: string, argument: string, t: unknown): asserts t is Tensor {
  if (!(t instanceof Tensor)) throw new ArgumentError(`${op}: ${argument} is ${show(t)}; want a Tensor`);
}

/** Lets a tensor outlive every scope it was made in, and `grad`'s freeing. Returns it. */
export function keep<T extends Tensor>(t: T): T {
  checkTensor('keep', 't', t);
  t.kept = true;
  t.device.scopes.forget(t);
  return t;
}
