/**
 * `npm run bench`: convolutions, every op of the oracle's table, whole models and memory, on one thread, each next to the
 * micro-kernel's peak of the same moment; then one thread against all, and batches. Ends with the targets as Markdown tables;
 * writes JSON and a page of charts, with what `npm run bench:peers` found last. See --help.
 */
import './flags.mjs';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { benchBatch } from './batch.mjs';
import { benchConvolutions } from './convolutions.mjs';
import { benchGpu } from './gpu.mjs';
import { wasm } from './library.mjs';
import { median } from './measure.mjs';
import { benchMemory } from './memory.mjs';
import { benchModels } from './models.mjs';
import { benchOps } from './ops.mjs';
import { page } from './page.mjs';
import { CopyPeak, Peak } from './peak.mjs';
import { machine, printMachine, printRow, verdicts, writeJson } from './report.mjs';
import { targetTables } from './table.mjs';
import { benchThreads } from './threads.mjs';

const HELP = `usage: npm run bench -- [options]
  --quick         a quarter of the measuring time
  --filter NAME   only rows whose name contains NAME, any case; may be given more than once.
                  Names start with conv, op, model, threads, batch or memory, as in
                  "conv 64@56 b1 weight gradient" or "conv fast 64@56 b1 forward"
  --device webgpu the ops, the training step and a compiled model on a GPU, in the place of all this; --batch N and --size N
                  (pixels) of the models; --math fast: Winograd's convolutions; --storage float16: prepared convolutions keep
                  halves, beside float32 in the same run
  --json PATH     where the results go as JSON, and beside it as a page; default bench/results/<date>.json`;

function parse() {
  try {
    return parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        filter: { type: 'string', multiple: true, default: [] },
        json: { type: 'string' },
        device: { type: 'string', default: 'wasm' },
        batch: { type: 'string' },
        size: { type: 'string' },
        math: { type: 'string', default: 'direct' },
        storage: { type: 'string', default: 'float32' },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    console.error(`bench: ${error.message}\n${HELP}`);
    process.exit(2);
  }
}

const options = parse();
if (!['wasm', 'webgpu'].includes(options.device)) {
  console.error(`bench: --device ${options.device}; want wasm or webgpu\n${HELP}`);
  process.exit(2);
}
if (options.help) {
  console.log(HELP);
  process.exit(0);
}
const filters = options.filter.map((text) => text.toLowerCase());
const wanted = (name) => filters.length === 0 || filters.some((text) => name.toLowerCase().includes(text));

const about = machine();
printMachine(about);
if (options.device === 'webgpu') {
  const number = (text) => (text === undefined ? undefined : Number(text));
  const { math, storage } = options;
  await benchGpu(wanted, { batch: number(options.batch), size: number(options.size), math, storage });
  process.exit(0);
}
const device = await wasm();
const fast = await wasm({ math: 'fast' });
const relaxed = await wasm({ math: 'relaxed' });
const context = { peak: new Peak(), quick: options.quick };
const results = [];

// Memory comes first: nothing else should be running beside those processes.
for (const rows of [
  benchMemory(wanted),
  benchConvolutions(device, wanted, context),
  benchConvolutions(fast, wanted, context),
  benchOps(device, wanted, context),
  benchModels(device, wanted, context),
  benchModels(fast, wanted, context),
  benchModels(relaxed, wanted, context),
  benchThreads(wanted, context),
  benchBatch(wanted, context),
]) {
  for await (const row of rows) {
    printRow(row);
    results.push(row);
  }
}
if (results.length === 0) {
  console.error(`bench: no row's name contains ${options.filter.join(' or ')}`);
  process.exit(1);
}

const { all } = context.peak;
const means = all.map(({ mean }) => mean);
const peakGflops =
  all.length === 0
    ? null
    : {
        min: Math.min(...means),
        median: median(means),
        max: Math.max(...all.map(({ best }) => best)),
        samples: all.length,
      };
const judged = results.flatMap(verdicts);
const met = judged.filter(Boolean).length;
if (peakGflops) {
  const { min, median: middle, max, samples } = peakGflops;
  console.log(
    `\nmicro-kernel peak, GFLOP/s: ${samples} samples, each as long as the call beside it, worst ${min.toFixed(1)}, median ${middle.toFixed(1)}; fastest run ${max.toFixed(1)}`,
  );
}
const tables = targetTables(results);
if (tables) console.log(`\n${tables}\n`);
console.log(`targets met, judged by the median: ${met} of ${judged.length}`);

const root = fileURLToPath(new URL('..', import.meta.url));
const path = options.json ?? join(root, 'bench', 'results', `${about.date.replaceAll(':', '-')}.json`);
const run = {
  machine: about,
  options: { quick: options.quick, filter: options.filter },
  peakGflops,
  copyGbytes: new CopyPeak().sample(),
  targets: { met, of: judged.length },
  results,
};
writeJson(path, run);

/** What the peers did last, of each group of them the newest in the folder, with its date; or null. */
function lastPeers(folder) {
  const names = readdirSync(folder).filter((name) => /^peers-.*\.json$/.test(name));
  const runs = names.sort().map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')));
  const [groups, targets] = [new Map(), new Map()];
  for (const { machine, results, targets: reached } of runs.filter(({ machine: { cpu } }) => cpu === about.cpu)) {
    for (const group of new Set(results.map((row) => row.group))) {
      groups.set(group, { group, date: machine.date, rows: results.filter((row) => row.group === group) });
    }
    for (const target of reached) targets.set([target.group, target.name, target.peer].join(), target);
  }
  return groups.size === 0 ? null : { groups: [...groups.values()], targets: [...targets.values()] };
}
const chart = path.replace(/(\.json)?$/, '.html');
writeFileSync(chart, page(run, lastPeers(dirname(path))));
console.log(`written: ${[path, chart].map((file) => relative(process.cwd(), file)).join(', ')}`);
