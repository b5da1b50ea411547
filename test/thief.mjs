// A worker of the WASM device that takes a part of a job and dies with it.
import { parentPort } from 'node:worker_threads';

const [TICKET, PROGRAMS, SLOTS, LINE] = [0, 2, 8, 16];

parentPort.once('message', ({ control }) => {
  const words = new Int32Array(control);
  parentPort.postMessage('ready');
  for (let slot = 0; ; slot = (slot + 1) % SLOTS) {
    const line = LINE * (1 + slot);
    const ticket = Atomics.load(words, line + TICKET);
    if ((ticket & 0xfff) >= words[line + PROGRAMS]) continue;
    if (Atomics.compareExchange(words, line + TICKET, ticket, ticket + 1) === ticket) process.exit();
  }
});
