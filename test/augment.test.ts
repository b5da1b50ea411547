/** Random crops, flips and normalisation: what is drawn, where it is applied, and that it goes on bit for bit. */
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { parseTrainConfig } from '../src/cli/config.js';
import { CHAPTER } from '../src/cli/presets.js';
import { drawFor } from '../src/data/augment.js';
import {
  type Augmentation,
  type Batch,
  type BatchOptions,
  batches,
  type ImageDataset,
  imagenetNormalization,
  resizeBilinear,
} from '../src/data/index.js';
import { ArgumentError, d2lResnet, Generator, reference, sgd } from '../src/index.js';
import {
  decodeCheckpoint,
  encodeCheckpoint,
  evaluateAccuracy,
  hashWeights,
  restoreCheckpoint,
  Trainer,
  type TrainerOptions,
} from '../src/train/index.js';
import { hashIn, Workplace } from './cliRunner.js';
import { pixels } from './pictures.js';

const built = new URL('../dist/data/loader.js', import.meta.url);

/** 23 images of 3 channels, 6×5; each pixel at least 1, so that black is told apart. */
const numbered: ImageDataset = {
  images: pixels('augment', 23 * 3 * 30).map((v) => v | 1),
  shape: [23, 3, 6, 5],
  labels: Uint8Array.from({ length: 23 }, (_, i) => i),
  classes: Array.from({ length: 23 }, (_, i) => String(i)),
};

async function all(options: BatchOptions, from = batches, data = numbered): Promise<Batch[]> {
  const list: Batch[] = [];
  for await (const batch of from(data, options)) list.push(batch);
  return list;
}

const both: Augmentation = { cropPadding: 2, horizontalFlip: true };

