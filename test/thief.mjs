// A worker of the WASM device that takes a part of a job and dies with it.
import { parentPort } from 'node:worker_threads';

const [TICKET, PROGRAMS] = [1, 5];

parentPort.once('message', ({ control }) => {
  const words = new Int32Array(control);
  parentPort.postMessage('ready');
  for (;;) {
    const ticket = Atomics.load(words, TICKET);
    if (ticket === 0 || (ticket & 0xfff) >= words[PROGRAMS]) continue;
    if (Atomics.compareExchange(words, TICKET, ticket, ticket + 1) === ticket) process.exit();
  }
});
