/** Pictures in folders as a data set: torchvision's order, sizes brought to one, and the whole command on them. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PNG } from 'pngjs';
import { afterAll, describe, expect, it } from 'vitest';
import { decodeImage, toGray, toRgb } from '../src/cli/images.js';
import {
  batches,
  centerCrop,
  type ImageDataset,
  imageFolder,
  imageFolderClasses,
  preprocess,
  resizeShorterSide,
} from '../src/data/index.js';
import { ArgumentError, FormatError } from '../src/errors.js';
import { decodeCheckpoint } from '../src/train/index.js';
import { hashIn, Workplace } from './cliRunner.js';
import { pixels } from './pictures.js';

const folder = mkdtempSync(join(tmpdir(), 'atalho-folders-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(path: string, content: string | Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

/** A file as small as can be: its first byte tells it apart. One pixel of three channels. */
const decode = (bytes: Uint8Array) => ({ channels: 1, height: 1, width: 1, data: bytes.slice(0, 1) });

async function order(root: string, limit?: number): Promise<string[]> {
  const set = await imageFolder({ root, size: 1, decode, limit });
  return Array.from(set.images, (byte, i) => `${set.classes[set.labels[i]]} ${byte}`);
}

describe('imageFolder', () => {
  it("takes classes and files in torchvision's order, by what they are called", async () => {
    const root = join(folder, 'order');
    // What sorted() of Python gives, and JavaScript's own order does not: '\u{1F600}' comes after '\uFF5E'.
    const files: readonly [string, number][] = [
      ['B/1.png', 1],
      ['B/10.png', 2],
      ['B/2.PNG', 3],
      ['B/Z.Jpeg', 4],
      ['B/a.webp', 5],
      ['B/sub/b.png', 6],
      ['B/sub-x/c.png', 7],
      ['B/sub/deep/c.png', 13],
      ['B/\uFF5E/d.png', 8],
      ['B/\u{1F600}/e.png', 9],
      ['a/z.jpg', 10],
      ['a/\uFF5E.jpg', 11],
      ['a/\u{1F600}.jpg', 12],
    ];
    for (const [name, byte] of [...files].reverse()) write(join(root, name), Uint8Array.of(byte));
    write(join(root, 'B', 'notes.txt'), 'no picture');
    write(join(root, 'README.png'), 'in no class');
    expect(await imageFolderClasses(root)).toEqual(['B', 'a']);
    expect(await order(root)).toEqual(files.map(([name, byte]) => `${name[0]} ${byte}`));
    // One of each class in turn, then in order.
    expect(await order(root, 5)).toEqual(['B 1', 'B 2', 'B 3', 'a 10', 'a 11']);
    expect(await order(root, 8)).toEqual(['B 1', 'B 2', 'B 3', 'B 4', 'B 5', 'a 10', 'a 11', 'a 12']);
    // A link back up is followed once, not for ever.
    symlinkSync(join(root, 'a'), join(root, 'a', 'loop'));
    symlinkSync(join(root, 'B', 'sub'), join(root, 'a', 'y'));
    expect((await order(root)).slice(10)).toEqual(['a 10', 'a 11', 'a 12', 'a 6', 'a 13']);
  });

  it('brings pictures of all sizes to one', async () => {
    const root = join(folder, 'sizes');
    const sizes: readonly [number, number][] = [
      [20, 31],
      [31, 20],
      [7, 7],
    ];
    const made = sizes.map(([height, width], i) => {
      const picture = { channels: 2, height, width, data: pixels(`size ${i}`, 2 * height * width) };
      write(join(root, 'only', `${i}.png`), Uint8Array.of(i));
      return picture;
    });
    const set = await imageFolder({ root, size: 12, decode: (bytes) => made[bytes[0]] });
    expect(set.shape).toEqual([3, 2, 12, 12]);
    const want = made.flatMap((picture) => [...centerCrop(resizeShorterSide(picture, 12), 12).data]);
    expect([...set.images]).toEqual(want);
  });

  it('counts beyond 256 classes', async () => {
    const root = join(folder, 'many');
    for (let i = 0; i < 300; i++) write(join(root, String(i).padStart(3, '0'), 'x.png'), Uint8Array.of(i & 255));
    const set = await imageFolder({ root, size: 1, decode });
    expect(set.labels).toEqual(Uint16Array.from({ length: 300 }, (_, i) => i));
    const labels: number[] = [];
    for await (const batch of batches(set, { batchSize: 299 })) labels.push(...batch.labels);
    expect(labels).toEqual(Array.from({ length: 300 }, (_, i) => i));
    const few: ImageDataset = await imageFolder({ root: join(folder, 'sizes'), size: 1, decode });
    expect(few.labels).toBeInstanceOf(Uint8Array);
  });

  it('passes over a link to itself, names the file that any decoder fails on, and refuses a limit that is no count', async () => {
    const root = join(folder, 'odd');
    write(join(root, 'a', '1.png'), Uint8Array.of(1));
    symlinkSync('loop', join(root, 'a', 'loop'));
    symlinkSync('loop', join(root, 'loop'));
    expect(await order(root)).toEqual(['a 1']);
    const broken = (): never => {
      throw new Error('bad SOI');
    };
    await expect(imageFolder({ root, size: 1, decode: broken })).rejects.toThrow(/^\S+odd\/a\/1\.png: bad SOI$/);
    for (const limit of [-1, 0, 0.5])
      await expect(order(root, limit)).rejects.toThrow(`limit is ${limit}; want a whole`);
  });

  it('says which folder or file is at fault', async () => {
    const root = join(folder, 'bad');
    const read = () => imageFolder({ root, size: 1, decode: (bytes) => decodeImage(bytes) });
    await expect(read()).rejects.toThrow(/^imageFolder: root \S+bad is no folder; want one$/);
    mkdirSync(root);
    await expect(read()).rejects.toThrow(/bad holds 0 folders; want one a class, 1 to 65536$/);
    write(join(root, 'full', 'a.png'), 'no picture');
    mkdirSync(join(root, 'empty'));
    await expect(read()).rejects.toThrow(ArgumentError);
    await expect(read()).rejects.toThrow(/bad has no picture for empty; want at least one a class \(jpg, jpeg, png, /);
    rmSync(join(root, 'empty'), { recursive: true });
    await expect(read()).rejects.toThrow(FormatError);
    await expect(read()).rejects.toThrow(/^\S+bad\/full\/a\.png: image: file is neither PNG nor JPEG$/);
    write(join(root, 'full', 'a.png'), PNG.sync.write(new PNG({ width: 2, height: 2 }), { colorType: 0 }));
    write(join(root, 'full', 'b.png'), PNG.sync.write(new PNG({ width: 2, height: 2 }), { colorType: 2 }));
    await expect(read()).rejects.toThrow(/b\.png: picture has 3 channels; want 1, as the first has$/);
  });
});

const place = new Workplace();
afterAll(() => place.remove());

describe('atalho on folders of pictures', () => {
  const CLASSES = ['dark', 'light', 'red'];

  /** Noise about a colour, of a size of its own. */
  function png(kind: number, i: number): Buffer {
    const [width, height] = [24 + (i % 5), 24 + (i % 3)];
    const file = new PNG({ width, height });
    const noise = pixels(`${kind} ${i}`, width * height);
    const colour = [
      [40, 40, 40],
      [170, 170, 170],
      [170, 40, 40],
    ][kind];
    for (let p = 0; p < width * height; p++) {
      file.data.set([...colour.map((v) => v + (noise[p] >> 3)), 255], 4 * p);
    }
    return PNG.sync.write(file, { colorType: 2 });
  }

  function makeData(name: string, test = 'test'): string {
    CLASSES.forEach((kind, k) => {
      for (let i = 0; i < 12; i++) write(place.file(name, 'train', kind, `${i}.png`), png(k, i));
      for (let i = 12; i < 16; i++) write(place.file(name, test, kind, `${i}.png`), png(k, i));
    });
    return name;
  }

  const FLAGS = [
    '--model',
    'd2l-resnet-tiny',
    '--resize',
    '24',
    '--batch-size',
    '6',
    '--epochs',
    '5',
    '--lr',
    '0.003',
    '--optimizer',
    'adam',
    '--schedule',
    'cosine',
  ];

  it('trains, evaluates and predicts in colour, and goes on only with the same pictures', async () => {
    const data = makeData('pictures');
    const result = await place.run('train', '--data', data, ...FLAGS, '--out', 'own');
    expect(result.messages).toBe(
      `reading the pictures in ${place.file(data, 'train')}\nreading the pictures in ${place.file(data, 'test')}\n`,
    );
    expect(result.code).toBe(0);
    expect(result.stdout).toMatch(/d2l-resnet-tiny on wasm, 36 images at 24×24, 5 epochs of 6 steps/);
    expect(result.stdout).not.toMatch(/chapter/);
    const accuracy = Number(/^epoch 5: .*test acc ([\d.]+)$/m.exec(result.stdout)?.[1]);
    expect(accuracy).toBeGreaterThan(0.9);
    const settings = JSON.parse(readFileSync(place.file('own', 'config.json'), 'utf8'));
    expect(settings).toMatchObject({ classes: CLASSES, data: place.file(data), config: { channels: 3 } });

    expect((await place.run('eval', 'own')).stdout).toMatch(
      new RegExp(`^test acc ${accuracy.toFixed(3)} on 12 images\n`),
    );
    expect((await place.run('eval', 'own', '--test-limit', '4')).stdout).toMatch(/ on 4 images\n/);
    const own = (kind: string): string => join(data, 'test', kind, '13.png');
    const shown = await place.run('predict', 'own', ...CLASSES.map(own));
    expect(shown.stdout.split('\n').map((line) => /: (\w+) /.exec(line)?.[1])).toEqual([...CLASSES, undefined]);

    // Half a run and then the rest gives the same weights.
    const newest = place.file('own', 'checkpoints', 'step-000000030.safetensors');
    expect(decodeCheckpoint(readFileSync(newest), 'f').config.dataSha256).toMatch(/^[0-9a-f]{64}$/);
    cpSync(place.file('own'), place.file('half'), { recursive: true });
    rmSync(place.file('half', 'checkpoints', 'step-000000030.safetensors'));
    const half = await place.run('train', '--resume', 'half');
    expect(half.stdout).toContain('going on after step 24');
    expect(hashIn(half.stdout)).toBe(hashIn(result.stdout));

    const other = place.file(data, 'train', 'red', '3.png');
    write(other, png(0, 3));
    const refused = await place.run('train', '--resume', 'own');
    expect([refused.code, refused.messages.split('\n').at(-2)]).toEqual([
      1,
      expect.stringMatching(/^error: .*: of another run: dataSha256 is "[0-9a-f]{64}" there and "[0-9a-f]{64}" here$/),
    ]);
    write(other, png(2, 3));
    expect((await place.run('train', '--resume', 'own')).code).toBe(0);
    mkdirSync(place.file(data, 'train', 'spare'));
    expect((await place.run('train', '--resume', 'own')).stderr).toMatch(
      /error: imageFolder: root \S+train has no picture for spare/,
    );
    const wrong = place.file(data, 'train', 'spare', 'a.jpg');
    write(wrong, 'x');
    expect((await place.run('train', '--resume', 'own')).stderr).toMatch(/a\.jpg: image: file is neither/);
    write(wrong, png(0, 0));
    expect((await place.run('train', '--resume', 'own')).stderr).toMatch(
      /train holds the classes dark, light, red, spare; the run was begun with dark, light, red\n$/,
    );
    expect((await place.run('train', '--data', data, ...FLAGS)).stderr).toMatch(
      /^error: \S+test has no folder spare; want the same classes for training and testing\n$/,
    );
  });

  it('takes val/ in the place of test/, gray when asked, and a few of every class', async () => {
    const data = makeData('val-pictures', 'val');
    const flags = ['--channels', '1', '--limit', '6', '--test-limit', '3', '--epochs', '1', '--out', 'gray'];
    const result = await place.run('train', '--data', data, ...FLAGS, ...flags);
    expect(result.stdout).toMatch(/, 6 images at 24×24, 1 epoch of 1 steps/);
    expect(result.messages).toMatch(/pictures in \S+val\n$/);
    const shown = await place.run('predict', 'gray', join(data, 'val', 'red', '13.png'));
    expect(shown.stdout).toMatch(/13\.png: (dark|light|red) [01]\.\d{3}, (dark|light|red) /);
    rmSync(place.file(data, 'val'), { recursive: true });
    expect((await place.run('train', '--data', data, ...FLAGS)).stderr).toMatch(
      /^error: \S+val-pictures has no folder test\/ and no folder val\/; want one\n$/,
    );
    expect((await place.run('train', '--data', place.data, '--channels', '3', '--out', 'no')).messages).toBe(
      'error: channels is 3; want 1 for Fashion-MNIST, which is gray\n',
    );
  });

  it('prepares a picture for a run as in training', () => {
    const image = toRgb(decodeImage(png(2, 4)));
    const got = preprocess(image, { resize: 24, crop: 24, normalization: null });
    expect([...got.slice(0, 5)]).toEqual(
      [...centerCrop(resizeShorterSide(image, 24), 24).data.slice(0, 5)].map((v) => Math.fround(v / 255)),
    );
    expect(toGray(image).channels).toBe(1);
  });
});
