/** Several threads: the same bits at any number of them, no thread or memory left behind, and workers that die. */
import { readdirSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Buffer, TypedArray } from '../src/device/index.js';
import { WasmContext } from '../src/device/wasm/context.js';
import { Team } from '../src/device/wasm/team.js';
import {
  ArgumentError,
  Conv2d,
  compile,
  conv2d,
  crossEntropy,
  type Device,
  DeviceError,
  d2lResnet,
  Generator,
  grad,
  linear,
  matmul,
  reference,
  relu,
  sgd,
  type Tensor,
  tensor,
  type WasmMath,
  wasm,
} from '../src/index.js';
import { numbers } from '../src/oracle/index.js';
import { hashWeights } from '../src/train/index.js';
import { SEED } from './table.js';

/** The context of a device, whose grain decides what is worth handing out. */
const contextOf = (device: Device): WasmContext => {
  const { context } = device as unknown as { context: WasmContext };
  expect(context).toBeInstanceOf(WasmContext);
  return context;
};

/** A device that hands out even the least work. */
async function team(threads: number, createWorker?: () => Worker, math: WasmMath = 'exact'): Promise<Device> {
  const device = await wasm({ threads, createWorker, math });
  contextOf(device).grain = 1;
  return device;
}

/** Five steps of a small ResNet with all of its layers; the hash of its weights. */
async function trained(device: Device): Promise<string> {
  const generator = new Generator(3);
  const model = d2lResnet({ device, generator, channels: [8, 12], blocks: [1, 1] });
  const optimizer = sgd(model.parameters(), { lr: 0.05, momentum: 0.9, weightDecay: 1e-3 });
  for (let step = 0; step < 5; step++) {
    const x = Float32Array.from({ length: 9 * 24 * 24 }, () => generator.uniform(-1, 1));
    const labels = Int32Array.from({ length: 9 }, (_, i) => (i * 7 + step) % 10);
    device.scope(() => {
      const loss = crossEntropy(model.forward(tensor(x, [9, 1, 24, 24], { device })), labels);
      optimizer.step(grad(loss, optimizer.params));
    });
  }
  const hash = await hashWeights(model);
  device.dispose();
  return hash;
}

/** A convolution large enough for every thread; its result. */
function work(device: Device): ArrayLike<number | bigint> {
  const x = tensor(
    Float32Array.from({ length: 4 * 8 * 20 * 20 }, (_, i) => ((i * 37) % 101) / 50 - 1),
    [4, 8, 20, 20],
    { device },
  );
  const w = tensor(
    Float32Array.from({ length: 8 * 8 * 9 }, (_, i) => ((i * 29) % 101) / 50 - 1),
    [8, 8, 3, 3],
    { device },
  );
  return relu(conv2d(x, w, null, { padding: 1 })).dataSync();
}

const threadsOfProcess = (): number => (process.platform === 'linux' ? readdirSync('/proc/self/task').length : 0);

const GEOMETRY = {
  ...{ batch: 2, inChannels: 40, inHeight: 20, inWidth: 20, outChannels: 40, outHeight: 20, outWidth: 20, groups: 1 },
  ...{ kernelHeight: 3, kernelWidth: 3, strideHeight: 1, strideWidth: 1, padTop: 1, padLeft: 1 },
  ...{ dilationHeight: 1, dilationWidth: 1 },
};
const [MAPS, FILTERS] = [2 * 40 * 20 * 20, 40 * 40 * 9];
const SIZES = { x: MAPS, dy: MAPS, dx: MAPS, other: MAPS, weight: FILTERS, dweight: FILTERS, total: FILTERS };
type Buffers = Record<keyof typeof SIZES, Buffer>;

const inputGradient = (device: Device, { dy, weight, dx }: Pick<Buffers, 'dy' | 'weight' | 'dx'>): void =>
  device.kernels.conv2dBackwardInput({ dy, weight, dx, ...GEOMETRY });
const weightGradient = (device: Device, { x, dy, dweight }: Pick<Buffers, 'x' | 'dy' | 'dweight'>): void =>
  device.kernels.conv2dBackwardWeight({ x, dy, dweight, ...GEOMETRY });

