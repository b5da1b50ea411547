/**
 * The TypeScript blocks of README.md and docs/SANDBOXES.md, run as a stranger would: types stripped, `atalho` imported by its name from the built
 * package. Blocks under one heading are one program; what a console.log prints must be the comment that follows it.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { transformWithOxc } from 'vite';
import { describe, expect, it } from 'vitest';

interface Program {
  heading: string;
  code: string;
  /** The lines that the comments after each console.log say. */
  printed: string[];
}

function programs(markdown: string): Program[] {
  const found: Program[] = [];
  let heading = '';
  for (const section of markdown.split(/^(?=## )/m)) {
    heading = /^## (.*)/.exec(section)?.[1] ?? heading;
    const blocks = [...section.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code]) => code);
    if (blocks.length === 0) continue;
    const code = blocks.join('\n');
    found.push({
      heading,
      code,
      printed: code
        .split('\n')
        .filter((line) => /^\s*\/\/ (\[|\w+ output shape|true|\d)/.test(line))
        .map((line) => line.replace(/^\s*\/\/ /, '')),
    });
  }
  return found;
}

const read = (path: string) => programs(readFileSync(new URL(`../${path}`, import.meta.url), 'utf8'));
const all = read('README.md');

async function run(program: Program, name: string): Promise<string[]> {
  const folder = new URL('../build/readme/', import.meta.url);
  mkdirSync(folder, { recursive: true });
  const file = new URL(`${name}.mjs`, folder);
  const { code } = await transformWithOxc(program.code, `${name}.ts`);
  writeFileSync(file, code);
  return execFileSync(process.execPath, [fileURLToPath(file)], { encoding: 'utf8' })
    .trimEnd()
    .split('\n');
}

describe('README', () => {
  it('has five programs', () => {
    expect(all.map((program) => program.heading)).toEqual([
      'A network that trains, in 15 lines',
      'The chapter, from Residual to training',
      'Fast modes, and compiled models',
      'Weights in and out',
      'The oracle',
    ]);
  });

  it('trains in 15 lines: the loss falls', async () => {
    const lines = await run(all[0], 'first');
    const losses = lines.map((line) => Number(line.split(' ')[1]));
    expect(losses).toHaveLength(10);
    expect(losses[9]).toBeLessThan(losses[0] / 4);
  });

  it.each(all.slice(1).map((program, i) => ({ ...program, name: `program${i + 1}` })))(
    'prints what it says: $heading',
    async ({ name, ...program }) => {
      expect(program.printed.length).toBeGreaterThan(0);
      expect(await run(program, name)).toEqual(program.printed);
    },
  );
});

describe('docs/SANDBOXES.md', () => {
  const builds = read('docs/SANDBOXES.md');

  it('has two programs for the three builds', () => expect(builds).toHaveLength(2));

  it.each(builds.map((program, i) => ({ ...program, name: `sandboxes${i}` })))(
    'prints what it says: $heading',
    async ({ name, ...program }) => {
      expect(program.printed).toHaveLength(1);
      expect(await run(program, name)).toEqual(program.printed);
    },
  );
});
