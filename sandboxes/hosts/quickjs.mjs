// QuickJS as a WASM module in Node: `quickjs` or `quickjs-ng`, with 64 MB for each guest.
import { readFileSync } from 'node:fs';
import ng from '@jitl/quickjs-ng-wasmfile-release-sync';
import { getQuickJS, newQuickJSWASMModuleFromVariant } from 'quickjs-emscripten';

const engine = process.argv[2] === 'quickjs-ng' ? await newQuickJSWASMModuleFromVariant(ng) : await getQuickJS();

for (const name of ['reference', 'wasm']) {
  const runtime = engine.newRuntime({ memoryLimitBytes: 64e6, maxStackSizeBytes: 1 << 20 });
  const vm = runtime.newContext();
  const text = readFileSync(new URL(`../dist/${name}.mjs`, import.meta.url), 'utf8');
  const guest = vm.unwrapResult(vm.evalCode(text, `${name}.mjs`, { type: 'module' }));
  const promise = vm.unwrapResult(vm.callFunction(vm.getProp(guest, 'report'), vm.undefined));
  const jobs = runtime.executePendingJobs();
  if (jobs.error) throw new Error(String(jobs.error.context.dump(jobs.error)));
  const { type, value } = vm.getPromiseState(promise);
  console.log(type === 'fulfilled' ? vm.getString(value) : `the report is ${type}`);
}
