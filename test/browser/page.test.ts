/**
 * The page of web/ as it is built: it trains to the command line's bits, a saved run goes on after a reload, the GPU agrees, the
 * oracle and the measurements run, and every view is accessible.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { PNG } from 'pngjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeInChromium } from './chromium.js';
import { ISOLATED, type Server, STRICT, serve } from './site.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const packages = join(root, 'web/node_modules');
const installed = existsSync(packages);
if (!installed) {
  const help = 'the page is not tested: npm --prefix web ci';
  if (process.env.CI === 'true') throw new Error(help);
  console.warn(`skipped: ${help}`);
}

const FLAGS = (process.env.ATALHO_WEBGPU_FLAGS ?? '--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader').split(' ');

/** Twenty steps of the small network. */
const RUN = 'model=d2l-resnet-tiny&limit=320&batchSize=16&resize=28&epochs=1&testLimit=100&schedule=constant';
/** Few enough for a GPU in software. */
const SHORT = 'model=d2l-resnet-tiny&limit=60&batchSize=20&resize=16&epochs=1&testLimit=100&optimizer=sgd&lr=0.01';
// No waitForFunction below: after its first look it is eval, which the page's policy forbids.

/** What sums in another order may move the loss of a batch by in three steps at this rate. */
const LOSS_BOUND = 1e-3;

