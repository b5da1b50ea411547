/** Threads when something goes wrong: what is told, and that the device is then either as good as before or of no more use. */
import vm from 'node:vm';
import { Worker } from 'node:worker_threads';
import { describe, expect, it, vi } from 'vitest';
import type { Buffer } from '../src/device/index.js';
import { WasmContext } from '../src/device/wasm/context.js';
import { Team } from '../src/device/wasm/team.js';
import { conv2d, type Device, DeviceError, OutOfMemoryError, relu, tensor, wasm } from '../src/index.js';

/** The number of the control block's word that tells of a failure, as in team.ts. */
const FAILED = 4;

/** What no user of a device sees. */
interface Inside {
  words: Int32Array;
  stallMs: number;
  reached(kind: number, jobs: number): boolean;
}

function insideOf(device: Device): { context: WasmContext; team: Inside } {
  const { context } = device as unknown as { context: WasmContext };
  expect(context).toBeInstanceOf(WasmContext);
  return { context, team: context.team as unknown as Inside };
}

/** A device that hands out even the least work. */
async function team(threads: number, createWorker?: () => Worker): Promise<Device> {
  const device = await wasm({ threads, createWorker });
  insideOf(device).context.grain = 1;
  return device;
}

const work = (device: Device): ArrayLike<number | bigint> =>
  device.scope(() => relu(tensor(new Float32Array(4096).fill(-1), [4096], { device })).dataSync());

const square = (channels: number, extent: number, pad: number) => ({
  ...{ batch: 1, inChannels: channels, inHeight: extent, inWidth: extent, outChannels: channels, groups: 1 },
  ...{ outHeight: extent + 2 * pad - 2, outWidth: extent + 2 * pad - 2, kernelHeight: 3, kernelWidth: 3 },
  ...{ strideHeight: 1, strideWidth: 1, padTop: pad, padLeft: pad, dilationHeight: 1, dilationWidth: 1 },
});

function filled(device: Device, size: number): Buffer {
  const buffer = device.alloc(size);
  device.kernels.fill({ out: buffer, value: 1 });
  return buffer;
}

describe('a worker', () => {
  it('that dies when it has counted its part, and not said so, is reported too', async () => {
    const thief = new URL('./thief.mjs', import.meta.url);
    const device = await team(2, () => new Worker(thief, { workerData: { counts: true } }));
    insideOf(device).team.stallMs = 300;
    expect(() => {
      for (let i = 0; i < 10_000; i++) work(device);
    }).toThrow(/a worker died or stalled in .*make a new device/);
    device.dispose();
  });

  it('that fails while the owner looks whether all is done is not missed', async () => {
    const device = await team(2);
    work(device);
    const { context, team: inside } = insideOf(device);
    const reached = inside.reached.bind(inside);
    inside.reached = (kind, jobs) => {
      Atomics.store(inside.words, FAILED, 1);
      return reached(kind, jobs);
    };
    expect(() => context.settle()).toThrow(/a worker failed in .*make a new device/);
    device.dispose();
  });
});

describe('the thread that owns the device', () => {
  it('is told at once when it was stopped in a kernel: the others cannot know', async () => {
    const device = await team(2);
    const n = 2000;
    const [a, b, out] = [1, 2, 3].map(() => filled(device, n * n));
    const product = { a, b, bias: null, out, m: n, n, k: n, transposeA: false, transposeB: false };
    const host = globalThis as unknown as { go?: () => void };
    host.go = () => {
      device.kernels.matmul({ ...product, batch: 1, aBatchStride: 0, bBatchStride: 0 });
      device.readSync?.(out);
    };
    expect(() => vm.runInThisContext('go()', { timeout: 20 })).toThrow(/timed out/);
    delete host.go;
    expect(() => work(device)).toThrow(/a kernel was stopped halfway; make a new device/);
    expect(() => work(device)).toThrow(DeviceError);
    device.dispose();
  });
});

describe.each([1, 2])('threads: %i', (threads) => {
  it('tables that find no memory leave nothing behind', async () => {
    const device = await wasm({ threads, maxMemoryBytes: 4 << 20 });
    const [large, small] = [square(2000, 3, 0), square(8, 3, 0)].map((g) => ({ ...g, outChannels: 1 }));
    const [x, weight, out] = [18_000, 18_000, 9].map((size) => filled(device, size));
    const run = (g: typeof large): void => device.kernels.conv2d({ ...g, x, weight, bias: null, out });
    run(small);
    // Scratch as the large one wants it, so that only its tables lack memory.
    insideOf(device).context.scratch(600_000);
    const taken: Buffer[] = [];
    for (let size = 1 << 18; size >= 64; size >>= 1) {
      try {
        for (;;) taken.push(device.alloc(size));
      } catch (error) {
        expect(error).toBeInstanceOf(OutOfMemoryError);
      }
    }
    expect(() => run(large)).toThrow(/out of memory: the tables of a job/);
    run(small);
    expect(device.readSync?.(out)[0]).toBe(72);
    device.dispose();
  });

  it('a prepared convolution that outlives its device says so', async () => {
    const device = await team(threads);
    const g = square(8, 9, 1);
    const [x, weight, out] = [648, 576, 648].map((size) => filled(device, size));
    const fused = { norm: null, residual: null, relu: false };
    const prepared = device.kernels.prepareConv2d({ ...g, x, weight, bias: null, ...fused, out });
    prepared.run();
    device.dispose();
    expect(() => prepared.run()).toThrow(/the device was disposed/);
  });
});

it('a weight gradient into the weights that the input gradient before it reads comes after it', async () => {
  const device = await team(3);
  const g = square(16, 9, 2);
  const [x, dx, dy, weight, dweight] = [1296, 1296, 1936, 2304, 2304].map((size) => filled(device, size));
  const run = vi.spyOn(Team.prototype, 'run');
  const isBeside = (to: Buffer): boolean => {
    device.kernels.conv2dBackwardInput({ ...g, dy, weight, dx });
    device.kernels.conv2dBackwardWeight({ ...g, x, dy, dweight: to });
    return run.mock.lastCall?.[1] !== undefined;
  };
  expect([dweight, weight].map(isBeside)).toEqual([true, false]);
  run.mockRestore();
  device.dispose();
});

it('48 threads are not handed more than a job holds', async () => {
  const bits = async (threads: number) => {
    const device = await wasm({ threads, math: 'fast' });
    const [x, weight] = [
      [128, 192, 2, 2],
      [384, 192, 3, 3],
    ].map((shape) => {
      const size = shape.reduce((a, b) => a * b);
      return tensor(
        Float32Array.from({ length: size }, (_, i) => ((i * 37) % 101) / 50 - 1),
        shape,
        { device },
      );
    });
    const result = conv2d(x, weight, null, { padding: 1 }).dataSync();
    device.dispose();
    return result;
  };
  expect(await bits(48)).toEqual(await bits(1));
});
