// `npm run sandboxes [-- --only NAME --limit SECONDS]`: the guest in every sandbox that is here, as a table. Exits with 1 when a row
// is wrong and, under CI=true, when one is missing.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildGuests } from './build.mjs';
import { root } from './lib/paths.mjs';
import { missing, run } from './lib/row.mjs';

const AT_ONCE = 2;

const { values } = parseArgs({
  options: { only: { type: 'string', multiple: true }, limit: { type: 'string', default: '60' } },
});
/** A row's most time, in milliseconds. */
const limit = 1000 * Number(values.limit);
if (!(limit > 0)) throw new Error(`--limit is ${values.limit}; want seconds`);

for (const folder of ['', 'arm64', 's390x']) {
  if (existsSync(join(root, folder, 'node_modules'))) continue;
  console.error(`installing the packages of sandboxes/${folder}`);
  spawnSync('npm', ['--prefix', join(root, folder), 'ci'], { stdio: ['ignore', 'ignore', 'inherit'] });
}
await buildGuests();

const { rows } = await import('./rows/index.mjs');
const chosen = rows.filter(({ name }) => !values.only || values.only.some((part) => name.includes(part)));
if (chosen.length === 0) {
  console.error(`no such row; there are:\n${rows.map(({ name }) => `  ${name}`).join('\n')}`);
  process.exit(1);
}

const results = new Map();
const begun = performance.now();
const active = new Set();
function progress() {
  if (!process.stderr.isTTY) return;
  process.stderr.write(`\r\x1b[K${results.size}/${chosen.length} ${[...active].join('; ')}`);
}
const queue = [...chosen];
async function work() {
  for (let row = queue.shift(); row !== undefined; row = queue.shift()) {
    active.add(row.name);
    progress();
    const start = performance.now();
    const absent = missing(row);
    let result;
    try {
      result = absent === null ? await run(row, limit) : { absent };
    } catch (error) {
      result = { error: String(error?.message ?? error) };
    }
    const seconds = (performance.now() - start) / 1000;
    results.set(row, { ...result, seconds });
    active.delete(row.name);
    if (!process.stderr.isTTY) {
      const verdict = result.error ? 'WRONG' : absent ? 'missing' : 'ok';
      console.error(`${results.size}/${chosen.length} ${row.name}: ${verdict}, ${seconds.toFixed(1)} s`);
    }
    progress();
  }
}
await Promise.all(Array.from({ length: AT_ONCE }, work));
if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');

const short = (hash) => hash?.slice(0, 12) ?? '';
const table = [['sandbox', 'engine', 'build', 's', 'logits', 'weights', 'forbids', 'ok']];
const notes = [];
for (const row of chosen) {
  const { engine = '', logits, weights, forbidden = [], seconds, error, absent } = results.get(row);
  const verdict = error ? 'WRONG' : absent ? 'missing' : 'ok';
  if (error || absent) notes.push(`${row.name}: ${error ?? absent}`);
  table.push([
    ...[row.name, engine, row.build, absent ? '' : seconds.toFixed(1), short(logits), short(weights)],
    ...[row.forbids === null ? '?' : forbidden.join(' '), verdict],
  ]);
}
const widths = table[0].map((_, i) => Math.max(...table.map((line) => line[i].length)));
for (const line of table)
  console.log(
    line
      .map((cell, i) => cell.padEnd(widths[i]))
      .join('  ')
      .trimEnd(),
  );
for (const note of notes) console.log(`\n${note}`);
const count = (verdict) => table.slice(1).filter((line) => line.at(-1) === verdict).length;
const [ok, wrong, absent] = ['ok', 'WRONG', 'missing'].map(count);
console.log(`\n${ok} ok, ${wrong} wrong, ${absent} missing, in ${((performance.now() - begun) / 1000).toFixed(0)} s`);
// Browsers may leave sockets behind.
process.exit(wrong > 0 || (process.env.CI === 'true' && absent > 0) ? 1 : 0);
