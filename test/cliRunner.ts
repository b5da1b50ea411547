/** Runs the built command (`npm run build` first) in a folder of its own, with Fashion-MNIST unpacked beside it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
}

export interface Running {
  readonly child: ChildProcess;
  readonly done: Promise<Result>;
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
    const child = spawn(process.execPath, [MAIN, ...args], { cwd: this.path, stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    const done = new Promise<Result>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
    });
    return { child, done };
  }

  run(...args: readonly string[]): Promise<Result> {
    return this.start(...args).done;
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
