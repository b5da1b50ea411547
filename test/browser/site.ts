/**
 * A stranger's web site that uses the built package: its files in `node_modules`, with the two packages that it imports
 * and no others, plain and as `vite build` bundles it; and servers that hand it out on 127.0.0.1.
 */
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { fileURLToPath, pathToFileURL } from 'node:url';
import sirv from 'sirv';
import { build } from 'vite';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What a page without an import map must allow, and no more. */
export const STRICT = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'";

export const ISOLATED = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

/** What the functions of `site/work.js` tell. */
export interface Outcome {
  hash?: string;
  math?: string;
  threads?: number;
  /** Calls of kernels that workers took. */
  helped?: number;
  error?: string;
  warnings: string[];
}

/** The functions of `site/work.js`, in this process. */
export interface Work {
  train(options?: object): Promise<Outcome>;
  trainReference(options?: object): Promise<Outcome>;
}

export interface Site {
  /** The files as they are; `plain.html` and `gpu.html` have an import map. */
  folder: string;
  /** The policy of `plain.html`, which knows the import map by its hash. */
  plainPolicy: string;
  /** What `vite build` with its default settings makes of them. */
  built: string;
  /** The functions of `site/work.js` in this process. */
  node: Work;
  remove(): void;
}

export async function makeSite(): Promise<Site> {
  const folder = mkdtempSync(join(tmpdir(), 'atalho-site-'));
  const put = (from: string, to: string) =>
    cpSync(join(root, from), join(folder, to), { recursive: true, dereference: true });
  put('test/browser/site', '.');
  put('dist', 'node_modules/atalho/dist');
  put('package.json', 'node_modules/atalho/package.json');
  for (const name of ['@assemblyscript/loader', 'pure-rand']) put(`node_modules/${name}`, `node_modules/${name}`);

  const imports = {
    atalho: './node_modules/atalho/dist/index.js',
    'atalho/oracle': './node_modules/atalho/dist/oracle/index.js',
    'atalho/train': './node_modules/atalho/dist/train/index.js',
    '@assemblyscript/loader': './node_modules/@assemblyscript/loader/index.js',
    'pure-rand/generator/xoroshiro128plus': './node_modules/pure-rand/lib/esm/generator/xoroshiro128plus.js',
  };
  const map = JSON.stringify({ imports });
  for (const [from, to] of [
    ['index.html', 'plain.html'],
    ['gpu.html', 'gpu.html'],
  ]) {
    const html = readFileSync(join(folder, from), 'utf8');
    writeFileSync(join(folder, to), html.replace('<script ', `<script type="importmap">${map}</script>\n    <script `));
  }
  const hash = createHash('sha256').update(map).digest('base64');

  const remove = () => rmSync(folder, { recursive: true });
  try {
    await build({ root: folder, configFile: false, logLevel: 'error' });
  } catch (error) {
    remove();
    throw error;
  }
  return {
    folder,
    plainPolicy: `${STRICT} 'sha256-${hash}'`,
    built: join(folder, 'dist'),
    node: (await import(pathToFileURL(join(folder, 'work.js')).href)).work,
    remove,
  };
}

export interface Server {
  url: string;
  /** What the policy forbade so far: `directive: what`. */
  violations: string[];
  close(): Promise<void>;
}

export interface ServerOptions {
  /** Content-Security-Policy. */
  policy: string;
  headers?: Record<string, string>;
  /** What comes in place of the package's own worker script: its text and headers, or null for nothing. */
  workerScript?: { text: string; headers: Record<string, string> } | null;
}

/** Serves a folder with these headers. */
export async function serve(folder: string, { policy, headers, workerScript }: ServerOptions): Promise<Server> {
  const violations: string[] = [];
  const all = { 'Content-Security-Policy': `${policy}; report-uri /violation`, ...headers };
  const files = sirv(folder, { setHeaders: (response) => response.setHeaders(new Map(Object.entries(all))) });
  const server = createServer(async (request, response) => {
    const nothing = (status: number): void => {
      response.writeHead(status).end();
    };
    if (request.url === '/violation') {
      const { 'csp-report': report } = (await json(request)) as { 'csp-report': Record<string, string> };
      violations.push(`${report['effective-directive']}: ${report['blocked-uri']}`);
      nothing(204);
    } else if (workerScript === undefined || !/\/worker-[^/]+\.js$/.test(request.url ?? '')) {
      files(request, response, () => nothing(404));
    } else if (workerScript === null) nothing(404);
    else response.writeHead(200, { ...workerScript.headers, 'Content-Type': 'text/javascript' }).end(workerScript.text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    violations,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
