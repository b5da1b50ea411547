/** The checkpoints of a run on disk: written atomically, the last two kept, the newest whole one found again. */
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { FormatError } from '../errors.js';
import { removeLeftovers, writeFileAtomic } from '../io/atomic.js';
import { readFileBounded } from '../io/readFile.js';
import { type Checkpoint, decodeCheckpoint } from '../train/checkpoint.js';
import { attempt, systemCode } from './errors.js';

const NAME = /^step-(\d{9,15})\.safetensors$/;

/** So that one that a disk has damaged still leaves another. */
const KEPT = 2;

/** Ten times what ResNet-18 takes with Adam. */
const MAX_BYTES = 2 ** 31;

export class CheckpointFolder {
  /** @param write replaces a file atomically; tests put failing disks here */
  constructor(
    readonly path: string,
    private readonly write: (path: string, bytes: Uint8Array) => void = writeFileAtomic,
  ) {}

  /** Names of the checkpoints, newest first. */
  list(): string[] {
    let names: string[];
    try {
      names = readdirSync(this.path);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return [];
      throw error;
    }
    const steps = new Map(names.map((name) => [name, Number(NAME.exec(name)?.[1])]));
    return names.filter((name) => NAME.test(name)).sort((a, b) => (steps.get(b) as number) - (steps.get(a) as number));
  }

  /**
   * Writes the checkpoint of that step, whole or not at all, and then removes all but the last one before it. On a full
   * disk the older ones make room; the newest is never removed for one that is not yet written.
   * @throws AtalhoError when it cannot be written, which says what was removed
   */
  save(step: number, bytes: Uint8Array): void {
    const own = `step-${String(step).padStart(9, '0')}.safetensors`;
    const path = join(this.path, own);
    let gone: readonly string[] = [];
    const advice = (): string =>
      gone.length === 0 ? 'earlier checkpoints are untouched' : `${gone.join(', ')} made room, the newest is untouched`;
    const others = (): string[] => this.list().filter((name) => name !== own);
    attempt(
      `write ${path}`,
      () => {
        mkdirSync(this.path, { recursive: true });
        try {
          this.write(path, bytes);
        } catch (error) {
          const older = others().slice(1);
          if (systemCode(error) !== 'ENOSPC' || older.length === 0) throw error;
          this.remove(older);
          gone = older;
          this.write(path, bytes);
        }
        this.remove(others().slice(KEPT - 1));
      },
      advice,
    );
  }

  /**
   * Hands checkpoints to `use`, newest first, until it takes one without a FormatError. Those that are damaged are told
   * to `onDamaged`. Null when there is no checkpoint at all.
   * @throws FormatError when every checkpoint is damaged
   */
  newest<T>(use: (checkpoint: Checkpoint) => T, onDamaged: (name: string, message: string) => void): T | null {
    let failure: FormatError | null = null;
    for (const name of this.list()) {
      const path = join(this.path, name);
      try {
        const bytes = attempt(`read ${path}`, () => readFileBounded(path, MAX_BYTES));
        return use(decodeCheckpoint(bytes, path));
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        failure ??= error;
        onDamaged(name, error.message);
      }
    }
    if (failure !== null) throw new FormatError(`no checkpoint is whole: ${failure.message}`, { cause: failure });
    return null;
  }

  /** Renames damaged checkpoints, so that none of them passes for the newest, which is never removed. */
  setAside(names: readonly string[]): void {
    for (const name of names) {
      const path = join(this.path, name);
      attempt(`rename ${path}`, () => renameSync(path, `${path}.damaged`));
    }
  }

  /** Removes what writes that were killed have left: temporary files, and a checkpoint too many. */
  tidy(): void {
    removeLeftovers(this.path, 0);
    this.remove(this.list().slice(KEPT));
  }

  private remove(names: readonly string[]): void {
    for (const name of names) rmSync(join(this.path, name), { force: true });
  }
}