describe.skipIf(!installed)('web', () => {
  describeInChromium(
    'the page in Chromium',
    (browser) => {
      let server: Server;
      let alone: Server;
      const folder = mkdtempSync(join(tmpdir(), 'atalho-page-'));
      const errors: string[] = [];

      beforeAll(async () => {
        execFileSync(process.execPath, ['scripts/web.mjs', '--build-only'], { cwd: root, stdio: 'pipe' });
        const built = join(root, 'web/dist');
        server = await serve(built, { policy: STRICT, headers: ISOLATED });
        alone = await serve(built, { policy: STRICT });
      });
      afterAll(async () => {
        await server?.close();
        await alone?.close();
        rmSync(folder, { recursive: true });
      });

      async function open(view: string, from = server): Promise<Page> {
        // A context of its own: nothing is saved yet.
        const context = await browser().newContext({ locale: 'en', reducedMotion: 'reduce' });
        const page = await context.newPage();
        page.on('pageerror', (error) => errors.push(error.message));
        await page.goto(`${from.url}/#${view}`);
        await page.waitForSelector('main h1');
        return page;
      }
      const close = async (page: Page): Promise<void> => {
        await page.context().close();
        expect(errors.splice(0)).toEqual([]);
      };
      const press = (page: Page, act: string): Promise<void> => page.click(`[data-act="${act}"]`);
      const ended = (page: Page, phase = 'done'): Promise<unknown> =>
        page.waitForSelector(`[data-phase="${phase}"], [data-phase="failed"]`, { timeout: 120_000 });
      const textOf = async (page: Page, selector: string): Promise<string> =>
        ((await page.textContent(selector)) ?? '').trim();
      const stepOf = async (page: Page): Promise<number> =>
        Number(await page.getAttribute('[data-phase]', 'data-step'));

      /** The losses of the newest saved run. */
      const losses = (page: Page): Promise<number[]> =>
        page.evaluate(
          () =>
            new Promise<number[]>((resolve, reject) => {
              const opening = indexedDB.open('atalho');
              opening.onerror = () => reject(opening.error);
              opening.onsuccess = () => {
                const all = opening.result.transaction('runs').objectStore('runs').getAll();
                all.onsuccess = () => {
                  opening.result.close();
                  resolve(all.result.sort((a, b) => b.created - a.created)[0].losses);
                };
              };
            }),
        );

      /** The hash that the command line ends with, given the command that the page shows. */
      function hashOf(command: string): string {
        const [npx, atalho, ...flags] = command.split(' ');
        expect([npx, atalho]).toEqual(['npx', 'atalho']);
        const out = execFileSync(
          process.execPath,
          [join(root, 'dist/cli/main.js'), ...flags, '--out', join(folder, 'run')],
          { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
        );
        return /sha256 of the trained weights: (\w{64})/.exec(out)?.[1] ?? out;
      }

      let hash = '';

      it('trains on wasm to the hash of the command that it shows', async () => {
        const page = await open(`learn?${RUN}`);
        expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
        await press(page, 'start');
        await ended(page);
        hash = await textOf(page, '[data-hash="final"]');
        expect(hash).toMatch(/^[0-9a-f]{64}$/);
        expect(await stepOf(page)).toBe(20);
        const all = await losses(page);
        const mean = (part: number[]): number => part.reduce((a, b) => a + b) / part.length;
        expect(mean(all.slice(-5))).toBeLessThan(0.8 * mean(all.slice(0, 5)));
        expect(hashOf(await textOf(page, '[data-command]'))).toBe(hash);
        await close(page);
      });

      it('goes on after a pause and a reload, to the same hash', async () => {
        const page = await open(`learn?${RUN}`);
        await press(page, 'step');
        await ended(page, 'paused');
        expect(await stepOf(page)).toBe(1);
        await press(page, 'step');
        await page.waitForSelector('[data-phase="paused"][data-step="2"]');
        await page.waitForSelector('[data-run] >> text=2 / 20');
        expect(await textOf(page, '[data-hash="partial"]')).not.toBe(hash);
        await page.reload();
        await press(page, 'open');
        await page.waitForSelector('[data-phase="paused"][data-step="2"]');
        await press(page, 'resume');
        await ended(page);
        expect(await textOf(page, '[data-hash="final"]')).toBe(hash);
        await close(page);
      });

      it('trains where the browser keeps nothing, and says that the run is not saved', async () => {
        const page = await open('judge');
        // Of a later version: what the page asks for is refused.
        await page.evaluate(
          () =>
            new Promise<void>((resolve, reject) => {
              const opening = indexedDB.open('atalho', 2);
              opening.onerror = () => reject(opening.error);
              opening.onsuccess = () => resolve(opening.result.close());
            }),
        );
        await page.goto(`${server.url}/#learn?${RUN}`);
        await press(page, 'step');
        await ended(page, 'paused');
        expect(await textOf(page, '[data-phase]')).not.toContain('saved');
        expect(await textOf(page, '[data-unsaved]')).toContain('does not keep the run');
        await press(page, 'step');
        await page.waitForSelector('[data-phase="paused"][data-step="2"]');
        await close(page);
      });

      it('says when the pictures do not come, keeps no threads for it, and starts again', async () => {
        const page = await open(`learn?${RUN}`);
        const pictures = '**/data/**';
        await page.context().route(pictures, (route) => route.abort());
        await press(page, 'start');
        await ended(page);
        expect(await textOf(page, '[data-phase]')).toMatch(/data\/.*ubyte/);
        await expect.poll(() => page.workers().length).toBe(1);
        await page.context().unroute(pictures);
        await press(page, 'step');
        await page.waitForSelector('[data-phase="paused"][data-step="1"]');
        await close(page);
      });

      it('takes nothing from an address that it does not do', async () => {
        const page = await open('learn?flip=horizontal&freeze=0&model=resnet50&shortcuts=off&threads=99&lr=0.003');
        expect(await page.inputValue('[name="model"]')).toBe('d2l-resnet-tiny');
        expect(await page.inputValue('[name="threads"]')).toBe('auto');
        await page.check('[name="shortcuts"]');
        const command = await textOf(page, '[data-command]');
        expect(command).toContain('--lr 0.003');
        expect(command).not.toMatch(/flip|freeze|resnet50|threads/);
        // Nor from a field.
        await page.fill('[name="batchSize"]', '9999');
        await page.press('[name="batchSize"]', 'Tab');
        expect(await page.inputValue('[name="batchSize"]')).toBe('512');
        expect(await textOf(page, '[data-command]')).toContain('--batch-size 512');
        // Nor does it forget while another view is looked at.
        for (const view of ['Measure', 'Learn']) await page.getByRole('link', { name: view, exact: true }).click();
        expect(await page.inputValue('[name="lr"]')).toBe('0.003');
        await close(page);
      });

      it('trains on webgpu as on wasm, but for rounding', async () => {
        const found: number[][] = [];
        for (const device of ['wasm', 'webgpu']) {
          const page = await open(`learn?${SHORT}&device=${device}`);
          await press(page, 'start');
          await ended(page);
          expect(await textOf(page, '[data-phase]')).toContain(device);
          found.push(await losses(page));
          await close(page);
        }
        const [wasm, gpu] = found;
        expect(gpu).toHaveLength(3);
        gpu.forEach((loss, i) => {
          expect(Math.abs(loss - wasm[i])).toBeLessThan(LOSS_BOUND);
        });
      });

      it('draws the twin without shortcuts into the same chart', async () => {
        const page = await open(`learn?${SHORT}`);
        await press(page, 'start');
        await ended(page);
        // Of the run, whatever the fields ask for meanwhile.
        await page.fill('[name="lr"]', '0.02');
        await press(page, 'twin');
        await page.waitForSelector('tr.chosen >> text=plain');
        await ended(page);
        expect(await textOf(page, '.keys')).toMatch(/without shortcuts.*with shortcuts/s);
        expect(page.url()).toContain('lr=0.01');
        await close(page);
      });

      it('judges wasm, and finds a planted mistake', async () => {
        const page = await open('judge');
        await press(page, 'judge');
        await page.waitForSelector('[data-lab="done"], [data-lab="failed"]', { timeout: 120_000 });
        expect(await textOf(page, '[data-lab]')).toMatch(/^\d+ passed, 0 failed/);
        expect(await page.locator('tr[data-status="passed"]').count()).toBeGreaterThan(60);
        await page.goto(`${server.url}/#judge?mistake=on`);
        await press(page, 'judge');
        await page.waitForSelector('[data-lab="done"]', { timeout: 120_000 });
        expect(await textOf(page, '[data-failures]')).toContain('the bias is missing');
        await close(page);
      });

      it('measures, and hands the figures out', async () => {
        const page = await open('judge?suite=resnet');
        await press(page, 'judge');
        await page.waitForSelector('tr[data-status]');
        // Which takes the processors for itself.
        await page.getByRole('link', { name: 'Measure' }).click();
        await press(page, 'measure');
        await page.waitForSelector('[data-lab="done"], [data-lab="failed"]', { timeout: 120_000 });
        const [download] = await Promise.all([page.waitForEvent('download'), press(page, 'download')]);
        const { times, device } = JSON.parse(readFileSync(await download.path(), 'utf8'));
        expect(device).toMatch(/^wasm/);
        expect(times.length).toBeGreaterThan(30);
        for (const { name, ms } of times) expect(ms, name).toBeGreaterThan(0);
        expect(times.find((t: { kind: string }) => t.kind === 'step').imagesPerSecond).toBeGreaterThan(1);
        await page.getByRole('link', { name: 'Judge' }).click();
        await page.waitForSelector('[data-lab="stopped"]');
        await close(page);
      });

      it('shows the shapes of the network, and what a block makes of a picture', async () => {
        const page = await open('look?size=96');
        await page.waitForSelector('[data-classes] tr');
        expect(await page.locator('[data-unit]').count()).toBe(12);
        expect(await textOf(page, 'table')).toContain('1 × 512 × 3 × 3');
        await page.focus('[data-unit="3.0"]');
        await page.keyboard.press('Enter');
        await page.waitForSelector('main >> text=256×6×6');
        expect(page.url()).toContain('block=3.0');
        // A layer without filters, too.
        await page.click('[data-unit="5"]');
        await page.waitForSelector('main >> text=512×1×1');
        const says = (): Promise<string> => textOf(page, '[data-classes]');
        await page.selectOption('[name="model"]', 'd2l-resnet-tiny');
        await page.waitForSelector('main >> text=8×7×7');
        const drawn = await says();
        // Of the run of the first test, which has learnt what an ankle boot is.
        await page.setInputFiles('[name="weightsFile"]', join(folder, 'run', 'weights.safetensors'));
        await expect.poll(says).not.toBe(drawn);
        const learnt = await says();
        const picture = new PNG({ width: 40, height: 60 });
        picture.data.fill(255);
        for (let y = 15; y < 45; y++) picture.data.fill(40, 4 * (40 * y + 12), 4 * (40 * y + 28));
        for (let i = 3; i < picture.data.length; i += 4) picture.data[i] = 255;
        const file = { name: 'own.png', mimeType: 'image/png', buffer: PNG.sync.write(picture) };
        await page.setInputFiles('[name="picture"]', file);
        await expect.poll(says).not.toBe(learnt);
        // Of the name that the last one had.
        await page.setInputFiles('[name="weightsFile"]', { ...file, name: 'weights.safetensors' });
        await page.waitForSelector('[role="alert"]');
        // The device's threads go with the view.
        await page.goto(`${server.url}/#judge`);
        await expect.poll(() => page.workers().length).toBe(1);
        await page.goto(`${server.url}/#look?model=resnet50&shortcuts=off&size=32`);
        await page.waitForSelector('[data-unit="layer1.0"][aria-label*="PlainBlock"]');
        await close(page);
      });

      it.each(['learn', 'look', 'judge', 'measure'])('%s is accessible, in either language and light', async (view) => {
        const page = await open(`${view}?size=96`);
        const axe = readFileSync(createRequire(join(packages, 'axe-core')).resolve('axe-core/axe.min.js'), 'utf8');
        if (view === 'learn') {
          await page.goto(`${server.url}/#learn?${SHORT}`);
          await press(page, 'start');
          await ended(page);
        }
        if (view === 'look') await page.waitForSelector('[data-classes] tr');
        if (view === 'judge') {
          await press(page, 'judge');
          await page.waitForSelector('tr[data-status]');
        }
        // Not as a script of the page's: its policy has none from elsewhere.
        const session = await page.context().newCDPSession(page);
        await session.send('Runtime.evaluate', { expression: axe });
        const check = async (): Promise<string[]> => {
          const { result } = await session.send('Runtime.evaluate', {
            expression: `axe.run().then(({ violations }) => JSON.stringify(violations.map((v) => v.id + ': ' + v.nodes.map((n) => n.html).join(' | ').slice(0, 300))))`,
            awaitPromise: true,
          });
          return JSON.parse(result.value);
        };
        expect(await check()).toEqual([]);
        for (const name of ['Dark', 'Português']) await page.getByRole('button', { name }).click();
        await page.waitForSelector('html[lang="pt-BR"]');
        expect(await page.title()).toMatch(/^(Aprender|Olhar|Julgar|Medir) · atalho$/);
        expect(await check()).toEqual([]);
        await page.setViewportSize({ width: 390, height: 844 });
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
        // In one column the settings scroll away; they must not lie on what follows.
        expect(
          await page.evaluate(() => getComputedStyle(document.querySelector('.settings') as Element).position),
        ).toBe('static');
        expect(await check()).toEqual([]);
        await close(page);
      });

      it('says that it has one thread where it is not isolated, and trains to the same hash', async () => {
        const page = await open(`learn?${RUN}`, alone);
        expect(await textOf(page, '[data-alone]')).toContain('one thread');
        await press(page, 'start');
        await ended(page);
        expect(await textOf(page, '[data-phase]')).toContain('1 thread');
        expect(await textOf(page, '[data-hash="final"]')).toBe(hash);
        await close(page);
      });

      it('does nothing that a strict policy forbids', () => {
        expect(server.violations).toEqual([]);
        expect(alone.violations).toEqual([]);
      });
    },
    FLAGS,
  );
});
