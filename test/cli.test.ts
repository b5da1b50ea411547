/** The `atalho` command as a person uses it, and what it keeps on disk. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { CheckpointFolder } from '../src/cli/checkpointFolder.js';
import { parseTrainConfig } from '../src/cli/config.js';
import { curvesSvg } from '../src/cli/curves.js';
import { CHAPTER, PRESETS } from '../src/cli/presets.js';
import { formatDuration } from '../src/cli/progress.js';
import { RunFolder } from '../src/cli/runFolder.js';
import { lockRun } from '../src/cli/runLock.js';
import { trainRun } from '../src/cli/trainRun.js';
import { fashionMnist } from '../src/data/index.js';
import { d2lResnet, FormatError, Generator, readSafetensors, reference, sgd, writeSafetensors } from '../src/index.js';
import { writeFileAtomic } from '../src/io/atomic.js';
import { encodeCheckpoint, hashWeights, Trainer } from '../src/train/index.js';
import { hashIn, Workplace } from './cliRunner.js';
import { gpuFound } from './gpu.js';

const place = new Workplace();
afterAll(() => place.remove());

const SMALL = [
  '--model',
  'd2l-resnet-tiny',
  '--limit',
  '96',
  '--test-limit',
  '40',
  '--batch-size',
  '16',
  '--resize',
  '32',
];
const TRAIN = ['train', ...SMALL, '--epochs', '2', '--data', place.data];

const LINES =
  /^loss \d+\.\d{3}, train acc [01]\.\d{3}, test acc ([01]\.\d{3})\n\d+\.\d examples\/sec on (\w+)\nsha256 of the trained weights: [0-9a-f]{64}\n/m;

describe('atalho train, eval, predict', () => {
  let stdout = '';
  beforeAll(async () => {
    const result = await place.run(...TRAIN, '--checkpoint-every', '4');
    expect(result.messages).toBe('');
    expect(result.code).toBe(0);
    stdout = result.stdout;
  });
  const run = 'runs/d2l-resnet-tiny';

  it("prints a line an epoch, then the chapter's two lines, the hash and the full recipe", () => {
    expect(stdout).toMatch(
      /^atalho \d+\.\d+\.\d+: d2l-resnet-tiny on wasm, 96 images at 32×32, 2 epochs of 6 steps; run folder runs\/d2l-resnet-tiny$/m,
    );
    expect(stdout).toMatch(/^epoch 1: train loss \d\.\d{3}, train acc [01]\.\d{3}, test acc [01]\.\d{3}$/m);
    expect(stdout).toMatch(/^epoch 2: train loss /m);
    expect(LINES.exec(stdout)?.[2]).toBe('wasm');
    expect(stdout).toContain('npm run train -- --lr 0.05 --epochs 10 --batch-size 256 --resize 96');
  });

  it('leaves config, metrics, curves, weights and two checkpoints', async () => {
    const config = JSON.parse(readFileSync(place.file(run, 'config.json'), 'utf8')) as Record<string, unknown>;
    expect(config).toMatchObject({
      device: 'wasm',
      checkpointEvery: 4,
      config: { lr: 0.05, epochs: 2, limit: 96, seed: 0 },
    });
    const points = readFileSync(place.file(run, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
    // Six steps an epoch: a point after each but the last, and one with the test accuracy.
    expect(points).toHaveLength(12);
    expect(JSON.parse(points[11])).toMatchObject({ epoch: 2, step: 12, testAcc: Number(LINES.exec(stdout)?.[1]) });
    expect(readdirSync(place.file(run, 'checkpoints')).sort()).toEqual([
      'step-000000008.safetensors',
      'step-000000012.safetensors',
    ]);
    expect(readFileSync(place.file(run, 'curves.svg'), 'utf8')).toContain('test acc');
    const weights = readSafetensors(readFileSync(place.file(run, 'weights.safetensors')));
    expect(weights.metadata.sha256).toBe(hashIn(stdout));
    const model = d2lResnet({ device: reference(), channels: [8, 16, 32, 64], blocks: [1, 1, 1, 1] });
    model.loadStateDict(weights);
    expect(await hashWeights(model)).toBe(hashIn(stdout));
  });

  it('gives the same weights again, and on the reference device, in folders of their own', async () => {
    const again = await place.run(...TRAIN);
    expect(again.stdout).toContain('run folder runs/d2l-resnet-tiny-2');
    expect(hashIn(again.stdout)).toBe(hashIn(stdout));
    const slow = await place.run(...TRAIN, '--device', 'reference', '--out', 'slow');
    expect(LINES.exec(slow.stdout)?.[2]).toBe('reference');
    expect(hashIn(slow.stdout)).toBe(hashIn(stdout));
    const other = await place.run(...TRAIN, '--seed', '1', '--out', 'other');
    expect(hashIn(other.stdout)).not.toBe(hashIn(stdout));
  });

  it('resumes a finished run by printing its lines, and refuses another recipe', async () => {
    const again = await place.run('train', '--resume', run);
    expect(again.code).toBe(0);
    expect(LINES.exec(again.stdout)?.[0]).toBe(LINES.exec(stdout)?.[0]);
    // Without a name it is the run that was saved last.
    expect((await place.run('train', '--resume')).stdout).toContain(`run folder ${run}-2`);
    const changed = await place.run('train', '--resume', run, '--lr', '0.1');
    expect(changed.code).toBe(1);
    expect(changed.messages).toBe(`error: ${run} was begun with lr 0.05; it cannot go on with 0.1\n`);
  });

  it('evaluates the newest checkpoint', async () => {
    const { stdout: text, code } = await place.run('eval', run);
    expect(code).toBe(0);
    expect(text).toBe(`test acc ${LINES.exec(stdout)?.[1]} on 40 images\nsha256 of the weights: ${hashIn(stdout)}\n`);
    expect((await place.run('eval', run, '--test-limit', '10')).stdout).toMatch(/on 10 images/);
  });

  it("takes the first device that this host has for 'auto', and says why not the ones before", async () => {
    vi.stubEnv('VK_ICD_FILENAMES', '/none.json');
    const result = await place.run('eval', run, '--device', 'auto', '--data', place.data);
    vi.unstubAllEnvs();
    expect(result.code).toBe(0);
    expect(result.stdout).toMatch(/^device: wasm, since webgpu: /m);
    expect(result.stdout).toMatch(/^test acc [01]\.\d{3} on 40 images$/m);
  });

  it.skipIf(!gpuFound)('trains on a GPU, names it, and goes on elsewhere', async () => {
    const gpu = ['--device', 'webgpu', '--out', 'gpu'];
    const first = await place.run('train', ...SMALL, '--epochs', '1', '--data', place.data, ...gpu);
    expect(first.code).toBe(0);
    expect(first.stdout).toMatch(/^atalho \S+: d2l-resnet-tiny on webgpu \(.+\), 96 images/m);
    expect(first.stdout).toMatch(/^\d+\.\d examples\/sec on webgpu \(.+\)$/m);
    const tested = await place.run('eval', 'gpu', '--data', place.data);
    expect(hashIn(tested.stdout.replace('of the weights', 'of the trained weights'))).toBe(hashIn(first.stdout));
    const relaxed = ['--math', 'relaxed', '--device', 'webgpu'];
    const refused = await place.run('train', ...SMALL, ...relaxed, '--data', place.data);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain("the webgpu device has no math 'relaxed'; want exact or fast");
  });

  it('predicts PNG files, gray and colour alike, with three labels each', async () => {
    const { images, classes } = await fashionMnist({ split: 'test', source: place.data });
    const png = (colorType: 0 | 2): Buffer => {
      const file = new PNG({ width: 28, height: 28 });
      for (let i = 0; i < 784; i++) file.data.set([images[i], images[i], images[i], 255], 4 * i);
      return PNG.sync.write(file, { colorType });
    };
    writeFileSync(place.file('gray.png'), png(0));
    writeFileSync(place.file('colour.png'), png(2));
    const { stdout: text, code } = await place.run('predict', run, 'gray.png', 'colour.png');
    expect(code).toBe(0);
    const [gray, colour] = text.trimEnd().split('\n');
    expect(colour.replace('colour.png', 'gray.png')).toBe(gray);
    const label = `(?:${classes.join('|')}) [01]\\.\\d{3}`;
    expect(gray).toMatch(new RegExp(`^gray\\.png: ${label}, ${label}, ${label}$`));
    const shares = [...gray.matchAll(/ ([01]\.\d{3})/g)].map(([, share]) => Number(share));
    expect(shares).toEqual([...shares].sort((a, b) => b - a));
    expect(shares[0]).toBeGreaterThan(0.1);
    const photograph = jpeg.encode({ width: 28, height: 28, data: PNG.sync.read(png(2)).data }, 95).data;
    writeFileSync(place.file('photograph.jpg'), photograph);
    const fromJpeg = await place.run('predict', run, 'photograph.jpg');
    expect(fromJpeg.code).toBe(0);
    expect(fromJpeg.stdout).toMatch(new RegExp(`^photograph\\.jpg: ${label}, ${label}, ${label}\n$`));
    expect(/: (\D+) [01]/.exec(fromJpeg.stdout)?.[1]).toBe(/: (\D+) [01]/.exec(gray)?.[1]);
    writeFileSync(place.file('no.png'), 'no picture');
    const bad = await place.run('predict', run, 'no.png');
    expect([bad.code, bad.stderr]).toEqual([1, 'error: no.png: image: file is neither PNG nor JPEG\n']);
    expect((await place.run('predict', run, 'none.png')).stderr).toMatch(
      /^error: cannot read none\.png: no such file or folder \(ENOENT\)\n$/,
    );
  });

  it('refuses a folder that another run has left something in', async () => {
    const left = place.file('left', 'checkpoints');
    mkdirSync(left, { recursive: true });
    const copy = join(left, 'step-000000999.safetensors');
    copyFileSync(place.file(run, 'checkpoints', 'step-000000012.safetensors'), copy);
    const result = await place.run(...TRAIN, '--out', 'left');
    expect([result.code, result.messages]).toEqual([
      1,
      'error: left holds what another run has left; want another --out\n',
    ]);
    expect(readdirSync(place.file('left'))).toEqual(['checkpoints']);
    rmSync(copy);
    writeFileSync(place.file('left', 'metrics.jsonl'), '');
    expect((await place.run(...TRAIN, '--out', 'left')).messages).toMatch(/holds what another run has left/);
    rmSync(place.file('left', 'metrics.jsonl'));
    // An empty folder for checkpoints is what a run that was killed as it began leaves.
    expect(hashIn((await place.run(...TRAIN, '--out', 'left')).stdout)).toBe(hashIn(stdout));
    const twice = await place.run(...TRAIN, '--out', 'left');
    expect([twice.code, twice.messages]).toEqual([
      1,
      'error: left holds a run already; want another --out, or --resume left\n',
    ]);
  });

  it('goes on from another working folder', async () => {
    await place.run(...TRAIN.slice(0, -1), relative(place.path, place.data), '--out', 'moved');
    const { stdout: text, code } = await place.startIn(dirname(place.path), 'train', '--resume', place.file('moved'))
      .done;
    expect(code).toBe(0);
    expect(hashIn(text)).toBe(hashIn(stdout));
  });

  it('tests and predicts with weights of other numerics, but warns', async () => {
    const folder = place.file('numerics', 'checkpoints');
    mkdirSync(folder, { recursive: true });
    copyFileSync(place.file(run, 'config.json'), place.file('numerics', 'config.json'));
    const file = readSafetensors(readFileSync(place.file(run, 'checkpoints', 'step-000000012.safetensors')));
    const other = writeSafetensors(file, { ...file.metadata, numerics: '999' });
    writeFileSync(join(folder, 'step-000000012.safetensors'), other);
    const { stdout: text, messages, code } = await place.run('eval', 'numerics');
    expect([code, text]).toEqual([0, (await place.run('eval', run)).stdout]);
    expect(messages).toMatch(
      /^warning: .*step-000000012\.safetensors: written under numerics 999; this is numerics \d+, whose last bits differ\n$/,
    );
  });

  it('goes on with a run that was written before there was math', async () => {
    const without = (text: string) => {
      const { math, ...config } = JSON.parse(text);
      expect(math).toBe('exact');
      // Nor was there any of these.
      for (const name of ['decay', 'stepSize', 'milestones', 'gamma', 'warmup', 'labelSmoothing', 'patience']) {
        expect(config[name]).toBe(CHAPTER[name as keyof typeof CHAPTER]);
        delete config[name];
      }
      return JSON.stringify(config);
    };
    const folder = place.file('older', 'checkpoints');
    mkdirSync(folder, { recursive: true });
    const { config, ...rest } = JSON.parse(readFileSync(place.file(run, 'config.json'), 'utf8'));
    const settings = { ...rest, config: JSON.parse(without(JSON.stringify(config))) };
    writeFileSync(place.file('older', 'config.json'), JSON.stringify(settings));
    const file = readSafetensors(readFileSync(place.file(run, 'checkpoints', 'step-000000012.safetensors')));
    const older = writeSafetensors(file, { ...file.metadata, config: without(file.metadata.config) });
    writeFileSync(join(folder, 'step-000000012.safetensors'), older);
    const { stdout: text, code } = await place.run('train', '--resume', 'older');
    expect(text).toContain('going on after step 12');
    expect(code).toBe(0);
  });

  it('trains with every option of the trainer, ends early, keeps the best weights, and resumes to the same', async () => {
    const flags = [...TRAIN, '--epochs', '9', '--limit', '32', '--test-limit', '10', '--lr', '0.001'];
    const options = '--schedule multiStep --milestones 1,3 --gamma 0.5 --warmup 3 --decay weights --weight-decay 0.01';
    const more = ['--label-smoothing', '0.1', '--patience', '1', '--checkpoint-every', '1', '--momentum', '0.5'];
    const all = [...flags, ...options.split(' '), ...more];
    const { stdout: text, code, messages } = await place.run(...all, '--out', 'options');
    expect([code, messages]).toEqual([0, '']);
    const [, best, after] =
      /^ended early: 1 epoch without a better test acc; the best, ([\d.]+) after epoch (\d+), is best/m.exec(
        text,
      ) as RegExpExecArray;
    expect(text).not.toContain('epoch 9:');
    const file = readSafetensors(readFileSync(place.file('options', 'best.safetensors')));
    expect(file.metadata).toMatchObject({ epoch: after, model: 'd2l-resnet-tiny' });
    expect(file.metadata.sha256).not.toBe(hashIn(text));
    const model = d2lResnet({ device: reference(), channels: [8, 16, 32, 64], blocks: [1, 1, 1, 1] });
    model.loadStateDict(file);
    expect(await hashWeights(model)).toBe(file.metadata.sha256);
    expect(text).toContain(`epoch ${after}: train loss`);
    expect(Number(best)).toBeGreaterThanOrEqual(0);
    // From the checkpoint before the last, and once more at its end.
    const last = place.file('options', 'checkpoints');
    rmSync(join(last, readdirSync(last).sort().at(-1) as string));
    const again = await place.run('train', '--resume', 'options');
    expect([again.code, hashIn(again.stdout)]).toEqual([0, hashIn(text)]);
    expect(again.stdout).toContain('ended early');
    expect((await place.run('train', '--resume', 'options')).stdout).toContain('ended early');
    const other = await place.run('train', '--resume', 'options', '--patience', '2');
    expect(other.messages).toContain('was begun with patience 1; it cannot go on with 2');
  });

  it('goes on from weights of a file with parts frozen, and tests the best of a run', async () => {
    const first = readFileSync(place.file('options', 'best.safetensors'));
    const tested = await place.run('eval', 'options', '--best', '--test-limit', '10');
    expect(tested.stdout).toContain(`sha256 of the weights: ${readSafetensors(first).metadata.sha256}`);
    const flags = [...TRAIN, '--epochs', '1', '--weights', 'options/best.safetensors', '--freeze', '0,1'];
    const { stdout: text, code } = await place.run(...flags, '--out', 'tuned', '--checkpoint-every', '2');
    expect(code).toBe(0);
    expect(text).toMatch(/^weights of .*options\/best\.safetensors$/m);
    const [before, after] = [first, readFileSync(place.file('tuned', 'weights.safetensors'))].map(readSafetensors);
    for (const [name, { data }] of before) {
      // Parameters and running statistics of what is frozen are as they were; all else has moved.
      const stays = /^[01]\./.test(name);
      expect(
        [...(after.get(name)?.data ?? [])].every((v, i) => v === data[i]),
        name,
      ).toBe(stays);
    }
    // Saved before the first step, since the file may be another later.
    const early = [...flags, '--out', 'early', '--limit', '32'];
    expect((await place.run(...early)).code).toBe(0);
    expect(readdirSync(place.file('early', 'checkpoints'))[0]).toMatch(/^step-0+\.safetensors$/);
    // From the last checkpoint but one: frozen again, and not from the file.
    const last = place.file('tuned', 'checkpoints');
    rmSync(join(last, readdirSync(last).sort().at(-1) as string));
    const again = await place.run('train', '--resume', 'tuned');
    expect([again.code, hashIn(again.stdout)]).toEqual([0, hashIn(text)]);
    expect(again.stdout).not.toContain('weights of');
    const none = await place.run('eval', 'nothing', '--best');
    expect(none.code).toBe(1);
    const wrong = await place.run(...TRAIN, '--freeze', '0,nine', '--out', 'wrong');
    expect(wrong.messages).toBe(
      'error: freeze: the model has nothing called "nine"; want names of its parts, such as 0, 1, 2\n',
    );
    // The folder is free again.
    expect(existsSync(place.file('wrong'))).toBe(false);
    const misfit = ['--model', 'cifar-resnet20', '--weights', 'options/best.safetensors', '--out', 'misfit'];
    expect((await place.run(...TRAIN, ...misfit)).messages).toContain(
      "options/best.safetensors: no weight has the name and the shape of one of the network's",
    );
  });

  it('trains in fast mode to other weights, which are the same on reference and on several threads', async () => {
    const flags = [...TRAIN, '--epochs', '1', '--limit', '32', '--test-limit', '8', '--math', 'fast'];
    const hashes: unknown[] = [];
    for (const [i, more] of [
      ['--threads', '1'],
      ['--threads', '2'],
      ['--device', 'reference'],
    ].entries()) {
      const { stdout: text, code } = await place.run(...flags, ...more, '--out', `fast${i}`);
      expect(code).toBe(0);
      expect(text).toContain('fast math, 32 images');
      hashes.push(hashIn(text));
    }
    expect(new Set(hashes).size).toBe(1);
    const relaxed = await place.run(...flags, '--math', 'relaxed', '--device', 'reference', '--out', 'refused');
    expect(relaxed.messages).toMatch(/reference device has no math 'relaxed'/);
    const changed = await place.run('train', '--resume', 'fast0', '--math', 'exact');
    expect(changed.messages).toMatch(/was begun with math fast; it cannot go on with exact/);
  });

  it('ends with an error and no checkpoint when a weight is not finite', async () => {
    const flags = ['--epochs', '1', '--limit', '16', '--lr', '1e39', '--out', 'broken'];
    const { code, messages } = await place.run(...TRAIN, ...flags);
    expect(messages).toMatch(/^error: train: 0\.0\.weight holds \S+ after step 1; want finite values/);
    expect(code).toBe(1);
    expect(readdirSync(place.file('broken', 'checkpoints'))).toEqual([]);
    expect(existsSync(place.file('broken', 'weights.safetensors'))).toBe(false);
  });

  it('goes back to the checkpoint before a damaged one', async () => {
    const newest = place.file('slow', 'checkpoints', 'step-000000012.safetensors');
    writeFileSync(newest, readFileSync(newest).subarray(0, 5000));
    const { stdout: text, messages, code } = await place.run('train', '--resume', 'slow', '--device', 'wasm');
    expect(code).toBe(0);
    expect(messages).toMatch(
      /^warning: .*step-000000012\.safetensors: safetensors: .*truncated; trying the one before\n$/,
    );
    expect(text).toMatch(/^going on after step 6 from .*step-000000006\.safetensors$/m);
    expect(hashIn(text)).toBe(hashIn(stdout));
    expect(readdirSync(place.file('slow', 'checkpoints')).sort()).toEqual([
      'step-000000006.safetensors',
      'step-000000012.safetensors',
      'step-000000012.safetensors.damaged',
    ]);
    for (const name of readdirSync(place.file('slow', 'checkpoints')))
      writeFileSync(place.file('slow', 'checkpoints', name), '');
    const all = await place.run('train', '--resume', 'slow');
    expect(all.code).toBe(1);
    expect(all.stderr).toMatch(
      /^error: no checkpoint is whole: .*step-000000012\.safetensors: safetensors: file has 0 bytes/m,
    );
  });
});

describe('Ctrl-C', () => {
  it('finishes the step, saves, says how to go on, exits with 130, and going on gives the same bits', async () => {
    const flags = ['train', ...SMALL, '--limit', '320', '--epochs', '3', '--data', place.data];
    const whole = await place.run(...flags, '--out', 'unstopped');
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      const { child, done } = place.start(...flags, '--out', signal, '--checkpoint-every', '2');
      await place.firstCheckpoint(signal);
      child.kill(signal);
      const stopped = await done;
      expect(stopped.code).toBe(130);
      expect(stopped.messages).toMatch(/^stopping: the run is saved after this step; Ctrl-C again to end at once\n$/);
      const [, step] =
        /^stopped after step (\d+) of 60, saved; to go on: npx atalho train --resume SIG\w+$/m.exec(stopped.stdout) ??
        [];
      expect(Number(step)).toBeLessThan(60);
      const resumed = await place.run('train', '--resume', signal);
      expect(resumed.stdout).toContain(`going on after step ${step} from`);
      expect(hashIn(resumed.stdout)).toBe(hashIn(whole.stdout));
    }
  });
});

describe('a run folder', () => {
  const long = ['train', ...SMALL, '--limit', '960', '--epochs', '50', '--checkpoint-every', '2', '--data', place.data];

  it('takes one training at a time', async () => {
    const first = place.start(...long, '--out', 'one');
    await place.firstCheckpoint('one');
    for (const args of [
      ['train', '--resume', 'one'],
      [...long, '--out', 'one'],
    ]) {
      const second = await place.run(...args);
      expect(second.code).toBe(1);
      expect(second.messages).toBe(
        `error: one is being trained by process ${first.child.pid} on ${hostname()}; want it to end first (or, if it is not running, one/lock removed)\n`,
      );
    }
    expect((await place.run('eval', 'one')).code).toBe(0);
    // The lock of a killed process holds nobody up; that of a stopped one is gone.
    first.child.kill('SIGKILL');
    await first.done;
    expect(existsSync(place.file('one', 'lock'))).toBe(true);
    const again = place.start('train', '--resume', 'one');
    await new Promise((resolve) => again.child.stdout?.once('data', resolve));
    again.child.kill('SIGINT');
    expect((await again.done).code).toBe(130);
    expect(existsSync(place.file('one', 'lock'))).toBe(false);
  });

  it('keeps a lock of another host, and one that is just being taken', () => {
    const folder = place.file('locks');
    mkdirSync(folder);
    const lock = join(folder, 'lock');
    writeFileSync(lock, `1 another-${hostname()} x\n`);
    expect(() => lockRun(folder)).toThrow(/is being trained by process 1 on another-/);
    writeFileSync(lock, '');
    expect(() => lockRun(folder)).toThrow(/is being trained by another process/);
    const past = new Date(Date.now() - 60_000);
    utimesSync(lock, past, past);
    const release = lockRun(folder);
    expect(readFileSync(lock, 'utf8')).toContain(`${process.pid} ${hostname()} `);
    // Another's by now: not ours to remove.
    writeFileSync(lock, 'other');
    release();
    expect(readdirSync(folder)).toEqual(['lock']);
  });
});

describe('a reader that has gone', () => {
  it('does not end training; the exit code is that of the run', async () => {
    const { child, done } = place.start(...TRAIN, '--out', 'piped');
    child.stdout?.once('data', () => child.stdout?.destroy());
    const { code, messages } = await done;
    expect([code, messages]).toEqual([0, '']);
    expect(existsSync(place.file('piped', 'weights.safetensors'))).toBe(true);
  });

  it('ends other commands quietly', async () => {
    const { child, done } = place.start('shapes', 'd2l-resnet-tiny');
    child.stdout?.destroy();
    const { code, messages } = await done;
    expect([code, messages]).toEqual([0, '']);
  });
});

describe('a preset with a published hash', () => {
  afterEach(() => {
    process.exitCode = undefined;
    vi.restoreAllMocks();
  });

  it.each([
    ['another hash', '0'.repeat(64), /^differs from the published hash: 0{64}$/m, 1],
    ['no hash', null, /^(?![\s\S]*published)/, undefined],
  ])('%s', async (name, publishedHash, message, code) => {
    const config = {
      ...CHAPTER,
      model: 'd2l-resnet-tiny',
      resize: 32,
      epochs: 1,
      batchSize: 8,
      limit: 16,
      testLimit: 8,
    };
    let text = '';
    vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
      text += String(chunk);
      return true;
    });
    const settings = { config, device: 'wasm', data: place.data, checkpointEvery: 9 };
    const run = RunFolder.create(place.file(name), name, settings);
    await trainRun(run, settings, false, 'auto', { small: { config, publishedHash } });
    run.unlock();
    expect(text).toMatch(message);
    expect(process.exitCode).toBe(code);
    // And the hash itself is found equal.
    process.exitCode = undefined;
    await trainRun(run, settings, true, 'auto', { small: { config, publishedHash: hashIn(text) } });
    expect(text).toMatch(/^equals the published hash$/m);
    expect(process.exitCode).toBeUndefined();
  });
});

describe('a run folder that was half begun', () => {
  it('is cleared of what a run left that was killed while it wrote its config', () => {
    const folder = place.file('half-begun');
    mkdirSync(join(folder, 'checkpoints'), { recursive: true });
    const leftover = join(folder, '.config.json.ac0095c6-b1d6-4f7e-8793-7151f9653de8.tmp');
    writeFileSync(leftover, '{');
    const run = RunFolder.create(folder, 'half-begun', {
      config: CHAPTER,
      device: 'wasm',
      data: null,
      checkpointEvery: 1,
    });
    run.unlock();
    expect(existsSync(leftover)).toBe(false);
  });
});

describe('atalho shapes', () => {
  it("is the chapter's tour", async () => {
    const { stdout } = await place.run('shapes', 'd2l-resnet18', '--input', '1,1,224,224');
    expect(stdout.trimEnd().split('\n')).toEqual([
      'Sequential output shape:\t [1, 64, 56, 56]',
      'Sequential output shape:\t [1, 64, 56, 56]',
      'Sequential output shape:\t [1, 128, 28, 28]',
      'Sequential output shape:\t [1, 256, 14, 14]',
      'Sequential output shape:\t [1, 512, 7, 7]',
      'AdaptiveAvgPool2d output shape:\t [1, 512, 1, 1]',
      'Flatten output shape:\t [1, 512]',
      'Linear output shape:\t [1, 10]',
    ]);
  });
});

describe('atalho summary', () => {
  it('shows the tree of a network, and its totals', async () => {
    const { stdout, code } = await place.run('summary', 'resnet50', '--depth', '2');
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toBe('resnet50, input [1, 3, 224, 224]');
    const row = (text: string) =>
      expect.stringMatching(new RegExp(`^${text.replace(/[()[\]]/g, '\\$&').replace(/ {2,}/g, ' +')}$`));
    expect(lines).toContainEqual(row('├─Conv2d (conv1)  [1, 64, 112, 112]  9,408  118,013,952'));
    expect(lines).toContainEqual(row('├─BatchNorm2d (bn1)  [1, 64, 112, 112]  128  --'));
    expect(lines).toContainEqual(row('│    ├─Bottleneck (0)  [1, 256, 56, 56]  75,008  231,211,008'));
    expect(lines).toContainEqual(row('│    └─Bottleneck (2)  [1, 256, 56, 56]  70,400  218,365,952'));
    expect(lines).toContainEqual(row('└─Linear (fc)  [1, 1000]  2,049,000  2,048,000'));
    expect(lines.slice(-11)).toEqual([
      expect.stringMatching(/^=+$/),
      'Total params: 25,557,032',
      'Trainable params: 25,557,032',
      'Non-trainable params: 0',
      'Total mult-adds (G): 4.09',
      expect.stringMatching(/^=+$/),
      'Input size (MB): 0.60',
      'Forward/backward pass size (MB): 177.83',
      'Params size (MB): 102.23',
      'Estimated total size (MB): 280.66',
      expect.stringMatching(/^=+$/),
    ]);
    expect((await place.run('summary', 'resnet50')).stdout).toContain('│    │    ├─Sequential (downsample) ');
  });

  it('without a name, or with several, is a line a network', async () => {
    const { stdout } = await place.run('summary');
    expect(stdout.trimEnd().split('\n')).toHaveLength(4 + 23);
    expect(stdout).toMatch(/^resnext50_32x4d +\[1, 3, 224, 224\] +\[1, 1000\] +25,028,904 +4\.23$/m);
    const gray = ['--channels', '1', '--classes', '10'];
    const { stdout: two } = await place.run('summary', 'resnet18', 'cifar-resnet20', ...gray);
    expect(two.split('\n').slice(3, 5)).toEqual([
      'resnet18        [1, 1, 224, 224]  [1, 10]  11,175,370   1.73',
      'cifar-resnet20  [1, 1, 32, 32]    [1, 10]     269,434  0.040',
    ]);
  });

  it('takes the shape of the input', async () => {
    const { stdout } = await place.run('summary', 'cifar-resnet20', '--input', '8,3,28,28', '--depth', '1');
    expect(stdout).toContain('cifar-resnet20, input [8, 3, 28, 28]');
    expect(stdout).toMatch(/^├─Sequential \(layer3\) +\[8, 64, 7, 7\]/m);
    const wrong = await place.run('summary', 'resnet18', '--input', '1,1,224,224');
    expect(wrong.stderr).toMatch(/^error: conv2d: x .* has 1 channels; .*\n$/);
    expect(wrong.code).toBe(1);
  });
});

describe('every model', () => {
  it.each(['resnet18', 'cifar-preact-resnet164'])('%s trains on gray images', async (name) => {
    const flags = ['--epochs', '1', '--limit', '4', '--batch-size', '2', '--test-limit', '2', '--resize', '28'];
    const { code, messages, stdout } = await place.run('train', '--model', name, ...flags, '--data', place.data);
    expect([code, messages]).toEqual([0, '']);
    expect(hashIn(stdout)).not.toBeNull();
    const weights = readSafetensors(readFileSync(place.file('runs', name, 'weights.safetensors')));
    expect(weights.get('conv1.weight')?.shape[1]).toBe(1);
    expect(weights.get('fc.bias')?.shape).toEqual([10]);
    expect((await place.run('eval', `runs/${name}`)).code).toBe(0);
    expect((await place.run('shapes', name)).stdout).toMatch(/^Linear output shape:\t \[1, 10+\]$/m);
  });
});

describe('errors are one line and exit code 1', () => {
  const cases: readonly [string, readonly string[], RegExp][] = [
    [
      'an unknown model',
      ['shapes', 'resnet9000'],
      /^error: there is no model "resnet9000"; want a name that `atalho summary` lists\n$/,
    ],
    [
      'an unknown model to train',
      ['train', '--model', 'x'],
      /^error: option '--model <name>' argument 'x' is invalid\. Want a name that `atalho summary` lists\.\n$/,
    ],
    [
      'a bad number',
      ['train', '--lr', 'fast'],
      /^error: option '--lr <rate>' argument 'fast' is invalid\. Want a number above 0\.\n$/,
    ],
    ['a bad shape', ['shapes', 'd2l-resnet18', '--input', '1,2'], /Want four whole numbers N,C,H,W/],
    ['a wrong channel count', ['shapes', 'd2l-resnet-tiny', '--input', '1,3,32,32'], /^error: conv2d: .*\n$/],
    ['no run', ['train', '--resume', 'nowhere'], /^error: nowhere is no run: there is no nowhere\/config\.json\n$/],
    ['no run to test', ['eval', 'nowhere'], /^error: nowhere is no run: /],
    [
      'a last batch of one image',
      [...TRAIN, '--limit', '97', '--out', 'one-left'],
      /^error: Trainer: the last batch of an epoch is 1 image \(limit 97, batchSize 16\)/,
    ],
    [
      'a bad limit to test',
      ['eval', 'nowhere', '--test-limit', ' '],
      /^error: option '--test-limit <n>' argument ' ' is invalid\. Want a whole number of at least 1\.\n$/,
    ],
    [
      'a folder that cannot be',
      ['train', '--out', '/dev/null/run'],
      /^error: cannot write the run folder \/dev\/null\/run: a part of the path is not a folder \(ENOTDIR\)\n$/,
    ],
    [
      'options that do not go together',
      ['train', '--optimizer', 'adam', '--momentum', '0.9'],
      /^error: momentum is 0\.9 with optimizer adam; want it with sgd or rmsprop\n$/,
    ],
    [
      'milestones without their schedule',
      ['train', '--milestones', '3'],
      /^error: milestones is 3 with schedule constant; want it with multiStep\n$/,
    ],
    [
      'the multiStep schedule without milestones',
      ['train', '--schedule', 'multiStep'],
      /^error: schedule is multiStep without milestones; want the epochs, such as 30,60\n$/,
    ],
    [
      'data that is not there',
      [...TRAIN.slice(0, -1), 'nothing-here', '--out', 'd1'],
      /^error: fashionMnist: source \S*nothing-here has no train-labels/,
    ],
  ];
  it.each(cases)('%s', async (_, args, message) => {
    const { code, stderr } = await place.run(...args);
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
  });

  it('a damaged config.json names the file and the field', async () => {
    await place.run(...TRAIN, '--epochs', '1', '--limit', '16', '--out', 'damaged');
    const file = place.file('damaged', 'config.json');
    const good = JSON.parse(readFileSync(file, 'utf8')) as { config: object };
    const cases: [unknown, RegExp][] = [
      [{ ...good, device: 3 }, /^error: damaged\/config\.json: device is 3; want a name\n$/],
      [
        { ...good, config: { ...good.config, lr: -1 } },
        /^error: damaged\/config\.json: config\.lr is -1; want a number above 0\n$/,
      ],
      [
        { ...good, config: { ...good.config, lr: 0.5 } },
        /^error: damaged\/checkpoints\/.*: of another run: lr is 0\.05 there and 0\.5 here\n$/,
      ],
      [[], /^error: damaged\/config\.json: device is missing/],
    ];
    for (const [value, message] of cases) {
      writeFileSync(file, JSON.stringify(value));
      expect((await place.run('train', '--resume', 'damaged')).stderr).toMatch(message);
    }
    writeFileSync(file, '{');
    expect((await place.run('eval', 'damaged')).stderr).toBe('error: damaged/config.json is not valid JSON\n');
    expect(() => parseTrainConfig('f', { ...CHAPTER, extra: 1 })).toThrow(/^f\.extra is no option of a run$/);
    expect(() => parseTrainConfig('f', { ...CHAPTER, optimizer: 'adam', momentum: 0.9 })).toThrow(
      /^f: momentum is 0\.9 with optimizer adam/,
    );
    expect(() => parseTrainConfig('f', JSON.parse('{"__proto__": {"lr": 1}}'))).toThrow(FormatError);
  });
});

describe('a disk that fails', () => {
  const folder = mkdtempSync(join(tmpdir(), 'atalho-disk-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const device = reference();
  const generator = new Generator(1);
  const model = d2lResnet({ device, generator, channels: [2], blocks: [1] });
  const images = { images: new Uint8Array(64), shape: [1, 1, 8, 8] as const, labels: Uint8Array.of(3), classes: ['a'] };
  const optimizer = sgd(model.parameters(), { lr: 0.1 });
  const trainer = new Trainer({
    model,
    optimizer,
    trainData: images,
    epochs: 1,
    batchSize: 1,
    generator,
    init: 'asIs',
  });
  let bytes: Uint8Array;
  beforeAll(async () => {
    bytes = await encodeCheckpoint(trainer, {}, 'test');
  });

  /** A disk with room for so many files, which are left half written when it is full. */
  function smallDisk(path: string, room: number): CheckpointFolder {
    return new CheckpointFolder(path, (file, content) => {
      if (readdirSync(path).length >= room) {
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' });
      }
      writeFileAtomic(file, content);
    });
  }

  it('keeps the last two, and makes room by the older one when the disk is full', () => {
    const path = join(folder, 'full');
    const disk = smallDisk(path, 2);
    for (const step of [1, 2, 3, 10]) disk.save(step, bytes);
    expect(disk.list()).toEqual(['step-000000010.safetensors', 'step-000000003.safetensors']);
    const kept = new CheckpointFolder(join(folder, 'kept'));
    for (const step of [1, 2, 3]) kept.save(step, bytes);
    expect(kept.list()).toEqual(['step-000000003.safetensors', 'step-000000002.safetensors']);
  });

  it('says what made room when that was not enough', () => {
    const path = join(folder, 'shrinking');
    const disk = new CheckpointFolder(path);
    for (const step of [1, 2]) disk.save(step, bytes);
    expect(() => smallDisk(path, 1).save(3, bytes)).toThrow(
      /no space left on the disk \(ENOSPC\); step-000000001\.safetensors made room, the newest is untouched$/,
    );
    expect(disk.list()).toEqual(['step-000000002.safetensors']);
  });

  it('never removes what it has just written, nor a whole checkpoint for a damaged one', () => {
    const path = join(folder, 'older');
    const disk = new CheckpointFolder(path);
    for (const step of [100, 200]) disk.save(step, bytes);
    disk.save(5, bytes);
    expect(disk.list()).toEqual(['step-000000200.safetensors', 'step-000000005.safetensors']);
    writeFileSync(join(path, 'step-000000200.safetensors'), '');
    const damaged: string[] = [];
    disk.newest(
      () => 1,
      (name) => void damaged.push(name),
    );
    disk.setAside(damaged);
    expect(() => smallDisk(path, 1).save(6, bytes)).toThrow(/earlier checkpoints are untouched$/);
    expect(disk.list()).toEqual(['step-000000005.safetensors']);
    expect(readdirSync(path).sort()).toEqual(['step-000000005.safetensors', 'step-000000200.safetensors.damaged']);
  });

  it('removes the checkpoint too many that a killed write has left', () => {
    const path = join(folder, 'three');
    const disk = new CheckpointFolder(path);
    for (const step of [1, 2]) disk.save(step, bytes);
    writeFileAtomic(join(path, 'step-000000003.safetensors'), bytes);
    disk.tidy();
    expect(disk.list()).toEqual(['step-000000003.safetensors', 'step-000000002.safetensors']);
  });

  it('loses nothing that was saved, and says what happened', () => {
    const disk = smallDisk(join(folder, 'one'), 1);
    disk.save(1, bytes);
    expect(() => disk.save(2, bytes)).toThrow(
      /^cannot write .*step-000000002\.safetensors: no space left on the disk \(ENOSPC\); earlier checkpoints are untouched$/,
    );
    expect(disk.list()).toEqual(['step-000000001.safetensors']);
    expect(
      disk.newest(
        (checkpoint) => checkpoint.state.step,
        () => {},
      ),
    ).toBe(0);
  });

  it('skips checkpoints that are no checkpoints', () => {
    const disk = new CheckpointFolder(join(folder, 'odd'));
    expect(
      disk.newest(
        () => 1,
        () => {},
      ),
    ).toBeNull();
    disk.save(5, bytes);
    writeFileSync(join(folder, 'odd', 'step-000000009.safetensors'), writeSafetensors([], {}));
    writeFileSync(join(folder, 'odd', 'notes.txt'), '');
    const damaged: string[] = [];
    const name = disk.newest(
      (checkpoint) => checkpoint.name,
      (_, message) => void damaged.push(message),
    );
    expect(name).toMatch(/step-000000005/);
    expect(damaged).toEqual([expect.stringMatching(/step-000000009\.safetensors: metadata has no format/)]);
  });
});

