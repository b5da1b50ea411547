import { describe, expect, test } from 'vitest';
import type { Buffer, Device, DType } from '../src/device/device.js';
import { reference } from '../src/device/reference.js';
import { ArgumentError, DeviceError, OutOfMemoryError } from '../src/errors.js';
import { exp, log } from '../src/math.js';
import type { ConvGeometry, PoolGeometry } from '../src/shape.js';

const f = Math.fround;
const { NaN: nan } = Number;

/** A device with shorthands: `put` makes a filled buffer, `room` an unfilled one, `get` reads. */
function bench(dtype: 'float32' | 'float64') {
  const device = reference({ dtype });
  return {
    device,
    k: device.kernels,
    put(values: readonly number[], as: DType = dtype): Buffer {
      const buffer = device.alloc(values.length, as);
      device.write(buffer, values);
      return buffer;
    },
    room: (size: number, as: DType = dtype): Buffer => device.alloc(size, as),
    get: (buffer: Buffer): number[] => elements(device, buffer).map(Number),
    /** Rounds as the device stores. */
    r: (x: number) => (dtype === 'float32' ? f(x) : x),
    single: dtype === 'float32',
  };
}

function read(device: Device, buffer: Buffer) {
  if (!device.readSync) throw new Error('the reference device is readable without waiting');
  return device.readSync(buffer);
}

function elements(device: Device, buffer: Buffer): (number | bigint)[] {
  return Array.from<number | bigint>(read(device, buffer));
}

function convGeometry(o: Partial<ConvGeometry>): ConvGeometry {
  const g = {
    batch: 1,
    inChannels: 1,
    inHeight: 1,
    inWidth: 1,
    outChannels: 1,
    kernelHeight: 1,
    kernelWidth: 1,
    strideHeight: 1,
    strideWidth: 1,
    padTop: 0,
    padLeft: 0,
    dilationHeight: 1,
    dilationWidth: 1,
    groups: 1,
    ...o,
  };
  const extent = (size: number, pad: number, kernel: number, stride: number, dilation: number) =>
    Math.floor((size + 2 * pad - dilation * (kernel - 1) - 1) / stride) + 1;
  return {
    outHeight: extent(g.inHeight, g.padTop, g.kernelHeight, g.strideHeight, g.dilationHeight),
    outWidth: extent(g.inWidth, g.padLeft, g.kernelWidth, g.strideWidth, g.dilationWidth),
    ...g,
  };
}

/** The same geometry with height and width exchanged. */
function upright<G extends object>(g: G): G {
  const swapped = Object.entries(g).map(([key, value]) => [
    key.replace(/Height|Width|Top|Left/, (word) => ({ Height: 'Width', Width: 'Height', Top: 'Left' })[word] ?? 'Top'),
    value,
  ]);
  return Object.fromEntries(swapped) as G;
}

function poolGeometry(o: Partial<PoolGeometry>): PoolGeometry {
  const { padTop = 0, padLeft = 0, padBottom = padTop, padRight = padLeft } = o;
  const { dilationHeight = 1, dilationWidth = 1, planes = 1 } = o;
  const g = convGeometry({ ...o, padTop, padLeft });
  return { ...g, planes, padTop, padLeft, padBottom, padRight, dilationHeight, dilationWidth };
}

