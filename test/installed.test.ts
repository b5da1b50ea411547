/**
 * The package as a stranger gets it: packed, installed in an empty project, imported, type-checked, bundled. Takes npm's cache or
 * a registry for the few packages that it needs at run time.
 */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { build as esbuild } from 'esbuild';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { transformWithOxc, build as vite } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reachable } from '../scripts/prune.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
const subpaths = Object.keys(manifest.exports);

/** The budget, in bytes; a build that needs more says why where it raises it. */
const MOST_PACKED = 735_000;
const MOST_UNPACKED = 2_480_000;

let project: string;
let packed: { filename: string; size: number; unpackedSize: number; files: { path: string }[] };

async function run(command: string, args: string[], cwd = project): Promise<string> {
  // What the run of the tests itself was told by npm is not for these.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));
  try {
    return (await promisify(execFile)(command, args, { cwd, env, shell: process.platform === 'win32' })).stdout;
  } catch (error) {
    const { stdout, stderr, message } = error as Error & { stdout: string; stderr: string };
    throw new Error(`${message}\n${stdout}\n${stderr}`);
  }
}

const install = (what: string): Promise<string> =>
  run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', what]);

const atalho = (...args: string[]): Promise<string> => run('npx', ['--no-install', 'atalho', ...args]);

/** What a program in the project prints, as JSON. */
async function printed(code: string, file = 'program.mjs'): Promise<unknown> {
  await writeFile(join(project, file), code);
  return JSON.parse(await run(process.execPath, [file]));
}

/** Errors of the project's TypeScript, with one of the repository's compilers. */
async function typeErrors(files: string[], options: object, compiler = 'node_modules'): Promise<string> {
  const compilerOptions = { noEmit: true, strict: true, skipLibCheck: false, target: 'es2022', types: [], ...options };
  await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
  const tsc = join(root, compiler, 'typescript/bin/tsc');
  return run(process.execPath, [tsc, '-p', 'tsconfig.json']).catch((error: Error) => error.message);
}

const NODE16 = { module: 'node16', moduleResolution: 'node16' };
const BUNDLER = { module: 'esnext', moduleResolution: 'bundler' };
/** Neither a browser nor Node: only the language. */
const BARE = { lib: ['es2022'] };

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'atalho-installed-'));
  [packed] = JSON.parse(
    await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', project], root),
  ) as (typeof packed)[];
  await writeFile(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  await install(`./${packed.filename}`);
  await cp(join(root, 'test/installed'), project, { recursive: true });
  for (const name of ['consumer', 'consumerOnnx']) {
    const { code } = await transformWithOxc(await readFile(join(project, `${name}.ts`), 'utf8'), `${name}.ts`);
    await writeFile(join(project, `${name}.mjs`), code);
  }
});
afterAll(() => rm(project, { recursive: true, force: true }));

describe('the tarball', () => {
  it('holds what its entries reach, and a few pages', () => {
    const needed = new Set([...reachable(root)].map((file) => file.slice(root.length).replaceAll('\\', '/')));
    const paths = packed.files.map(({ path }) => path);
    const others = paths.filter((path) => !needed.has(path)).sort();
    expect(others.filter((path) => !/^docs\/[\w-]+\.md$/.test(path))).toEqual(['CHANGELOG.md', 'LICENSE', 'README.md']);
    expect([...needed].filter((path) => !paths.includes(path))).toEqual([]);
  });

  it('keeps to its size', () => {
    console.log(`${packed.files.length} files, ${packed.size} bytes packed, ${packed.unpackedSize} unpacked`);
    expect(packed.size).toBeLessThan(MOST_PACKED);
    expect(packed.unpackedSize).toBeLessThan(MOST_UNPACKED);
  });

  it('is what publint wants', async () => {
    const { messages, pkg } = await publint({
      pkgDir: join(project, 'node_modules/atalho'),
      pack: false,
      strict: true,
    });
    expect(messages.map((message) => formatMessage(message, pkg, { color: false }))).toEqual([]);
  });

  it('has the types that each resolution finds', async () => {
    const tarball = createPackageFromTarballData(await readFile(join(project, packed.filename)));
    // No modules: a program reads them as files, or a bundler by its own rules.
    const excludeEntrypoints = subpaths.filter((name) => name.endsWith('.wasm'));
    const result = await checkPackage(tarball, { excludeEntrypoints });
    if (result.types === false) throw new Error('no types');
    expect(Object.keys(result.entrypoints)).toEqual(subpaths.filter((name) => !name.endsWith('.wasm')));
    // attw's profile esm-only: there is no CommonJS, and nothing for resolutions older than `exports`.
    const problems = result.problems.filter(
      (problem) => !('resolutionKind' in problem && ['node10', 'node16-cjs'].includes(problem.resolutionKind)),
    );
    expect(problems).toEqual([]);
  });
});

