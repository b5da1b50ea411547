// Bundles each guest with the shipped file of its build, dist/embed/*.js as it is, into sandboxes/dist: a module, and a script that
// defines `guest` for hosts that only evaluate text. Nothing is imported any more.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { embed, out } from './lib/paths.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const guests = { wasm: 'guestWasm.js', reference: 'guestReference.js', infer: 'guestInfer.js' };
const alias = {
  'atalho/embed/infer': join(embed, 'infer.js'),
  'atalho/embed/reference': join(embed, 'reference.js'),
  'atalho/embed': join(embed, 'index.js'),
};

/** Writes sandboxes/dist anew. */
export async function buildGuests() {
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  for (const [name, file] of Object.entries(guests)) {
    const entry = `guest:${name}`;
    const bundle = await rolldown({
      input: entry,
      resolve: { alias },
      plugins: [
        {
          name: 'guest',
          resolveId: (id) => (id === entry ? { id: join(here, `${name}.entry.js`) } : null),
          load: (id) =>
            id === join(here, `${name}.entry.js`)
              ? `import { report as tell } from './report.js';
                 import { run } from './${file}';
                 export const report = (...args) => tell(run, ...args);`
              : null,
        },
      ],
    });
    for (const [format, suffix] of [
      ['esm', 'mjs'],
      ['iife', 'js'],
    ]) {
      // SES refuses a text in which a comment says `import(`; and not minified, which would bring a method named `eval` back.
      const { output } = await bundle.generate({ format, name: 'guest', comments: false });
      if (output.length !== 1 || output[0].imports.length > 0) throw new Error(`${name}: not one file without imports`);
      writeFileSync(join(out, `${name}.${suffix}`), output[0].code);
    }
    await bundle.close();
  }
}
