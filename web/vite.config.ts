/** Builds the page on the library as it was built: `atalho` is ../dist, and the data set is the repository's. */
import { cpSync, createReadStream, existsSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createLogger, defineConfig, type Plugin } from 'vite';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const dist = here('../dist');
const data = here('../data/fashion-mnist');
const { version } = JSON.parse(readFileSync(here('../package.json'), 'utf8')) as { version: string };

/** More than one thread takes a page that is isolated. */
const ISOLATED = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };

/** The data set under `data/`: copied into the build, read from its place while developing. */
function fashionMnist(): Plugin {
  return {
    name: 'fashion-mnist',
    configureServer(server) {
      server.middlewares.use('/data', (request, response, next) => {
        const file = join(data, basename((request.url ?? '').split('?')[0]));
        if (!file.endsWith('.gz') || !existsSync(file)) return next();
        response.setHeader('Content-Length', statSync(file).size);
        createReadStream(file).pipe(response);
      });
    },
    closeBundle() {
      cpSync(data, here('dist/data'), { recursive: true, filter: (path) => !path.endsWith('README.md') });
    },
  };
}

/** What the library asks of Node it asks only there. */
const logger = createLogger();
const { warn, warnOnce } = logger;
const harmless = /externalized for browser compatibility|doesn't exist at build time/;
logger.warn = (message, options) => harmless.test(message) || warn(message, options);
logger.warnOnce = (message, options) => harmless.test(message) || warnOnce(message, options);

export default defineConfig({
  customLogger: logger,
  root: here('.'),
  base: './',
  define: { __VERSION__: JSON.stringify(version) },
  resolve: {
    alias: [
      { find: /^atalho$/, replacement: `${dist}/index.js` },
      { find: /^atalho\/cli\/(.*)$/, replacement: `${dist}/cli/$1` },
      { find: /^atalho\/(\w+)$/, replacement: `${dist}/$1/index.js` },
    ],
  },
  worker: { format: 'es', rolldownOptions: { output: { keepNames: true } } },
  build: {
    ...{ target: 'es2022', assetsInlineLimit: 0, chunkSizeWarningLimit: 1500 },
    // The shape tour shows the names of classes.
    rolldownOptions: { output: { keepNames: true } },
  },
  server: { host: '127.0.0.1', headers: ISOLATED, fs: { allow: [here('..')] } },
  preview: { host: '127.0.0.1', headers: ISOLATED },
  plugins: [fashionMnist()],
});
