// A context of Node's vm that is given nothing and makes no code of strings: `wasm`, `reference` where it compiles no WASM either, or
// `module` where it is given a module that the host has compiled.
import { readFileSync } from 'node:fs';
import vm from 'node:vm';

const read = (path) => readFileSync(new URL(path, import.meta.url));
const way = process.argv[2];
const context = vm.createContext(Object.create(null), { codeGeneration: { strings: false, wasm: way === 'wasm' } });
const load = (name) => vm.runInContext(`${read(`../dist/${name}.js`)};guest`, context, { filename: `${name}.js` });

if (way === 'reference') console.log(await load('reference').report());
const module = way === 'module' ? await WebAssembly.compile(read('../../dist/embed/atalho.wasm')) : undefined;
console.log(await load('wasm').report({ module }));
