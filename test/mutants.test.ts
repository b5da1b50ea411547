/**
 * Is the suite worth its name? Each kernel of the binary is broken by one term, and the conformance rows must tell. What
 * goes red is printed: `npm run mutants`.
 */
import { describe, expect, it } from 'vitest';
import { wasm } from '../src/index.js';
import { conformance } from '../src/oracle/index.js';
import { compiled, mutants, mutated } from './mutants.js';

/** `row: check` of all that fails, and how often. */
async function red(
  device: Awaited<ReturnType<typeof mutated>>,
  rows: readonly string[],
  math: 'exact' | 'fast' = 'exact',
): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const { case: row, check, passed } of await conformance(device, {
    ...{ cases: rows, runs: 100, exact: true, math },
  })) {
    if (!passed) counts.set(`${row}: ${check}`, (counts.get(`${row}: ${check}`) ?? 0) + 1);
  }
  device.dispose();
  return counts;
}

describe('a binary that is wrong by one term turns rows red', () => {
  it('none are red for the kernels as they are', async () => {
    const rows = [...new Set(mutants.flatMap((mutant) => mutant.rows))];
    expect(await red(await mutated(null), rows)).toEqual(new Map());
    expect(await red(await mutated(null, 'fast'), ['conv2d'], 'fast')).toEqual(new Map());
  });

  it.each(mutants)('$name', async (mutant) => {
    const found = await red(await mutated(mutant, mutant.math), mutant.rows, mutant.math);
    console.log(`${mutant.name}: ${[...found].map(([what, times]) => `${what} (${times})`).join(', ') || 'nothing'}`);
    expect([...found.keys()]).toEqual(expect.arrayContaining([...mutant.red]));
  });
});

describe('wasm({ module })', () => {
  it('takes a compiled module as well as its bytes, and refuses what is neither', async () => {
    const device = await wasm({ module: await WebAssembly.compile(await compiled(null)) });
    expect((await conformance(device, { cases: ['relu'], runs: 3, exact: true })).every((f) => f.passed)).toBe(true);
    device.dispose();
    await expect(wasm({ module: new Uint8Array(8) })).rejects.toThrow(/^wasm: the engine refused the binary/);
  });
});
