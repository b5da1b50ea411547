/**
 * `npm run examples`: the exercises of the ResNet chapter, each a program that writes a page with what it found. With names,
 * only those. See --help.
 */
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { wasm } from 'atalho';

const EXAMPLES = ['inception', 'depth', 'bottleneck', 'preactivation', 'nested'];

const HELP = `usage: npm run examples -- [options] [name ...]
  name       ${EXAMPLES.join(', ')}; all of them by default
  --out DIR  where the pages go; default examples/pages`;

function parse() {
  try {
    const { values, positionals } = parseArgs({
      options: { out: { type: 'string' }, help: { type: 'boolean', default: false } },
      allowPositionals: true,
    });
    const unknown = positionals.find((name) => !EXAMPLES.includes(name));
    if (unknown !== undefined) throw new Error(`no example is called ${unknown}`);
    return { ...values, names: positionals.length === 0 ? EXAMPLES : positionals };
  } catch (error) {
    console.error(`examples: ${error.message}\n${HELP}`);
    process.exit(2);
  }
}

const options = parse();
if (options.help) {
  console.log(HELP);
  process.exit(0);
}
const folder = options.out ?? fileURLToPath(new URL('pages', import.meta.url));
const device = await wasm({ math: 'exact', threads: 'auto' });
for (const name of options.names) {
  const began = performance.now();
  const { measure, write } = await import(`./${name}.mjs`);
  const files = write(await measure(device)).write(folder);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`${name}, ${seconds} s: ${files.map((file) => relative(process.cwd(), file)).join(', ')}`);
}
device.dispose();
