/** A page of the site, open in a browser, and what it must not do meanwhile. */
import type { Browser, Page } from 'playwright-core';
import { expect } from 'vitest';
import type { Outcome } from './site.js';

/** Where a function of `site/work.js` runs: on the page's main thread or in its module worker. */
export type Where = 'onPage' | 'inWorker';

type Call = (name: string, ...args: unknown[]) => Promise<Outcome>;

export class OpenPage {
  /** Addresses that were asked for. */
  private readonly requests: string[] = [];
  /** Errors that nobody caught. */
  private readonly uncaught: string[] = [];

  private constructor(
    private readonly page: Page,
    /** Its server, which collects what the policy forbade, where it has one. */
    private readonly server: { url: string; violations?: readonly string[] },
  ) {
    page.on('request', (request) => this.requests.push(request.url()));
    page.on('pageerror', (error) => this.uncaught.push(error.message));
  }

  static async open(browser: Browser, server: OpenPage['server'], path = '/'): Promise<OpenPage> {
    const open = new OpenPage(await browser.newPage(), server);
    await open.page.goto(server.url + path);
    await open.page.waitForFunction('globalThis.inWorker');
    return open;
  }

  call(where: Where, name: string, ...args: unknown[]): Promise<Outcome> {
    return this.page.evaluate(
      ([where, name, args]) => (globalThis as unknown as Record<Where, Call>)[where](name, ...args),
      [where, name, args] as const,
    );
  }

  get isolated(): Promise<boolean> {
    return this.page.evaluate('globalThis.crossOriginIsolated');
  }

  /** Workers that are alive, workers' workers too. */
  get workers(): number {
    return this.page.workers().length;
  }

  /**
   * Closes the page, which must have asked for nothing but the server's files and done nothing that the policy forbids,
   * but for `expected`.
   */
  async close(expected: readonly string[] = []): Promise<void> {
    try {
      const { url, violations } = this.server;
      expect(this.requests.filter((request) => !request.startsWith(`${url}/`))).toEqual([]);
      expect(this.uncaught).toEqual([]);
      if (!violations) return;
      const forbidden = await this.doForbidden();
      await expect.poll(() => violations).toEqual(expect.arrayContaining(forbidden));
      expect([...violations].sort()).toEqual([...forbidden, ...expected].sort());
    } finally {
      await this.page.close();
    }
  }

  /** Does what the policy forbids, which shows that it would have been seen; the violations to see. */
  private async doForbidden(): Promise<string[]> {
    await this.page.evaluate("new Image().src = 'http://elsewhere.invalid/'");
    if (this.workers === 0) return ['img-src: http://elsewhere.invalid/'];
    expect(await this.call('inWorker', 'evaluateText')).toBe('EvalError');
    return ['img-src: http://elsewhere.invalid/', 'script-src: eval'];
  }
}
