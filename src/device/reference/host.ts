/**
 * Memory of the reference device, and the few words that all its kernels share: rounding, lane sums, walks over
 * strided tensors.
 */
import { DeviceError, OutOfMemoryError } from '../../errors.js';
import type { Shape } from '../../shape.js';
import { Buffer, type DType, type FloatType, type MemoryUse, type TypedArray } from '../device.js';

export type Floats = Float32Array | Float64Array;

const constructors = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  int64: BigInt64Array,
};

export class ReferenceBuffer extends Buffer {
  /** The elements; null once given back. */
  array: TypedArray | null;

  constructor(
    readonly host: Host,
    array: TypedArray,
    dtype: DType,
  ) {
    super(array.length, dtype);
    this.array = array;
  }

  protected free(): void {
    this.host.forget(this);
  }
}

/** Owns the memory of one device and hands kernels the arrays behind their buffers. */
export class Host {
  /** True when every stored or stepwise result is rounded to float32. */
  readonly single: boolean;
  private readonly live = new Set<ReferenceBuffer>();
  private used = 0;
  private peak = 0;
  private disposed = false;

  constructor(
    readonly name: string,
    readonly dtype: FloatType,
    private readonly maxBytes = Number.POSITIVE_INFINITY,
  ) {
    this.single = dtype === 'float32';
  }

  alloc(size: number, dtype: DType): ReferenceBuffer {
    this.checkAlive('alloc');
    const array = this.allocate(size, dtype);
    // Contents are unspecified; these make a kernel that forgets an element visible.
    if (array instanceof BigInt64Array) array.fill(-1n);
    else array.fill(dtype === 'int32' ? -1 : Number.NaN);
    const buffer = new ReferenceBuffer(this, array, dtype);
    this.live.add(buffer);
    this.used += array.byteLength;
    this.peak = Math.max(this.peak, this.used);
    return buffer;
  }

  /** Zeroed float64 memory for the time of one kernel call. */
  scratch(size: number): Float64Array {
    const array = this.allocate(size, 'float64') as Float64Array;
    this.peak = Math.max(this.peak, this.used + array.byteLength);
    return array;
  }

  /** Elements of a buffer of the device's float type, at least `size` of them. */
  floats(op: string, argument: string, buffer: Buffer, size: number): Floats {
    return this.array(op, argument, buffer, size, this.dtype) as Floats;
  }

  /** Elements of a float64 buffer. */
  wide(op: string, argument: string, buffer: Buffer, size: number): Float64Array {
    return this.array(op, argument, buffer, size, 'float64') as Float64Array;
  }

  /** Elements of an int32 buffer. */
  ints(op: string, argument: string, buffer: Buffer, size: number): Int32Array {
    return this.array(op, argument, buffer, size, 'int32') as Int32Array;
  }

  /**
   * The array behind a buffer.
   * @throws DeviceError when it is another device's, given back, too small or of another dtype
   */
  array(op: string, argument: string, buffer: Buffer, size = 0, dtype: DType = buffer.dtype): TypedArray {
    this.checkAlive(op);
    if (!(buffer instanceof ReferenceBuffer) || buffer.host !== this) {
      throw new DeviceError(`${op}: ${argument} is a buffer of another device; want one of device ${this.name}`);
    }
    if (buffer.array === null) throw new DeviceError(`${op}: ${argument} was used after its memory was given back`);
    if (buffer.dtype !== dtype) throw new DeviceError(`${op}: ${argument} holds ${buffer.dtype}; want ${dtype}`);
    if (buffer.size < size) {
      throw new DeviceError(`${op}: ${argument} has ${buffer.size} elements; want at least ${size}`);
    }
    return buffer.array;
  }

  forget(buffer: ReferenceBuffer): void {
    if (buffer.array === null) return;
    this.used -= buffer.array.byteLength;
    this.live.delete(buffer);
    buffer.array = null;
  }

  memory(): MemoryUse {
    return { used: this.used, peak: this.peak, reserved: this.used };
  }

  dispose(): void {
    for (const buffer of this.live) this.forget(buffer);
    this.disposed = true;
  }

  private checkAlive(op: string): void {
    if (this.disposed) throw new DeviceError(`${op}: device ${this.name} was disposed`);
  }

  private allocate(size: number, dtype: DType): TypedArray {
    const bytes = size * constructors[dtype].BYTES_PER_ELEMENT;
    const refuse = (limit: string): never => {
      throw new OutOfMemoryError(
        `alloc: no memory for ${size} elements of ${dtype} (${bytes} bytes) on device ${this.name}; ${this.used} bytes are in use${limit}`,
        bytes,
        this.used,
      );
    };
    if (this.used + bytes > this.maxBytes) refuse(`, the limit is ${this.maxBytes}`);
    try {
      return new constructors[dtype](size);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return refuse('');
    }
  }
}

/** Looked up once: contexts of Node's vm take six times as long where each step looks a global up, interpreters a quarter more. */
const { fround } = Math;

/**
 * One step's rounding: to float32, or none. A flag and not a function value, since V8 inlines only the former once a
 * process has devices of both types.
 */
export function round(value: number, single: boolean): number {
  return single ? fround(value) : value;
}

/** A sum and one more product: two steps in one call, since a call is what costs where nothing is compiled. */
export function addProduct(sum: number, a: number, b: number, single: boolean): number {
  return single ? fround(sum + fround(a * b)) : sum + a * b;
}

/** The eight float64 accumulators of a lane sum. */
export class Lanes {
  private readonly lanes = new Float64Array(8);

  /** Adds the k-th term. */
  add(k: number, term: number): void {
    this.lanes[k % 8] += term;
  }

  total(): number {
    const l = this.lanes;
    return l[0] + l[1] + (l[2] + l[3]) + (l[4] + l[5] + (l[6] + l[7]));
  }

  clear(): void {
    this.lanes.fill(0);
  }
}

/** Visits the offsets of a strided tensor in row-major order of `shape`; after the last comes the first again. */
export class Walk {
  offset = 0;
  private readonly index: number[];

  constructor(
    private readonly shape: Shape,
    private readonly strides: readonly number[],
  ) {
    this.index = new Array<number>(shape.length).fill(0);
  }

  next(): void {
    for (let axis = this.shape.length - 1; axis >= 0; axis--) {
      this.offset += this.strides[axis];
      if (++this.index[axis] < this.shape[axis]) return;
      this.offset -= this.shape[axis] * this.strides[axis];
      this.index[axis] = 0;
    }
  }
}
