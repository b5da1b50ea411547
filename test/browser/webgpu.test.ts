/** The GPU device in a page: the case table, a training run beside wasm's, a GPU that goes away. */
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { cases } from '../../src/oracle/index.js';
import { describeInChromium } from './chromium.js';
import { makeSite, type Server, type Site, serve } from './site.js';

const RUNS = Number(process.env.ATALHO_RUNS ?? 4);
const SEED = Number(process.env.ATALHO_SEED ?? 1);

/** Chromium's own software adapter, which needs no GPU. ATALHO_WEBGPU_FLAGS names others, separated by spaces. */
const FLAGS = (process.env.ATALHO_WEBGPU_FLAGS ?? '--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader').split(' ');

interface Gpu {
  adapter(): Promise<string>;
  rows(): string[];
  judge(kind: string, row: string, runs: number, seed: number): Promise<{ count: number; failures: string[] }>;
  train(): Promise<number>;
  lose(): Promise<string>;
}

describeInChromium(
  'webgpu in Chromium',
  (browser) => {
    let site: Site;
    let server: Server;
    let page: Page;
    beforeAll(async () => {
      site = await makeSite();
      server = await serve(site.folder, { policy: site.plainPolicy });
      page = await browser().newPage();
      await page.goto(`${server.url}/gpu.html`);
      // Not waitForFunction: what it does after its first look is eval, which the page's policy forbids.
      await vi.waitFor(async () => expect(await page.evaluate(() => 'gpu' in globalThis)).toBe(true), 60_000);
    });
    afterAll(async () => {
      await page?.close();
      await server?.close();
      site?.remove();
    });
    const call = <N extends keyof Gpu>(name: N, ...args: Parameters<Gpu[N]>): Promise<Awaited<ReturnType<Gpu[N]>>> =>
      page.evaluate(
        ([name, args]) =>
          (globalThis as unknown as { gpu: Record<string, (...a: unknown[]) => unknown> }).gpu[name as string](
            ...(args as unknown[]),
          ),
        [name, args],
      ) as never;

    it('has an adapter', async () => {
      expect(await call('adapter')).not.toBe('');
      expect(await call('rows')).toEqual(cases.map((row) => row.name));
    });

    it.each(cases)(
      'conformance: $name',
      async ({ name }) => {
        const { count, failures } = await call('judge', 'direct', name, RUNS, SEED);
        expect(failures).toEqual([]);
        expect(count).toBeGreaterThan(RUNS);
      },
      300_000,
    );

    // Not every draw is a convolution that Winograd's algorithm takes.
    it.each([
      ['fast', 'conv2d'],
      ['fast', 'prepareConv2d'],
      ['float16', 'prepareConv2d'],
      ['fast, float16', 'prepareConv2d'],
    ])(
      'conformance, %s: %s',
      async (kind, row) => {
        const { count, failures } = await call('judge', kind, row, 2 * RUNS, SEED);
        expect(failures).toEqual([]);
        expect(count).toBeGreaterThan(2 * RUNS);
      },
      300_000,
    );

    it('trains as wasm does, but for rounding', async () => {
      // Five steps at lr 0.05 move the weights by up to 0.1.
      expect(await call('train')).toBeLessThan(1e-4);
    }, 300_000);

    it('says so when the GPU goes away', async () => {
      expect(await call('lose')).toMatch(/^DeviceLostError: webgpu: the GPU device was lost/);
    }, 120_000);

    it('needs no more of a policy than wasm', () => {
      expect(server.violations).toEqual([]);
    });
  },
  FLAGS,
);
