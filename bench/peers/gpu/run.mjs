/**
 * atalho, TensorFlow.js and onnxruntime-web on WebGPU, in Chromium, on one adapter, taking turns; outputs compared. The adapter is
 * Chromium's software one unless ATALHO_WEBGPU_FLAGS says otherwise (such as "--enable-unsafe-webgpu --enable-features=Vulkan"
 * on a machine with a GPU). ATALHO_CHROMIUM names the browser.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import sirv from 'sirv';
import { build } from 'vite';
import { median } from '../../measure.mjs';
import { machine, printMachine } from '../../report.mjs';

const FLAGS = (process.env.ATALHO_WEBGPU_FLAGS ?? '--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader').split(' ');
/** Largest difference from atalho's outputs, relative to the largest of them: rounding, no more. */
const TOLERANCE = 1e-4;

const { values } = parseArgs({
  options: {
    infer: { type: 'string', multiple: true, default: ['64,1', '96,1'] },
    train: { type: 'string', multiple: true, default: ['64,4'] },
    rounds: { type: 'string', default: '3' },
  },
});
/** What takes turns: pixels a side and batch, who, and what atalho is to reach against each. */
const tasks = [
  ...values.infer.map((text) => ({ task: 'infer', text, peers: ['TensorFlow.js', 'onnxruntime-web'], target: 1 })),
  ...values.train.map((text) => ({ task: 'train', text, peers: ['TensorFlow.js'], target: 2 })),
];

const here = fileURLToPath(new URL('.', import.meta.url));
const site = mkdtempSync(join(tmpdir(), 'atalho-gpu-bench-'));
printMachine(machine());
let server = null;
let browser = null;
let failed = false;
try {
  await build({ root: here, configFile: false, logLevel: 'error', build: { outDir: site, target: 'es2022' } });
  cpSync(join(here, '../node_modules/onnxruntime-web/dist'), join(site, 'ort'), { recursive: true });
  const files = sirv(site);
  server = createServer((request, response) => files(request, response, () => response.writeHead(404).end()));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const executablePath = process.env.ATALHO_CHROMIUM ?? '/usr/bin/chromium';
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox', ...FLAGS] });
  for (const { task, text, peers, target } of tasks) {
    const [side, batch] = text.split(',').map(Number);
    // A page of its own for each task: what the last one held is given back.
    const page = await browser.newPage();
    page.setDefaultTimeout(0);
    page.on('pageerror', (error) => console.error(error));
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.waitForFunction('globalThis.bench');
    const call = (name, ...args) => page.evaluate(([n, a]) => globalThis.bench[n](...a), [name, args]);
    const names = ['atalho', ...peers];
    const results = new Map();
    for (const name of names) results.set(name, await call('prepareContestant', task, name, side, batch));
    const { adapter, result } = results.get('atalho');
    console.log(`\n${task}, ${side}×${side}, batch ${batch}, on ${adapter}`);
    const times = new Map(names.map((name) => [name, []]));
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const name of names) times.get(name).push(await call('time', task, name));
    }
    const own = median(times.get('atalho'));
    console.log(
      `  ${'atalho'.padEnd(18)} ${own.toFixed(0).padStart(7)} ms, ${((1000 * batch) / own).toFixed(2)} images/s`,
    );
    const largest = Math.max(...result.map(Math.abs));
    for (const name of peers) {
      const ms = median(times.get(name));
      const off = Math.max(...result.map((v, i) => Math.abs(v - results.get(name).result[i]))) / largest;
      if (!(off <= TOLERANCE)) failed = true;
      const verdict = ms / own >= target ? 'met' : 'MISSED';
      console.log(
        `  ${name.padEnd(18)} ${ms.toFixed(0).padStart(7)} ms: atalho is ${(ms / own).toFixed(2)} times as fast (target ${target}: ${verdict}); outputs ${off.toExponential(1)} apart`,
      );
    }
    await page.close();
  }
} finally {
  await browser?.close();
  server?.close();
  rmSync(site, { recursive: true });
}
if (failed) {
  console.error('outputs differ by more than rounding');
  process.exitCode = 1;
}
