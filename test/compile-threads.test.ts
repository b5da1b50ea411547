/** Compiled models on several threads, which go on with the next convolution where they computed the last: the bits of one thread. */
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import type { Prepared } from '../src/device/index.js';
import type { WasmContext } from '../src/device/wasm/context.js';
import { Team } from '../src/device/wasm/team.js';
import {
  adaptiveAvgPool2d,
  add,
  Conv2d,
  compile,
  type Device,
  Generator,
  Module,
  ReLU,
  Residual,
  Sequential,
  type Tensor,
  type WasmMath,
  wasm,
} from '../src/index.js';
import { numbers } from '../src/oracle/index.js';
import { SEED } from './table.js';

/** A device that hands out even the least work. */
async function team(threads: number, math: WasmMath): Promise<Device> {
  const device = await wasm({ threads, math });
  (device as unknown as { context: WasmContext }).context.grain = 1;
  return device;
}

/** Four convolutions that read the same: more than there are places for at once. */
class Fork extends Module {
  readonly ways: readonly Conv2d[];
  readonly way0: Conv2d;
  readonly way1: Conv2d;
  readonly way2: Conv2d;
  readonly way3: Conv2d;

  constructor(channels: number, device: Device, generator: Generator) {
    super();
    const way = (size: number) => new Conv2d(channels, channels, size, { device, generator, padding: (size - 1) / 2 });
    this.ways = [this.way0, this.way1, this.way2, this.way3] = [way(3), way(3), way(1), way(3)];
  }

  override forward(x: Tensor): Tensor {
    return this.ways.map((way) => way.forward(x)).reduce((a, b) => add(a, b));
  }
}

/** A convolution, and before it something else that reads the same, and takes scratch. */
class Squeeze extends Module {
  readonly conv: Conv2d;

  constructor(channels: number, device: Device, generator: Generator) {
    super();
    this.conv = new Conv2d(channels, channels, 3, { device, generator, padding: 1 });
  }

  override forward(x: Tensor): Tensor {
    const mean = adaptiveAvgPool2d(x, 1);
    return add(this.conv.forward(x), mean);
  }
}

interface Layer {
  readonly kind: 'plain' | 'residual' | 'fork' | 'squeeze' | 'relu';
  readonly channels: number;
  readonly kernel: number;
  readonly stride: number;
  /** Of a plain one, where they divide the channels. */
  readonly groups?: number;
}

function network(layers: readonly Layer[], inChannels: number, device: Device): Sequential {
  const generator = new Generator(7);
  let from = inChannels;
  const modules = layers.map(({ kind, channels, kernel, stride, groups = 1 }): Module => {
    const options = { device, generator };
    switch (kind) {
      case 'plain': {
        const shape = { stride, padding: (kernel - 1) / 2, groups: from % groups || channels % groups ? 1 : groups };
        const conv = new Conv2d(from, channels, kernel, { ...options, ...shape });
        from = channels;
        return conv;
      }
      case 'residual': {
        const use1x1conv = stride > 1 || channels !== from;
        const block = new Residual(from, channels, { ...options, use1x1conv, strides: stride });
        from = channels;
        return block;
      }
      case 'fork':
        return new Fork(from, device, generator);
      case 'squeeze':
        return new Squeeze(from, device, generator);
      default:
        return new ReLU();
    }
  });
  const net = new Sequential(...modules);
  net.eval();
  return net;
}

const elements = (t: Tensor): Float32Array => Float32Array.from(t.dataSync() as Float32Array);

const three = (channels: number): Layer[] =>
  new Array(3).fill({ kind: 'plain', channels, kernel: 3, stride: 1 } satisfies Layer);

/** Jobs that the threads are handed, and how many of them go on with another convolution. */
function jobsOf(work: () => void): { jobs: number; joined: number } {
  const run = vi.spyOn(Team.prototype, 'run');
  work();
  const kernels = run.mock.calls.map(([programs]) => programs[0].map(([kernel]) => kernel));
  const joined = kernels.filter((steps) => steps.lastIndexOf('padPlanes') > 0).length;
  run.mockRestore();
  return { jobs: kernels.length, joined };
}

