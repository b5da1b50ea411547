// A Compartment after lockdown(): `wasm` or `reference` evaluated as text, or `module`, the WASM guest as a ModuleSource. SES has no
// Float32Array, Float64Array and WebAssembly for a compartment: they are given to it.
import { readFileSync } from 'node:fs';
import 'ses';

lockdown();

const way = process.argv[2];
const read = (file) => readFileSync(new URL(`../dist/${file}`, import.meta.url), 'utf8');
const floats = { Float32Array, Float64Array };
const all = { ...floats, WebAssembly: harden(WebAssembly) };
const evaluate = (name, globals) =>
  new Compartment({ __options__: true, globals }).evaluate(`${read(`${name}.js`)};guest`);

if (way === 'module') {
  const { ModuleSource } = await import('@endo/module-source');
  const modules = { guest: { source: new ModuleSource(read('wasm.mjs'), 'wasm.mjs') } };
  const { namespace } = await new Compartment({ __options__: true, name: 'guest', globals: all, modules }).import(
    'guest',
  );
  console.log(await namespace.report());
} else if (way === 'wasm') console.log(await evaluate('wasm', all).report());
else {
  console.log(await evaluate('reference', floats).report());
  console.log(await evaluate('wasm', floats).report());
}
