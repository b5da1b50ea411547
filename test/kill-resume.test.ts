/**
 * A training run is killed with SIGKILL at 20 random moments; each time it is resumed until done, and must end with the
 * weights and the metrics of the run that nobody killed.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { afterAll, expect, it } from 'vitest';
import { Generator } from '../src/index.js';
import { hashIn, type Result, Workplace } from './cliRunner.js';

const KILLS = 20;
const SEED = 2024;
/** So many of the kills come before training begins. */
const WHILE_LOADING = 3;

const place = new Workplace();
afterAll(() => place.remove());

const SMALL = ['--model', 'd2l-resnet-tiny', '--limit', '200', '--test-limit', '40', '--batch-size', '16'];
const FLAGS = [
  ...SMALL,
  '--resize',
  '32',
  '--epochs',
  '2',
  '--lr',
  '0.05',
  '--momentum',
  '0.9',
  '--schedule',
  'cosine',
];

const begin = (out: string): string[] => [
  'train',
  ...FLAGS,
  '--checkpoint-every',
  '2',
  '--data',
  place.data,
  '--out',
  out,
];

/** The metrics without what depends on the clock. */
function metrics(run: string): unknown[] {
  const lines = readFileSync(place.file(run, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
  return lines.map((line) => {
    const { seconds: _, ...point } = JSON.parse(line) as Record<string, unknown>;
    return point;
  });
}

/**
 * Runs until the end, or until it is killed: `ms` after it said that training begins, or for a negative `ms` that long
 * after it was started, while it still loads images.
 */
async function killAfter(ms: number, args: readonly string[]): Promise<Result> {
  const { child, done } = place.start(...args);
  let timer: NodeJS.Timeout | undefined;
  const arm = (): void => {
    timer ??= setTimeout(() => child.kill('SIGKILL'), Math.abs(ms));
  };
  if (ms < 0) arm();
  else child.stdout?.once('data', arm);
  const result = await done;
  clearTimeout(timer);
  return result;
}

/** A whole run, and how long it trained in milliseconds. */
async function wholeRun(out: string): Promise<{ result: Result; span: number }> {
  const { child, done } = place.start(...begin(out));
  let began = Number.NaN;
  child.stdout?.once('data', () => {
    began = performance.now();
  });
  const result = await done;
  return { result, span: performance.now() - began };
}

it(`ends with the same bits after SIGKILL at ${KILLS} random moments`, { timeout: 280_000 }, async () => {
  // Two at a time, here as below: half of each run is waiting for a process to start.
  const [whole, again] = await Promise.all([wholeRun('whole'), wholeRun('again')]);
  expect(whole.result.messages).toBe('');
  const want = hashIn(whole.result.stdout);
  expect(want).not.toBeNull();
  expect(hashIn(again.result.stdout)).toBe(want);

  const generator = new Generator(SEED);
  let span = Math.max(whole.span, again.span);
  // Milliseconds before training begins, or a share of it.
  const shares = Array.from({ length: KILLS }, (_, i) =>
    i < WHILE_LOADING ? -generator.uniform(50, 600) : generator.uniform(0, 0.95),
  );
  console.log(
    `SIGKILL at ${shares.map((v) => v.toFixed(2)).join(', ')} (seed ${SEED}); training takes about ${Math.round(span)} ms`,
  );

  const story: string[] = [];
  const one = async (i: number): Promise<void> => {
    const run = `run-${i}`;
    const moment = Math.round(shares[i] < 0 ? shares[i] : shares[i] * span);
    const killed = await killAfter(moment, begin(run));
    // The machine was slower when the whole runs were measured.
    if (killed.signal === null) span *= 0.75;
    // It may have ended before; else nothing but the signal may have ended it.
    expect(killed.signal ?? killed.code, killed.stderr).toBeOneOf(['SIGKILL', 0]);
    // Killed before its folder was whole, there is no run yet: it begins again.
    const begun = existsSync(place.file(run, 'config.json'));
    const checkpoints = existsSync(place.file(run, 'checkpoints')) ? readdirSync(place.file(run, 'checkpoints')) : [];
    const newest = checkpoints.sort().at(-1) ?? (begun ? 'no checkpoint' : 'no run');
    story[i] = killed.signal === null ? 'done' : newest.replace(/^step-0*|\.safetensors$/g, '');
    const resumed = await place.run(...(begun ? ['train', '--resume', run] : begin(run)));
    expect(resumed.messages, `run ${i}, killed after ${moment} ms`).toBe('');
    expect(resumed.code).toBe(0);
    expect(hashIn(resumed.stdout), `run ${i}, killed after ${moment} ms`).toBe(want);
    expect(metrics(run)).toEqual(metrics('whole'));
    const left = readdirSync(place.file(run)).concat(readdirSync(place.file(run, 'checkpoints')));
    expect(left.filter((name) => name.endsWith('.tmp'))).toEqual([]);
    expect(readdirSync(place.file(run, 'checkpoints'))).toHaveLength(2);
  };
  const queue = shares.map((_, i) => i);
  await Promise.all(
    [0, 1].map(async () => {
      for (let i = queue.shift(); i !== undefined; i = queue.shift()) await one(i);
    }),
  );
  console.log(`the newest file in checkpoints/ each time: ${story.join(', ')}`);
  const midway = story.filter((newest) => !['done', 'no run', 'no checkpoint'].includes(newest));
  expect(midway.length).toBeGreaterThan(KILLS / 4);
});

it('survives being killed again and again on its way', { timeout: 120_000 }, async () => {
  const { result: whole, span } = await wholeRun('undisturbed');
  const generator = new Generator(SEED + 1);
  let result = await killAfter(generator.uniform(0, span / 3), begin('often'));
  // Ever longer, so that a machine that slows down gets through as well.
  for (let i = 1; i < 20 && hashIn(result.stdout) === null; i++) {
    result = await killAfter(generator.uniform(0, (span / 3) * (1 + i / 4)), ['train', '--resume', 'often']);
  }
  expect(hashIn(result.stdout)).toBe(hashIn(whole.stdout));
  expect(metrics('often')).toEqual(metrics('undisturbed'));
});
