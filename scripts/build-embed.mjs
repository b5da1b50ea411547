// Bundles dist/embed/*.js into one minified file each, in place, with the binaries and the worker script beside them.
import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { rolldown } from 'rolldown';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const folder = join(root, 'dist/embed');
const builds = ['index', 'infer', 'reference'];

const bundles = [];
for (const name of builds) {
  const bundle = await rolldown({ input: join(folder, `${name}.js`), treeshake: { moduleSideEffects: false } });
  const { output } = await bundle.generate({ format: 'esm', minify: true });
  await bundle.close();
  if (output.length !== 1) throw new Error(`${name}: ${output.length} files; want one`);
  // What only helps a bundler; and a method called eval, which SES takes for the function unless it is written so.
  const code = output[0].code
    .replaceAll(/\b(?=\/\* @__PURE__ \*\/)/g, ' ')
    .replaceAll('/* @__PURE__ */ ', '')
    .replaceAll(/(?<![.\w$])eval\(\)\{/g, '"eval"(){');
  bundles.push([name, code]);
}
// Only now: the entries import each other's files.
for (const file of readdirSync(folder)) if (file.endsWith('.js')) rmSync(join(folder, file));
for (const [name, code] of bundles) writeFileSync(join(folder, `${name}.js`), code);
copyFileSync(join(root, 'src/device/wasm/worker.js'), join(folder, 'worker.js'));
// A script that exports nothing.
writeFileSync(join(folder, 'worker.d.ts'), 'export {};\n');
copyFileSync(join(root, 'build/atalho.wasm'), join(folder, 'atalho.wasm'));
copyFileSync(join(root, 'build/atalho-infer.wasm'), join(folder, 'infer.wasm'));
for (const name of builds) {
  const bytes = readFileSync(join(folder, `${name}.js`));
  console.log(`dist/embed/${name}.js: ${bytes.length} bytes, ${gzipSync(bytes, { level: 9 }).length} gzipped`);
}
