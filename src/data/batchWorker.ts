/** The thread that prepares batches ahead of use. Started by `prefetch.ts`; takes indices, answers with floats. */
import { parentPort, workerData } from 'node:worker_threads';
import { BatchMaker, type Recipe } from './prepare.js';

export interface WorkerInput {
  readonly images: SharedArrayBuffer;
  readonly recipe: Recipe;
  /** One int32: batches made so far. */
  readonly made: SharedArrayBuffer;
}

const { images, recipe, made } = workerData as WorkerInput;
const count = new Int32Array(made);
const maker = new BatchMaker(new Uint8Array(images), recipe);
parentPort?.on('message', (indices: Int32Array) => {
  const batch = maker.make(indices);
  parentPort?.postMessage(batch, [batch.buffer]);
  Atomics.add(count, 0, 1);
  Atomics.notify(count, 0);
});
