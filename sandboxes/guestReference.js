/** The guest with `atalho/embed/reference`: no WebAssembly. */
import * as atalho from 'atalho/embed/reference';
import { classifyAndTrain } from './guest.js';

export async function run() {
  return classifyAndTrain(atalho, atalho.reference());
}
