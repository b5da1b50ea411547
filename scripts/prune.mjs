// Removes from dist what no entry of package.json reaches: declarations of inner files, modules of types alone, and what
// earlier builds left.
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The files of the package at `root` that its entries and commands reach by relative names, they included. */
export function reachable(root) {
  const { exports, bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const entries = [...Object.values(exports), bin].flatMap((entry) =>
    typeof entry === 'string' ? [entry] : Object.values(entry),
  );
  const found = new Set();
  const visit = (file) => {
    if (found.has(file) || !statSync(file, { throwIfNoEntry: false })?.isFile()) return;
    found.add(file);
    if (!/\.(js|d\.ts)$/.test(file)) return;
    const names = readFileSync(file, 'utf8').matchAll(/(?:from|import\(?|new URL\()\s*['"](\.[^'"]+)['"]/g);
    for (const [, name] of names) {
      const target = join(dirname(file), name);
      visit(file.endsWith('.d.ts') ? target.replace(/\.js$/, '.d.ts') : target);
    }
  };
  for (const entry of entries) visit(join(root, entry));
  return found;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = join(dirname(fileURLToPath(import.meta.url)), '..');
  const needed = reachable(root);
  let removed = 0;
  for (const name of readdirSync(join(root, 'dist'), { recursive: true })) {
    const file = join(root, 'dist', name);
    if (!/\.\w+$/.test(name) || needed.has(file)) continue;
    rmSync(file);
    removed++;
  }
  console.log(`dist: ${needed.size} files, ${removed} that nothing reaches removed`);
}
