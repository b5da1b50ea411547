/**
 * The WebGPU device in Node: the case table, and what is its own: batches of commands, memory, errors that arrive late.
 *
 * ATALHO_RUNS sets the draws per row (default 10).
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROCESSORS } from '../src/device/webgpu/blocks.js';
import { blockOf } from '../src/device/webgpu/context.js';
import { webgpuWinogradTile } from '../src/device/winograd.js';
import {
  ArgumentError,
  adam,
  add,
  BatchNorm2d,
  type Conv2dOptions,
  conv2d,
  crossEntropy,
  type Device,
  DeviceError,
  DeviceLostError,
  d2lResnet,
  d2lResnet18,
  Generator,
  grad,
  keep,
  Linear,
  mean,
  mul,
  noGrad,
  OutOfMemoryError,
  reference,
  relu,
  Sequential,
  sgd,
  sum,
  type Tensor,
  tensor,
  type WebgpuDevice,
  wasm,
  webgpu,
} from '../src/index.js';
import { numbers } from '../src/oracle/index.js';
import { blockedGpuDevices, fastGpuDevices, gpuDevices, gpuFound, gpuHelp, rawGpuDevice } from './gpu.js';
import { judgeByTable } from './table.js';

const RUNS = Number(process.env.ATALHO_RUNS ?? 10);

describe.each(gpuDevices)('conformance of $name', (maker) => judgeByTable(maker, RUNS));
// Not every draw is a convolution that Winograd's algorithm takes.
describe.each(fastGpuDevices)('conformance of $name', (maker) =>
  judgeByTable(maker, 4 * RUNS, ['conv2d', 'prepareConv2d']),
);
describe.each(blockedGpuDevices)('conformance of $name', (maker) =>
  judgeByTable(maker, Math.ceil(RUNS / 3), ['conv2d', 'prepareConv2d', 'matmul', 'batchNormRelu.train']),
);

it.each([
  { math: 1n },
  { storage: Symbol('half') },
  { adapterKind: 'cpu' },
  { maxMemoryBytes: 1n },
  { maxMemoryBytes: '5' },
])('webgpu says what is wrong with an option, whatever it is: %o', async (options) => {
  await expect(webgpu(options as never)).rejects.toThrow(ArgumentError);
});

describe.skipIf(!gpuFound)(gpuFound ? 'webgpu' : `webgpu (${gpuHelp})`, () => {
  let device: WebgpuDevice;
  beforeAll(async () => {
    device = await webgpu();
  });
  afterAll(() => device.dispose());

  const filled = (name: string, shape: number[], options: { requiresGrad?: boolean } = {}): Tensor =>
    tensor(
      numbers(
        3,
        name,
        shape.reduce((a, b) => a * b, 1),
        -1,
        1,
      ),
      shape,
      { device, ...options },
    );

  const filledOn = (at: Device, shape: number[]): Tensor => {
    const size = shape.reduce((a, b) => a * b, 1);
    return tensor(numbers(3, 'any', size, -1, 1), shape, { device: at });
  };

  /** A convolution and its gradients, on a device. */
  const convolve = async (at: Device, x: number[], w: number[], o: Conv2dOptions): Promise<Float64Array[]> => {
    const leaf = (name: string, shape: number[]): Tensor => {
      const size = shape.reduce((a, b) => a * b, 1);
      return tensor(numbers(5, name, size, -1, 1), shape, { device: at, requiresGrad: true });
    };
    const inputs = [leaf('x', x), leaf('w', w), leaf('b', [w[0]])] as const;
    const y = conv2d(...inputs, o);
    const dy = tensor(numbers(5, 'dy', y.size, -1, 1), y.shape, { device: at });
    const all = [y, ...grad(y, inputs, dy)];
    const values = [];
    for (const t of all) values.push(Float64Array.from((await t.data()) as Float32Array));
    for (const t of [...all, ...inputs, dy]) t.dispose();
    return values;
  };

  /** The largest error, as a share of what the results' squares have as mean. */
  const worstOf = (got: Float64Array, want: Float64Array): number => {
    const scale = Math.sqrt(want.reduce((a, v) => a + v * v, 0) / want.length) || 1;
    return got.reduce((most, v, i) => Math.max(most, Math.abs(v - want[i])), 0) / scale;
  };

  it('tells what computes', () => {
    expect(device.name).toBe('webgpu');
    expect(device.adapter).not.toBe('');
    expect(device.readSync).toBeUndefined();
  });

  it('refuses to be read at once, by name', () => {
    const x = filled('x', [2]);
    expect(() => x.dataSync()).toThrow(/^dataSync: device webgpu can only be read with await x.data\(\)/);
    x.dispose();
  });

  it('takes no blocks where they would be more than a call has', () => {
    const gpu = { leastBlocked: 16, processors: 132 as const };
    const shape = { rows: 64, terms: 64, steps: 8, count: 1, most: 1 };
    expect(blockOf(gpu, { ...shape, columns: 65_535 * 128 })).not.toBeNull();
    expect(blockOf(gpu, { ...shape, columns: 65_535 * 128 + 1 })).toBeNull();
    expect(blockOf(gpu, { ...shape, columns: 64, count: 65_536 })).toBeNull();
  });

  describe('large tensors', () => {
    it('takes more elements than workgroups lie along one axis', async () => {
      // 65,535 workgroups of 1024 elements, and one more.
      const size = 65_535 * 1024 + 5;
      const values = new Float32Array(size).fill(1);
      values[size - 1] = 3;
      const x = tensor(values, [size], { device });
      const y = device.scope(() => relu(x));
      const got = (await y.data()) as Float32Array;
      expect(got[0] + got[size - 1] + got[size >> 1]).toBe(5);
      for (const t of [x, y]) t.dispose();
    }, 120_000);

    it('sums over two levels of workgroups as in one', async () => {
      const size = 300_001;
      const values = Float32Array.from({ length: size }, (_, i) => (i % 7) - 3);
      const want = values.reduce((a, b) => a + b, 0);
      const x = tensor(values, [size], { device });
      const y = sum(x);
      expect((await y.data())[0]).toBe(want);
      const z = mean(x);
      expect(Number((await z.data())[0])).toBeCloseTo(want / size, 9);
      for (const t of [x, y, z]) t.dispose();
    });

    it.each([
      { x: [4, 20, 40, 40], w: [30, 20, 3, 3], o: { padding: 1 } },
      { x: [2, 3, 64, 64], w: [32, 3, 7, 7], o: { stride: 2, padding: 3 } },
      { x: [8, 96, 7, 7], w: [80, 96, 3, 3], o: { padding: 1 } },
      { x: [8, 64, 9, 9], w: [130, 64, 1, 1], o: { stride: 2 } },
      { x: [1, 256, 2, 2], w: [256, 256, 3, 3], o: { padding: 1 } },
    ])(
      'convolves $x with $w as the reference does, forward and backward',
      async ({ x, w, o }) => {
        const exact = reference({ dtype: 'float64' });
        const [got, want] = [await convolve(device, x, w, o), await convolve(exact, x, w, o)];
        for (const [i, values] of got.entries()) expect(worstOf(values, want[i]), `result ${i}`).toBeLessThan(2e-5);
        exact.dispose();
      },
      120_000,
    );

    it('refuses a tensor beyond what the adapter binds, and says how much it allows', () => {
      const used = device.memory().used;
      expect(() => device.alloc(2 ** 33)).toThrow(OutOfMemoryError);
      expect(() => device.alloc(2 ** 33)).toThrow(/this adapter allows \d+ in one buffer/);
      expect(device.memory().used).toBe(used);
    });
  });

  describe('what a GPU is given', () => {
    let own: WebgpuDevice;
    const exact = reference({ dtype: 'float64' });
    beforeAll(async () => {
      own = await webgpu({ adapterKind: 'gpu', profile: true });
    });
    afterAll(() => {
      own.dispose();
      exact.dispose();
    });
    /** Blocks are as large as they get where there is one processor to fill, and small, in parts, where there are many. */
    const fill = (processors: number): void => {
      (own as unknown as { context: { processors: number } }).context.processors = processors;
    };
    const called = async (): Promise<string[]> => [...((await own.profile()) ?? [])].map(([name]) => name);

    it.each([
      // Edges of every block, channels that are not whole steps.
      { x: [2, 20, 9, 11], w: [70, 20, 3, 3], o: { padding: 1, stride: 2 } },
      { x: [2, 33, 13, 16], w: [130, 33, 3, 3], o: { padding: 1 } },
      // Blocks that are all full; three parts, which is no whole number of what is read at once.
      { x: [3, 64, 8, 8], w: [64, 64, 3, 3], o: { padding: 1 } },
      // Phases that some taps hit, or none.
      { x: [2, 64, 10, 10], w: [64, 32, 3, 3], o: { padding: 2, groups: 2, stride: 2, dilation: 2 } },
      { x: [3, 24, 10, 12], w: [40, 24, 5, 3], o: { padding: 1, stride: [3, 2], dilation: [1, 3] } },
      { x: [4, 32, 8, 8], w: [48, 32, 1, 1], o: { stride: 2 } },
      // Sums in parts.
      { x: [4, 256, 2, 2], w: [256, 256, 3, 3], o: { padding: 1 } },
    ] as { x: number[]; w: number[]; o: Conv2dOptions }[])(
      'convolves $x with $w by blocks as the reference does, forward and backward, and the same bits twice',
      async ({ x, w, o }) => {
        const got = await convolve(own, x, w, o);
        const names = await called();
        expect(names).toEqual(
          expect.arrayContaining(['conv2dBlock', 'conv2dBackwardInputBlock', 'conv2dBackwardWeightBlock']),
        );
        if (x[1] === 256) expect(names).toContain('finishParts');
        const want = await convolve(exact, x, w, o);
        for (const [i, values] of got.entries()) expect(worstOf(values, want[i]), `result ${i}`).toBeLessThan(1e-5);
        expect(await convolve(own, x, w, o)).toEqual(got);
        fill(1);
        const large = await convolve(own, x, w, o);
        fill(PROCESSORS);
        for (const [i, values] of large.entries()) expect(worstOf(values, want[i]), `result ${i}`).toBeLessThan(1e-5);
        await called();
        expect(own.memory().used).toBe(0);
      },
      120_000,
    );

    it('ends a prepared convolution in parts with bias, residual and relu', async () => {
      const run = async (at: Device): Promise<Float64Array> => {
        const take = (name: string, size: number) => tensor(numbers(5, name, size, -1, 1), [size], { device: at });
        const all = [take('x', 4096), take('w', 65_536 * 9), take('b', 256), take('r', 4096), take('out', 4096)];
        const [x, weight, bias, residual, out] = all.map((t) => t.buffer);
        const prepared = at.kernels.prepareConv2d({
          ...{ batch: 4, inChannels: 256, inHeight: 2, inWidth: 2, outChannels: 256, outHeight: 2, outWidth: 2 },
          ...{ kernelHeight: 3, kernelWidth: 3, strideHeight: 1, strideWidth: 1, padTop: 1, padLeft: 1 },
          ...{ dilationHeight: 1, dilationWidth: 1, groups: 1, norm: null, relu: true },
          ...{ x, weight, bias, residual, out },
        });
        prepared.run();
        const values = Float64Array.from((await at.read(out)) as Float32Array);
        prepared.release();
        for (const t of all) t.dispose();
        return values;
      };
      const got = await run(own);
      expect(await called()).toEqual(expect.arrayContaining(['conv2dBlock', 'finishParts']));
      expect(worstOf(got, await run(exact))).toBeLessThan(1e-5);
    }, 120_000);

    it.each([
      { m: 70, k: 130, n: 90 },
      { m: 128, k: 64, n: 256 },
    ])(
      'multiplies $m × $k by $k × $n by blocks, whichever way they lie',
      async ({ m, k, n }) => {
        const run = async (at: Device, transposeA: boolean, transposeB: boolean): Promise<Float64Array> => {
          const take = (name: string, size: number) => tensor(numbers(5, name, size, -1, 1), [size], { device: at });
          const all = [take('a', 2 * m * k), take('b', k * n), take('bias', n), take('out', 2 * m * n)];
          const [a, b, bias, out] = all.map((t) => t.buffer);
          const sizes = { m, n, k, transposeA, transposeB, batch: 2, aBatchStride: m * k, bBatchStride: 0 };
          at.kernels.matmul({ a, b, bias, out, ...sizes });
          const values = Float64Array.from((await at.read(out)) as Float32Array);
          for (const t of all) t.dispose();
          return values;
        };
        for (const [a, b] of [
          [false, false],
          [true, false],
          [false, true],
        ]) {
          expect(worstOf(await run(own, a, b), await run(exact, a, b))).toBeLessThan(1e-5);
        }
        expect(await called()).toEqual(['matmulBlock']);
      },
      120_000,
    );

    it('takes the moments and sums of a channel in parts, far from 0 as well', async () => {
      const shape = [3, 9, 55, 55];
      const run = async (at: Device): Promise<Float64Array[]> => {
        const size = shape.reduce((a, b) => a * b, 1);
        const x = tensor(numbers(5, 'x', size, 99, 101), shape, { device: at, requiresGrad: true });
        const norm = new BatchNorm2d(9, { device: at });
        const y = relu(norm.forward(x));
        const dy = tensor(numbers(5, 'dy', size, -1, 1), shape, { device: at });
        const all = [y, ...grad(y, [x, ...norm.parameters()], dy), sum(dy, [0, 2, 3])];
        const values = [];
        for (const t of [...all, ...norm.stateDict().values()]) values.push(Float64Array.from(await t.data(), Number));
        for (const t of [...all, x, dy]) t.dispose();
        norm.dispose();
        return values;
      };
      const got = await run(own);
      expect(await called()).toEqual(
        expect.arrayContaining([
          ...['batchNormMoments', 'batchNormJoinMoments', 'batchNormPartialSums', 'batchNormJoinSums', 'sum'],
        ]),
      );
      const want = await run(exact);
      for (const [i, values] of got.entries()) expect(worstOf(values, want[i]), `result ${i}`).toBeLessThan(1e-4);
      expect(await run(own)).toEqual(got);
    }, 120_000);
  });

  describe('Winograd in math fast', () => {
    /** As many workgroups as a GPU wants, so that sums of weights' gradients are split. */
    const keepBusy = (own: WebgpuDevice): void => {
      (own as unknown as { context: { busy: number } }).context.busy = 512;
    };

    it.each([
      { x: [2, 24, 13, 18], w: [20, 24, 3, 3], padding: 1, tiles: [4, 4, 4] },
      { x: [4, 8, 40, 41], w: [8, 8, 3, 3], padding: 1, tiles: [4, 4, 4] },
      { x: [3, 16, 9, 6], w: [12, 16, 3, 3], padding: 1, tiles: [3, 3, 3] },
      { x: [2, 64, 5, 5], w: [64, 32, 3, 3], padding: 2, groups: 2, tiles: [4, 3, 4] },
      { x: [4, 33, 2, 10], w: [17, 33, 3, 3], padding: 1, tiles: [2, 2, 2] },
      { x: [8, 32, 6, 4], w: [24, 32, 3, 3], padding: 0, tiles: [2, 4, 2] },
    ])(
      'convolves $x with $w by tiles of $tiles, gives back what it took, and the same bits twice',
      async ({ x, w, padding, groups, tiles }) => {
        const own = await webgpu({ math: 'fast', profile: true });
        const exact = reference({ dtype: 'float64' });
        const [batch, inChannels, inHeight, inWidth] = x;
        const geometry = {
          ...{ batch, inChannels, inHeight, inWidth, outChannels: w[0], groups: groups ?? 1 },
          ...{ outHeight: inHeight + 2 * padding - 2, outWidth: inWidth + 2 * padding - 2 },
          ...{ kernelHeight: 3, kernelWidth: 3, strideHeight: 1, strideWidth: 1, dilationHeight: 1, dilationWidth: 1 },
          ...{ padTop: padding, padLeft: padding },
        };
        const directions = ['forward', 'input', 'weight'] as const;
        expect(directions.map((direction) => webgpuWinogradTile(direction, geometry))).toEqual(tiles);
        const want = await convolve(exact, x, w, { padding, groups });
        const passes = [await convolve(own, x, w, { padding, groups }), await convolve(own, x, w, { padding, groups })];
        keepBusy(own);
        passes.push(await convolve(own, x, w, { padding, groups }));
        const called = [...((await own.profile()) ?? [])].map(([name]) => name);
        expect(called).toEqual(expect.arrayContaining(['winogradFilter', 'winogradOutput', 'winogradFilterGradient']));
        expect(called.filter((name) => name.startsWith('conv2d'))).toEqual([]);
        for (const got of passes) {
          for (const [i, values] of got.entries()) expect(worstOf(values, want[i]), `result ${i}`).toBeLessThan(2e-5);
        }
        expect(passes[1]).toEqual(passes[0]);
        expect(own.memory().used).toBe(0);
        exact.dispose();
        own.dispose();
      },
      120_000,
    );

    it('takes images in chunks where their planes are too large for one', async () => {
      const own = await webgpu({ math: 'fast' });
      keepBusy(own);
      const shapes = [
        [2, 8, 620, 1000],
        [8, 8, 3, 3],
      ] as const;
      const before = own.counts.dispatches;
      const got = await convolve(own, [...shapes[0]], [...shapes[1]], { padding: 1 });
      // Two chunks a direction.
      expect(own.counts.dispatches - before).toBeGreaterThanOrEqual(2 * (1 + 2 * 3) + 2 * 4);
      const want = await convolve(device, [...shapes[0]], [...shapes[1]], { padding: 1 });
      for (const [i, values] of got.entries()) expect(worstOf(values, want[i]), `result ${i}`).toBeLessThan(1e-4);
      expect(own.memory().used).toBe(0);
      own.dispose();
    }, 120_000);

    it('stays direct where that is asked, or less work', async () => {
      const own = await webgpu({ math: 'fast' });
      for (const [at, calls] of [
        [own, 4],
        [device, 1],
      ] as const) {
        const [x, w] = [filledOn(at, [2, 16, 12, 12]), filledOn(at, [16, 16, 3, 3])];
        const before = at.counts.dispatches;
        const y = conv2d(x, w, null, { padding: 1 });
        expect(at.counts.dispatches - before).toBe(calls);
        const strided = conv2d(x, w, null, { padding: 1, stride: 2 });
        expect(at.counts.dispatches - before).toBe(calls + 1);
        for (const t of [x, w, y, strided]) t.dispose();
      }
      own.dispose();
      await expect(webgpu({ math: 'exact' as 'fast' })).rejects.toThrow(
        new ArgumentError("webgpu: math is \"exact\"; want 'direct' or 'fast'"),
      );
    });
  });

  describe('batches of commands', () => {
    it('hands a scope to the GPU as one batch', async () => {
      const x = filled('x', [100]);
      await device.finished();
      const before = device.counts;
      const y = device.scope(() => device.scope(() => relu(add(mul(x, x), x))));
      const after = device.counts;
      expect([
        after.dispatches - before.dispatches,
        after.submits - before.submits,
        after.reads - before.reads,
      ]).toEqual([3, 1, 0]);
      for (const t of [x, y]) t.dispose();
    });

    it('trains with one submit a step, no read, and at most 1.5 calls an op', async () => {
      const model = d2lResnet18({ device });
      const params = model.parameters();
      const optimizer = sgd(params, { lr: 0.01, momentum: 0.9 });
      let ops = 0;
      const step = (): Tensor =>
        device.scope(() => {
          const x = filled('image', [2, 1, 32, 32]);
          const loss = keep(crossEntropy(model.forward(x), [1, 2]));
          optimizer.step(grad(loss, params));
          return loss;
        });
      const kernels = device.kernels as unknown as Record<string, (...args: unknown[]) => unknown>;
      for (const name of Object.keys(kernels)) {
        const own = kernels[name];
        kernels[name] = (...args) => {
          ops++;
          return own(...args);
        };
      }
      step().dispose();
      await device.finished();
      ops = 0;
      const before = device.counts;
      const loss = step();
      const after = device.counts;
      expect(after.submits - before.submits).toBe(1);
      expect(after.reads - before.reads).toBe(0);
      expect((after.dispatches - before.dispatches) / ops).toBeLessThanOrEqual(1.5);
      loss.dispose();
      optimizer.dispose();
      model.dispose();
    }, 300_000);

    it('makes no bind groups in a step like the one before', async () => {
      const raw = await rawGpuDevice();
      let made = 0;
      const create = raw.createBindGroup.bind(raw);
      raw.createBindGroup = (descriptor) => {
        made++;
        return create(descriptor);
      };
      const own = await webgpu({ device: raw });
      const generator = new Generator(2);
      const model = d2lResnet({ device: own, generator, channels: [4, 8], blocks: [2, 2] });
      const optimizer = sgd(model.parameters(), { lr: 0.01, momentum: 0.9 });
      for (let i = 0; i < 5; i++) {
        made = 0;
        own.scope(() => {
          const x = tensor(numbers(i, 'image', 2 * 20 * 20, -1, 1), [2, 1, 20, 20], { device: own });
          optimizer.step(grad(crossEntropy(model.forward(x), [1, 2]), optimizer.params));
        });
        if (i === 0) expect(made).toBeGreaterThan(0);
        await own.finished();
      }
      expect(made).toBe(0);
      own.dispose();
      raw.destroy();
    });

    it('writes what a recorded command still reads only once it has read it', async () => {
      const x = tensor([1, 2], { device });
      const y = add(x, x);
      x.write([10, 20]);
      const z = add(x, x);
      expect([...(await y.data()), ...(await z.data())]).toEqual([2, 4, 20, 40]);
      for (const t of [x, y, z]) t.dispose();
    });

    it('goes on past the calls that one batch holds', async () => {
      let x = tensor([0], { device });
      const one = tensor([1], { device });
      for (let i = 0; i < 5000; i++) {
        const next = add(x, one);
        x.dispose();
        x = next;
      }
      expect((await x.data())[0]).toBe(5000);
      for (const t of [x, one]) t.dispose();
    });

    it('gives the same bits twice', async () => {
      const pass = async (): Promise<Float32Array[]> => {
        const [x, w] = [
          filled('x', [6, 20, 17, 17], { requiresGrad: true }),
          filled('w', [24, 20, 3, 3], { requiresGrad: true }),
        ];
        const norm = new BatchNorm2d(24, { device });
        const results = device.scope(() => {
          const y = norm.forward(conv2d(x, w, null, { padding: 1 }));
          const loss = mean(mul(y, y));
          return [loss, ...grad(loss, [x, w, ...norm.parameters()])];
        });
        const values = [];
        for (const t of results) values.push((await t.data()) as Float32Array);
        for (const t of [...results, x, w]) t.dispose();
        norm.dispose();
        return values;
      };
      expect(await pass()).toEqual(await pass());
    }, 120_000);
  });

  describe('memory', () => {
    it('serves requests from what was given back, and frees it all', async () => {
      const own = await webgpu();
      for (let i = 0; i < 3; i++) {
        own.scope(() => {
          const x = tensor(new Float32Array(1000), { device: own });
          add(add(x, x), x);
        });
      }
      const { used, peak, reserved } = own.memory();
      expect(used).toBe(0);
      expect(peak).toBe(3 * 4000);
      expect(reserved).toBeGreaterThanOrEqual(peak);
      expect(reserved).toBeLessThan(peak * 1.2);
      own.dispose();
      expect(own.memory()).toMatchObject({ used: 0, reserved: 0 });
    });

    it('keeps below maxMemoryBytes, and goes on after refusing', async () => {
      const own = await webgpu({ maxMemoryBytes: 1 << 20 });
      const x = tensor(new Float32Array(100_000), { device: own });
      expect(() => own.alloc(200_000)).toThrow(
        /^webgpu: out of memory: a float32 buffer of 200000 takes 800000 bytes; \d+ of 1048576 are in use/,
      );
      const y = add(x, x);
      expect((await y.data())[99_999]).toBe(0);
      y.dispose();
      x.dispose();
      // What lies free in other sizes makes room.
      own.alloc(200_000).release();
      own.dispose();
      await expect(webgpu({ maxMemoryBytes: 0 })).rejects.toThrow(ArgumentError);
    });

    it('has back what a call took that is refused', async () => {
      const raw = await rawGpuDevice();
      const own = await webgpu({ device: raw, math: 'fast' });
      const [x, w] = [filledOn(own, [2, 16, 12, 12]), filledOn(own, [16, 16, 3, 3])];
      const { used } = own.memory();
      const make = raw.createComputePipeline.bind(raw);
      // The shader of the filters goes through, the next is refused.
      let made = 0;
      raw.createComputePipeline = (descriptor) => {
        if (made++ === 1) throw new Error('refused');
        return make(descriptor);
      };
      expect(() => own.scope(() => conv2d(x, w, null, { padding: 1 }))).toThrow('refused');
      expect(own.memory().used).toBe(used);
      await own.finished();
      own.dispose();
      raw.destroy();
    });
  });

  describe('moving', () => {
    it('takes a model to another device and back, bit for bit', async () => {
      const model = new Sequential(new Linear(3, 4, { device: reference(), generator: new Generator(1) }));
      const before = await Promise.all(model.parameters().map((t) => t.data()));
      const there = await model.to(device);
      expect(there).toBe(model);
      expect(model.parameters().every((t) => t.device === device && t.requiresGrad)).toBe(true);
      const y = noGrad(() => model.forward(filled('x', [2, 3])));
      expect(y.device).toBe(device);
      y.dispose();
      const cpu = await wasm();
      await model.to(cpu);
      expect(await Promise.all(model.parameters().map((t) => t.data()))).toEqual(before);
      model.dispose();
      cpu.dispose();
    });

    it('takes counters and running statistics along, and disposes what it leaves', async () => {
      const cpu = reference();
      const norm = new BatchNorm2d(2, { device: cpu });
      norm
        .forward(
          tensor(
            [
              [[[1]], [[2]]],
              [[[3]], [[5]]],
            ],
            { device: cpu },
          ),
        )
        .dispose();
      const old = [...norm.stateDict().values()];
      await norm.to(device);
      expect(old.every((t) => t.disposed)).toBe(true);
      expect([...norm.stateDict().values()].every((t) => t.device === device)).toBe(true);
      norm.forward(filled('y', [2, 2, 1, 1])).dispose();
      expect(await norm.stateDict().get('num_batches_tracked')?.data()).toEqual(BigInt64Array.of(2n));
      norm.dispose();
    });
  });

  describe('errors', () => {
    it('of tensors of another device name both', async () => {
      const other = await webgpu();
      const [x, y] = [filled('x', [2]), tensor([1, 2], { device: other })];
      expect(() => add(x, y)).toThrow(/add/);
      expect(() => device.kernels.relu({ x: y.buffer, out: x.buffer })).toThrow(
        new DeviceError('webgpu: relu: x is a buffer of another device'),
      );
      x.dispose();
      other.dispose();
    });

    it('of a device that was disposed are typed', async () => {
      const own = await webgpu();
      const x = tensor([1], { device: own });
      own.dispose();
      expect(() => add(x, x)).toThrow(/^webgpu: the device was disposed/);
      await expect(x.data()).rejects.toThrow(DeviceError);
      own.dispose();
    });

    it('of arguments say what they want', async () => {
      await expect(webgpu({ device: {} as GPUDevice })).rejects.toThrow(/^webgpu: device is no GPUDevice/);
    });

    it('that the GPU tells late come at the next await, once', async () => {
      const raw = await rawGpuDevice();
      const own = await webgpu({ device: raw });
      const x = tensor([1, 2], { device: own });
      raw.createShaderModule({ code: 'this is no WGSL' });
      const y = add(x, x);
      await expect(y.data()).rejects.toThrow(/^webgpu: the GPU refused a command: .*WGSL/s);
      expect([...(await y.data())]).toEqual([2, 4]);
      own.dispose();
      raw.destroy();
    });

    it('of a GPU without memory are OutOfMemoryError', async () => {
      const raw = await rawGpuDevice();
      const own = await webgpu({ device: raw });
      const x = tensor([1, 2], { device: own });
      const pop = raw.popErrorScope.bind(raw);
      let calls = 0;
      // As a driver would tell: Dawn asks for no more than it can have here.
      raw.popErrorScope = async () => {
        const told = await pop();
        return calls++ === 0 ? ({ message: 'no memory' } as GPUError) : told;
      };
      const y = add(x, x);
      const { reserved } = own.memory();
      // Whoever waits is told, and whoever asks later goes on.
      const both = await Promise.allSettled([y.data(), x.data()]);
      expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
      expect((both[0] as PromiseRejectedResult).reason).toBeInstanceOf(OutOfMemoryError);
      expect([...(await x.data())]).toEqual([1, 2]);
      // Buffers that perhaps have no memory behind them are not used again.
      y.dispose();
      expect(own.memory().reserved).toBeLessThan(reserved);
      own.dispose();
      raw.destroy();
    });

    it('of a lost GPU say that its tensors are gone', async () => {
      const raw = await rawGpuDevice();
      const own = await webgpu({ device: raw });
      const x = tensor([1, 2], { device: own });
      await own.finished();
      raw.destroy();
      await expect(add(x, x).data()).rejects.toThrow(DeviceLostError);
      expect(() => add(x, x)).toThrow(
        /^webgpu: the GPU device was lost \(destroyed: .*go on from the last checkpoint/s,
      );
      await expect(x.data()).rejects.toThrow(DeviceLostError);
      own.dispose();
    });
  });

  it('keeps the state of optimizers on the GPU', async () => {
    const w = tensor([1, -2], { device, requiresGrad: true });
    const optimizer = adam([w], { lr: 0.1 });
    const g = tensor([0.5, -0.5], { device });
    optimizer.step([g]);
    const got = await w.data();
    expect(got[0]).toBeCloseTo(0.9, 6);
    expect(got[1]).toBeCloseTo(-1.9, 6);
    optimizer.dispose();
    for (const t of [w, g]) t.dispose();
  });
});
