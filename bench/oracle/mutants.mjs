/**
 * `npm run oracle:mutants`: is every planted fault found, and called by its name? Each fault of faults.mjs goes into a copy of the
 * naive functions, which answers the suites; then one product of one sum is dropped, at every position in turn. Exit code 1 where a
 * target of the oracle is missed.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { conv2dCase, judge, NARROW, probableAllowance } from '../../dist/oracle/index.js';
import { naiveBackend } from './backend.mjs';
import { faults, planted, withoutDocstrings } from './faults.mjs';

const naive = fileURLToPath(new URL('../../dist/oracle/naive.js', import.meta.url));
const source = withoutDocstrings(readFileSync(naive, 'utf8'));
const folder = mkdtempSync(join(tmpdir(), 'atalho-mutants-'));

async function mutated(fault, i) {
  const path = join(folder, `naive-${i}.mjs`);
  writeFileSync(path, planted(source, fault));
  return import(pathToFileURL(path).href);
}

const verbose = process.argv.includes('--verbose');
let [found, named] = [0, 0];
try {
  for (const [i, fault] of faults.entries()) {
    const backend = naiveBackend(await mutated(fault, i), new RegExp(`^${fault.op.replace('.', '\\.')}$`));
    let said = 'not found';
    for (const suite of fault.suites) {
      const { cases } = await judge(backend, { suite, only: fault.op });
      const failed = cases.filter(({ status }) => status === 'failed');
      if (failed.length === 0) continue;
      found++;
      const [first] = failed.flatMap(({ diagnosis = [] }) => diagnosis.slice(0, 1));
      const causes = failed.map(({ diagnosis }) => diagnosis?.[0]?.cause).filter((cause) => cause !== undefined);
      // What most of the failures are put down to.
      const times = (cause) => causes.filter((one) => one === cause).length;
      const likeliest = causes.sort((a, b) => times(b) - times(a))[0] ?? first?.cause ?? 'no cause found';
      const right = fault.cause.test(likeliest);
      if (right) named++;
      said = `${right ? 'named  ' : 'MISNAMED'} ${failed.length} of ${cases.length} (${suite}): ${likeliest}`;
      if (verbose && !right)
        for (const { id, diagnosis } of failed.slice(0, 6))
          console.log(
            '   ',
            id,
            diagnosis?.map((d) => d.cause),
          );
      break;
    }
    console.log(`${fault.op.padEnd(18)} ${String(fault.cause).padEnd(44)} ${said}`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** One product of the sum of an output of a 3×3×512 convolution left out, each in turn. */
function singleTerms() {
  const channels = 512;
  const trial = conv2dCase.trial({
    ...{ salt: 11, batch: 1, inChannels: channels, outChannels: 2, height: 3, width: 3, kernel: [3, 3], stride: 1 },
    ...{ padding: 0, dilation: 1, groups: 1, bias: false },
  });
  const [x, weight] = trial.inputs.map((one) => Float64Array.from(one.data));
  const { y } = trial.forward([x, weight]);
  const allowed = probableAllowance(y, NARROW);
  let [positions, seen] = [0, 0];
  for (let o = 0; o < 2; o++)
    for (let k = 0; k < channels * 9; k++) {
      positions++;
      const got = Math.fround(y.value[o] - x[k] * weight[o * channels * 9 + k]);
      if (Math.abs(got - y.value[o]) > allowed[o]) seen++;
    }
  return { positions, seen };
}

const { positions, seen } = singleTerms();
const share = (part, all) => `${part} of ${all} (${((100 * part) / all).toFixed(1)} %)`;
console.log(`\nfound ${share(found, faults.length)}, named right first ${share(named, faults.length)}`);
console.log(`one product of a 3×3×512 sum dropped: found at ${share(seen, positions)} of positions`);
if (found < faults.length || named < 0.9 * faults.length || seen < 0.99 * positions) process.exitCode = 1;