describe('threads', () => {
  it('train the same weights, bit for bit: reference, 1, 2, 3 and 7 threads', async () => {
    const expected = await trained(reference());
    for (const threads of [1, 2, 3, 7]) expect(await trained(await team(threads)), `${threads} threads`).toBe(expected);
  });

  it('train the same weights in fast mode too, and other ones than in exact mode', async () => {
    const expected = await trained(reference({ math: 'fast' }));
    for (const threads of [1, 2, 3, 7]) {
      expect(await trained(await team(threads, undefined, 'fast')), `${threads} threads`).toBe(expected);
    }
    expect(await trained(await wasm())).not.toBe(expected);
  });

  it.each(['exact', 'fast'] as const)(
    'divide a convolution of any shape, and give the bits of one: %s',
    async (math) => {
      const one = await wasm({ math });
      const several = await Promise.all([2, 3, 7].map((threads) => team(threads, undefined, math)));
      /** Each result's elements, the compiled model's among them. */
      const results = ([batch, k, rows, height, width, stride, padding]: number[], device: Device): unknown[] =>
        device.scope(() => {
          const [x, w] = [
            [batch, k, height, width],
            [rows, k, 3, 3],
          ].map((shape) => {
            const size = shape.reduce((a, b) => a * b);
            return tensor(numbers(1, `${shape}`, size, -1, 1), shape, { device, requiresGrad: true });
          });
          const y = conv2d(x, w, null, { stride, padding });
          const dy = tensor(numbers(1, 'dy', y.size, -1, 1), y.shape, { device });
          const net = new Conv2d(k, rows, 3, { stride, padding, device, generator: new Generator(1) });
          const compiled = compile(net, { inputShape: x.shape });
          const all: Tensor[] = [y, ...grad(y, [x, w], dy), compiled.run(x)];
          const elements = all.map((t) => Float32Array.from(t.dataSync() as Float32Array));
          compiled.dispose();
          net.dispose();
          return elements;
        });
      const shape = fc.tuple(
        ...[fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 70 }), fc.integer({ min: 1, max: 70 })],
        ...[fc.integer({ min: 3, max: 30 }), fc.integer({ min: 3, max: 30 })],
        ...[fc.constantFrom(1, 1, 2), fc.constantFrom(0, 1, 1, 2)],
      );
      fc.assert(
        fc.property(shape, (drawn) => {
          const expected = results(drawn, one);
          for (const device of several) expect(results(drawn, device)).toEqual(expected);
        }),
        {
          numRuns: Number(process.env.ATALHO_RUNS ?? 40),
          examples: [
            [[1, 64, 64, 28, 28, 1, 1]],
            [[1, 37, 50, 14, 14, 1, 1]],
            [[2, 64, 70, 13, 9, 1, 1]],
            [[2, 64, 64, 16, 32, 2, 1]],
            [[1, 128, 64, 7, 7, 1, 1]],
            [[3, 40, 65, 22, 4, 1, 0]],
            // The last part of the channels is none of a whole panel of taps, and lies at the end of the memory.
            [[1, 70, 2, 18, 6, 1, 0]],
          ],
          ...SEED,
        },
      );
      for (const device of [one, ...several]) device.dispose();
    },
    120_000,
  );

  // The weight gradient runs beside what comes after it. Each of these would change it, or see too little of it.
  it.each([
    ['its gradient is overwritten', (b: Buffers, d: Device) => d.kernels.fill({ out: b.dy, value: 3 })],
    ['its input is overwritten', (b: Buffers, d: Device) => d.kernels.accumulate({ x: b.other, out: b.x })],
    [
      'their memory is given back and taken again',
      ({ x, dy }: Buffers, d: Device) => {
        for (const buffer of [x, dy]) buffer.release();
        for (const { size } of [x, dy]) d.kernels.fill({ out: d.alloc(size), value: 3 });
      },
    ],
    ['it is read', (b: Buffers, d: Device) => d.kernels.accumulate({ x: b.dweight, out: b.total })],
    ['it is overwritten', (b: Buffers, d: Device) => d.kernels.fill({ out: b.dweight, value: 3 })],
    [
      'the input gradient is the input of another',
      ({ other, weight, dx, dy, total }: Buffers, d: Device) => {
        inputGradient(d, { dy: other, weight, dx });
        weightGradient(d, { x: dx, dy, dweight: total });
      },
    ],
    ['JavaScript overwrites its input', (b: Buffers, d: Device) => d.write(b.x, new Float32Array(b.x.size))],
  ] as [string, (b: Buffers, d: Device) => void][])('give the bits of one when %s', async (_, next) => {
    for (const math of ['exact', 'fast'] as const) {
      const outcome = (device: Device): TypedArray[] => {
        const made = Object.fromEntries(
          Object.entries(SIZES).map(([name, size]) => {
            const buffer = device.alloc(size);
            device.write(buffer, numbers(1, name, size, -1, 1));
            return [name, buffer];
          }),
        ) as unknown as Buffers;
        const { x, dy, weight, dx, dweight, total } = made;
        inputGradient(device, { dy, weight, dx });
        weightGradient(device, { x, dy, dweight });
        next(made, device);
        return [dx, dweight, total].map((buffer) => device.readSync?.(buffer) as TypedArray);
      };
      const [one, several] = [await wasm({ math }), await team(2, undefined, math)];
      const expected = outcome(one);
      const differs = (array: TypedArray, i: number): boolean => array.some((value, j) => value !== expected[i][j]);
      for (let round = 0; round < 10; round++) expect(outcome(several).map(differs)).toEqual([false, false, false]);
      for (const device of [one, several]) device.dispose();
    }
  });

  it('divide a matrix product, and give the bits of one', async () => {
    const one = await wasm();
    const several = await Promise.all([2, 3, 7].map((threads) => team(threads)));
    const product = ([batch, m, n, k]: number[], device: Device): unknown =>
      device.scope(() => {
        const a = tensor(numbers(1, 'a', batch * m * k, -1, 1), [batch, m, k], { device });
        const b = tensor(numbers(1, 'b', batch * n * k, -1, 1), [batch, k, n], { device });
        const weight = tensor(numbers(1, 'weight', n * k, -1, 1), [n, k], { device });
        const bias = tensor(numbers(1, 'bias', n, -1, 1), [n], { device });
        const row = tensor(numbers(1, 'row', k, -1, 1), [1, k], { device });
        return [matmul(a, b), linear(row, weight, bias)].map((t) => Float32Array.from(t.dataSync() as Float32Array));
      });
    const shape = fc.tuple(...[5, 40, 40, 40].map((max) => fc.integer({ min: 1, max })));
    fc.assert(
      fc.property(shape, (drawn) => {
        const expected = product(drawn, one);
        for (const device of several) expect(product(drawn, device)).toEqual(expected);
      }),
      { numRuns: Number(process.env.ATALHO_RUNS ?? 40), examples: [[[4100, 2, 1, 3]], [[1, 1, 1000, 64]]], ...SEED },
    );
    for (const device of [one, ...several]) device.dispose();
  });

  it('take their share', async () => {
    const device = await team(3);
    const run = vi.spyOn(Team.prototype, 'run');
    work(device);
    expect(run.mock.calls.some(([programs]) => programs.length > 1)).toBe(true);
    run.mockRestore();
    device.dispose();
  });

  it('are gone after dispose, and so is the memory: 200 devices', async () => {
    const cycle = async () => {
      const device = await team(3);
      work(device);
      device.dispose();
    };
    // What nobody holds any more may stay until the collector comes, and what it frees with the allocator, up to some 150 MB.
    setFlagsFromString('--expose-gc');
    const settle = async () => {
      runInNewContext('gc')();
      await new Promise((resolve) => setTimeout(resolve, 300));
    };
    for (let i = 0; i < 150; i++) await cycle();
    await settle();
    const before = { threads: threadsOfProcess(), rss: process.memoryUsage().rss };
    for (let i = 0; i < 200; i++) await cycle();
    await settle();
    expect(threadsOfProcess()).toBeLessThanOrEqual(before.threads + 1);
    // Each had 1 MiB of memory and two workers of several; a leak of either would be hundreds.
    expect(process.memoryUsage().rss - before.rss).toBeLessThan(40 << 20);
  });

  it('sleep when there is nothing to do', async () => {
    const device = await team(3);
    work(device);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const { user, system } = process.cpuUsage(before);
    // One that spins would use a second.
    expect((user + system) / 1e6).toBeLessThan(0.5);
    device.dispose();
  });

  it('report a worker that dies in mid-kernel, and the device is of no more use', async () => {
    const thief = new URL('./thief.mjs', import.meta.url);
    const device = await team(2, () => new Worker(thief));
    (contextOf(device) as unknown as { team: { stallMs: number } }).team.stallMs = 300;
    // The thief may come too late for one.
    const untilItFails = () => {
      for (let i = 0; i < 10_000; i++) work(device);
    };
    expect(untilItFails).toThrow(DeviceError);
    expect(() => work(device)).toThrow(/a worker died or stalled in \w+.*make a new device/);
    device.dispose();
    // Another device is as good as ever.
    const [next, spec] = [await team(2), reference()];
    expect(work(next)).toEqual(work(spec));
    next.dispose();
  });

  it('that were ended while they slept are not missed: the owner does it all', async () => {
    const device = await team(3);
    const { team: own } = contextOf(device) as unknown as { team: { workers: Worker[] } };
    await Promise.all(own.workers.map((worker) => worker.terminate()));
    expect(work(device)).toEqual(work(reference()));
    device.dispose();
  });
});

