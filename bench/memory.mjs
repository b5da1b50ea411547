/** Peak memory of the chapter's training step, each batch size in a process of its own. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const STEP = fileURLToPath(new URL('memoryStep.mjs', import.meta.url));
const GIB = 2 ** 30;

const sizes = [
  { batch: 32, steps: 2 },
  { batch: 256, steps: 1, targetBytes: 3 * GIB },
];

/** Rows of the batch sizes whose names `wanted` accepts. */
export function* benchMemory(wanted) {
  for (const { batch, steps, targetBytes } of sizes) {
    const name = `memory d2l training step 96×96 b${batch}`;
    if (!wanted(name)) continue;
    const out = execFileSync(process.execPath, [STEP, String(batch), String(steps)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
      // A step of 256 images takes 15 s on a free core.
      timeout: 300_000,
    });
    const found = JSON.parse(out);
    if (!Number.isFinite(found.loss)) throw new Error(`${name}: loss is ${found.loss}`);
    const row = { ...found, name, section: 'memory', imagesPerSecond: (batch * 1000) / found.ms };
    yield targetBytes === undefined ? row : { ...row, target: targetBytes, met: found.residentBytes <= targetBytes };
  }
}
