/**
 * The same guest in every sandbox, against one hash. A row whose runtime is not there is skipped with the command that would get it;
 * under CI that is a failure.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { buildGuests } from '../sandboxes/build.mjs';
import { judge, missing, published, type Row, run } from '../sandboxes/lib/row.mjs';
import { rows } from '../sandboxes/rows/index.mjs';

/** Against hangs only: a busy machine may take long to interpret or to emulate. */
const LIMIT = 240_000;

beforeAll(buildGuests);

describe.concurrent('the guest in', () => {
  for (const row of rows) {
    const help = missing(row);
    const ci = process.env.CI === 'true';
    if (help !== null && !ci) console.warn(`skipped: ${row.name}: ${help}`);
    it.skipIf(help !== null && !ci)(help === null ? row.name : `${row.name} (${help})`, async () => {
      if (help !== null) throw new Error(help);
      await run(row, LIMIT);
    });
  }
});

describe('a row', () => {
  const row = { name: 'row', build: 'reference', forbids: ['wasm'], needs: [], tell: () => Promise.reject() } as Row;
  const own = { ...published, forbidden: ['wasm'] };
  const refused = { error: 'DeviceError: wasm: this engine has no WebAssembly; use reference()', forbidden: ['wasm'] };
  const told = (...reports: object[]) => ({
    engine: 'engine',
    reports: reports.map((report) => JSON.stringify(report)),
  });

  it('is right with the published hashes', () => {
    expect(judge(row, told(own, refused))).toEqual({ engine: 'engine', ...own });
  });

  it('is wrong with another hash, another thing forbidden, an error, or WASM that is not refused', () => {
    const wrong = published.logits.replace(/^./, (digit: string) => (digit === '0' ? '1' : '0'));
    expect(() => judge(row, told({ ...own, logits: wrong }, refused))).toThrow(`logits ${wrong}; want`);
    expect(() => judge(row, told({ ...own, weights: wrong }, refused))).toThrow(`weights ${wrong}; want`);
    expect(() => judge(row, told({ ...own, weights: undefined }, refused))).toThrow('weights undefined; want');
    expect(() => judge(row, told({ ...own, forbidden: [] }, refused))).toThrow('forbids []; want [wasm]');
    expect(() => judge(row, told(own, own))).toThrow('wasm() should be a DeviceError');
    expect(() => judge(row, told(own))).toThrow('wasm() should be a DeviceError');
    expect(() => judge(row, told({ error: 'Error: no', stack: 'at' }, refused))).toThrow('Error: no');
    expect(() => judge(row, told())).toThrow('no report');
  });
});