describe.each(['float32', 'float64'] as const)('%s', (dtype) => {
  const { k, put, room, get, r, single } = bench(dtype);
  /** Values without short binary fractions, enough of them that every rounding shows. */
  const noise = (salt: number, size = 400) =>
    Array.from({ length: size }, (_, i) => r(((i * 7919 + salt) % 1009) / 311 - 1.6));

  test('fill', () => {
    const out = room(2);
    k.fill({ out, value: 0.1 });
    expect(get(out)).toEqual([r(0.1), r(0.1)]);
    const count = room(1, 'int64');
    k.fill({ out: count, value: 3 });
    expect(get(count)).toEqual([3]);
  });

  test('binary: the four operators, broadcasting by strides of 0', () => {
    const a = put([1, 2, 3, 4, 5, 6]);
    const b = put([10, 20, 30]);
    const out = room(6);
    const run = (operator: 'add' | 'sub' | 'mul' | 'div') => {
      k.binary({ operator, a, b, out, shape: [2, 3], aStrides: [3, 1], bStrides: [0, 1] });
      return get(out);
    };
    expect(run('add')).toEqual([11, 22, 33, 14, 25, 36]);
    expect(run('sub')).toEqual([-9, -18, -27, -6, -15, -24]);
    expect(run('mul')).toEqual([10, 40, 90, 40, 100, 180]);
    expect(run('div')).toEqual([0.1, 0.1, 0.1, 0.4, 0.25, 0.2].map(r));
    k.binary({ operator: 'sub', a: b, b: put([1, 2]), out, shape: [2, 3], aStrides: [0, 1], bStrides: [1, 0] });
    expect(get(out)).toEqual([9, 19, 29, 8, 18, 28]);
    k.binary({ operator: 'div', a: put([1, -1, 0]), b: put([0]), out, shape: [3], aStrides: [1], bStrides: [0] });
    expect(get(out).slice(0, 3)).toEqual([Infinity, -Infinity, nan]);
    k.binary({ operator: 'add', a: put([7]), b: put([1]), out, shape: [], aStrides: [], bStrides: [] });
    expect(get(out)[0]).toBe(8);
  });

  test('accumulate', () => {
    const out = put([1, 2 ** 24, -0]);
    k.accumulate({ x: put([2, 1, -0]), out });
    expect(get(out)).toEqual([3, single ? 2 ** 24 : 2 ** 24 + 1, -0]);
  });

  test('relu: −0 becomes +0, NaN stays', () => {
    const out = room(6);
    k.relu({ x: put([-1, -0, 0, 2, nan, -Infinity]), out });
    expect(get(out)).toEqual([0, 0, 0, 2, nan, 0]);
  });

  test('reluBackward: the gradient passes where y > 0 or NaN', () => {
    const dx = room(4);
    k.reluBackward({ y: put([0, 3, nan, 0]), dy: put([5, -6, 7, -0]), dx });
    expect(get(dx)).toEqual([0, -6, 7, 0]);
  });

  describe('sum', () => {
    const run = (values: number[], shape: number[], reduce: boolean[], divisor = 1) => {
      const out = room(shape.reduce((n, extent, axis) => (reduce[axis] ? n : n * extent), 1));
      k.sum({ x: put(values), out, shape, reduce, divisor });
      return get(out);
    };
    const six = [1, 2, 3, 4, 5, 6];
    test('any set of axes', () => {
      expect(run(six, [2, 3], [true, false])).toEqual([5, 7, 9]);
      expect(run(six, [2, 3], [false, true])).toEqual([6, 15]);
      expect(run(six, [2, 3], [true, true], 4)).toEqual([5.25]);
      expect(run(six, [2, 3], [false, false])).toEqual(six);
      expect(run(six, [1, 2, 3], [true, false, true])).toEqual([6, 15]);
      expect(run([1, 2, 3, 4, 5, 6, 7, 8], [2, 2, 2], [true, false, true])).toEqual([14, 22]);
      expect(run(six, [6], [true], 0.3)).toEqual([r(21 / 0.3)]);
    });
    test('nothing: 0, and NaN for the mean of nothing', () => {
      expect(run([], [0, 2], [true, false])).toEqual([0, 0]);
      expect(run([], [0], [true], 0)).toEqual([nan]);
    });
    test('starts at +0', () => {
      expect(run([-0, -0], [2], [true])).toEqual([0]);
    });
    test('in float64, whatever the dtype', () => {
      expect(run([2 ** 24, 1, 1], [3], [true])).toEqual([2 ** 24 + 2]);
    });
    test('lane k mod 8, lanes added in pairs', () => {
      // One after the other gives 0: each 1 is too small alone. The lanes 2 and 3 meet first.
      expect(run([2 ** 53, 0, 1, 1, -(2 ** 53)], [5], [true])).toEqual([2]);
      // Likewise the lanes 6 and 7, before either half meets the other.
      expect(run([-(2 ** 53), 0, 0, 0, 2 ** 53, 0, 1, 1], [8], [true])).toEqual([2]);
      expect(run([2 ** 53, 0, 1, 0, 1, 0, -(2 ** 53), 0], [8], [true])).toEqual([1]);
      // The ninth term goes to lane 0 and the tenth to lane 1, each too small alone.
      expect(run([2 ** 53, 0, 0, 0, -(2 ** 53), 0, 0, 0, 1, 1], [10], [true])).toEqual([0]);
      // Terms are numbered in row-major order of the reduced axes, here the first and the last.
      const values = [2 ** 53, 0, 9, 9, 1, 1, 9, 9, -(2 ** 53), 0, 9, 9];
      expect(run(values, [3, 2, 2], [true, false, true])).toEqual([2, 54]);
    });
  });

  test('expand: the gradient of sum', () => {
    const out = room(6);
    k.expand({ x: put([3, 6]), out, shape: [2, 3], xStrides: [1, 0], divisor: 3 });
    expect(get(out)).toEqual([1, 1, 1, 2, 2, 2]);
    k.expand({ x: put([1]), out, shape: [6], xStrides: [0], divisor: 3 });
    expect(get(out)[5]).toBe(r(1 / 3));
  });

  describe('matmul', () => {
    const run = (
      [m, n, depth]: number[],
      a: number[],
      b: number[],
      o: { bias?: number[]; transposeA?: boolean; transposeB?: boolean; batch?: number; aStride?: number } = {},
    ) => {
      const batch = o.batch ?? 1;
      const out = room(batch * m * n);
      k.matmul({
        a: put(a),
        b: put(b),
        bias: o.bias ? put(o.bias) : null,
        out,
        m,
        n,
        k: depth,
        transposeA: o.transposeA ?? false,
        transposeB: o.transposeB ?? false,
        batch,
        aBatchStride: o.aStride ?? m * depth,
        bBatchStride: depth * n,
      });
      return get(out);
    };
    test('all four layouts, bias, batch', () => {
      const product = [58, 64, 139, 154];
      expect(run([2, 2, 3], [1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12])).toEqual(product);
      expect(run([2, 2, 3], [1, 4, 2, 5, 3, 6], [7, 8, 9, 10, 11, 12], { transposeA: true })).toEqual(product);
      expect(run([2, 2, 3], [1, 2, 3, 4, 5, 6], [7, 9, 11, 8, 10, 12], { transposeB: true })).toEqual(product);
      expect(run([2, 2, 3], [1, 4, 2, 5, 3, 6], [7, 9, 11, 8, 10, 12], { transposeA: true, transposeB: true })).toEqual(
        product,
      );
      expect(run([2, 2, 3], [1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12], { bias: [100, 200] })).toEqual([
        158, 264, 239, 354,
      ]);
      expect(run([1, 1, 2], [1, 2, 3, 4], [5, 6, 7, 8], { batch: 2 })).toEqual([17, 53]);
      expect(run([1, 1, 2], [1, 2], [5, 6, 7, 8], { batch: 2, aStride: 0 })).toEqual([17, 23]);
    });
    test('k ascending', () => {
      expect(run([1, 1, 3], [2 ** 24, 1, 1], [1, 1, 1])).toEqual([single ? 2 ** 24 : 2 ** 24 + 2]);
      expect(run([1, 1, 3], [1, 1, 2 ** 24], [1, 1, 1])).toEqual([2 ** 24 + 2]);
    });
    test('the product is rounded before it is added, and the bias comes last', () => {
      const a = 1 + 2 ** -12;
      expect(run([1, 1, 2], [-1, a], [1 + 2 ** -11, a])).toEqual([single ? 0 : 2 ** -24]);
      expect(run([1, 1, 2], [1, 1], [1, 2 ** 24], { bias: [-(2 ** 24)] })).toEqual([single ? 0 : 1]);
    });
    test('no terms: +0; starts at +0', () => {
      expect(run([1, 2, 0], [], [])).toEqual([0, 0]);
      expect(run([1, 1, 1], [-1], [0])).toEqual([0]);
    });
  });

  describe('conv2d', () => {
    const run = (g: ConvGeometry, x: number[], weight: number[], bias?: number[]) => {
      const out = room(g.batch * g.outChannels * g.outHeight * g.outWidth);
      k.conv2d({ ...g, x: put(x), weight: put(weight), bias: bias ? put(bias) : null, out });
      const result = get(out);
      if (g.inHeight === 1) {
        // A single row gives the same as a column.
        k.conv2d({ ...upright(g), x: put(x), weight: put(weight), bias: bias ? put(bias) : null, out });
        expect(get(out)).toEqual(result);
      }
      return result;
    };
    const nine = [0, 1, 2, 3, 4, 5, 6, 7, 8];
    const square = convGeometry({ inHeight: 3, inWidth: 3, kernelHeight: 2, kernelWidth: 2 });
    test("the chapter's example", () => {
      expect(run(square, nine, [0, 1, 2, 3])).toEqual([19, 25, 37, 43]);
      expect(run(square, nine, [0, 1, 2, 3], [0.5])).toEqual([19.5, 25.5, 37.5, 43.5]);
    });
    test('padding, stride, dilation', () => {
      const padded = convGeometry({ ...square, outHeight: undefined, outWidth: undefined, padTop: 1, padLeft: 1 });
      expect(run({ ...padded, outHeight: 4, outWidth: 4 }, nine, [0, 1, 2, 3])).toEqual([
        0, 3, 8, 4, 9, 19, 25, 10, 21, 37, 43, 16, 6, 7, 8, 0,
      ]);
      const strided = { ...padded, strideHeight: 3, strideWidth: 2, outHeight: 2, outWidth: 2 };
      expect(run(strided, nine, [0, 1, 2, 3])).toEqual([0, 8, 6, 8]);
      const dilated = { ...square, dilationHeight: 2, dilationWidth: 2, outHeight: 1, outWidth: 1 };
      expect(run(dilated, nine, [1, 10, 100, 1000])).toEqual([8620]);
      const uneven = convGeometry({ ...square, outHeight: undefined, dilationHeight: 2, padLeft: 1, strideWidth: 3 });
      expect(run({ ...uneven, outHeight: 1, outWidth: 1 }, nine, [1, 10, 100, 1000])).toEqual([6000]);
      const wide = convGeometry({ inWidth: 5, kernelWidth: 2, dilationWidth: 3 });
      expect(run(wide, [1, 2, 3, 4, 5], [1, 10])).toEqual([41, 52]);
    });
    test('channels, images, groups', () => {
      const g = convGeometry({ batch: 2, inChannels: 2, outChannels: 2 });
      expect(run(g, [1, 2, 3, 4], [1, 10, 100, 1000])).toEqual([21, 2100, 43, 4300]);
      expect(run({ ...g, groups: 2 }, [1, 2, 3, 4], [10, 100])).toEqual([10, 200, 30, 400]);
    });
    test('order (channel, row, column)', () => {
      const whole = convGeometry({ inHeight: 2, inWidth: 2, kernelHeight: 2, kernelWidth: 2 });
      // Columns first would give 2.
      expect(run(whole, [2 ** 24, 1, -(2 ** 24), 1], [1, 1, 1, 1])).toEqual([single ? 1 : 2]);
      // Channels innermost would give 2.
      const two = convGeometry({ inChannels: 2, inWidth: 2, kernelWidth: 2 });
      expect(run(two, [2 ** 24, 1, -(2 ** 24), 1], [1, 1, 1, 1])).toEqual([single ? 1 : 2]);
    });
    test('product rounded, bias added last', () => {
      const a = 1 + 2 ** -12;
      const g = convGeometry({ inWidth: 2, kernelWidth: 2 });
      expect(run(g, [-1, a], [1 + 2 ** -11, a])).toEqual([single ? 0 : 2 ** -24]);
      expect(run(g, [1, 2 ** 24], [1, 1], [-(2 ** 24)])).toEqual([single ? 0 : 1]);
    });
    test('padding is a product with zero: an infinite weight makes NaN, a negative one no −0', () => {
      const g = convGeometry({ inWidth: 1, kernelWidth: 3, padLeft: 1 });
      expect(run(g, [2], [Infinity, 3, 4])).toEqual([nan]);
      expect(run(g, [2], [nan, 3, 4])).toEqual([nan]);
      expect(run(g, [0], [-1, -1, -1])).toEqual([0]);
      expect(run(g, [0], [-1, -1, -1], [-0])).toEqual([0]);
    });
  });

  describe('conv2dBackwardInput', () => {
    const run = (g: ConvGeometry, dy: number[], weight: number[]) => {
      const dx = room(g.batch * g.inChannels * g.inHeight * g.inWidth);
      k.conv2dBackwardInput({ ...g, dy: put(dy), weight: put(weight), dx });
      const result = get(dx);
      if (g.inHeight === 1) {
        // A single row gives the same as a column.
        k.conv2dBackwardInput({ ...upright(g), dy: put(dy), weight: put(weight), dx });
        expect(get(dx)).toEqual(result);
      }
      return result;
    };
    test('hand-worked: plain, strided with a row that no output sees, padded, dilated', () => {
      const g = convGeometry({ inHeight: 3, inWidth: 3, kernelHeight: 2, kernelWidth: 2 });
      expect(run(g, [1, 2, 3, 4], [1, 10, 100, 1000])).toEqual([1, 12, 20, 103, 1234, 2040, 300, 3400, 4000]);
      const strided = convGeometry({ inWidth: 6, kernelWidth: 2, strideWidth: 3 });
      expect(run(strided, [1, 2], [5, 7])).toEqual([5, 7, 0, 10, 14, 0]);
      const padded = convGeometry({ inWidth: 3, kernelWidth: 3, padLeft: 1 });
      expect(run(padded, [1, 2, 3], [100, 10, 1])).toEqual([210, 321, 32]);
      const dilated = convGeometry({ inWidth: 4, kernelWidth: 2, dilationWidth: 2 });
      expect(run(dilated, [1, 2], [10, 100])).toEqual([10, 20, 100, 200]);
    });
    test('channels and groups', () => {
      const g = convGeometry({ inChannels: 2, outChannels: 2 });
      expect(run(g, [1, 2], [1, 10, 100, 1000])).toEqual([201, 2010]);
      expect(run({ ...g, groups: 2 }, [1, 2], [10, 100])).toEqual([10, 200]);
    });
    test('order (output channel, row, column), a rounded product each', () => {
      const channels = convGeometry({ outChannels: 3 });
      expect(run(channels, [2 ** 24, 1, 1], [1, 1, 1])).toEqual([single ? 2 ** 24 : 2 ** 24 + 2]);
      // Kernel columns ascend, so the outputs that see the middle input come right to left.
      const line = convGeometry({ inWidth: 5, kernelWidth: 3 });
      expect(run(line, [1, 1, 2 ** 24], [1, 1, 1])[2]).toBe(single ? 2 ** 24 : 2 ** 24 + 2);
      expect(run(line, [2 ** 24, 1, 1], [1, 1, 1])[2]).toBe(2 ** 24 + 2);
      const a = 1 + 2 ** -12;
      expect(run(convGeometry({ outChannels: 2 }), [-1, a], [1 + 2 ** -11, a])).toEqual([single ? 0 : 2 ** -24]);
    });
    test('only taps that hit: an infinite weight that meets no output leaves no NaN', () => {
      expect(run(convGeometry({ inWidth: 3, kernelWidth: 2, strideWidth: 2 }), [2], [3, Infinity])).toEqual([
        6,
        Infinity,
        0,
      ]);
    });
  });

  describe('conv2dBackwardWeight', () => {
    const run = (g: ConvGeometry, x: number[], dy: number[]) => {
      const dweight = room((g.outChannels * g.inChannels * g.kernelHeight * g.kernelWidth) / g.groups);
      k.conv2dBackwardWeight({ ...g, x: put(x), dy: put(dy), dweight });
      const result = get(dweight);
      if (g.inHeight === 1) {
        // A single row gives the same as a column.
        k.conv2dBackwardWeight({ ...upright(g), x: put(x), dy: put(dy), dweight });
        expect(get(dweight)).toEqual(result);
      }
      return result;
    };
    const ones = (n: number, o: Record<number, number> = {}) => Array.from({ length: n }, (_, i) => o[i] ?? 1);
    test('hand-worked: plain, padded, strided and dilated', () => {
      const g = convGeometry({ inHeight: 3, inWidth: 3, kernelHeight: 2, kernelWidth: 2 });
      expect(run(g, [0, 1, 2, 3, 4, 5, 6, 7, 8], [1, 10, 100, 1000])).toEqual([4310, 5421, 7643, 8754]);
      const padded = convGeometry({ inWidth: 3, kernelWidth: 3, padLeft: 1 });
      expect(run(padded, [1, 2, 3], [100, 10, 1])).toEqual([12, 123, 230]);
      const sparse = convGeometry({ inWidth: 5, kernelWidth: 2, strideWidth: 2, dilationWidth: 2 });
      expect(run(sparse, [1, 2, 3, 4, 5], [10, 100])).toEqual([310, 530]);
    });
    test('images, channels, groups', () => {
      const g = convGeometry({ batch: 2, inChannels: 2, outChannels: 2 });
      expect(run(g, [1, 2, 3, 4], [1, 10, 100, 1000])).toEqual([301, 402, 3010, 4020]);
      expect(run({ ...g, groups: 2 }, [1, 2, 3, 4], [1, 10, 100, 1000])).toEqual([301, 4020]);
    });
    test('blocks of 512 positions, summed in float64', () => {
      const g = convGeometry({ inWidth: 1024 });
      expect(run(g, ones(1024), ones(1024, { 0: 2 ** 24 }))).toEqual([single ? 2 ** 24 + 512 : 2 ** 24 + 1023]);
      // The boundary is between positions 511 and 512.
      expect(run(g, ones(1024, { 511: 2 ** 24 }), ones(1024))).toEqual([single ? 2 ** 24 + 1024 : 2 ** 24 + 1023]);
      expect(run(g, ones(1024, { 512: 2 ** 24 }), ones(1024))).toEqual([single ? 2 ** 24 + 512 : 2 ** 24 + 1023]);
    });
    test('positions are counted across images, hit or not', () => {
      const g = convGeometry({ batch: 2, inWidth: 512, kernelWidth: 3, padLeft: 1 });
      // Tap 0 hits 511 positions of an image. A block of 512 hits would leave 510 for the second.
      expect(run(g, ones(1024), ones(1024, { 1: 2 ** 24 }))[0]).toBe(single ? 2 ** 24 + 512 : 2 ** 24 + 1021);
      const short = convGeometry({ batch: 1024 });
      expect(run(short, ones(1024), ones(1024, { 0: 2 ** 24 }))).toEqual([single ? 2 ** 24 + 512 : 2 ** 24 + 1023]);
    });
    test('only taps that hit: an infinite gradient over padding leaves no NaN', () => {
      const g = convGeometry({ inWidth: 2, kernelWidth: 3, padLeft: 1 });
      expect(run(g, [1, 2], [Infinity, 1])).toEqual([1, Infinity, Infinity]);
    });
    test('a tap that never hits: +0', () => {
      expect(run(convGeometry({ kernelWidth: 3, padLeft: 1 }), [2], [3])).toEqual([0, 6, 0]);
    });
  });

  describe('maxPool2d', () => {
    const run = (g: PoolGeometry, x: number[]) => {
      const size = g.planes * g.outHeight * g.outWidth;
      const [out, indices] = [room(size), room(size, 'int32')];
      k.maxPool2d({ ...g, x: put(x), out, indices });
      const result = [get(out), get(indices)];
      if (g.inHeight === 1) {
        k.maxPool2d({ ...upright(g), x: put(x), out, indices });
        expect([get(out), get(indices)]).toEqual(result);
      }
      return result;
    };
    test('planes, strides, padding that never wins, dilation', () => {
      const g = poolGeometry({ planes: 2, inHeight: 2, inWidth: 4, kernelHeight: 2, kernelWidth: 2, strideWidth: 2 });
      expect(run(g, [1, 2, 3, 4, 5, 6, 7, 8, 8, 7, 6, 5, 4, 3, 2, 1])).toEqual([
        [6, 8, 8, 6],
        [5, 7, 0, 2],
      ]);
      const padded = poolGeometry({ inWidth: 3, kernelWidth: 3, strideWidth: 2, padLeft: 1 });
      expect(run(padded, [-3, -2, -1])).toEqual([
        [-2, -1],
        [1, 2],
      ]);
      const dilated = poolGeometry({ inWidth: 4, kernelWidth: 2, dilationWidth: 2 });
      expect(run(dilated, [4, 9, 3, 1])).toEqual([
        [4, 9],
        [0, 1],
      ]);
    });
    test('ties: the first in row order; −0 and +0 tie', () => {
      const g = poolGeometry({ inHeight: 2, inWidth: 2, kernelHeight: 2, kernelWidth: 2 });
      expect(run(g, [1, 5, 5, 5])).toEqual([[5], [1]]);
      expect(run(g, [-0, 0, -0, 0])).toEqual([[-0], [0]]);
      expect(run(g, [-Infinity, -Infinity, -Infinity, -Infinity])).toEqual([[-Infinity], [0]]);
    });
    test('NaN beats everything, the last NaN its forerunners', () => {
      const g = poolGeometry({ inWidth: 4, kernelWidth: 4 });
      expect(run(g, [1, nan, 9, 2])).toEqual([[nan], [1]]);
      expect(run(g, [nan, 9, nan, Infinity])).toEqual([[nan], [2]]);
    });
    test('a window of padding alone: −∞ and index −1, which gets no gradient', () => {
      const g = { ...poolGeometry({ planes: 2, inWidth: 2, kernelWidth: 2, padLeft: 1, dilationWidth: 3 }) };
      expect(g.outWidth).toBe(1);
      expect(run(g, [1, 2, 3, 4])).toEqual([
        [-Infinity, -Infinity],
        [-1, -1],
      ]);
      const dx = room(4);
      k.maxPool2dBackward({ ...g, dy: put([5, 6]), indices: put([-1, -1], 'int32'), dx });
      expect(get(dx)).toEqual([0, 0, 0, 0]);
    });
    test('backward: added where the maximum was, in output order, a rounding each', () => {
      const g = poolGeometry({ planes: 2, inWidth: 5, kernelWidth: 3 });
      const dx = room(10);
      const indices = put([2, 2, 2, 0, 1, 4], 'int32');
      k.maxPool2dBackward({ ...g, dy: put([2 ** 24, 1, 1, 5, 6, -7]), indices, dx });
      expect(get(dx)).toEqual([0, 0, single ? 2 ** 24 : 2 ** 24 + 2, 0, 0, 5, 6, 0, 0, -7]);
    });
  });

  describe('avgPool2d', () => {
    const run = (g: PoolGeometry, x: number[], countIncludePad = true) => {
      const out = room(g.planes * g.outHeight * g.outWidth);
      k.avgPool2d({ ...g, x: put(x), out, countIncludePad });
      const result = get(out);
      if (g.inHeight === 1) {
        k.avgPool2d({ ...upright(g), x: put(x), out, countIncludePad });
        expect(get(out)).toEqual(result);
      }
      return result;
    };
    const padded = poolGeometry({
      inHeight: 2,
      inWidth: 2,
      kernelHeight: 2,
      kernelWidth: 2,
      padTop: 1,
      padLeft: 1,
    });
    const strided = { ...padded, strideHeight: 2, strideWidth: 2, outHeight: 2, outWidth: 2 };
    test('the divisor counts padding, or does not', () => {
      expect(run(strided, [1, 2, 3, 4])).toEqual([0.25, 0.5, 0.75, 1]);
      expect(run(strided, [1, 2, 3, 4], false)).toEqual([1, 2, 3, 4]);
      expect(run(padded, [1, 2, 3, 4])[4]).toBe(2.5);
    });
    test('ceil mode: the window is clipped to the padded input', () => {
      const g = poolGeometry({ planes: 2, inWidth: 3, kernelWidth: 2, strideWidth: 2 });
      expect(run({ ...g, outWidth: 2 }, [1, 2, 3, 4, 5, 6])).toEqual([1.5, 3, 4.5, 6]);
    });
    test('row order in float64', () => {
      const g = poolGeometry({ inWidth: 4, kernelWidth: 4 });
      expect(run(g, [2 ** 24, 1, 1, 2])).toEqual([2 ** 22 + 1]);
      // Not a lane sum, which would give 2/5.
      const five = poolGeometry({ inWidth: 5, kernelWidth: 5 });
      expect(run(five, [2 ** 53, 0, 1, 1, -(2 ** 53)])).toEqual([0]);
      expect(run(poolGeometry({ inWidth: 3, kernelWidth: 3 }), [1, 0, 0])).toEqual([r(1 / 3)]);
    });
    test('backward: shares added in output order in float64', () => {
      const backward = (g: PoolGeometry, dy: number[], countIncludePad = true) => {
        const dx = room(g.planes * g.inHeight * g.inWidth);
        k.avgPool2dBackward({ ...g, dy: put(dy), dx, countIncludePad });
        return get(dx);
      };
      expect(backward(strided, [4, 8, 12, 16])).toEqual([1, 2, 3, 4]);
      expect(backward(strided, [4, 8, 12, 16], false)).toEqual([4, 8, 12, 16]);
      const g = poolGeometry({ planes: 2, inWidth: 5, kernelWidth: 3 });
      expect(backward(g, [1, 1, 1, 3, 0, 0])).toEqual([1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 1, 1, 1, 0, 0].map(r));
      // 2^53 + 1 + 1 − 2^53 from left to right.
      const four = poolGeometry({ inWidth: 7, kernelWidth: 4 });
      expect(backward(four, [2 ** 55, 4, 4, -(2 ** 55)])[3]).toBe(0);
      expect(backward(four, [4, 4, 2 ** 55, -(2 ** 55)])[3]).toBe(2);
    });
  });

  describe('adaptiveAvgPool2d', () => {
    const run = (inHeight: number, inWidth: number, outHeight: number, outWidth: number, x: number[]) => {
      const out = room((x.length / inHeight / inWidth) * outHeight * outWidth);
      const planes = x.length / inHeight / inWidth;
      k.adaptiveAvgPool2d({ planes, inHeight, inWidth, outHeight, outWidth, x: put(x), out });
      return get(out);
    };
    test('global, overlapping and repeated windows', () => {
      expect(run(2, 2, 1, 1, [1, 2, 3, 4, 5, 6, 7, 8])).toEqual([2.5, 6.5]);
      expect(run(1, 5, 1, 3, [1, 2, 3, 4, 5])).toEqual([1.5, 3, 4.5]);
      expect(run(1, 2, 1, 4, [1, 2])).toEqual([1, 1, 2, 2]);
      expect(run(3, 1, 1, 1, [1, 0, 0])).toEqual([r(1 / 3)]);
    });
    test('a lane sum in row order', () => {
      expect(run(5, 1, 1, 1, [2 ** 53, 0, 1, 1, -(2 ** 53)])).toEqual([r(2 / 5)]);
      expect(run(2, 5, 1, 1, [2 ** 53, 0, 0, 0, -(2 ** 53), 0, 0, 0, 1, 1])).toEqual([0]);
    });
    test('backward', () => {
      const dx = room(5);
      const g = { planes: 1, inHeight: 1, inWidth: 5, outHeight: 1, outWidth: 3 };
      k.adaptiveAvgPool2dBackward({ ...g, dy: put([2, 6, 4]), dx });
      expect(get(dx)).toEqual([1, 3, 2, 4, 2]);
      const narrow = room(2);
      k.adaptiveAvgPool2dBackward({ ...g, inWidth: 2, dy: put([2, 6, 4]), dx: narrow });
      expect(get(narrow)).toEqual([5, 7]);
    });
  });

  describe('batch norm', () => {
    const unfused = { residual: null, relu: false, correction: 1 };
    const whole = { y: null, dresidual: null };
    const two = { batch: 2, channels: 2, spatial: 2 };
    // Channel 0: 1 2 3 4, mean 2.5, variance 1.25; channel 1: 0 0 4 4, mean 2, variance 4.
    const x = [1, 2, 0, 0, 3, 4, 4, 4];
    test('train: statistics, result, running statistics with the variance as it is corrected', () => {
      const [out, saved] = [room(8), room(4, 'float64')];
      const [runningMean, runningVar] = [put([0, 10]), put([1, 1])];
      const o = { ...two, x: put(x), runningMean, runningVar, momentum: 0.5, eps: 0, saved, out };
      k.batchNormTrain({ ...unfused, ...o, correction: 4 / 3, weight: put([1, 2]), bias: put([0, 0.5]) });
      const invstd = 1 / Math.sqrt(1.25);
      expect(get(saved)).toEqual([2.5, 2, invstd, 0.5]);
      const line = (v: number) => r((v - 2.5) * invstd);
      expect(get(out)).toEqual([line(1), line(2), -1.5, -1.5, line(3), line(4), 2.5, 2.5]);
      expect(get(runningMean)).toEqual([1.25, 6]);
      expect(get(runningVar)).toEqual([r(0.5 + 0.5 * (1.25 * (4 / 3))), r(0.5 + 0.5 * (4 * (4 / 3)))]);
    });
    test('without weight, bias or running statistics; eps inside the root', () => {
      const [out, saved] = [room(4), room(2, 'float64')];
      const g = { batch: 1, channels: 1, spatial: 4 };
      const none = { weight: null, bias: null, runningMean: null, runningVar: null };
      k.batchNormTrain({ ...unfused, ...g, ...none, x: put([0, 0, 4, 4]), momentum: 0.1, eps: 12, saved, out });
      expect(get(saved)).toEqual([2, 0.25]);
      expect(get(out)).toEqual([-0.5, -0.5, 0.5, 0.5]);
      // A missing bias is +0: −0 does not survive.
      k.batchNormTrain({
        ...unfused,
        ...g,
        ...none,
        weight: put([-1]),
        x: put([3, 3, 3, 3]),
        momentum: 0.1,
        eps: 1,
        saved,
        out,
      });
      expect(get(out)).toEqual([0, 0, 0, 0]);
    });
    test('lanes begin anew with each image', () => {
      const [out, saved] = [room(4), room(2, 'float64')];
      const none = { weight: null, bias: null, runningMean: null, runningVar: null, momentum: 0, eps: 1 };
      const mean = (g: { batch: number; channels: number; spatial: number }) => {
        k.batchNormTrain({ ...unfused, ...g, ...none, x: put([2 ** 53, 0, 1, 1]), saved, out });
        return get(saved)[0] * 4;
      };
      expect(mean({ batch: 4, channels: 1, spatial: 1 })).toBe(2 ** 53);
      expect(mean({ batch: 1, channels: 1, spatial: 4 })).toBe(2 ** 53 + 2);
      expect(mean({ batch: 2, channels: 1, spatial: 2 })).toBe(2 ** 53);
    });
    test('(x − mean)·(weight·invstd): the scale is one number', () => {
      const [out, saved] = [room(2), room(2, 'float64')];
      const runningMean = put([0]);
      const weight = put([1 / 3]);
      const scale = r(1 / 3) * (1 / Math.sqrt(3));
      // The bias takes the leading bits away, so that the float64 ones below them show.
      const bias = put([-11 * scale]);
      const o = { batch: 1, channels: 1, spatial: 2, runningMean, weight, bias, eps: 0, saved, out };
      k.batchNormEval({ ...unfused, ...o, x: put([11, 17]), runningVar: put([3]) });
      expect(get(out)).toEqual([11, 17].map((v) => r(v * scale + get(bias)[0])));
    });
    test('every operation where the contract has it', () => {
      const x = noise(3, 300);
      const dy = noise(77, 300).map((d, i) => r(d / 8 + 2 * x[i]));
      const g = { batch: 1, channels: 1, spatial: 300 };
      const [out, dx, weight] = [room(300), room(300), put([1 / 3])];
      const w = get(weight)[0];
      const [mean, invstd] = [0.1, 1.3];
      const saved = put([mean, invstd], 'float64');
      k.batchNormEval({
        ...unfused,
        ...g,
        x: put(x),
        weight,
        bias: put([0.3]),
        runningMean: put([0.1]),
        runningVar: put([3]),
        eps: 0.01,
        saved: room(2, 'float64'),
        out,
      });
      const scale = w * (1 / Math.sqrt(3 + 0.01));
      expect(get(out)).toEqual(x.map((v) => r((v - r(0.1)) * scale + r(0.3))));

      k.batchNormBackward({
        ...whole,
        ...g,
        x: put(x),
        dy: put(dy),
        weight,
        saved,
        training: true,
        dx,
        dweight: null,
        dbias: null,
      });
      const laneSum = (terms: number[]) => {
        const l = [0, 0, 0, 0, 0, 0, 0, 0];
        terms.forEach((term, i) => {
          l[i % 8] += term;
        });
        return l[0] + l[1] + (l[2] + l[3]) + (l[4] + l[5] + (l[6] + l[7]));
      };
      const [s1, s2] = [laneSum(dy), laneSum(dy.map((d, i) => d * (x[i] - mean)))];
      expect(get(dx)).toEqual(
        dy.map((d, i) => r((d - s1 / 300 - (x[i] - mean) * ((s2 * invstd * invstd) / 300)) * (w * invstd))),
      );
    });
    test('eval: running statistics, unchanged', () => {
      const [out, saved] = [room(8), room(4, 'float64')];
      const [runningMean, runningVar] = [put([1, 2]), put([4, 0.25])];
      const bias = put([1, 0]);
      k.batchNormEval({
        ...unfused,
        ...two,
        x: put(x),
        weight: null,
        bias,
        runningMean,
        runningVar,
        eps: 0,
        saved,
        out,
      });
      expect(get(out)).toEqual([1, 1.5, -4, -4, 2, 2.5, 4, 4]);
      expect(get(saved)).toEqual([1, 2, 0.5, 2]);
      expect([get(runningMean), get(runningVar)]).toEqual([
        [1, 2],
        [4, 0.25],
      ]);
    });
    test('backward, with and without batch statistics', () => {
      const saved = put([2, 0.5], 'float64');
      const o = { batch: 1, channels: 1, spatial: 4, x: put([0, 0, 4, 4]), dy: put([1, 2, 3, 6]), saved };
      const [dx, dweight, dbias] = [room(4), room(1), room(1)];
      k.batchNormBackward({ ...whole, ...o, weight: put([2]), training: true, dx, dweight, dbias });
      // S1 = 12, S2 = −2 − 4 + 6 + 12 = 12; dx = dy − 3 − (x − 2)·(12·¼/4), times 2·½.
      expect(get(dbias)).toEqual([12]);
      expect(get(dweight)).toEqual([6]);
      expect(get(dx)).toEqual([-0.5, 0.5, -1.5, 1.5]);
      k.batchNormBackward({ ...whole, ...o, weight: null, training: false, dx, dweight: null, dbias: null });
      expect(get(dx)).toEqual([0.5, 1, 1.5, 3]);
      k.batchNormBackward({ ...whole, ...o, weight: null, training: true, dx: null, dweight, dbias: null });
      expect(get(dweight)).toEqual([6]);
    });
    test('with a residual and relu: one after the other, and backwards through the mask', () => {
      const saved = put([2, 0.5], 'float64');
      const [out, dx, dbias, dresidual] = [room(4), room(4), room(1), room(4)];
      const g = { batch: 1, channels: 1, spatial: 4 };
      const statistics = { runningMean: put([2]), runningVar: put([4]), eps: 0, saved: room(2, 'float64') };
      // −1 −1 1 1 before the residual, then −2 0 NaN 5.
      const residual = put([-1, 1, Number.NaN, 4]);
      const x = put([0, 0, 4, 4]);
      k.batchNormEval({ ...g, ...statistics, x, weight: null, bias: null, residual, relu: true, out });
      expect(get(out)).toEqual([0, 0, Number.NaN, 5]);
      const o = { ...g, x, dy: put([1, 2, 3, 6]), y: out, weight: put([2]), saved };
      k.batchNormBackward({ ...o, training: false, dx, dweight: null, dbias, dresidual });
      expect([get(dresidual), get(dx), get(dbias)]).toEqual([[0, 0, 3, 6], [0, 0, 3, 6], [9]]);
    });
    test('backward: lane sums', () => {
      const saved = put([0, 1], 'float64');
      const dbias = room(1);
      const o = {
        x: put([1, 1, 1, 1, 1]),
        dy: put([2 ** 53, 0, 1, 1, -(2 ** 53)]),
        weight: null,
        saved,
        training: true,
      };
      k.batchNormBackward({ ...whole, ...o, batch: 1, channels: 1, spatial: 5, dx: null, dweight: null, dbias });
      expect(get(dbias)).toEqual([2]);
      const dweight = room(1);
      k.batchNormBackward({ ...whole, ...o, batch: 1, channels: 1, spatial: 5, dx: null, dweight, dbias: null });
      expect(get(dweight)).toEqual([2]);
      k.batchNormBackward({ ...whole, ...o, batch: 5, channels: 1, spatial: 1, dx: null, dweight, dbias });
      expect([get(dweight), get(dbias)]).toEqual([[0], [0]]);
    });
  });

  describe('softmax', () => {
    const line = { outer: 1, extent: 3, inner: 1 };
    const x = [1, 3, 2];
    const sum = exp(-2) + 1 + exp(-1);
    const run = (kernel: 'softmax' | 'logSoftmax', values: number[], g = line) => {
      const out = room(values.length);
      k[kernel]({ ...g, x: put(values), out });
      return get(out);
    };
    test('forward, rounded once', () => {
      expect(run('softmax', x)).toEqual([exp(-2) / sum, 1 / sum, exp(-1) / sum].map(r));
      expect(run('logSoftmax', x)).toEqual([-2 - log(sum), 0 - log(sum), -1 - log(sum)].map(r));
    });
    test('along any axis', () => {
      const columns = run('softmax', [1, 5, 3, 5, 2, 5], { outer: 1, extent: 3, inner: 2 });
      expect(columns).toEqual([exp(-2) / sum, 1 / 3, 1 / sum, 1 / 3, exp(-1) / sum, 1 / 3].map(r));
      const rows = run('logSoftmax', [1, 3, 2, 7, 7, 7], { outer: 2, extent: 3, inner: 1 });
      expect(rows.slice(3)).toEqual([-log(3), -log(3), -log(3)].map(r));
    });
    test('huge values do not overflow; infinities and NaN', () => {
      expect(run('softmax', [1e38, 1e38, -1e38])).toEqual([0.5, 0.5, 0]);
      expect(run('softmax', [0, -Infinity, 0])).toEqual([0.5, 0, 0.5]);
      expect(run('logSoftmax', [0, -Infinity, -Infinity])).toEqual([0, -Infinity, -Infinity]);
      expect(run('softmax', [0, nan, 0])).toEqual([nan, nan, nan]);
      expect(run('softmax', [0, Infinity, 0])).toEqual([nan, nan, nan]);
    });
    test('backward', () => {
      const dx = room(3);
      k.softmaxBackward({ ...line, y: put([0.25, 0.5, 0.25]), dy: put([4, 8, 0]), dx });
      expect(get(dx)).toEqual([-0.25, 1.5, -1.25]);
      k.logSoftmaxBackward({ ...line, y: put([-0, -Infinity, -1]), dy: put([1, 2, 3]), dx });
      expect(get(dx)).toEqual([-5, 2, r(3 - exp(-1) * 6)]);
      const strided = room(4);
      const g = { outer: 1, extent: 2, inner: 2 };
      k.softmaxBackward({ ...g, y: put([0.5, 1, 0.5, 0]), dy: put([2, 3, 4, 5]), dx: strided });
      expect(get(strided)).toEqual([-0.5, 0, 0.5, 0]);
    });
    test('backward sums in order', () => {
      const g = { outer: 1, extent: 4, inner: 1 };
      const dx = room(4);
      k.softmaxBackward({ ...g, y: put([1, 1, 1, 1]), dy: put([2 ** 53, 0, 1, 1]), dx });
      expect(get(dx)[0]).toBe(0);
      k.logSoftmaxBackward({ ...g, y: put([0, 0, 0, 0]), dy: put([2 ** 53, 0, 1, 1]), dx });
      expect(get(dx)[0]).toBe(0);
    });
  });

  describe('crossEntropy', () => {
    const logits = [1, 3, 2, 0, 0, 0];
    const lse = [3 + log(exp(-2) + 1 + exp(-1)), log(3)];
    const run = (labelSmoothing: number, values = logits, labels = [2, 0]) => {
      const [out, saved] = [room(1), room(2, 'float64')];
      const o = { logits: put(values), labels: put(labels, 'int32'), rows: 2, classes: 3, labelSmoothing };
      k.crossEntropy({ ...o, out, saved });
      const dlogits = room(6);
      k.crossEntropyBackward({ ...o, saved, dy: put([4]), dlogits });
      return { loss: get(out)[0], saved: get(saved), dlogits: get(dlogits) };
    };
    test('mean of lse − x[label]', () => {
      const { loss, saved, dlogits } = run(0);
      expect(saved).toEqual(lse);
      expect(loss).toBe(r((lse[0] - 2 + lse[1]) / 2));
      const p = (i: number) => exp(logits[i] - lse[Math.floor(i / 3)]);
      expect(dlogits).toEqual([p(0) * 2, p(1) * 2, (p(2) - 1) * 2, (p(3) - 1) * 2, p(4) * 2, p(5) * 2].map(r));
    });
    test('label smoothing spreads a share over all classes', () => {
      const s = 0.25;
      const { loss, dlogits } = run(s);
      const row0 = (1 - s) * (lse[0] - 2) + (s / 3) * (lse[0] - 1 + (lse[0] - 3) + (lse[0] - 2));
      const row1 = (1 - s) * lse[1] + (s / 3) * (lse[1] + lse[1] + lse[1]);
      expect(loss).toBe(r((row0 + row1) / 2));
      expect(dlogits[1]).toBe(r((exp(3 - lse[0]) - s / 3) * 2));
      expect(dlogits[2]).toBe(r((exp(2 - lse[0]) - (1 - s) - s / 3) * 2));
    });
    test('every operation where the contract has it', () => {
      const [rows, classes, s] = [7, 5, 0.1];
      const values = noise(9, rows * classes);
      const labels = [0, 1, 2, 3, 4, 0, 3];
      const [out, saved, dlogits] = [room(1), room(rows, 'float64'), room(rows * classes)];
      const o = { logits: put(values), labels: put(labels, 'int32'), rows, classes, labelSmoothing: s };
      k.crossEntropy({ ...o, out, saved });
      k.crossEntropyBackward({ ...o, saved, dy: put([0.7]), dlogits });
      let loss = 0;
      const gradient: number[] = [];
      labels.forEach((label, row) => {
        const x = values.slice(row * classes, (row + 1) * classes);
        const max = Math.max(...x);
        const total = max + log(x.reduce((sum, v) => sum + exp(v - max), 0));
        loss += (1 - s) * (total - x[label]) + (s / classes) * x.reduce((sum, v) => sum + (total - v), 0);
        x.forEach((v, i) => {
          gradient.push(r((exp(v - total) - (i === label ? 1 - s : 0) - s / classes) * (r(0.7) / rows)));
        });
      });
      expect(get(out)).toEqual([r(loss / rows)]);
      expect(get(dlogits)).toEqual(gradient);
    });
    test('a logit of −∞ off the label costs nothing', () => {
      const { loss, dlogits } = run(0, [-Infinity, 0, 0, 0, 0, -Infinity], [1, 1]);
      expect(loss).toBe(r(log(2)));
      expect(dlogits[0]).toBe(0);
    });
  });

  describe('optimizers', () => {
    test('sgd: plain, weight decay, momentum, Nesterov', () => {
      const step = (
        o: Partial<{ first: boolean; momentum: number; nesterov: boolean; weightDecay: number }>,
        v?: number,
      ) => {
        const [param, velocity] = [put([2]), v === undefined ? null : put([v])];
        const all = { first: false, momentum: 0, nesterov: false, weightDecay: 0, lr: 0.5, ...o };
        k.sgd({ param, grad: put([3]), velocity, ...all });
        return [...get(param), ...(velocity ? get(velocity) : [])];
      };
      expect(step({})).toEqual([0.5]);
      expect(step({ weightDecay: 0.5 })).toEqual([0]);
      expect(step({ momentum: 0.5, first: true }, nan)).toEqual([0.5, 3]);
      expect(step({ momentum: 0.5 }, 4)).toEqual([-0.5, 5]);
      expect(step({ momentum: 0.5, nesterov: true }, 4)).toEqual([-0.75, 5]);
    });

    const values = noise(0);
    const grads = noise(503);

    test('sgd rounds every operation', () => {
      const [param, velocity] = [put(values), put(grads.map((g) => g * 0.3))];
      const old = get(velocity);
      const o = { first: false, nesterov: true, weightDecay: 0.01, lr: 0.1, momentum: 0.9 };
      k.sgd({ param, grad: put(grads), velocity, ...o });
      const expected = values.map((p, i) => {
        const g = r(grads[i] + r(r(0.01) * p));
        const v = r(r(r(0.9) * old[i]) + g);
        return r(p - r(r(0.1) * r(g + r(r(0.9) * v))));
      });
      expect(get(param)).toEqual(expected);
    });

    test.each([true, false])('adam rounds every operation; decoupled: %s', (decoupled) => {
      const [param, m, v] = [put(values), put(values.map((x) => x / 7)), put(values.map(Math.abs))];
      const [m0, v0] = [get(m), get(v)];
      const o = { lr: 0.3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.7 };
      k.adam({ param, grad: put(grads), m, v, ...o, decoupled, correction1: 0.19, correction2: 0.001999 });
      const [step, root] = [r(0.3 / 0.19), r(Math.sqrt(0.001999))];
      const expected = values.map((start, i) => {
        const p = decoupled ? r(start * r(1 - 0.3 * 0.7)) : start;
        const g = decoupled ? grads[i] : r(grads[i] + r(r(0.7) * p));
        const newM = r(r(m0[i] * r(0.9)) + r(r(1 - 0.9) * g));
        const newV = r(r(v0[i] * r(0.999)) + r(r(r(1 - 0.999) * g) * g));
        return { p: r(p - r(step * r(newM / r(r(r(Math.sqrt(newV)) / root) + r(1e-8))))), newM, newV };
      });
      expect(get(param)).toEqual(expected.map((e) => e.p));
      expect(get(m)).toEqual(expected.map((e) => e.newM));
      expect(get(v)).toEqual(expected.map((e) => e.newV));
    });

    test('1 − β is rounded once, not taken from a rounded β', () => {
      const [m, v] = [put([0]), put([0])];
      const o = { beta1: 0.9, beta2: 0.999, lr: 0.001, eps: 1e-8, correction1: 0.1, correction2: 0.001 };
      k.adam({ param: put([1]), grad: put([1]), m, v, ...o, weightDecay: 0, decoupled: false });
      expect(get(v)).toEqual([r(1 - 0.999)]);
      expect(get(m)).toEqual([r(1 - 0.9)]);
    });

    test('adam, first step: the size of the step is lr', () => {
      const param = put([1, 1]);
      const o = { beta1: 0.5, beta2: 0.75, eps: 0, weightDecay: 0, decoupled: true };
      const [m, v] = [put([0, 0]), put([0, 0])];
      k.adam({ param, grad: put([4, -0.25]), m, v, ...o, lr: 0.5, correction1: 0.5, correction2: 0.25 });
      expect(get(param)).toEqual([0.5, 1.5]);
    });

    test('rmsprop: hand-worked, then every rounding', () => {
      const [param, v, b] = [put([1]), put([4]), put([2])];
      const o = { weightDecay: 0, eps: 0, alpha: 0.75 };
      k.rmsprop({ param, grad: put([2]), v, velocity: b, lr: 0.25, momentum: 0.5, ...o });
      // v = 3 + 1, u = 2/2, b = 1 + 1.
      expect([get(param), get(v), get(b)]).toEqual([[0.5], [4], [2]]);

      const [p1, v1] = [put(values), put(values.map(Math.abs))];
      const v0 = get(v1);
      const all = { lr: 0.01, alpha: 0.99, eps: 1e-8, weightDecay: 0.03, momentum: 0 };
      k.rmsprop({ param: p1, grad: put(grads), v: v1, velocity: null, ...all });
      const expected = values.map((p, i) => {
        const g = r(grads[i] + r(r(0.03) * p));
        const newV = r(r(r(0.99) * v0[i]) + r(r(r(1 - 0.99) * g) * g));
        return r(p - r(r(0.01) * r(g / r(r(Math.sqrt(newV)) + r(1e-8)))));
      });
      expect(get(p1)).toEqual(expected);
    });
  });
});

