/** The workload on PyTorch in a Python process, where python3-torch is installed: lines of JSON both ways. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { writeSafetensors } from '../library.mjs';

/** An interpreter that has torch, or null. */
export function pythonWithTorch() {
  for (const python of [process.env.PYTHON, '/usr/bin/python3', 'python3']) {
    try {
      if (python) execFileSync(python, ['-c', 'import torch'], { stdio: 'ignore' });
      if (python) return python;
    } catch {}
  }
  return null;
}

export async function pytorch({ threads, name, given }) {
  const { weights, shape, input, labels = [] } = await given();
  const folder = mkdtempSync(join(tmpdir(), 'atalho-peers-'));
  const file = join(folder, 'given.safetensors');
  const entries = new Map(weights);
  entries.set('input', { shape, data: input });
  writeFileSync(file, writeSafetensors(entries));
  const script = fileURLToPath(new URL('pytorch.py', import.meta.url));
  const child = spawn(pythonWithTorch(), [script, file, name, String(threads), labels.join(',')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  process.on('exit', () => child.kill());
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error('PyTorch ended');
    return JSON.parse(value);
  };
  const { version } = await ask();
  rmSync(folder, { recursive: true, force: true });
  return {
    base: 0,
    version,
    /** The answer carries times and memory of the Python process. */
    async run() {
      child.stdin.write('run\n');
      const { outputs, ...measured } = await ask();
      return Object.assign(outputs, { measured });
    },
  };
}