describe('what is drawn', () => {
  it('every place and both directions about equally often, apart from each other', () => {
    const counts = new Map<string, number>();
    for (let index = 0; index < 18_000; index++) {
      const { top, left, flip } = drawFor(index, [123, 456], { cropPadding: 1, horizontalFlip: true });
      const name = `${top} ${left} ${flip}`;
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    expect(counts.size).toBe(18);
    // 1000 each; six deviations of a binomial.
    for (const [name, count] of counts) expect(Math.abs(count - 1000), name).toBeLessThan(6 * Math.sqrt(1000));
  });

  it('follows from epoch and image alone, and differs between them', () => {
    const draws = (key: readonly [number, number]): string =>
      JSON.stringify(Array.from({ length: 200 }, (_, i) => drawFor(i, key, { cropPadding: 4, horizontalFlip: true })));
    expect(draws([7, 9])).toBe(draws([7, 9]));
    expect(new Set([draws([7, 9]), draws([8, 9]), draws([7, 8])]).size).toBe(3);
    expect(drawFor(3, [1, 2], {})).toEqual({ top: 0, left: 0, flip: false });
  });
});

describe('batches with augment', () => {
  it('is the window of the padded image, then flipped: padding written out', async () => {
    const key = fc.tuple(fc.nat(0xffffffff), fc.nat(0xffffffff));
    await fc.assert(
      fc.asyncProperty(key, fc.integer({ min: 0, max: 7 }), fc.boolean(), async (words, pad, horizontalFlip) => {
        const augment = { cropPadding: pad, horizontalFlip };
        const left = [...words];
        const generator = { permutation: () => [], uint32: () => left.shift() as number };
        const [batch] = await all({ batchSize: 23, augment, generator });
        expect(left).toEqual([]);
        for (const index of [0, 5, 22]) {
          const { top, left: from, flip } = drawFor(index, words, augment);
          for (let c = 0; c < 3; c++) {
            const plane = numbered.images.subarray((index * 3 + c) * 30, (index * 3 + c + 1) * 30);
            const padded = Array.from({ length: 6 + 2 * pad }, (_, y) =>
              Array.from({ length: 5 + 2 * pad }, (_, x) => {
                const inside = y >= pad && y < 6 + pad && x >= pad && x < 5 + pad;
                return inside ? plane[(y - pad) * 5 + x - pad] : 0;
              }),
            );
            const rows = padded.slice(top + pad, top + pad + 6).map((row) => row.slice(from + pad, from + pad + 5));
            const want = rows.flatMap((row) => (flip ? row.reverse() : row)).map((v) => Math.fround(v / 255));
            expect([...batch.images.subarray((index * 3 + c) * 30, (index * 3 + c + 1) * 30)]).toEqual(want);
          }
        }
      }),
      { numRuns: 40, seed: 11 },
    );
  });

  it('draws anew each epoch, and leaves the order of images alone', async () => {
    const plain = new Generator(4);
    const generator = new Generator(4);
    const [a] = await all({ batchSize: 23, shuffle: true, generator: plain });
    const [b] = await all({ batchSize: 23, shuffle: true, generator, augment: both });
    expect(b.indices).toEqual(a.indices);
    expect(b.images).not.toEqual(a.images);
    const [first, second] = [new Generator(4), new Generator(5)];
    const images = async (g: Generator) => (await all({ batchSize: 23, generator: g, augment: both }))[0].images;
    const epochs = [await images(first), await images(first), await images(second)];
    expect(epochs[1]).not.toEqual(epochs[0]);
    expect(epochs[2]).not.toEqual(epochs[0]);
  });

  it('goes on from any position, in any size of batch, in this thread and in the worker, with the same bits', async () => {
    const fromDist = ((await import(/* @vite-ignore */ built.href)) as { batches: typeof batches }).batches;
    const options = { shuffle: true, resize: 9, augment: both, normalization: imagenetNormalization } as const;
    const state = new Generator(11).state();
    const fresh = (): Generator => Generator.fromState(state);
    const whole = await all({ ...options, batchSize: 4, generator: fresh() });
    for (const start of [0, 1, 5, 6]) {
      const rest = await all({ ...options, batchSize: 4, generator: fresh(), start });
      expect(rest).toEqual(whole.slice(start));
      expect(await all({ ...options, batchSize: 4, generator: fresh(), start, prefetch: 'worker' }, fromDist)).toEqual(
        rest,
      );
    }
    const [one] = await all({ ...options, batchSize: 23, generator: fresh() });
    expect([...one.images]).toEqual(whole.flatMap((batch) => [...batch.images]));
  });

  it('normalises after all else: black around the image too', async () => {
    const augment = { cropPadding: 400 };
    const [batch] = await all({
      batchSize: 1,
      augment,
      generator: new Generator(1),
      normalization: imagenetNormalization,
    });
    // Far outside: all black, as torchvision has it, (0 − mean) / std in float32.
    const { mean, std } = imagenetNormalization;
    const want = mean.map((m, c) => Math.fround(-Math.fround(m) / Math.fround(std[c])));
    expect([...batch.images]).toEqual(want.flatMap((v) => new Array(30).fill(v)));
    const [plain] = await all({ batchSize: 1, resize: 8, normalization: imagenetNormalization });
    const bytes = resizeBilinear(numbered.images.slice(0, 90), 6, 5, 8, 8, 3);
    const unit = Math.fround(bytes[64] / 255);
    expect(plain.images[64]).toBe(Math.fround(Math.fround(unit - Math.fround(0.456)) / Math.fround(0.224)));
  });

  it.each<[string, Partial<BatchOptions>, RegExp]>([
    ['no generator', { augment: {} }, /^batches: augment without a generator; want a seeded one/],
    ['one that draws orders alone', { augment: {}, generator: { permutation: () => [] } }, /augment without/],
    ['half a pixel', { augment: { cropPadding: 0.5 } }, /cropPadding is 0\.5; want a whole number from 0 to 65535/],
    ['a number as flip', { augment: { horizontalFlip: 1 as never } }, /horizontalFlip is 1; want true or false/],
    ['a mean too few', { normalization: { mean: [0, 0], std: [1, 1] } }, /batches: mean is \[0,0\]; want 3/],
  ])('refuses %s', (_, options, message) => {
    expect(() => batches(numbered, { batchSize: 4, ...options })).toThrow(ArgumentError);
    expect(() => batches(numbered, { batchSize: 4, ...options })).toThrow(message);
  });
});

describe('training with augment', () => {
  const device = reference();
  const normalization = imagenetNormalization;
  function setup(o: Partial<TrainerOptions> = {}): Trainer {
    const generator = new Generator(7);
    const model = d2lResnet({ device, generator, channels: [4], blocks: [1], inChannels: 3, numClasses: 23 });
    const optimizer = sgd(model.parameters(), { lr: 0.05, momentum: 0.9 });
    const shared = { epochs: 2, batchSize: 6, resize: 12, generator, init: 'xavierUniform' } as const;
    const data = { trainData: numbered, testData: numbered };
    return new Trainer({ model, optimizer, ...data, augment: both, normalization, ...shared, ...o });
  }

  it('ends with the same bits after a stop at any step', async () => {
    const whole = setup();
    await whole.run();
    const want = await hashWeights(whole.model);
    for (const o of [{ augment: undefined }, { normalization: undefined }]) {
      const other = setup(o);
      await other.run();
      expect(await hashWeights(other.model)).not.toBe(want);
    }
    for (let at = 1; at < 8; at++) {
      const controller = new AbortController();
      const first = setup();
      const stop = ({ step }: { step: number }): void => void (step === at && controller.abort());
      expect(await first.run({ signal: controller.signal, onStep: stop })).toBe('stopped');
      const second = setup();
      restoreCheckpoint(second, decodeCheckpoint(await encodeCheckpoint(first, {}, 't'), 'f'), {});
      await second.run();
      expect(await hashWeights(second.model)).toBe(want);
    }
    const options = { batchSize: 5, resize: 12, normalization };
    expect(whole.state().history.at(-1)?.testAcc).toBe(await evaluateAccuracy(whole.model, numbered, options));
  });
});

describe('the command', () => {
  const place = new Workplace();
  afterAll(() => place.remove());
  const FLAGS = ['--model', 'd2l-resnet-tiny', '--limit', '64', '--test-limit', '20', '--batch-size', '16'];

  it('takes --crop-padding, --flip and --normalize, stops and goes on', async () => {
    const more = ['--resize', '32', '--epochs', '3', '--data', place.data];
    const augmented = ['--crop-padding', '4', '--flip', 'horizontal', '--normalize', '0.286/0.353'];
    const whole = await place.run('train', ...FLAGS, ...more, ...augmented, '--out', 'whole');
    expect(whole.messages).toBe('');
    const { child, done } = place.start(
      ...['train', ...FLAGS, ...more, ...augmented],
      '--out',
      'cut',
      '--checkpoint-every',
      '1',
    );
    await place.firstCheckpoint('cut');
    child.kill('SIGKILL');
    await done;
    const resumed = await place.run('train', '--resume', 'cut');
    expect(hashIn(resumed.stdout)).toBe(hashIn(whole.stdout));
    const plain = await place.run('train', ...FLAGS, ...more, '--out', 'plain');
    expect(hashIn(plain.stdout)).not.toBe(hashIn(whole.stdout));
    // The test accuracy of `eval` is that of training only if it normalises too.
    const accuracy = /^epoch 3: .*(test acc [\d.]+)$/m.exec(whole.stdout)?.[1];
    expect((await place.run('eval', 'whole')).stdout).toMatch(new RegExp(`^${accuracy} on 20 images\n`));
    const refused = await place.run('train', ...FLAGS, '--normalize', 'imagenet', '--out', 'no');
    expect(refused.stderr).toBe('error: normalize is imagenet with channels 1; want a number a channel\n');
  });

  it('checks what a config says', () => {
    const { normalize: _, cropPadding: __, flip: ___, channels: ____, ...old } = CHAPTER;
    expect(parseTrainConfig('f', old)).toEqual(CHAPTER);
    for (const [change, message] of [
      [{ cropPadding: -1 }, /f\.cropPadding is -1; want a whole number from 0 to 1024/],
      [{ flip: 'both' }, /f\.flip is "both"; want one of none, horizontal/],
      [{ normalize: '1/0' }, /f\.normalize is "1\/0"; want none, imagenet, or MEAN\/STD/],
      [{ normalize: '1,1/1,' }, /f\.normalize is "1,1\/1,"/],
      [{ normalize: '1,1/1,1' }, /^f: normalize is 1,1\/1,1 with channels 1; want a number a channel/],
      [{ channels: 2 }, /f\.channels is 2; want 1 or 3/],
    ] as const) {
      expect(() => parseTrainConfig('f', { ...CHAPTER, ...change })).toThrow(message);
    }
  });
});
