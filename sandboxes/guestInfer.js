/** The guest with `atalho/embed/infer`, which gets the weights from its host. */
import * as atalho from 'atalho/embed/infer';
import { classifyAndTrain } from './guest.js';

export async function run(file, options = {}) {
  return classifyAndTrain(atalho, await atalho.wasm(options), file);
}