describe('threads that cannot be had', () => {
  afterEach(() => {
    vi.restoreAllMocks();
    vi.unstubAllGlobals();
  });

  it.each([0, 1.5, 65, Number.NaN, 'many'])('threads: %s', async (threads) => {
    await expect(wasm({ threads: threads as number })).rejects.toThrow(ArgumentError);
  });

  it('without SharedArrayBuffer: a typed error, one thread for auto', async () => {
    vi.stubGlobal('SharedArrayBuffer', undefined);
    await expect(wasm({ threads: 2 })).rejects.toThrow(/no SharedArrayBuffer.*threads: 1 computes the same bits/);
    vi.stubGlobal('navigator', { hardwareConcurrency: 2 });
    const onWarning = vi.fn();
    const device = await wasm({ threads: 'auto', onWarning });
    expect(device.threads).toBe(1);
    expect(onWarning.mock.calls).toEqual([[expect.stringMatching(/^wasm: one thread, since .*no SharedArrayBuffer/)]]);
    device.dispose();
  });

  it("on a browser's main thread: a typed error, one thread for auto", async () => {
    vi.spyOn(Atomics, 'wait').mockImplementation(() => {
      throw new TypeError('Atomics.wait cannot be called in this context');
    });
    await expect(wasm({ threads: 2 })).rejects.toThrow(DeviceError);
    await expect(wasm({ threads: 2 })).rejects.toThrow(/make the device in a worker/);
    const device = await wasm({ threads: 'auto', onWarning: () => {} });
    expect(contextOf(device).threads).toBe(1);
    device.dispose();
  });

  it('when a worker breaks: at once, and one thread for auto', async () => {
    const createWorker = () => new Worker('throw new Error("broken script")', { eval: true });
    await expect(wasm({ threads: 2, createWorker })).rejects.toThrow(/no threads \(broken script\); use threads: 1/);
    vi.stubGlobal('navigator', { hardwareConcurrency: 2 });
    const onWarning = vi.fn();
    const device = await wasm({ threads: 'auto', createWorker, onWarning });
    expect(device.threads).toBe(1);
    expect(onWarning).toHaveBeenCalledExactlyOnceWith(
      expect.stringMatching(/no worker could be started.*broken script/),
    );
    device.dispose();
  });

  it('when a worker ends before it is ready: at once', async () => {
    const began = performance.now();
    const createWorker = () => new Worker('0', { eval: true });
    await expect(wasm({ threads: 2, createWorker })).rejects.toThrow(
      /no threads \(a worker ended before it was ready\)/,
    );
    // Without a clock, as in a sandbox, it would be never.
    expect(performance.now() - began).toBeLessThan(9_000);
  });

  it('when workers do not start', async () => {
    const createWorker = () => {
      throw new Error('no workers today');
    };
    await expect(wasm({ threads: 2, createWorker })).rejects.toThrow(/no threads \(no workers today\); use threads: 1/);
  });
});
