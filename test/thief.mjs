// A worker of the WASM device that takes a part of a job and dies with it; with workerData `counts` as the last one that ends its
// part, which it counts as done before it could say that the job is.
import { parentPort, workerData } from 'node:worker_threads';

const [TICKET, DONE, PROGRAMS, SLOTS, LINE] = [0, 1, 2, 8, 16];

parentPort.once('message', ({ control }) => {
  const words = new Int32Array(control);
  parentPort.postMessage('ready');
  for (let slot = 0; ; slot = (slot + 1) % SLOTS) {
    const line = LINE * (1 + slot);
    const ticket = Atomics.load(words, line + TICKET);
    if ((ticket & 0xfff) >= words[line + PROGRAMS]) continue;
    if (Atomics.compareExchange(words, line + TICKET, ticket, ticket + 1) !== ticket) continue;
    if (workerData?.counts) {
      while (Atomics.load(words, line + DONE) < words[line + PROGRAMS] - 1);
      Atomics.add(words, line + DONE, 1);
    }
    process.exit();
  }
});
