/** The device's threads in a browser: the bits of Node's, no worker left behind, and what a page must be for them. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { describeInChromium } from './chromium.js';
import { OpenPage } from './page.js';
import { ISOLATED, makeSite, type Server, type ServerOptions, type Site, STRICT, serve } from './site.js';

describeInChromium('threads in Chromium', (browser) => {
  let site: Site;
  let server: Server;
  let page: OpenPage;
  /** Of the weights that Node trains on `reference()`. */
  let hash: string;

  beforeAll(async () => {
    site = await makeSite();
    hash = (await site.node.trainReference()).hash as string;
  });
  afterAll(() => site?.remove());

  /** The bundled site in a fresh page. */
  async function open(options: Partial<ServerOptions> = {}): Promise<void> {
    server = await serve(site.built, { policy: STRICT, headers: ISOLATED, ...options });
    page = await OpenPage.open(browser(), server);
  }
  afterEach(async () => {
    await page.close();
    await server.close();
  });

  it.each(['exact', 'fast'] as const)('train the weights of Node in a worker, in %s mode', async (math) => {
    await open();
    expect(await page.isolated).toBe(true);
    const { hash } = await site.node.train({ math });
    expect(await site.node.trainReference({ math })).toMatchObject({ hash });
    for (const threads of [1, 2, 3]) {
      const got = await page.call('inWorker', 'train', { threads, math });
      expect(got, `${threads} threads`).toMatchObject({ hash, math, threads, warnings: [] });
      if (threads > 1) expect(got.helped, 'calls that workers took').toBeGreaterThan(0);
    }
  });

  it('compute in relaxed mode, which Chromium has, the same at any number of them', async () => {
    await open();
    const alone = await page.call('inWorker', 'train', { math: 'relaxed' });
    expect(alone).toMatchObject({ math: 'relaxed', threads: 1, warnings: [] });
    expect(await page.call('inWorker', 'train', { math: 'relaxed', threads: 2 })).toMatchObject({
      hash: alone.hash,
      math: 'relaxed',
      threads: 2,
    });
  });

  it("are a typed error on the page's main thread, and one for auto", async () => {
    await open();
    expect(await page.call('onPage', 'train', { threads: 2 })).toEqual({
      error: expect.stringMatching(/^DeviceError: wasm: threads is 2, but a browser's main thread must not wait;/),
      warnings: [],
    });
    expect(await page.call('onPage', 'train', { threads: 1 })).toMatchObject({ hash, threads: 1, warnings: [] });
    expect(await page.call('onPage', 'train', { threads: 'auto', processors: 2 })).toMatchObject({
      hash,
      threads: 1,
      warnings: [expect.stringMatching(/^wasm: one thread, since a browser's main thread must not wait;/)],
    });
  });

  it('are a typed error where the page is not cross-origin isolated, and one for auto', async () => {
    await open({ headers: {} });
    expect(await page.isolated).toBe(false);
    expect(await page.call('inWorker', 'train', { threads: 2 })).toEqual({
      error: expect.stringMatching(/^DeviceError: wasm: threads is 2, .* \(a page must be cross-origin isolated\)/),
      warnings: [],
    });
    expect(await page.call('inWorker', 'train', { threads: 'auto', processors: 2 })).toMatchObject({
      hash,
      threads: 1,
      warnings: [expect.stringMatching(/^wasm: one thread, .* \(a page must be cross-origin isolated\)/)],
    });
  });

  it.each([
    ['is not there', null, 'the worker script did not load'],
    ["lacks the page's header", { text: '', headers: {} }, 'the worker script did not load'],
    ['throws', { text: "throw new Error('broken script')", headers: ISOLATED }, '[^)]*broken script'],
  ])('are a typed error where the worker script %s, and one for auto', async (_, workerScript, reason) => {
    await open({ workerScript });
    expect(await page.call('inWorker', 'train', { threads: 3 })).toEqual({
      error: expect.stringMatching(`^DeviceError: wasm: no threads \\(${reason}.*\\); use threads: 1`),
      warnings: [],
    });
    expect(await page.call('inWorker', 'train', { threads: 'auto', processors: 2 })).toMatchObject({
      hash,
      threads: 1,
      warnings: [expect.stringMatching(`^wasm: one thread, since no worker could be started .*${reason}`)],
    });
  });

  it('are gone after dispose: 20 devices', async () => {
    await open();
    const workers = () => page.workers;
    // The page's own.
    await expect.poll(workers).toBe(1);
    for (let i = 0; i < 20; i++) {
      await page.call('inWorker', 'hold', { threads: 3 });
      if (i === 0) await expect.poll(workers).toBe(3);
      await page.call('inWorker', 'letGo');
    }
    await expect.poll(workers, { timeout: 10_000 }).toBe(1);
  });

  it('sleep when there is nothing to do', async () => {
    await open();
    const cdp = await browser().newBrowserCDPSession();
    const cpuSeconds = async (): Promise<number> => {
      const { processInfo } = await cdp.send('SystemInfo.getProcessInfo');
      return processInfo.reduce((sum, { type, cpuTime }) => sum + (type === 'renderer' ? cpuTime : 0), 0);
    };
    const start = await cpuSeconds();
    await page.call('inWorker', 'hold', { threads: 3 });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await cpuSeconds()).toBeGreaterThan(start);
    // One that spins uses a second of every second; a page that has just started may still compile or collect garbage in one.
    let least = Number.POSITIVE_INFINITY;
    for (let second = 0; second < 20 && least >= 0.5; second++) {
      const before = await cpuSeconds();
      await new Promise((resolve) => setTimeout(resolve, 1000));
      least = Math.min(least, (await cpuSeconds()) - before);
    }
    expect(least).toBeLessThan(0.5);
    await page.call('inWorker', 'letGo');
    await cdp.detach();
  });
});
