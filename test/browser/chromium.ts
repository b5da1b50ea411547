/**
 * Chromium for the tests, the system's own: nothing is downloaded. Where there is none the tests are skipped with the
 * command that would get it; under CI that is a failure.
 */
import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe } from 'vitest';

const executablePath = process.env.ATALHO_CHROMIUM ?? '/usr/bin/chromium';
const found = existsSync(executablePath);
const help = `no Chromium at ${executablePath}: apt-get install -y chromium, or ATALHO_CHROMIUM=/path/to/chromium`;
if (!found) {
  if (process.env.CI === 'true') throw new Error(help);
  console.warn(`skipped: ${help}`);
}

/** A suite of tests in one browser, which `tests` may ask for once they run; `flags`: more of its command line. */
export function describeInChromium(
  title: string,
  tests: (browser: () => Browser) => void,
  flags: readonly string[] = [],
): void {
  describe.skipIf(!found)(found ? title : `${title} (${help})`, () => {
    let browser: Browser;
    beforeAll(async () => {
      browser = await chromium.launch({
        executablePath,
        // The second: no name but the server's address resolves.
        args: ['--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', ...flags],
      });
    });
    afterAll(() => browser?.close());
    tests(() => browser);
  });
}