describe('installed', () => {
  it('needs no package beyond its dependencies, except for ONNX, which names it', async () => {
    const [errors, imported, version, vectors] = [
      await typeErrors(['consumer.ts'], { ...NODE16, ...BARE }),
      await run(process.execPath, ['--input-type=module', '-e', "import 'atalho/onnx'"]).catch(String),
      await atalho('--version').catch(String),
      await atalho('oracle', 'vectors', '--suite', 'smoke', '--out', 'vectors').catch(String),
    ];
    // For the tests that follow, whatever these say.
    await install(`@bufbuild/protobuf@${manifest.peerDependencies['@bufbuild/protobuf']}`);
    expect(errors).toBe('');
    expect(imported).toMatch(/Cannot find package '@bufbuild\/protobuf'/);
    expect(version).toBe(`${manifest.version}\n`);
    expect(vectors).toMatch(/take the package @bufbuild\/protobuf: npm install it, or give --no-onnx/);
  });

  it('has every sub-path', async () => {
    const modules = subpaths.filter((name) => !/\.(wasm|json)$|worker$/.test(name));
    const names = subpaths.map((name) => `atalho${name.slice(1)}`);
    const found = await printed(`
      import { readFileSync } from 'node:fs';
      import { createRequire } from 'node:module';
      import { fileURLToPath } from 'node:url';
      const require = createRequire(import.meta.url);
      const [counts, bytes] = [{}, {}];
      for (const name of ${JSON.stringify(modules)}) counts[name] = Object.keys(await import('atalho' + name.slice(1))).length;
      for (const name of ${JSON.stringify(names)}) {
        const file = fileURLToPath(import.meta.resolve(name));
        if (require.resolve(name) !== file) throw new Error(name);
        if (name.endsWith('.wasm')) bytes[name] = WebAssembly.Module.exports(await WebAssembly.compile(readFileSync(file))).length;
      }
      console.log(JSON.stringify({ counts, bytes }));
    `);
    const { counts, bytes } = found as Record<string, Record<string, number>>;
    expect(Object.keys(counts)).toEqual(modules);
    for (const count of [...Object.values(counts), ...Object.values(bytes)]) expect(count).toBeGreaterThan(0);
    expect(Object.keys(bytes)).toEqual(['atalho/embed/atalho.wasm', 'atalho/embed/infer.wasm']);
  });

  it('does a little of everything', async () => {
    const did = (await printed(`
      import * as consumer from './consumer.mjs';
      import { onnx } from './consumerOnnx.mjs';
      const did = { onnx: await onnx() };
      for (const [name, use] of Object.entries(consumer)) if (name !== 'refused') did[name] = await use();
      console.log(JSON.stringify(did));
    `)) as { device: { losses: number[] }; train: object };
    const { losses } = did.device;
    expect(losses.slice(2)).toEqual(losses.slice(0, 2));
    expect(losses[1]).toBeLessThan(losses[0]);
    expect(did).toEqual({
      device: { losses, refused: 'ArgumentError', shape: [1, 10] },
      models: { counts: [11689512, 269722], expansion: 1 },
      nn: { parameters: 47, logits: [1, 3] },
      train: {
        ...{ finite: true, given: 8, steps: 2, accuracy: expect.any(Number), hash: 64, warm: 0.5, trainer: 'function' },
        resized: 4,
      },
      io: { a: [['a', [2]]], idx: [5, 6], refused: ['FormatError', 'FormatError'] },
      oracle: { wrong: true, failed: 0 },
      embedded: { equal: true, steps: 2 },
      onnx: { parameters: true },
    });
  });

  it('gives a module its own binary, and a worker its script', async () => {
    const code = `
      import { readFileSync } from 'node:fs';
      import { fileURLToPath } from 'node:url';
      import { Worker } from 'node:worker_threads';
      import * as embed from 'atalho/embed';
      import * as infer from 'atalho/embed/infer';
      const bytes = (name) => readFileSync(fileURLToPath(import.meta.resolve(name)));
      const createWorker = () => new Worker(new URL(import.meta.resolve('atalho/embed/worker')));
      const all = await embed.wasm({ module: bytes('atalho/embed/atalho.wasm'), threads: 2, createWorker });
      const some = await infer.wasm({ module: await WebAssembly.compile(bytes('atalho/embed/infer.wasm')) });
      const rows = [];
      for (const [build, device] of [[embed, all], [infer, some]]) {
        const net = build.d2lResnet({ channels: [4, 8], blocks: [1, 1], device, seed: 0 });
        rows.push(await build.predict(net, { images: new Float32Array(512).fill(0.5), shape: [2, 1, 16, 16] }));
      }
      all.dispose();
      console.log(JSON.stringify(rows[0].join() === rows[1].join()));
    `;
    expect(await printed(code)).toBe(true);
  });

  it('leaves a worker its script when that is bundled', async () => {
    const { warnings, outputFiles } = await esbuild({
      stdin: { contents: "import 'atalho/embed/worker';", resolveDir: project },
      ...{ bundle: true, format: 'esm', platform: 'browser', write: false, logLevel: 'silent' },
    });
    expect(warnings).toEqual([]);
    expect(outputFiles[0].text).toContain('Atomics.wait');
  });

  it('has the command', async () => {
    expect(await atalho('shapes', 'd2l-resnet18', '--input', '1,1,96,96')).toMatch(/512/);
    expect(await atalho('oracle', 'vectors', '--suite', 'smoke', '--out', 'vectors')).toMatch(/vectors/);
  });

  const files = ['consumer.ts', 'consumerOnnx.ts'];
  it.each([
    { where: 'Node', options: { ...NODE16, ...BARE } },
    { where: 'a bundler', options: { ...BUNDLER, ...BARE } },
    { where: 'a browser, by the libraries that are there by default', options: BUNDLER },
    { where: 'Node, TypeScript 6', options: { ...NODE16, ...BARE }, compiler: 'tools/api/node_modules' },
  ])('type-checks without further types: $where', async ({ options, compiler }) => {
    expect(await typeErrors(files, options, compiler)).toBe('');
  });
});

