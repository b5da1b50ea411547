/** The API reference: every sub-path is in it, every exported name documented, every type that one refers to there or left out on purpose. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const folder = fileURLToPath(new URL('../tools/api/', import.meta.url));

it('has every sub-path that is a module', () => {
  const { exports } = JSON.parse(readFileSync(join(folder, '../../package.json'), 'utf8'));
  const { entryPoints } = JSON.parse(readFileSync(join(folder, 'typedoc.json'), 'utf8'));
  const sources = Object.entries(exports as Record<string, string | { types: string }>)
    .filter(([name, entry]) => typeof entry === 'object' && name !== './embed/worker')
    .map(([, entry]) => (entry as { types: string }).types.replace('./dist', '../../src').replace('.d.ts', '.ts'));
  expect(entryPoints.sort()).toEqual(sources.sort());
});

it('is made without a warning', async () => {
  const typedoc = join(folder, 'node_modules/typedoc/bin/typedoc');
  const run = promisify(execFile)(process.execPath, [typedoc, '--emit', 'none', '--logLevel', 'Warn'], { cwd: folder });
  const { stdout, stderr } = await run.catch((error: { stdout: string; stderr: string }) => error);
  expect(`${stdout}${stderr}`).toBe('');
});
