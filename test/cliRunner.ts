/** Runs the built command (`npm run build` first) in a folder of its own, with Fashion-MNIST unpacked beside it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

const MAIN = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const DATA = fileURLToPath(new URL('../data/fashion-mnist/', import.meta.url));

export interface Result {
  /** Exit code; null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** `stderr` without the progress lines, which a slow machine prints and a fast one does not. */
  readonly messages: string;
}

export interface Running {
  readonly child: ChildProcess;
  readonly done: Promise<Result>;
}

function withoutProgress(stderr: string): string {
  return stderr.replace(/^(?:epoch \d+\/\d+|testing): \d+\/\d+, .*\n/gm, '');
}

export class Workplace {
  readonly path = mkdtempSync(join(tmpdir(), 'atalho-cli-'));
  /** The data set unpacked, which saves each process a second. */
  readonly data = join(this.path, 'data');

  constructor() {
    const unpacked = mkdtempSync(`${this.data}-`);
    for (const name of readdirSync(DATA).filter((n) => n.endsWith('.gz'))) {
      writeFileSync(join(unpacked, name.slice(0, -3)), gunzipSync(readFileSync(join(DATA, name))));
    }
    this.data = unpacked;
  }

  start(...args: readonly string[]): Running {
    return this.startIn(this.path, ...args);
  }

  startIn(cwd: string, ...args: readonly string[]): Running {
    const child = spawn(process.execPath, [MAIN, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    const done = new Promise<Result>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr, messages: withoutProgress(stderr) }));
    });
    return { child, done };
  }

  run(...args: readonly string[]): Promise<Result> {
    return this.start(...args).done;
  }

  /** Waits until a run has saved its first checkpoint. */
  async firstCheckpoint(run: string): Promise<void> {
    const folder = this.file(run, 'checkpoints');
    const saved = (): boolean =>
      existsSync(folder) && readdirSync(folder).some((name) => name.endsWith('.safetensors'));
    while (!saved()) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  file(...parts: readonly string[]): string {
    return join(this.path, ...parts);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** The hash that a finished run printed; null if it printed none. */
export function hashIn(stdout: string): string | null {
  return /^sha256 of the trained weights: ([0-9a-f]{64})$/m.exec(stdout)?.[1] ?? null;
}
