/** Images a second as the batch grows: the chapter's training step in fast mode, one thread. They must not fall. */
import { performance } from 'node:perf_hooks';
import { wasm } from './library.mjs';
import { median } from './measure.mjs';
import { trainingStep } from './models.mjs';

const BATCHES = [2, 8, 32, 128, 256];
/** Images of a sample, so that small batches are not timed alone. */
const IMAGES = 256;
/** How much of the best smaller batch's speed a larger one may lack: the spread of such a machine. */
const SLACK = 0.05;

/** Rows whose names `wanted` accepts. */
export async function* benchBatch(wanted, context) {
  const device = await wasm({ math: 'fast' });
  let best = 0;
  for (const batch of BATCHES) {
    const name = `batch d2l training step 96×96 b${batch}, fast`;
    if (!wanted(name)) continue;
    const model = trainingStep(device, batch);
    model.run();
    const rates = [];
    for (let round = 0; round < (context.quick ? 1 : 3); round++) {
      const start = performance.now();
      const runs = Math.max(1, IMAGES / batch / (context.quick ? 4 : 1));
      for (let i = 0; i < runs; i++) model.run();
      rates.push((runs * batch * 1000) / (performance.now() - start));
    }
    model.dispose();
    const imagesPerSecond = median(rates);
    const met = imagesPerSecond >= (1 - SLACK) * best;
    best = Math.max(best, imagesPerSecond);
    yield { name, section: 'batch', batch, imagesPerSecond, met };
  }
  device.dispose();
}