describe('compiled on several threads', () => {
  it.each(['exact', 'fast'] as const)(
    'any convolutions in a row: %s',
    async (math) => {
      const one = await wasm({ math });
      const several = await Promise.all([2, 3, 7].map((threads) => team(threads, math)));
      const layer: fc.Arbitrary<Layer> = fc.record({
        kind: fc.constantFrom('plain', 'plain', 'residual', 'residual', 'fork', 'squeeze', 'relu'),
        channels: fc.integer({ min: 1, max: 70 }),
        kernel: fc.constantFrom(1, 3, 3, 5),
        stride: fc.constantFrom(1, 1, 1, 2),
        groups: fc.constantFrom(1, 1, 1, 2, 3),
      });
      const [first, rest] = [
        layer.map((one): Layer => ({ ...one, kind: 'plain' })),
        fc.array(layer, { minLength: 1, maxLength: 4 }),
      ];
      const shape = fc.tuple(...[3, 40, 20, 20].map((max) => fc.integer({ min: 1, max })));
      fc.assert(
        fc.property(
          shape,
          fc.tuple(first, rest).map(([one, more]) => [one, ...more]),
          (inputShape, layers) => {
            const size = inputShape.reduce((a, b) => a * b);
            const inputs = ['x', 'other', 'x'].map((name) => numbers(1, name, size, -1, 1) as Float32Array);
            const results = (device: Device): Float32Array[] => {
              const net = network(layers, inputShape[1], device);
              const large = network(three(96), 3, device);
              const { used } = device.memory();
              const compiled = compile(net, { inputShape });
              const found = inputs.map((x, i) => {
                // Another that needs more scratch moves it.
                if (i === 2) compile(large, { inputShape: [1, 3, 24, 24] }).dispose();
                return elements(compiled.run(x));
              });
              compiled.dispose();
              expect(device.memory().used).toBe(used);
              for (const model of [net, large]) model.dispose();
              return found;
            };
            const expected = results(one);
            for (const device of several) expect(results(device)).toEqual(expected);
          },
        ),
        {
          numRuns: Number(process.env.ATALHO_RUNS ?? 15),
          examples: [
            [[1, 64, 14, 14], three(64)],
            [
              [2, 33, 7, 7],
              [...three(40), { kind: 'residual', channels: 48, kernel: 3, stride: 2 }, ...three(48)],
            ],
            [
              [1, 16, 12, 12],
              [three(32)[0], { kind: 'fork', channels: 1, kernel: 1, stride: 1 }],
            ],
            [[1, 32, 12, 12], three(32).map((layer) => ({ ...layer, groups: 2 }))],
            [
              [1, 32, 12, 12],
              [...three(32).slice(1), { kind: 'squeeze', channels: 1, kernel: 1, stride: 1 }],
            ],
          ],
          ...SEED,
        },
      );
      for (const device of [one, ...several]) device.dispose();
    },
    120_000,
  );

  it.each(['exact', 'fast'] as const)('wait for each other once a convolution: %s', async (math) => {
    const device = await team(2, math);
    const compiled = compile(network(three(32), 32, device), { inputShape: [1, 32, 12, 12] });
    const x = new Float32Array(32 * 12 * 12);
    // The copy of the first, and three products.
    expect(jobsOf(() => compiled.run(x))).toEqual({ jobs: 4, joined: 2 });
    device.dispose();
  });

  it('do not, where one alone computed the last', async () => {
    const device = await team(2, 'exact');
    const { context } = device as unknown as { context: WasmContext };
    context.grain = 1000;
    // The first is too little to be divided, the copy for the second is not.
    const layers = [1, 5].map((kernel): Layer => ({ kind: 'plain', channels: 48, kernel, stride: 1 }));
    const compiled = compile(network(layers, 1, device), { inputShape: [1, 1, 16, 16] });
    // The copy and the product of the second.
    expect(jobsOf(() => compiled.run(new Float32Array(256)))).toEqual({ jobs: 2, joined: 0 });
    device.dispose();
  });

  describe('a chain', () => {
    const geometry = {
      ...{ batch: 1, inChannels: 16, inHeight: 9, inWidth: 9, outChannels: 16, outHeight: 9, outWidth: 9, groups: 1 },
      ...{ kernelHeight: 3, kernelWidth: 3, strideHeight: 1, strideWidth: 1, padTop: 1, padLeft: 1 },
      ...{ dilationHeight: 1, dilationWidth: 1 },
    };
    const size = 16 * 81;

    async function chain() {
      const device = await team(2, 'fast');
      const buffers = Array.from({ length: 5 }, () => device.alloc(size));
      const weight = device.alloc(16 * 16 * 9);
      device.write(weight, numbers(1, 'weight', 16 * 16 * 9, -1, 1));
      const fused = { weight, bias: null, norm: null, residual: null, relu: true };
      const link = (from: number, to: number, since: readonly Prepared[], more = {}): Prepared =>
        device.kernels.prepareConv2d({ ...geometry, ...more, ...fused, x: buffers[from], out: buffers[to], since });
      const results = (made: readonly Prepared[], name = 'x') => {
        device.write(buffers[0], numbers(1, name, size, -1, 1));
        for (const one of made) one.run();
        return buffers.map((buffer) => Float32Array.from(device.readSync?.(buffer) as Float32Array));
      };
      return { device, link, results };
    }
    const wrapped = (one: Prepared): Prepared => ({ run: () => one.run(), release: () => one.release() });

    it('loses its last, and its first goes on without', async () => {
      const { device, link, results } = await chain();
      const first = link(0, 1, []);
      const second = link(1, 2, [first]);
      const expected = results([first, second]);
      results([first, second], 'other');
      expect(jobsOf(() => first.run())).toEqual({ jobs: 2, joined: 1 });
      second.release();
      expect(jobsOf(() => first.run())).toEqual({ jobs: 2, joined: 0 });
      // What was given back is no one's host any more.
      first.release();
      const again = link(0, 1, []);
      expect(results([again, link(1, 2, [first])])).toEqual(expected);
      device.dispose();
    });

    it('loses its first, and its last begins by itself', async () => {
      const { device, link, results } = await chain();
      const first = link(0, 1, []);
      const [second, third] = [link(1, 2, [first]), link(1, 3, [first])];
      const expected = results([first, second, third]);
      results([first, second, third], 'other');
      first.release();
      const again = link(0, 1, []);
      expect(results([again, second, third])).toEqual(expected);
      // Twice is once too often, and takes nothing from the other.
      const fourth = link(1, 4, [again]);
      const fifth = link(1, 2, [again, fourth]);
      fourth.release();
      expect(() => fourth.release()).toThrow(/not an allocated address/);
      results([again, fifth, third], 'other');
      expect(results([again, fifth, third])).toEqual(expected);
      device.dispose();
    });

    it('has a link that the device does not know, or of another input: it stays apart', async () => {
      const { device, link, results } = await chain();
      // What it reads is not what another transforms.
      const unpadded = { padTop: 0, padLeft: 0, outHeight: 7, outWidth: 7 };
      const [one, two, three, four] = [link(0, 1, []), link(1, 2, []), link(1, 3, [], unpadded), link(2, 4, [])];
      const expected = results([one, two, three, four]);
      const joined = link(1, 2, [one]);
      const foreign = (await chain()).link(0, 1, []);
      for (const since of [[one, wrapped(joined)], [wrapped(one), joined], [foreign], [joined], [four]]) {
        results([one, joined, three, four], 'other');
        expect(results([one, joined, link(1, 3, since, unpadded), four])).toEqual(expected);
      }
      device.dispose();
    });
  });
});
