/** Numbers on their way from the host into device memory: checked once, alike on every device. */
import { ArgumentError, show } from '../errors.js';
import type { DType, TypedArray } from './device.js';

/** Throws unless `size` can be a number of elements, and `dtype` is one. */
export function checkSize(size: number, dtype: DType = 'float32'): void {
  if (!['float32', 'float64', 'int32', 'int64'].includes(dtype)) {
    throw new ArgumentError(`alloc: dtype is ${show(dtype)}; want 'float32', 'float64', 'int32' or 'int64'`);
  }
  if (!Number.isSafeInteger(size) || size < 0) {
    throw new ArgumentError(`alloc: size is ${show(size)}; want a whole number of at least 0`);
  }
}

/**
 * Copies `data` into `array`, rounding once to its type.
 * @throws ArgumentError when the lengths differ or an element is not of the array's kind
 */
export function copyInto(array: TypedArray, data: ArrayLike<number> | ArrayLike<bigint>): void {
  if (data.length !== array.length) {
    throw new ArgumentError(`write: data has ${data.length} elements; the buffer wants ${array.length}`);
  }
  if (array instanceof BigInt64Array) array.set(toInt64(data));
  else if (data instanceof Float32Array || data instanceof Float64Array) {
    array.set(array instanceof Int32Array ? toNumbers(data, true) : data);
  } else array.set(toNumbers(data, array instanceof Int32Array));
}

/** Whole numbers of 64 bits, from bigints or numbers. */
function toInt64(data: ArrayLike<number> | ArrayLike<bigint>): ArrayLike<bigint> {
  if (data instanceof BigInt64Array) return data;
  return Array.from<number | bigint, bigint>(data, (value, i) => {
    const whole = typeof value === 'bigint' || Number.isInteger(value) ? BigInt(value) : null;
    if (whole === null || BigInt.asIntN(64, whole) !== whole) {
      throw new ArgumentError(`write: data[${i}] is ${show(value)}; an int64 buffer wants whole numbers of 64 bits`);
    }
    return whole;
  });
}

function toNumbers(data: ArrayLike<number> | ArrayLike<bigint>, whole: boolean): ArrayLike<number> {
  for (let i = 0; i < data.length; i++) {
    const value = data[i];
    if (typeof value !== 'number' || (whole && value !== (value | 0))) {
      throw new ArgumentError(
        `write: data[${i}] is the ${typeof value} ${show(value)}; the buffer wants ${whole ? 'whole numbers of 32 bits' : 'numbers'}`,
      );
    }
  }
  return data as ArrayLike<number>;
}