describe.each([
  { app: 'app.js', of: 'atalho', most: 320_000 },
  { app: 'embedApp.js', of: 'atalho/embed', most: 300_000 },
])('an app of $of', ({ app, most }) => {
  /** What the app prints unbundled, and bundled into this file. */
  async function expectSame(file: string): Promise<void> {
    const [there, here] = await Promise.all([file, app].map((name) => run(process.execPath, [name])));
    const losses = JSON.parse(here);
    expect(losses).toHaveLength(2);
    expect(losses[1]).toBeLessThan(losses[0]);
    expect(there).toBe(here);
    expect((await readFile(join(project, file))).length).toBeLessThan(most);
  }

  it('is bundled by Vite', async () => {
    await vite({
      ...{ root: project, configFile: false, logLevel: 'error', cacheDir: join(project, '.vite') },
      build: { outDir: `vite-${app}`, rolldownOptions: { input: app, output: { entryFileNames: 'app.mjs' } } },
    });
    await expectSame(`vite-${app}/app.mjs`);
  });

  it('is bundled by esbuild, for browsers, without a warning', async () => {
    const { warnings } = await esbuild({
      ...{ absWorkingDir: project, entryPoints: [app], outfile: `esbuild-${app}/app.mjs` },
      ...{ bundle: true, minify: true, format: 'esm', platform: 'browser', target: 'es2022', logLevel: 'silent' },
    });
    expect(warnings).toEqual([]);
    await expectSame(`esbuild-${app}/app.mjs`);
  });
});
