/**
 * The exercises in `examples/`: each has its page, what the pages link to is there, and the cheapest one, run again, writes
 * the committed bytes.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const folder = fileURLToPath(new URL('../examples', import.meta.url));
const pages = join(folder, 'pages');
/** In the order of the exercises. */
const names = ['inception', 'depth', 'bottleneck', 'preactivation', 'nested'];
const manifest = JSON.parse(readFileSync(join(folder, '..', 'package.json'), 'utf8'));

/** Where the relative links of a Markdown file point to. */
function links(file: string): string[] {
  const targets = [...readFileSync(file, 'utf8').matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target);
  return targets
    .filter((target) => !/^https?:/.test(target))
    .map((target) => join(dirname(file), target.split('#')[0]));
}

describe('examples', () => {
  it.each(names)('%s has a page that answers an exercise, listed in the README', (name) => {
    const page = join(pages, `${name}.md`);
    const number = names.indexOf(name) + 1;
    expect(readFileSync(page, 'utf8')).toMatch(
      new RegExp(`^# Exercise ${number}: .+\n\n(.+\n\n)> .+\n\n.*\\*\\*.+\\*\\*`),
    );
    expect(links(join(folder, 'README.md'))).toContain(page);
  });

  it('link to what is there', () => {
    for (const file of [join(folder, 'README.md'), ...names.map((name) => join(pages, `${name}.md`))]) {
      const targets = links(file);
      expect(targets.length).toBeGreaterThan(0);
      for (const target of targets) expect(existsSync(target), `${relative(folder, file)}: ${target}`).toBe(true);
    }
  });

  it('leave no file in pages that no page shows', () => {
    const known = names.flatMap((name) => [join(pages, `${name}.md`), ...links(join(pages, `${name}.md`))]);
    for (const file of readdirSync(pages)) expect(known).toContain(join(pages, file));
  });

  it('import the package by its public names, and else only what it depends on', () => {
    const own = Object.keys(manifest.exports).map((path) => path.replace(/^\./, 'atalho'));
    const allowed = new Set([...own, ...Object.keys(manifest.dependencies)]);
    for (const file of readdirSync(folder).filter((name) => name.endsWith('.mjs'))) {
      const code = readFileSync(join(folder, file), 'utf8');
      const imports = [...code.matchAll(/ from '([^']+)';$|\bimport\([`']([^`']+)[`']\)/gm)];
      for (const from of imports.map(([, fixed, computed]) => fixed ?? computed)) {
        const fine = from.startsWith('node:') || /^\.\/[\w${}]+\.mjs$/.test(from) || allowed.has(from);
        expect(fine, `${file}: ${from}`).toBe(true);
      }
    }
  });

  it('write the committed page again, byte for byte: inception', () => {
    const out = mkdtempSync(join(tmpdir(), 'atalho-examples-'));
    try {
      execFileSync(process.execPath, [join(folder, 'run.mjs'), 'inception', '--out', out]);
      expect(readdirSync(out)).toEqual(['inception.md']);
      expect(readFileSync(join(out, 'inception.md'), 'utf8')).toBe(readFileSync(join(pages, 'inception.md'), 'utf8'));
    } finally {
      rmSync(out, { recursive: true, force: true });
    }
  }, 60_000);

  it('refuse a name that is none', () => {
    const run = (): Buffer => execFileSync(process.execPath, [join(folder, 'run.mjs'), 'incepton'], { stdio: 'pipe' });
    expect(run).toThrow('no example is called incepton');
  });
});
