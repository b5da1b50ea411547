// A thread with 16 MB of heap, nothing of the environment.
import { Worker } from 'node:worker_threads';

new Worker(new URL('./wasm.mjs', import.meta.url), {
  env: {},
  resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4, stackSizeMb: 2 },
});
