/** The faults of `npm run oracle:mutants`, which takes minutes: that each can still be planted into the naive functions. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';
import { expect, it } from 'vitest';
import { faults, planted, withoutDocstrings } from '../bench/oracle/faults.mjs';

const file = fileURLToPath(new URL('../dist/oracle/naive.js', import.meta.url));
const source = withoutDocstrings(readFileSync(file, 'utf8'));

/** Throws where the text is no module of this kind, which imports nothing. */
const parse = (text: string): Script => new Script(text.replaceAll(/^export /gm, ''));

it('plants each fault into the naive functions as they are compiled, and what comes of it can be run', () => {
  parse(source);
  const texts = faults.map((fault) => planted(source, fault));
  for (const text of texts) parse(text);
  // None is planted twice, or changes nothing.
  expect(new Set([...texts, planted(source, { ...faults[0], from: [], to: [] })]).size).toBe(faults.length + 1);
});
