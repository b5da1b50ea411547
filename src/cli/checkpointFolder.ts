/** The checkpoints of a run on disk: written atomically, the last two kept, the newest whole one found again. */
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { AtalhoError, FormatError } from '../errors.js';
import { removeLeftovers, writeFileAtomic } from '../io/atomic.js';
import { type Checkpoint, decodeCheckpoint } from '../train/checkpoint.js';
import { attempt, systemCode } from './report.js';

const NAME = /^step-(\d{9,15})\.safetensors$/;

/** So that one that a disk has damaged still leaves another. */
const KEPT = 2;

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
   * Writes the checkpoint of that step, whole or not at all, and then removes all but the last two. On a full disk the
   * older of them makes room; the newest is never removed for one that is not yet written.
   * @throws AtalhoError when it cannot be written; those that were there still are, save the older one
   */
  save(step: number, bytes: Uint8Array): void {
    const path = join(this.path, `step-${String(step).padStart(9, '0')}.safetensors`);
    const advice = 'earlier checkpoints are untouched';
    attempt(
      `write ${path}`,
      () => {
        mkdirSync(this.path, { recursive: true });
        try {
          this.write(path, bytes);
        } catch (error) {
          const older = this.list().slice(1);
          if (systemCode(error) !== 'ENOSPC' || older.length === 0) throw error;
          this.remove(older);
          this.write(path, bytes);
        }
        this.remove(this.list().slice(KEPT));
      },
      advice,
    );
  }

  /**
   * Hands checkpoints to `use`, newest first, until it takes one without a FormatError. Those that are damaged are told
   * to `onDamaged`. Null when there is no checkpoint at all.
   * @throws FormatError when every checkpoint is damaged
   */
  newest<T>(use: (checkpoint: Checkpoint) => T, onDamaged: (message: string) => void): T | null {
    let failure: FormatError | null = null;
    for (const name of this.list()) {
      const path = join(this.path, name);
      try {
        return use(decodeCheckpoint(this.read(path), path));
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        failure ??= error;
        onDamaged(error.message);
      }
    }
    if (failure !== null) throw new FormatError(`no checkpoint is whole: ${failure.message}`, { cause: failure });
    return null;
  }

  /** Removes what writes that were killed have left. */
  tidy(): void {
    removeLeftovers(this.path);
  }

  private read(path: string): Uint8Array {
    try {
      return readFileSync(path);
    } catch (error) {
      const code = systemCode(error);
      // What is too large for a file to be read is no checkpoint, and neither is a folder.
      if (code !== 'ERR_FS_FILE_TOO_LARGE' && code !== 'EISDIR') throw new AtalhoError(`cannot read ${path}: ${code}`);
      throw new FormatError(`${path}: no checkpoint (${code})`, { cause: error });
    }
  }

  private remove(names: readonly string[]): void {
    for (const name of names) rmSync(join(this.path, name), { force: true });
  }
}