describe('the device', () => {
  test('names and dtypes', () => {
    expect(reference().dtype).toBe('float32');
    expect(reference().name).toBe('reference');
    expect(reference({ dtype: 'float64' }).name).toBe('reference-float64');
    expect(() => reference({ dtype: 'float16' as 'float32' })).toThrow(
      `reference: dtype is "float16"; want 'float32' or 'float64'`,
    );
  });

  test('fresh memory is visibly unwritten', () => {
    const device = reference();
    expect(elements(device, device.alloc(2))).toEqual([nan, nan]);
    expect(elements(device, device.alloc(1, 'float64'))).toEqual([nan]);
    expect(elements(device, device.alloc(1, 'int32'))).toEqual([-1]);
    expect(elements(device, device.alloc(1, 'int64'))).toEqual([-1n]);
  });

  test('write rounds once, from any numbers', () => {
    const device = reference();
    const single = device.alloc(2);
    device.write(single, new Float64Array([0.1, 1e-60]));
    expect(elements(device, single)).toEqual([f(0.1), 0]);
    device.write(single, new Uint8Array([7, 255]));
    expect(elements(device, single)).toEqual([7, 255]);
    const whole = device.alloc(2, 'int64');
    device.write(whole, [3, -4]);
    expect(read(device, whole)).toEqual(new BigInt64Array([3n, -4n]));
    device.write(whole, new BigInt64Array([2n ** 60n, 0n]));
    expect(read(device, whole)).toEqual(new BigInt64Array([2n ** 60n, 0n]));
  });

  test('write refuses what does not fit, and then changes nothing', () => {
    const device = reference();
    const floats = device.alloc(2);
    device.write(floats, [1, 2]);
    expect(() => device.write(floats, [3])).toThrow('write: data has 1 elements; the buffer wants 2');
    expect(() => device.write(floats, new BigInt64Array(2))).toThrow(ArgumentError);
    expect(() => device.write(floats, new BigInt64Array(2))).toThrow(
      'data[0] is the bigint 0n; the buffer wants numbers',
    );
    expect(elements(device, floats)).toEqual([1, 2]);
    const ints = device.alloc(1, 'int32');
    expect(() => device.write(ints, [0.5])).toThrow('want');
    expect(() => device.write(ints, [2 ** 31])).toThrow(ArgumentError);
    const longs = device.alloc(1, 'int64');
    expect(() => device.write(longs, [0.5])).toThrow('data[0] is 0.5; an int64 buffer wants whole numbers of 64 bits');
    expect(() => device.write(longs, [nan])).toThrow(ArgumentError);
    expect(() => device.write(longs, new BigUint64Array([2n ** 63n]))).toThrow(ArgumentError);
  });

  test('read copies', async () => {
    const device = reference();
    const buffer = device.alloc(1);
    device.write(buffer, [1]);
    const copy = await device.read(buffer);
    copy[0] = 9;
    expect(elements(device, buffer)).toEqual([1]);
  });

  test('memory: bytes in use, at most, and given back', () => {
    const device = reference();
    expect(device.memory()).toEqual({ used: 0, peak: 0, reserved: 0 });
    const a = device.alloc(10);
    const b = device.alloc(10, 'float64').retain();
    expect(device.memory()).toEqual({ used: 120, peak: 120, reserved: 120 });
    b.release();
    a.release();
    expect(device.memory().used).toBe(80);
    b.release();
    expect(device.memory()).toEqual({ used: 0, peak: 120, reserved: 0 });
    expect(() => b.release()).toThrow(DeviceError);
  });

  test('peak counts scratch', () => {
    const device = reference();
    const g = poolGeometry({ inWidth: 100 });
    device.kernels.avgPool2dBackward({ ...g, dy: device.alloc(100), dx: device.alloc(100), countIncludePad: true });
    expect(device.memory()).toEqual({ used: 800, peak: 1600, reserved: 800 });
  });

  test('memory that the host refuses: a typed error, nothing changed', () => {
    const device = reference();
    device.alloc(2);
    try {
      device.alloc(2 ** 50);
      expect.fail('should throw');
    } catch (error) {
      expect(error).toBeInstanceOf(OutOfMemoryError);
      expect(error).toMatchObject({ requestedBytes: 2 ** 52, usedBytes: 8 });
      expect(String(error)).toContain('alloc: no memory for 1125899906842624 elements of float32');
    }
    expect(device.memory()).toEqual({ used: 8, peak: 8, reserved: 8 });
    expect(() => device.alloc(-1)).toThrow(ArgumentError);
    expect(() => device.alloc(1.5)).toThrow('alloc: size is 1.5; want a whole number of at least 0');
  });

  test('kernels refuse foreign, freed, wrong and short buffers', () => {
    const [device, other] = [reference(), reference()];
    const [x, out] = [device.alloc(2), device.alloc(2)];
    const { relu, maxPool2d, accumulate } = device.kernels;
    expect(() => relu({ x: other.alloc(2), out })).toThrow(DeviceError);
    expect(() => relu({ x: other.alloc(2), out })).toThrow('relu: x is a buffer of another device');
    expect(() => relu({ x: device.alloc(1), out })).toThrow('relu: x has 1 elements; want at least 2');
    expect(() => relu({ x: device.alloc(2, 'float64'), out })).toThrow('relu: x holds float64; want float32');
    const g = poolGeometry({ inWidth: 2, kernelWidth: 2 });
    expect(() => maxPool2d({ ...g, x, out, indices: device.alloc(1) })).toThrow('indices holds float32; want int32');
    x.release();
    expect(() => accumulate({ x, out })).toThrow('accumulate: x was used after its memory was given back');
    expect(() => device.write(x, [1, 2])).toThrow(DeviceError);
    expect(() => read(device, x)).toThrow(DeviceError);
  });

  test('dispose: every later use is an error, a late release is not', async () => {
    const device = reference();
    const x = device.alloc(2);
    device.dispose();
    expect(device.memory().used).toBe(0);
    expect(() => device.alloc(1)).toThrow('alloc: device reference was disposed');
    expect(() => device.write(x, [1, 2])).toThrow(DeviceError);
    expect(() => device.kernels.fill({ out: x, value: 0 })).toThrow(DeviceError);
    await expect(device.read(x)).rejects.toThrow(DeviceError);
    x.release();
    expect(device.memory().used).toBe(0);
    device.dispose();
  });

  test('float32 and float64 devices side by side do not disturb each other', () => {
    for (const dtype of ['float64', 'float32', 'float64', 'float32'] as const) {
      const { k, put, room, get } = bench(dtype);
      const out = room(1);
      const g = { m: 1, n: 1, k: 2, transposeA: false, transposeB: false, batch: 1, aBatchStride: 2, bBatchStride: 2 };
      k.matmul({ ...g, a: put([2 ** 24, 1]), b: put([1, 1]), bias: null, out });
      expect(get(out)).toEqual([dtype === 'float32' ? 2 ** 24 : 2 ** 24 + 1]);
    }
  });
});
