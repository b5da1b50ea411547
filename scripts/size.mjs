// The size budget of the builds for sandboxes, minified and gzipped; exits with 1 where one is beyond it. A KB is 1000 bytes.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const folder = join(dirname(fileURLToPath(import.meta.url)), '../dist/embed');
const budgets = { 'embed/index.js': 90, 'embed/infer.js': 50, 'embed/reference.js': 30 };
const kb = (bytes) => `${(bytes / 1000).toFixed(1)} KB`;
console.log('file                 minified    gzipped     budget');
for (const [name, budget] of Object.entries(budgets)) {
  const bytes = readFileSync(join(folder, '..', name));
  const gzipped = gzipSync(bytes, { level: 9 }).length;
  const verdict = gzipped <= 1000 * budget ? '' : '  TOO LARGE';
  if (verdict !== '') process.exitCode = 1;
  console.log(`${name.padEnd(20)} ${kb(bytes.length).padEnd(11)} ${kb(gzipped).padEnd(11)} ${budget} KB${verdict}`);
}
