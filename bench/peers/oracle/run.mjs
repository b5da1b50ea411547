/**
 * `npm run oracle:peers`: the oracle judges other libraries. Those that run in Node here, TensorFlow.js and
 * what takes a GPU in Chromium (ATALHO_CHROMIUM names it), PyTorch through files where Debian's python3-torch is. Prints what is wrong, and writes one page:
 * `--html FILE`, default docs/oracle-peers.html. `--only NAME` (more than once) for some of them, `--suite` (edge, resnet, gradients).
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import sirv from 'sirv';
import { build } from 'vite';
import { wasm } from '../../../dist/index.js';
import {
  checkResults,
  FAST,
  htmlReport,
  judge,
  judgeDevice,
  makeVectors,
  textReport,
} from '../../../dist/oracle/index.js';
import { machine, printMachine } from '../../report.mjs';
import { jaxBackend } from './jax.mjs';
import { ortBackend } from './ort.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '../../..');
const FLAGS = (process.env.ATALHO_WEBGPU_FLAGS ?? '--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader').split(' ');
const PYTHON = process.env.ATALHO_PYTHON ?? '/usr/bin/python3';

const { values: flags } = parseArgs({
  options: {
    html: { type: 'string', default: join(root, 'docs/oracle-peers.html') },
    only: { type: 'string', multiple: true, default: [] },
    suite: { type: 'string', multiple: true, default: ['edge', 'resnet', 'gradients'] },
  },
});

/** Forward calls alone: ONNX files have no gradients. */
const forwardOnly = (o) => o.suite !== 'gradients';

const inNode = {
  // Before onnxruntime-web, which gives Node a global Worker that jax-js would take for a browser's.
  async jax(o) {
    if (!forwardOnly(o)) return null;
    const jax = await import('@jax-js/jax');
    await jax.init('wasm');
    jax.defaultDevice('wasm');
    const { version } = JSON.parse(readFileSync(join(here, '../node_modules/@jax-js/jax/package.json'), 'utf8'));
    return judge(jaxBackend(jax), { ...o, name: `jax-js ${version}, wasm` });
  },
  async 'ort-node'(o) {
    if (!forwardOnly(o)) return null;
    const ort = await import('onnxruntime-node');
    const backend = ortBackend(ort, { executionProviders: ['cpu'], logSeverityLevel: 3 }, o);
    return judge(backend, { ...o, name: `onnxruntime-node ${ort.env.versions.node ?? ort.env.versions.common}` });
  },
  async 'ort-wasm'(o) {
    if (!forwardOnly(o)) return null;
    const ort = await import('onnxruntime-web');
    ort.env.wasm.numThreads = 1;
    ort.env.logLevel = 'error';
    const backend = ortBackend(ort, { executionProviders: ['wasm'] }, o);
    return judge(backend, { ...o, name: `onnxruntime-web ${ort.env.versions.web ?? ort.env.versions.common}, wasm` });
  },
  async pytorch(o) {
    if (!forwardOnly(o)) return null;
    const folder = mkdtempSync(join(tmpdir(), 'atalho-oracle-'));
    try {
      const { manifest, inputs, truth } = await makeVectors(o);
      writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest));
      writeFileSync(join(folder, 'inputs.safetensors'), inputs);
      const results = join(folder, 'results.safetensors');
      execFileSync(PYTHON, [join(root, 'examples/oracle/answer_with_torch.py'), folder, results], { stdio: 'pipe' });
      const version = execFileSync(PYTHON, ['-c', 'import torch; print(torch.__version__)'], {
        encoding: 'utf8',
      }).trim();
      return checkResults(manifest, truth, readFileSync(results), { name: `PyTorch ${version}` });
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  async 'atalho-wasm'(o) {
    const device = await wasm();
    return judgeDevice(device, { ...o, bits: true, name: 'atalho, wasm exact' });
  },
  async 'atalho-fast'(o) {
    const device = await wasm({ math: 'fast' });
    return judgeDevice(device, { ...o, precision: FAST, name: 'atalho, wasm fast' });
  },
};
const inBrowser = ['tfjs-cpu', 'tfjs-wasm', 'tfjs-webgl', 'tfjs-webgpu', 'ort-webgpu', 'atalho-webgpu'];

const wanted = (name) => flags.only.length === 0 || flags.only.includes(name);
const reports = [];

/** The reports of one backend on several suites as one. */
function add(parts) {
  const found = parts.filter((one) => one !== null);
  if (found.length === 0) return;
  const report = {
    ...found[0],
    suite: found.map(({ suite }) => suite).join(' + '),
    cases: found.flatMap(({ cases }) => cases),
  };
  reports.push(report);
  console.log(`\n${textReport(report)}`);
}

/** A backend that is not here, or breaks as a whole, is no reason to stop. */
async function attempt(name, run) {
  const started = performance.now();
  const parts = [];
  for (const suite of flags.suite) {
    try {
      parts.push(await run({ suite }));
    } catch (error) {
      console.log(`\n${name}, suite ${suite}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  add(parts);
  console.error(`${name}: ${((performance.now() - started) / 1000).toFixed(0)} s`);
}

printMachine(machine());
for (const [name, run] of Object.entries(inNode)) if (wanted(name)) await attempt(name, run);

if (inBrowser.some(wanted)) {
  const site = mkdtempSync(join(tmpdir(), 'atalho-oracle-site-'));
  let server = null;
  let browser = null;
  try {
    await build({ root: here, configFile: false, logLevel: 'error', build: { outDir: site, target: 'es2022' } });
    for (const [name, from] of Object.entries({
      ort: 'onnxruntime-web/dist',
      tfjs: '@tensorflow/tfjs-backend-wasm/dist',
    })) {
      cpSync(join(here, '../node_modules', from), join(site, name), { recursive: true });
    }
    const files = sirv(site);
    server = createServer((request, response) => files(request, response, () => response.writeHead(404).end()));
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const executablePath = process.env.ATALHO_CHROMIUM ?? '/usr/bin/chromium';
    browser = await chromium.launch({
      executablePath,
      args: ['--no-sandbox', '--enable-unsafe-swiftshader', ...FLAGS],
    });
    for (const name of inBrowser.filter(wanted)) {
      const page = await browser.newPage();
      page.setDefaultTimeout(0);
      page.on('pageerror', (error) => console.error(String(error).slice(0, 300)));
      await page.goto(`http://127.0.0.1:${server.address().port}/`);
      await page.waitForFunction('globalThis.oracle');
      await attempt(name, (o) =>
        name === 'ort-webgpu' && !forwardOnly(o)
          ? null
          : page.evaluate(([n, own]) => globalThis.oracle.run(n, own), [name, o]),
      );
      await page.close();
    }
  } finally {
    await browser?.close();
    server?.close();
    rmSync(site, { recursive: true });
  }
}
if (flags.only.length === 0 || flags.html !== join(root, 'docs/oracle-peers.html')) {
  writeFileSync(flags.html, htmlReport(reports, 'The oracle’s peers'));
  console.log(`\n${flags.html}`);
}
