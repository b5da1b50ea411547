import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium as playwright } from 'playwright-core';
import { root } from '../lib/paths.mjs';
import { exec, inFolder, versionOf, within } from '../lib/process.mjs';
import { debian } from '../lib/row.mjs';
import { serve } from '../lib/server.mjs';

const STRICT = "default-src 'none'; script-src 'self'";
const WASM = `${STRICT} 'wasm-unsafe-eval'`;

const chromium = debian('/usr/bin/chromium', 'ATALHO_CHROMIUM', 'chromium');
// The second: no name but the server's address resolves.
const ARGS = ['--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', '--disable-gpu'];
const REPORTS = 'globalThis.reports';

/** A page of Chromium; `frame` the reports are of, the page itself by default. */
function page(name, { build = 'embed', forbids, policy, headers = {}, path, frame = 0 }) {
  return {
    name,
    build,
    forbids,
    needs: [chromium],
    async tell(limit) {
      const server = await serve({ 'content-security-policy': policy, ...headers });
      const work = async (browser) => {
        const tab = await browser.newPage();
        await tab.goto(server.url + path);
        const guest = tab.frames()[frame];
        if (frame > 0 && (await guest.evaluate('self.origin')) !== 'null') throw new Error('the frame has an origin');
        return { engine: `Chromium ${browser.version()}`, reports: await guest.evaluate(REPORTS) };
      };
      try {
        const browser = await playwright.launch({ executablePath: chromium.path, args: ARGS });
        try {
          return await within(limit, work(browser));
        } finally {
          await browser.close();
        }
      } finally {
        server.close();
      }
    },
  };
}

/** An extension; reports of its page, or of its service worker where there is no path. */
function extension(name, { build = 'embed', forbids, policy, path }) {
  return {
    name,
    build,
    forbids,
    needs: [chromium],
    tell: (limit) =>
      inFolder(async (folder) => {
        const [files, profile] = [join(folder, 'extension'), join(folder, 'profile')];
        for (const part of ['dist', 'pages']) cpSync(join(root, part), join(files, part), { recursive: true });
        cpSync(join(root, 'extension'), files, { recursive: true });
        const manifest = {
          ...{ manifest_version: 3, name: 'guest', version: '1' },
          background: { service_worker: 'background.js', type: 'module' },
          ...(policy && { content_security_policy: { extension_pages: policy } }),
        };
        writeFileSync(join(files, 'manifest.json'), JSON.stringify(manifest));
        const context = await playwright.launchPersistentContext(profile, {
          executablePath: chromium.path,
          // The old headless mode has no extensions.
          headless: false,
          args: ['--headless=new', ...ARGS, `--disable-extensions-except=${files}`, `--load-extension=${files}`],
          ignoreDefaultArgs: ['--disable-extensions'],
        });
        const work = async () => {
          const worker = context.serviceWorkers()[0] ?? (await context.waitForEvent('serviceworker'));
          let place = worker;
          if (path !== undefined) {
            place = await context.newPage();
            await place.goto(new URL(path, worker.url()).href);
          }
          const reports = await place.evaluate(REPORTS);
          return { engine: `Chromium ${context.browser().version()}`, reports };
        };
        try {
          return await within(limit, work());
        } finally {
          await context.close();
        }
      }),
  };
}

const firefox = debian('/usr/bin/firefox-esr', 'ATALHO_FIREFOX', 'firefox-esr');
/** Nothing is looked up, updated or sent. */
const PREFERENCES = {
  'datareporting.policy.dataSubmissionEnabled': false,
  'toolkit.telemetry.enabled': false,
  'app.normandy.enabled': false,
  'app.update.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'browser.aboutwelcome.enabled': false,
  'browser.startup.homepage_override.mstone': 'ignore',
  'startup.homepage_welcome_url': '',
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'browser.safebrowsing.provider.google4.updateURL': '',
  'services.settings.server': 'http://127.0.0.1:9/',
  'extensions.getAddons.cache.enabled': false,
  'browser.newtabpage.activity-stream.feeds.topsites': false,
  'browser.region.network.url': '',
  'dom.push.connection.enabled': false,
  'network.dns.disablePrefetch': true,
};

