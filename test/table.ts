/** The case table on one device, with shapes and options drawn by fast-check. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Device } from '../src/device/device.js';
import { cases, drawFrom, examine, examineBadInput, type Finding } from '../src/oracle/index.js';
import type { DeviceMaker } from './devices.js';

/** ATALHO_SEED repeats the draws of a failure, whose message names it. */
export const SEED = process.env.ATALHO_SEED === undefined ? {} : { seed: Number(process.env.ATALHO_SEED) };
export const MINUTES = 60_000;

export const failures = (findings: readonly Finding[]): string[] =>
  findings.filter((f) => !f.passed).map((f) => f.detail);

/** One test for every row of the table, or for those named, `runs` draws each. */
export function judgeByTable(
  { make, against: makeReference, precision }: DeviceMaker,
  runs: number,
  names?: readonly string[],
): void {
  let device: Device;
  let against: Device | null = null;
  beforeAll(async () => {
    device = await make();
    against = makeReference?.() ?? null;
  });
  afterAll(() => {
    device.dispose();
    against?.dispose();
  });

  it.each(cases.filter(({ name }) => names?.includes(name) ?? true))(
    '$name',
    async (row) => {
      await fc.assert(
        fc.asyncProperty(fc.gen(), async (g) => {
          const trial = row.draw(drawFrom((min, max) => g(fc.integer, { min, max })));
          expect(failures(await examine(row, trial, device, against, precision))).toEqual([]);
        }),
        { numRuns: runs, ...SEED },
      );
      expect(failures(examineBadInput(row, device))).toEqual([]);
    },
    5 * MINUTES,
  );
}
