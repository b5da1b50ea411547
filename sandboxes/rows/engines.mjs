import { join } from 'node:path';
import { root } from '../lib/paths.mjs';
import { exec, versionOf } from '../lib/process.mjs';
import { debian, npm, reportsIn } from '../lib/row.mjs';

const host = (name) => join(root, 'hosts', name);
const script = (build) => host(build === 'reference' ? 'reference.mjs' : 'wasm.mjs');

/** A row that runs a command on a file; `of` tells the engine's version. */
function row(name, { build = 'embed', forbids = [], needs, command, args = [], env = {}, of, file = script(build) }) {
  return {
    name,
    build,
    forbids,
    needs,
    async tell(limit) {
      const stdout = await exec(command, [...args, file], { limit, env });
      return { engine: await of(), reports: reportsIn(stdout) };
    },
  };
}

const deno = npm('@deno/linux-x64-glibc/deno');
const denoRow = (name, { args = [], ...rest }) =>
  row(name, {
    needs: [deno],
    command: deno.path,
    args: ['run', ...args, '--no-prompt', '--no-remote', '--no-npm', '--no-config', '--no-lock', '--cached-only'],
    env: { DENO_NO_UPDATE_CHECK: '1' },
    of: async () => `Deno ${await versionOf(deno.path)}`,
    ...rest,
  });

const bun = npm('@oven/bun-linux-x64-baseline/bin/bun');
const workerd = npm('@cloudflare/workerd-linux-64/bin/workerd');
// biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's format
const VERSION = '${Version}';
const jsc = debian('/usr/bin/jsc', 'ATALHO_JSC', 'libjavascriptcoregtk-4.0-bin');
const gjs = debian('/usr/bin/gjs', 'ATALHO_GJS', 'gjs');

/** An engine for another processor, in qemu. */
function emulated(name, { processor, libraries, binary, ...rest }) {
  const qemu = debian(
    `/usr/bin/qemu-${processor}`,
    `ATALHO_QEMU_${processor.toUpperCase()}`,
    `qemu-user libc6-${libraries}-cross libstdc++6-${libraries}-cross`,
  );
  const prefix = { ...qemu, path: process.env.QEMU_LD_PREFIX ?? `/usr/${processor}-linux-gnu` };
  const env = { QEMU_LD_PREFIX: prefix.path };
  return row(name, {
    needs: [qemu, prefix, binary],
    command: qemu.path,
    args: [binary.path],
    env,
    of: async () =>
      `${binary.path.endsWith('bun') ? 'Bun' : 'Node'} ${await versionOf(qemu.path, [binary.path, '--version'], env)}`,
    ...rest,
  });
}

export default [
  denoRow('Deno, no permissions', { forbids: ['files'] }),
  denoRow('Deno, no permissions, no JIT', {
    build: 'reference',
    forbids: ['files', 'wasm'],
    args: ['--v8-flags=--jitless'],
  }),
  row('Bun', {
    needs: [bun],
    command: bun.path,
    args: ['--no-install', 'run'],
    env: { DO_NOT_TRACK: '1' },
    of: async () => `Bun ${await versionOf(bun.path)}`,
  }),
  row('workerd', {
    needs: [workerd],
    forbids: ['files', 'eval', 'wasm'],
    command: workerd.path,
    args: ['test'],
    file: host('workerd.capnp'),
    of: async () => `workerd ${await versionOf(workerd.path)}`,
  }),
  row("JavaScriptCore's jsc", {
    needs: [jsc],
    command: jsc.path,
    args: ['-m'],
    of: async () =>
      `JavaScriptCore ${await versionOf('dpkg-query', ['-W', '-f', VERSION, 'libjavascriptcoregtk-4.0-bin'])}`,
  }),
  row('gjs', {
    needs: [gjs],
    command: gjs.path,
    args: ['-m'],
    of: async () => `SpiderMonkey of gjs ${await versionOf(gjs.path)}`,
  }),
  emulated('ARM64, Node', {
    processor: 'aarch64',
    libraries: 'arm64',
    binary: npm('node20/bin/node', 'arm64'),
  }),
  emulated('ARM64, Bun', {
    processor: 'aarch64',
    libraries: 'arm64',
    binary: npm('@oven/bun-linux-aarch64/bin/bun', 'arm64'),
  }),
  emulated('s390x, big-endian, Node', {
    build: 'reference',
    // This Node cannot be asked for `fs` without an import.
    forbids: null,
    processor: 's390x',
    libraries: 's390x',
    binary: npm('node20/bin/node', 's390x'),
  }),
];