/** A page of a browser that is started with an address and no driver, so that it may post to its server. */
function posting(name, { build = 'embed', forbids, policy, needs, command, args, env, engine }) {
  return {
    name,
    build,
    forbids,
    needs,
    async tell(limit) {
      const server = await serve({ 'content-security-policy': `${policy}; connect-src 'self'` });
      const guests = build === 'reference' ? 'reference,wasm' : 'wasm';
      try {
        return await inFolder(async (folder) => {
          const url = `${server.url}/pages/page.html?post&guests=${guests}`;
          const told = await exec(command, args(folder, url), { limit, env, until: server.posted });
          return { engine: await engine(), reports: JSON.parse(told) };
        });
      } finally {
        server.close();
      }
    },
  };
}

const inFirefox = (name, rest) =>
  posting(name, {
    needs: [firefox],
    command: firefox.path,
    args(profile, url) {
      const lines = Object.entries(PREFERENCES).map(
        (pair) => `user_pref(${pair.map((x) => JSON.stringify(x)).join()});`,
      );
      writeFileSync(join(profile, 'user.js'), lines.join('\n'));
      return ['--headless', '--no-remote', '--profile', profile, url];
    },
    env: { MOZ_CRASHREPORTER_DISABLE: '1' },
    engine: async () => `Firefox ${await versionOf(firefox.path)}`,
    ...rest,
  });

// biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's format
const VERSION = '${Version}';
const webkit = debian(
  '/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser',
  'ATALHO_WEBKIT',
  'webkit2gtk-driver xvfb xauth',
);
/** It draws on a screen or not at all. */
const screen = debian('/usr/bin/xvfb-run', 'ATALHO_XVFB_RUN', 'xvfb xauth');
const inWebKit = (name, rest) =>
  posting(name, {
    needs: [webkit, screen],
    command: screen.path,
    args: (_, url) => ['-a', '-s', '-nolisten tcp', webkit.path, url],
    env: {
      GDK_BACKEND: 'x11',
      WEBKIT_DISABLE_COMPOSITING_MODE: '1',
      WEBKIT_DISABLE_DMABUF_RENDERER: '1',
      NO_AT_BRIDGE: '1',
    },
    engine: async () => `WebKitGTK ${await versionOf('dpkg-query', ['-W', '-f', VERSION, 'libwebkit2gtk-4.1-0'])}`,
    ...rest,
  });

const [OPEN, CLOSED] = [
  ['files', 'eval'],
  ['files', 'eval', 'wasm'],
];
const worker = (kind) => ({
  forbids: OPEN,
  policy: `${WASM}; worker-src 'self'`,
  path: `/pages/page.html?kind=${kind}`,
});

export default [
  page('Chromium, strict page', {
    forbids: OPEN,
    policy: `${WASM}; require-trusted-types-for 'script'`,
    path: '/pages/page.html?guests=wasm',
  }),
  page('Chromium, strict page without WASM', {
    build: 'reference',
    forbids: CLOSED,
    policy: STRICT,
    path: '/pages/page.html?guests=reference,wasm',
  }),
  page('Chromium, sandboxed frame', {
    forbids: OPEN,
    policy: `${WASM}; frame-src 'self'`,
    // The frame's origin is opaque, so that even its own server is another.
    headers: { 'access-control-allow-origin': '*' },
    path: '/pages/frame.html',
    frame: 1,
  }),
  page('Chromium, worker', worker('Worker')),
  page('Chromium, shared worker', worker('SharedWorker')),
  page('Chromium, service worker', worker('ServiceWorker')),
  extension('Chromium, MV3 extension page', {
    build: 'reference',
    forbids: CLOSED,
    path: '/pages/page.html?guests=reference,wasm',
  }),
  extension('Chromium, MV3 service worker', {
    forbids: OPEN,
    policy: "script-src 'self' 'wasm-unsafe-eval'; object-src 'self'",
  }),
  inFirefox('Firefox, strict page', { forbids: OPEN, policy: WASM }),
  inFirefox('Firefox, strict page without WASM', { build: 'reference', forbids: CLOSED, policy: STRICT }),
  inWebKit('WebKit, strict page', { forbids: OPEN, policy: WASM }),
  inWebKit('WebKit, strict page without WASM', { build: 'reference', forbids: CLOSED, policy: STRICT }),
];
