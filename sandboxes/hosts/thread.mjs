// A thread with 16 MB of heap, nothing of the environment; it looks whether that is so.
import { isMainThread, resourceLimits, Worker } from 'node:worker_threads';

const limits = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4, stackSizeMb: 2 };

if (isMainThread) new Worker(new URL(import.meta.url), { env: {}, resourceLimits: limits });
else {
  for (const [name, limit] of Object.entries(limits)) {
    if (resourceLimits[name] !== limit) throw new Error(`${name} is ${resourceLimits[name]}; want ${limit}`);
  }
  if (Object.keys(process.env).length > 0) throw new Error('the environment is not empty');
  await import('./wasm.mjs');
}
