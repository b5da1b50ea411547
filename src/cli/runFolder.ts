/** The folder of a run: config.json, metrics.jsonl, curves.svg, weights.safetensors, best.safetensors, checkpoints/ and, while it trains, lock. */
import { appendFileSync, existsSync, mkdirSync, readdirSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ArgumentError, AtalhoError, FormatError } from '../errors.js';
import { removeLeftovers, writeFileAtomic } from '../io/atomic.js';
import { readFileBounded } from '../io/readFile.js';
import { NUMERICS_VERSION } from '../numerics.js';
import type { HistoryPoint } from '../train/state.js';
import { CheckpointFolder } from './checkpointFolder.js';
import { parseTrainConfig, type TrainConfig } from './config.js';
import { attempt, systemCode } from './errors.js';
import { lockRun } from './runLock.js';
import { WRITER } from './version.js';

/** Where runs go that are given no folder, under the working folder. */
export const RUNS = 'runs';

const MAX_CONFIG_BYTES = 2 ** 23;

/** What config.json holds: what decides the bits, and how the run was carried out. */
export interface RunSettings {
  readonly config: TrainConfig;
  readonly device: string;
  /** Where the images come from; null for the usual places. */
  readonly data: string | null;
  /** The classes of a folder of one's own pictures; absent for Fashion-MNIST. */
  readonly classes?: readonly string[];
  /** Steps from one checkpoint to the next. */
  readonly checkpointEvery: number;
}

function parseSettings(where: string, text: string): RunSettings {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new FormatError(`${where} is not valid JSON`, { cause: error });
  }
  if (typeof value !== 'object' || value === null) throw new FormatError(`${where} is no JSON object`);
  const { config, device, data, classes, checkpointEvery } = value as Readonly<Record<string, unknown>>;
  const fail = (field: string, got: unknown, want: string): never => {
    throw new FormatError(`${where}: ${field} is ${JSON.stringify(got)?.slice(0, 80) ?? 'missing'}; want ${want}`);
  };
  if (typeof device !== 'string') return fail('device', device, 'a name');
  if (data !== null && typeof data !== 'string') return fail('data', data, 'a folder, an address or null');
  const isNames = (names: unknown): names is string[] =>
    Array.isArray(names) && names.length > 0 && names.every((name) => typeof name === 'string');
  if (classes !== undefined && !(isNames(classes) && data !== null))
    return fail('classes', classes, 'names, and a folder as data');
  if (typeof checkpointEvery !== 'number' || !Number.isInteger(checkpointEvery) || checkpointEvery < 1) {
    return fail('checkpointEvery', checkpointEvery, 'a whole number of at least 1');
  }
  return { config: parseTrainConfig(`${where}: config`, config), device, data, classes, checkpointEvery };
}

export class RunFolder {
  readonly checkpoints: CheckpointFolder;
  /** Gives the lock back; null while it is not held. */
  private release: (() => void) | null = null;

  /** Whether training has begun in it: set by `trainRun`. */
  begun = false;

  private constructor(
    readonly path: string,
    readonly settings: RunSettings,
  ) {
    this.checkpoints = new CheckpointFolder(join(path, 'checkpoints'));
  }

  /**
   * Makes the folder of a new run, and locks it: `path`, or the first of runs/NAME, runs/NAME-2, ... that does not exist.
   * @throws ArgumentError when `path` holds anything of another run
   */
  static create(path: string | null, name: string, settings: RunSettings): RunFolder {
    const folder = path ?? RunFolder.claim(name);
    const text = `${JSON.stringify({ writer: WRITER, numerics: NUMERICS_VERSION, ...settings }, null, 2)}\n`;
    const run = new RunFolder(folder, settings);
    attempt(`write the run folder ${folder}`, () => {
      mkdirSync(join(folder, 'checkpoints'), { recursive: true });
      // Locked before it is looked into: of two that begin at once, one finds the lock or the other's config.
      run.lock();
      try {
        // What a run left that was killed while it wrote its config.
        removeLeftovers(folder, 0);
        run.checkEmpty();
        writeFileAtomic(join(folder, 'config.json'), text);
      } catch (error) {
        run.unlock();
        throw error;
      }
    });
    return run;
  }

