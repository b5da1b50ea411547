// workerd compiles nothing at run time: the binary is a module of the worker.
import module from './atalho.wasm';
import { report } from './wasm.mjs';

export default {
  async test() {
    console.log(await report({ module }));
  },
};
