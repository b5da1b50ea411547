/** Training on a GPU: steps launched ahead, stopping and going on, a GPU that goes away between two steps. */
import { describe, expect, it } from 'vitest';
import type { ImageDataset } from '../src/data/index.js';
import { type Device, DeviceLostError, d2lResnet, Generator, sgd, wasm, webgpu } from '../src/index.js';
import {
  decodeCheckpoint,
  encodeCheckpoint,
  hashWeights,
  NonFiniteLossError,
  restoreCheckpoint,
  type StepEvent,
  Trainer,
} from '../src/train/index.js';
import { gpuFound, gpuHelp, rawGpuDevice } from './gpu.js';

function randomImages(count: number, seed: number): ImageDataset {
  const generator = new Generator(seed);
  const images = Uint8Array.from({ length: count * 144 }, () => generator.int(256));
  const labels = Uint8Array.from({ length: count }, () => generator.int(10));
  return { images, shape: [count, 1, 12, 12], labels, classes: Array.from({ length: 10 }, (_, i) => `class ${i}`) };
}

/** A network of two stages on 62 images in batches of 8: 8 steps an epoch, the last of 6 images. */
function setup(device: Device, lr = 0.05): Trainer {
  const generator = new Generator(7);
  const model = d2lResnet({ device, generator, channels: [4, 8], blocks: [1, 1] });
  const optimizer = sgd(model.parameters(), { lr, momentum: 0.9 });
  const [trainData, testData] = [randomImages(62, 1), randomImages(9, 2)];
  const recipe = { epochs: 3, batchSize: 8, resize: 16, generator, init: 'xavierUniform' } as const;
  return new Trainer({ model, optimizer, trainData, testData, ...recipe });
}

const CONFIG = { run: 'test' };

describe.skipIf(!gpuFound)(gpuFound ? 'training on webgpu' : `training on webgpu (${gpuHelp})`, () => {
  it('tells of every step in its order, with what wasm has but for rounding', async () => {
    const told: StepEvent[][] = [];
    for (const device of [await webgpu(), await wasm()]) {
      const trainer = setup(device);
      const own: StepEvent[] = [];
      expect(await trainer.run({ onStep: (event) => void own.push(event) })).toBe('finished');
      told.push(own);
      device.dispose();
    }
    const [here, there] = told;
    expect(here.map(({ epoch, position, step, images }) => [epoch, position, step, images])).toEqual(
      there.map(({ epoch, position, step, images }) => [epoch, position, step, images]),
    );
    // Each step multiplies what rounding did before.
    for (let i = 0; i < 8; i++) expect(Math.abs(here[i].loss - there[i].loss), `step ${i}`).toBeLessThan(1e-5 * 3 ** i);
  }, 300_000);

  it('has steps under way, yet a state that is that of the weights whenever a hook asks', async () => {
    const device = await webgpu();
    const trainer = setup(device);
    const hashes = new Map<number, string>();
    let most = 0;
    let last = 0;
    await trainer.run({
      async onStep(event) {
        const { step } = trainer.state();
        most = Math.max(most, step - event.step);
        last = event.step;
        const hash = await hashWeights(trainer.model);
        expect(hashes.get(step) ?? hash).toBe(hash);
        hashes.set(step, hash);
      },
    });
    expect(last).toBe(24);
    expect(new Set(hashes.values()).size).toBe(hashes.size);
    // The first steps are slow: their shaders are compiled.
    expect(most).toBeGreaterThan(0);
    device.dispose();
  }, 300_000);

  it('goes on bit for bit from a checkpoint', async () => {
    const device = await webgpu();
    const straight = setup(device);
    await straight.run();
    const first = setup(device);
    const controller = new AbortController();
    expect(
      await first.run({
        signal: controller.signal,
        onStep: ({ step }) => {
          if (step >= 10) controller.abort();
        },
      }),
    ).toBe('stopped');
    const bytes = await encodeCheckpoint(first, CONFIG, 'test');
    const second = setup(device);
    restoreCheckpoint(second, decodeCheckpoint(bytes, 'saved'), CONFIG);
    expect(await second.run()).toBe('finished');
    expect(await hashWeights(second.model)).toBe(await hashWeights(straight.model));
    device.dispose();
  }, 300_000);

  it('that loses its GPU goes on from the last checkpoint on wasm', async () => {
    const raw = await rawGpuDevice();
    const device = await webgpu({ device: raw });
    const trainer = setup(device);
    let saved: Uint8Array | null = null;
    const run = trainer.run({
      async onStep({ step }) {
        if (step <= 10) saved = await encodeCheckpoint(trainer, CONFIG, 'test');
        if (step === 12) raw.destroy();
      },
    });
    await expect(run).rejects.toThrow(DeviceLostError);
    await expect(encodeCheckpoint(trainer, CONFIG, 'test')).rejects.toThrow(DeviceLostError);
    device.dispose();

    const cpu = await wasm();
    const rest = setup(cpu);
    const checkpoint = decodeCheckpoint(saved as unknown as Uint8Array, 'saved');
    expect(checkpoint.state.step).toBeGreaterThanOrEqual(10);
    restoreCheckpoint(rest, checkpoint, CONFIG);
    expect(await rest.run()).toBe('finished');
    expect(rest.state()).toMatchObject({ epoch: 3, step: 24 });
    cpu.dispose();
  }, 300_000);

  it('stops at a loss that is not finite, and names the step', async () => {
    const device = await webgpu();
    const failed = setup(device, 1e20)
      .run()
      .catch((error: unknown) => error);
    const error = await failed;
    expect(error).toBeInstanceOf(NonFiniteLossError);
    expect((error as Error).message).toMatch(/^train: loss is (NaN|-?Infinity) at step [2-9]/);
    device.dispose();
  }, 300_000);
});
