/** What the built package may not contain, since sandboxes forbid it; and that its entries exist. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** Code without comments and strings, so that only what runs is searched. */
function bare(code: string): string {
  return code
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\/\/.*$/gm, '')
    .replace(/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/g, "''");
}

describe('the built package', () => {
  const files = (readdirSync(join(root, 'dist'), { recursive: true }) as string[]).filter((file) =>
    file.endsWith('.js'),
  );
  // Data sets may be read and downloaded; the command line is a program of its own.
  const library = files.filter((file) => !/^(cli|data)[\\/]|^io[\\/](atomic|readFile)\.js$/.test(file));

  it('has library files to look at', () => {
    expect(library.length).toBeGreaterThan(50);
  });

  it.each(library)('%s evaluates no text, fetches nothing, knows no Node, draws no unseeded number', (file) => {
    const code = readFileSync(join(root, 'dist', file), 'utf8');
    // The threads of the WASM device ask Node for workers where the host is Node, and only then.
    const threads = /^(device[\\/]wasm|embed)[\\/](host|worker)\.js$/.test(file);
    expect(code).not.toMatch(threads ? /from 'node:|require\(/ : /from 'node:|import\('|require\(/);
    expect(bare(code)).not.toMatch(/(?<![.\w])eval\((?!\))|new Function|\bfetch\(|Math\.random/);
    expect(bare(code)).not.toMatch(/Math\.(exp|log|pow|sin|cos|tan|tanh|cbrt|hypot)\b/);
  });

  it('has its sub-paths in the README, each and no other', () => {
    const section = /^### Sub-paths$([\s\S]*?)^#/m.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1] ?? '';
    const listed = [...section.matchAll(/^\| (`atalho.*?) +\|/gm)].flatMap(
      ([, names]) => names.match(/[\w./]+/g) ?? [],
    );
    const named = Object.keys(manifest.exports).filter((name) => name !== './package.json');
    expect(listed.sort()).toEqual(named.map((name) => `atalho${name.slice(1)}`).sort());
  });

  it('has every entry that package.json names', () => {
    const entries = Object.values(manifest.exports).flatMap((entry) =>
      typeof entry === 'string' ? [entry] : Object.values(entry as Record<string, string>),
    );
    for (const entry of [...entries, ...Object.values(manifest.bin as Record<string, string>)]) {
      expect(existsSync(join(root, entry)), entry).toBe(true);
    }
  });
});
