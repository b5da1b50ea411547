import { join } from 'node:path';
import { root } from '../lib/paths.mjs';
import { exec, versionOf } from '../lib/process.mjs';
import { node, npm, reportsIn } from '../lib/row.mjs';

const host = (name) => join(root, 'hosts', name);

/** A row that runs a host in a Node, with flags; `needs` begins with that Node. */
function row(name, { build = 'embed', forbids = [], binary = node, needs = [], flags = [], script, args = [] }) {
  return {
    name,
    build,
    forbids,
    needs: [binary, ...needs],
    async tell(limit) {
      const file = script ?? host(build === 'reference' ? 'reference.mjs' : 'wasm.mjs');
      const stdout = await exec(binary.path, ['--no-warnings', ...flags, file, ...args], { limit });
      return { engine: `Node ${await versionOf(binary.path)}`, reports: reportsIn(stdout) };
    },
  };
}

const [major, minor] = process.versions.node.split('.').map(Number);
const permission = major >= 24 || (major === 22 && minor >= 13) ? '--permission' : '--experimental-permission';
/** The permission model, with leave to read the two files that are run. */
const permissions = (flag) => [
  flag,
  ...[host('wasm.mjs'), join(root, 'dist/wasm.mjs')].map((path) => `--allow-fs-read=${path}`),
];
/** What such a flag is for. */
const x64 = { path: process.arch === 'x64' ? process.execPath : 'x64', get: 'an x64 processor' };
const other = (version) => npm(`node${version}/bin/node`);
const vm = (way, build, forbids) => ({ build, forbids, script: host('vm.mjs'), args: [way] });

export default [
  row('Node', {}),
  row('Node, the build that only infers', { build: 'infer', script: host('infer.mjs') }),
  row('Node, permission model', { forbids: ['files'], flags: permissions(permission) }),
  row('Node, no code from strings', { forbids: ['eval'], flags: ['--disallow-code-generation-from-strings'] }),
  row('Node, frozen intrinsics', { forbids: ['intrinsics'], flags: ['--frozen-intrinsics'] }),
  row('Node, no JIT', { build: 'reference', forbids: ['wasm'], flags: ['--jitless'] }),
  row('Node, no SIMD', { build: 'reference', needs: [x64], flags: ['--no-enable-sse4-1'] }),
  row('Node, thread of 16 MB', { script: host('thread.mjs') }),
  row('Node, vm', vm('wasm', 'embed', ['files', 'eval'])),
  row('Node, vm without WASM', vm('reference', 'reference', ['files', 'eval', 'wasm'])),
  row('Node, vm, module from its host', vm('module', 'embed', ['files', 'eval', 'wasm'])),
  row('Node 22', { binary: other(22) }),
  row('Node 24', { binary: other(24) }),
  row('Node 26, permission model', { binary: other(26), forbids: ['files'], flags: permissions('--permission') }),
  ...[
    ['SES compartment', 'wasm', 'embed', []],
    ['SES compartment, as a module', 'module', 'embed', []],
    ['SES compartment without WASM', 'reference', 'reference', ['wasm']],
  ].map(([name, way, build, more]) => {
    const all = ['files', 'eval', 'wasm', 'clock', 'random', 'intrinsics'];
    const forbids = all.filter((what) => what !== 'eval' && (what !== 'wasm' || more.includes(what)));
    return row(name, { build, forbids, needs: [npm('ses')], script: host('ses.mjs'), args: [way] });
  }),
  ...['quickjs', 'quickjs-ng'].map((engine) =>
    row(engine === 'quickjs' ? 'QuickJS' : 'QuickJS-ng', {
      build: 'reference',
      forbids: ['files', 'wasm'],
      needs: [npm('quickjs-emscripten'), npm('@jitl/quickjs-ng-wasmfile-release-sync')],
      script: host('quickjs.mjs'),
      args: [engine],
    }),
  ),
];
