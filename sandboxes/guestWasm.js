/** The guest with `atalho/embed`: `module` where the host does not compile, otherwise the binary inside. */
import * as atalho from 'atalho/embed';
import { classifyAndTrain } from './guest.js';

export async function run(options = {}) {
  return classifyAndTrain(atalho, await atalho.wasm(options));
}
