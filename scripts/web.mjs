// Builds the page in web/, installing its packages where they are missing, and serves it on 127.0.0.1 with the headers that more
// than one thread takes; with --build-only it ends there: web/dist is files for any server.
import { execFileSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const web = join(dirname(fileURLToPath(import.meta.url)), '..', 'web');
const lock = join(web, 'package-lock.json');
const installed = join(web, 'node_modules', '.package-lock.json');
if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(lock).mtimeMs) {
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  execFileSync(npm, ['--prefix', web, 'ci'], { stdio: 'inherit', shell: process.platform === 'win32' });
}
const vite = createRequire(join(web, 'package.json')).resolve('vite');
const { build, preview } = await import(pathToFileURL(vite));
const configFile = join(web, 'vite.config.ts');
await build({ configFile, logLevel: 'warn' });
if (process.argv.includes('--build-only')) console.log(`built: ${join(web, 'dist')}`);
else {
  const port = Number(process.env.PORT ?? 4173);
  const server = await preview({ configFile, logLevel: 'warn', preview: { port } });
  console.log(`atalho in a browser: ${server.resolvedUrls.local[0]}   (Ctrl-C ends it)`);
}
