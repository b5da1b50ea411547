/** Pictures for networks that were trained on ImageNet: torchvision's transforms bit for bit, weights and labels from files. */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { PNG } from 'pngjs';
import { afterAll, describe, expect, it } from 'vitest';
import { decodeImage, toRgb } from '../src/cli/images.js';
import { readLabels } from '../src/cli/labels.js';
import { loadWeights, readWeights, sizesOf } from '../src/cli/weights.js';
import {
  centerCrop,
  type ImagePlanes,
  imagenetNormalization,
  normalize,
  preprocess,
  resizeShorterSide,
} from '../src/data/index.js';
import { d2lResnet, FormatError, Generator, reference, resnet18, writeSafetensors } from '../src/index.js';
import { pthStateDict, readPth, readSafetensors } from '../src/io/index.js';
import { predictLogits } from '../src/train/index.js';
import { Workplace } from './cliRunner.js';
import { pixels, toPlanes } from './pictures.js';

const goldens = readSafetensors(readFileSync(new URL('goldens/torchvision-transforms.safetensors', import.meta.url)));

function picture(name: string, height: number, width: number, channels: number): ImagePlanes {
  return { channels, height, width, data: toPlanes(pixels(name, height * width * channels), channels) };
}

interface Case {
  readonly from: readonly [number, number];
  readonly resize: number;
  readonly crop: readonly [number, number];
  readonly channels: number;
}

describe("torchvision's transforms", () => {
  const cases = Object.entries(JSON.parse(goldens.metadata.cases) as Record<string, Case>);

  it.each(cases)('Resize and CenterCrop: %s', (name, { from: [h, w], resize, crop, channels }) => {
    const want = toPlanes(goldens.get(name)!.data as Uint8Array, channels);
    const got = centerCrop(resizeShorterSide(picture(name, h, w, channels), resize), crop);
    expect([got.channels, got.height, got.width]).toEqual([channels, ...crop]);
    expect(Buffer.compare(got.data, want)).toBe(0);
  });

  it('the longer side is rounded down', () => {
    const sizes = JSON.parse(goldens.metadata.sizes) as readonly number[][];
    expect(sizes.length).toBeGreaterThan(4);
    for (const [h, w, size, outHeight, outWidth] of sizes) {
      const { height, width } = resizeShorterSide(picture('any', h, w, 1), size);
      expect([height, width]).toEqual([outHeight, outWidth]);
    }
  });

  it('ToTensor and Normalize: the bits of every byte in every channel', () => {
    const bytes = Uint8Array.from({ length: 768 }, (_, i) => i % 256);
    const got = normalize({ channels: 3, height: 16, width: 16, data: bytes }, imagenetNormalization);
    const want = goldens.get('normalized')!.data as Float32Array;
    expect(got.findIndex((v, i) => !Object.is(v, want[i]))).toBe(-1);
    expect(normalize({ channels: 1, height: 1, width: 2, data: Uint8Array.of(0, 51) })).toEqual(
      Float32Array.of(0, 0.2),
    );
  });

  it('all of them, 375×500 to 3×224×224', () => {
    const floats = preprocess(picture('whole', 375, 500, 3));
    expect(floats).toHaveLength(3 * 224 * 224);
    expect(createHash('sha256').update(new Uint8Array(floats.buffer)).digest('hex')).toBe(goldens.metadata.whole);
  });

  it('a cut takes the pixel that stands there, or black, at any size', () => {
    const extent = fc.integer({ min: 1, max: 9 });
    fc.assert(
      fc.property(extent, extent, extent, extent, (h, w, ch, cw) => {
        const image = picture('cut', h, w, 2);
        const { data } = centerCrop(image, [ch, cw]);
        // Python's round, and the padding of a picture that is too small, written out apart.
        const begin = (from: number, to: number): number => {
          const half = (from - to) / 2;
          if (half < 0) return -Math.floor(-half);
          return Number.isInteger(half) ? half : 2 * Math.round(half / 2);
        };
        for (let c = 0; c < 2; c++) {
          for (let y = 0; y < ch; y++) {
            for (let x = 0; x < cw; x++) {
              const [fromY, fromX] = [y + begin(h, ch), x + begin(w, cw)];
              const inside = fromY >= 0 && fromY < h && fromX >= 0 && fromX < w;
              expect(data[(c * ch + y) * cw + x]).toBe(inside ? image.data[(c * h + fromY) * w + fromX] : 0);
            }
          }
        }
      }),
      { numRuns: 200, seed: 5 },
    );
  });

  it('refuse what makes no picture', () => {
    const image = picture('x', 4, 4, 3);
    expect(() => resizeShorterSide(image, 0)).toThrow(/resizeShorterSide: size is 0; want a whole number/);
    expect(() => resizeShorterSide(picture('x', 1, 1024, 1), 1024)).toThrow(
      /1×1024 would become 1024×1048576; want at most 67108864 pixels/,
    );
    expect(() => centerCrop(image, [3, 0])).toThrow(/centerCrop: size is \[3, 0\]/);
    expect(() => centerCrop(image, 1e6)).toThrow(/would become 1000000×1000000/);
    expect(() => centerCrop({ ...image, height: 5 }, 2)).toThrow(/48 pixels for shape \[3, 5, 4\]/);
    expect(() => normalize(image, { mean: [0], std: [1] })).toThrow(
      /normalize: mean is \[0\]; want 3 finite numbers, one a channel/,
    );
    expect(() => normalize(image, { mean: [0, 0, 0], std: [1, 0, 1] })).toThrow(/std is \[1,0,1\]; want .* above 0/);
    expect(() => preprocess(picture('x', 4, 4, 1))).toThrow(/want 1 finite number, one a channel/);
  });
});

