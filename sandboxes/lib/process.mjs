// Child processes that end in time, with all their children.
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';

const running = new Set();

/** @returns whether there was anything to end */
function signalGroup(child, signal) {
  try {
    return process.kill(-child.pid, signal);
  } catch {
    return false;
  }
}

/** Ends a group, with a second to tidy up: a killed X server leaves its lock behind. */
async function endGroup(child) {
  if (!signalGroup(child, 'SIGTERM')) return;
  for (let i = 0; i < 20 && signalGroup(child, 0); i++) await setTimeout(50);
  signalGroup(child, 'SIGKILL');
}

const folders = new Set();
const remove = (folder) => rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });

process.once('exit', () => {
  for (const child of running) signalGroup(child, 'SIGKILL');
  for (const folder of folders) remove(folder);
});
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  process.once(signal, () => process.exit(code));
}

/** What every child sees of the environment, so that no option of ours reaches an engine. */
const environment = (home, env) => ({ PATH: process.env.PATH, HOME: home, TMPDIR: home, NO_COLOR: '1', ...env });

/** A folder of one's own for as long as `use` takes. */
export async function inFolder(use) {
  const folder = mkdtempSync(join(tmpdir(), 'atalho-sandbox-'));
  folders.add(folder);
  try {
    return await use(folder);
  } finally {
    remove(folder);
    folders.delete(folder);
  }
}

/**
 * Runs a command in a home of its own until it ends or `until` settles, then kills whatever it has started.
 * @returns what it wrote, or what `until` gave
 */
export function exec(command, args, { limit, env = {}, until } = {}) {
  return inFolder(async (home) => {
    const child = spawn(command, args, {
      cwd: home,
      env: environment(home, env),
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(child);
    let [stdout, all] = ['', ''];
    child.stdout.on('data', (data) => {
      stdout += data;
      all += data;
    });
    child.stderr.on('data', (data) => {
      all += data;
    });
    const tail = () => all.trim().slice(-2000);
    const ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        if (code === 0 && until === undefined) resolve(stdout);
        else reject(new Error(`${command} ended with ${signal ?? code}: ${tail()}`));
      });
    });
    try {
      return await within(limit, until === undefined ? ended : Promise.race([ended, until]));
    } finally {
      ended.catch(() => {});
      await endGroup(child);
      running.delete(child);
    }
  });
}

const versions = new Map();

/** The first version that `command --version` prints; asked once. */
export function versionOf(command, args = ['--version'], env = {}) {
  const key = [command, ...args].join(' ');
  if (!versions.has(key)) {
    const asked = inFolder((home) =>
      promisify(execFile)(command, args, { cwd: home, env: environment(home, env), timeout: 30_000 }),
    );
    versions.set(
      key,
      asked.then(
        ({ stdout }) => /\d+(\.\d+)+|\d+(-\d+)+/.exec(stdout)?.[0] ?? '',
        () => '',
      ),
    );
  }
  return versions.get(key);
}

/** `work`, or an error after `limit` milliseconds; what it has opened is the caller's to close. */
export async function within(limit, work) {
  const settled = new AbortController();
  const late = async () => {
    await setTimeout(limit, null, { signal: settled.signal });
    throw new Error(`more than ${limit / 1000} s`);
  };
  try {
    return await Promise.race([work, late()]);
  } finally {
    settled.abort();
  }
}