  /** Gives up a new run that has failed before it began, so that the folder is free for the next. */
  abandon(): void {
    for (const name of ['config.json', 'curves.svg']) rmSync(join(this.path, name), { force: true });
    this.unlock();
    for (const folder of [this.checkpoints.path, this.path]) {
      try {
        rmdirSync(folder);
      } catch (error) {
        // What the user keeps there stays.
        if (!['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(systemCode(error) ?? '')) throw error;
        return;
      }
    }
  }

  private checkEmpty(): void {
    const holds = (name: string): boolean => existsSync(join(this.path, name));
    if (holds('config.json')) {
      throw new ArgumentError(`${this.path} holds a run already; want another --out, or --resume ${this.path}`);
    }
    // An empty folder for checkpoints is all that is left of a run that was killed as it began.
    if (holds('metrics.jsonl') || readdirSync(this.checkpoints.path).length > 0) {
      throw new ArgumentError(`${this.path} holds what another run has left; want another --out`);
    }
  }

  /**
   * Keeps other processes from training in this folder, until `unlock`.
   * @throws AtalhoError when one is at it
   */
  lock(): void {
    this.release = attempt(`lock ${this.path}`, () => lockRun(this.path));
  }

  unlock(): void {
    this.release?.();
    this.release = null;
  }

  /** Two runs that start at once get two folders: only one can make each. */
  private static claim(name: string): string {
    return attempt(`make a run folder in ${RUNS}`, () => {
      mkdirSync(RUNS, { recursive: true });
      for (let i = 1; ; i++) {
        const path = join(RUNS, i === 1 ? name : `${name}-${i}`);
        try {
          mkdirSync(path);
          return path;
        } catch (error) {
          if (systemCode(error) !== 'EEXIST') throw error;
        }
      }
    });
  }

  /**
   * Opens the folder of an earlier run.
   * @throws AtalhoError when there is none, FormatError when its config.json is damaged
   */
  static open(path: string): RunFolder {
    const file = join(path, 'config.json');
    let text: string;
    try {
      text = new TextDecoder().decode(readFileBounded(file, MAX_CONFIG_BYTES));
    } catch (error) {
      const code = systemCode(error);
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error;
      throw new AtalhoError(`${path} is no run: there is no ${file}`, { cause: error });
    }
    return new RunFolder(path, parseSettings(file, text));
  }

  /** The run in runs/ that was begun or saved last. */
  static latest(): RunFolder {
    const names = existsSync(RUNS) ? readdirSync(RUNS) : [];
    const runs = names.map((name) => join(RUNS, name)).filter((path) => existsSync(join(path, 'config.json')));
    const time = (path: string): number =>
      Math.max(
        ...['config.json', 'checkpoints'].map(
          (part) => statSync(join(path, part), { throwIfNoEntry: false })?.mtimeMs ?? 0,
        ),
      );
    const [newest] = runs.sort((a, b) => time(b) - time(a));
    if (newest === undefined) throw new AtalhoError(`there is no run in ${RUNS}/; want --resume with a run's folder`);
    return RunFolder.open(newest);
  }

  /** Adds a line to metrics.jsonl. */
  appendMetrics(point: HistoryPoint): void {
    const path = join(this.path, 'metrics.jsonl');
    attempt(`write ${path}`, () => appendFileSync(path, `${JSON.stringify(point)}\n`));
  }

  /** Brings metrics.jsonl to what a checkpoint knows: later lines, and half of one, go. */
  rewriteMetrics(history: readonly HistoryPoint[]): void {
    this.replace('metrics.jsonl', history.map((point) => `${JSON.stringify(point)}\n`).join(''));
  }

  /** Writes a file of the run atomically. */
  replace(name: string, content: string | Uint8Array): void {
    const path = join(this.path, name);
    attempt(`write ${path}`, () => writeFileAtomic(path, content));
  }

  /** Removes what writes that were killed have left. The folder must be locked: it takes any write for one of those. */
  tidy(): void {
    removeLeftovers(this.path, 0);
    this.checkpoints.tidy();
  }
}