const place = new Workplace();
afterAll(() => place.remove());

describe('weights from files', () => {
  const pth = fileURLToPath(new URL('pth/checkpoint.pth', import.meta.url));

  it('reads .pth and .safetensors, and names the file that is neither', () => {
    expect([...readWeights(pth)]).toEqual([...pthStateDict(readPth(readFileSync(pth)))]);
    writeFileSync(place.file('no.safetensors'), 'x');
    writeFileSync(place.file('no.pth'), 'x');
    expect(() => readWeights(place.file('no.safetensors'))).toThrow(/no\.safetensors: safetensors: /);
    expect(() => readWeights(place.file('no.pth'))).toThrow(/no\.pth: pth: /);
    expect(() => readWeights(place.file('none.pth'))).toThrow(/^cannot read .*none\.pth: no such file/);
  });

  it('tells channels and classes by the first convolution and the last linear layer', async () => {
    const model = resnet18({ device: reference(), numClasses: 7, inChannels: 4, planes: 4 } as never);
    expect(sizesOf('f', model.stateDict())).toEqual({ inChannels: 4, numClasses: 7 });
    expect(() => sizesOf('f', new Map())).toThrow(/^f: has no weights of a convolution; want those of a classifier$/);
  });

  it('does not miss the counts of batches in a file from before they were counted, and names what does not fit', () => {
    const [a, b] = [1, 2].map((seed) => d2lResnet({ device: reference(), seed, channels: [2], blocks: [1] }));
    const entries = new Map([...a.stateDict()].filter(([name]) => !name.endsWith('num_batches_tracked')));
    loadWeights(b, 'f.pth', entries);
    expect(b.stateDict().get('0.1.num_batches_tracked')!.dataSync()).toEqual(BigInt64Array.of(0n));
    expect(b.stateDict().get('0.0.weight')!.dataSync()).toEqual(a.stateDict().get('0.0.weight')!.dataSync());
    entries.delete('0.0.weight');
    expect(() => loadWeights(b, 'f.pth', entries)).toThrow(FormatError);
    expect(() => loadWeights(b, 'f.pth', entries)).toThrow(/^f\.pth: loadStateDict: missing: 0\.0\.weight$/);
  });
});

describe('labels from files', () => {
  const write = (text: string): string => {
    const path = place.file('labels.txt');
    writeFileSync(path, text);
    return path;
  };

  it.each([
    ['a line each', 'tench\ngreat white shark, shark\n'],
    ["a line each, Windows' way", 'tench\r\ngreat white shark, shark\r\n'],
    ['a list', '["tench", "great white shark, shark"]'],
    ['an object', '{"1": "great white shark, shark", "0": "tench"}'],
    ["Keras' class index", '{"0": ["n01440764", "tench"], "1": ["n01484850", "great white shark, shark"]}'],
  ])('%s', (_, text) => {
    expect(readLabels(write(text), 2)).toEqual(['tench', 'great white shark, shark']);
  });

  it.each([
    ['too few', 'tench\n', /labels\.txt: has 1 names; the network has 2 classes$/],
    ['no JSON', '["tench"', /labels\.txt is not valid JSON$/],
    ['a gap', '{"0": "tench", "2": "shark"}', /labels\.txt: class 1 is missing; want a name$/],
    ['a number', '["tench", 3]', /labels\.txt: class 1 is 3; want a name$/],
  ])('refuses %s', (_, text, message) => {
    expect(() => readLabels(write(text), 2)).toThrow(message);
  });
});

