/** Pages under a strict Content-Security-Policy, and with an import map in place of a bundler. */
import { createServer } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeInChromium } from './chromium.js';
import { OpenPage } from './page.js';
import { ISOLATED, makeSite, type Site, STRICT, serve } from './site.js';

describeInChromium('pages in Chromium', (browser) => {
  let site: Site;
  /** Of the weights that Node trains on `reference()`. */
  let hash: string;

  beforeAll(async () => {
    site = await makeSite();
    hash = (await site.node.trainReference()).hash as string;
  });
  afterAll(() => site?.remove());

  it("train under a strict policy with 'wasm-unsafe-eval'", async () => {
    const server = await serve(site.built, { policy: STRICT });
    const page = await OpenPage.open(browser(), server);
    for (const where of ['onPage', 'inWorker'] as const) {
      expect(await page.call(where, 'train'), where).toMatchObject({ hash, math: 'exact' });
    }
    await page.close();
    await server.close();
  });

  it("are told to use reference() where there is no 'wasm-unsafe-eval', which computes the same", async () => {
    const server = await serve(site.built, { policy: "default-src 'self'; script-src 'self'", headers: ISOLATED });
    const page = await OpenPage.open(browser(), server);
    for (const where of ['onPage', 'inWorker'] as const) {
      const { error } = await page.call(where, 'train');
      expect(error).toMatch(/^DeviceError: .*'wasm-unsafe-eval'; without WebAssembly, use reference\(\), .*same bits/);
      expect(await page.call(where, 'trainReference')).toMatchObject({ hash });
    }
    expect((await page.call('inWorker', 'train', { threads: 2 })).error).toMatch(/^DeviceError: .*'wasm-unsafe-eval'/);
    await page.close(Array(3).fill('script-src: wasm-eval'));
    await server.close();
  });

  it('train unbundled, with an import map, on the main thread', async () => {
    const server = await serve(site.folder, { policy: site.plainPolicy });
    const page = await OpenPage.open(browser(), server, '/plain.html');
    expect(await page.call('onPage', 'train')).toMatchObject({ hash, math: 'exact', threads: 1 });
    await page.close();
    await server.close();
  });

  it("train on the threads of a worker under Vite's development server", async () => {
    const vite = await createServer({
      root: site.folder,
      configFile: false,
      logLevel: 'error',
      server: { host: '127.0.0.1', headers: ISOLATED },
    });
    await vite.listen();
    const url = vite.resolvedUrls!.local[0].replace(/\/$/, '');
    const page = await OpenPage.open(browser(), { url });
    expect(await page.call('inWorker', 'train', { threads: 3 })).toMatchObject({ hash, threads: 3 });
    await page.close();
    await vite.close();
  });
});