describe('what is shown', () => {
  const point = (epoch: number, testAcc: number | null) => ({
    epoch,
    step: 1,
    trainLoss: 2 / (1 + epoch),
    trainAcc: 0.5,
    testAcc,
    seconds: 1,
  });

  it('curves have a line a series, a legend and axes, and points for lines too short to see', () => {
    const svg = curvesSvg([point(0.5, null), point(1, 0.6), point(1.5, null), point(2, 0.7)], 2, 'a <b> & c');
    for (const label of ['train loss', 'train acc', 'test acc', 'epoch', 'a &lt;b> &amp; c'])
      expect(svg).toContain(`>${label}</text>`);
    expect(svg.match(/<circle/g)).toHaveLength(10);
    expect(svg).not.toMatch(/NaN|undefined/);
    expect(curvesSvg([], 1, 't')).not.toMatch(/NaN|undefined|<circle/);
  });

  it('durations read as people write them', () => {
    expect([0.4, 59.4, 245, 7989].map(formatDuration)).toEqual(['0 s', '59 s', '4:05', '2:13:09']);
  });

  it('presets differ from the chapter only in valid options', () => {
    for (const { config } of Object.values(PRESETS)) expect(parseTrainConfig('preset', config)).toEqual(config);
    expect(CHAPTER).toMatchObject({ lr: 0.05, epochs: 10, batchSize: 256, resize: 96, optimizer: 'sgd', momentum: 0 });
  });
});