describe('atalho predict --model', () => {
  const SIZE = ['--resize', '40', '--crop', '32'];

  it('prints the five likeliest classes of a network in colour, with weights from a file', async () => {
    const shape = { channels: [8, 16, 32, 64], blocks: [1, 1, 1, 1], inChannels: 3, numClasses: 12 };
    const model = d2lResnet({ device: reference(), generator: new Generator(3), ...shape });
    // Otherwise all classes are about equally likely.
    const head = model.stateDict().get('7.weight')!;
    head.write((head.dataSync() as Float32Array).map((v) => 9 * v));
    const entries = [...model.stateDict()].map(([name, t]) => [name, { shape: t.shape, data: t.dataSync() }] as const);
    writeFileSync(place.file('w.safetensors'), writeSafetensors(entries as never));
    writeFileSync(place.file('names.txt'), Array.from({ length: 12 }, (_, i) => `kind ${i}\n`).join(''));
    mkdirSync(place.file('pictures'));
    const file = new PNG({ width: 61, height: 47 });
    file.data.set(pixels('any', 61 * 47 * 4));
    writeFileSync(place.file('a.png'), PNG.sync.write(file, { colorType: 2 }));
    writeFileSync(place.file('gray.png'), PNG.sync.write(file, { colorType: 0 }));

    const options = { resize: 40, crop: 32 };
    const expected = async (name: string, more: object = {}, label = 'kind'): Promise<string> => {
      const floats = preprocess(toRgb(decodeImage(readFileSync(place.file(name)))), { ...options, ...more });
      const logits = [...((await predictLogits(model, floats, [1, 3, 32, 32])) as Float32Array)];
      const most = Math.max(...logits);
      const sum = logits.reduce((a, v) => a + Math.exp(v - most), 0);
      const order = logits.map((_, i) => i).sort((i, j) => logits[j] - logits[i]);
      return `${name}: ${order
        .slice(0, 5)
        .map((i) => `${label} ${i} ${(Math.exp(logits[i] - most) / sum).toFixed(3)}`)
        .join(', ')}\n`;
    };
    const command = ['predict', '--model', 'd2l-resnet-tiny', '--weights', 'w.safetensors', ...SIZE];
    const named = await place.run(...command, '--labels', 'names.txt', 'a.png', 'gray.png');
    expect(named.stderr).toBe('');
    expect(named.stdout).toBe((await expected('a.png')) + (await expected('gray.png')));
    const raw = await place.run(...command, '--mean', '0,0,0', '--std', '1,1,1', 'a.png');
    expect(raw.stdout).toBe(await expected('a.png', { normalization: null }, 'class'));
    expect(raw.stdout).not.toBe(await expected('a.png', {}, 'class'));

    const cases: readonly [readonly string[], string][] = [
      [['--labels', 'a.png', 'a.png'], 'error: a.png: has '],
      [['--mean', '0', 'a.png'], 'error: a.png: normalize: mean is [0]; want 3 finite numbers, one a channel\n'],
      [['w.safetensors'], 'error: w.safetensors: image: file is neither PNG nor JPEG\n'],
    ];
    for (const [args, message] of cases) {
      const { code, stderr } = await place.run(...command, ...args);
      expect([code, stderr.slice(0, message.length)]).toEqual([1, message]);
    }
    const other = await place.run('predict', '--model', 'd2l-resnet18', '--weights', 'w.safetensors', 'a.png');
    expect(other.stderr).toMatch(/^error: w\.safetensors: loadStateDict: missing: 1\.1\.conv1\.weight, /);
    expect((await place.run('predict', '--model', 'd2l-resnet18', 'a.png')).stderr).toBe(
      'error: --model without --weights; want the file of its weights\n',
    );
    expect((await place.run('predict', '--weights', 'w.safetensors', 'runs/x', 'a.png')).stderr).toBe(
      'error: --weights without --model; want both, or a run alone\n',
    );
  });
});
