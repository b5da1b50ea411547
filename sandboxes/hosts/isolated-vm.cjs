// An isolate of its own with at most 64 MB of heap.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const ivm = require('isolated-vm');

async function main() {
  const isolate = new ivm.Isolate({ memoryLimit: 64 });
  const context = await isolate.createContext();
  const module = await isolate.compileModule(readFileSync(join(__dirname, '../dist/wasm.mjs'), 'utf8'));
  await module.instantiate(context, () => {
    throw new Error('no imports');
  });
  await module.evaluate();
  const report = await module.namespace.get('report', { reference: true });
  console.log(await report.apply(undefined, [], { result: { promise: true, copy: true }, timeout: 30_000 }));
}
main();
