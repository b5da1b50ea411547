// @ts-check
/**
 * One thread of the WASM device. It takes programs from the job in shared memory, as team.ts lays it out, until the device is
 * disposed. Plain JavaScript that imports no file, so that engines start it from the source as from the package: no bundle,
 * no blob URL, no `eval`.
 */

/**
 * @typedef {object} Start
 * @property {WebAssembly.Module} module
 * @property {WebAssembly.Memory} memory
 * @property {SharedArrayBuffer} control
 * @property {string[]} kernels names of the exports, by their number in a job
 * @property {number} thread 1 … threads − 1; 0 is the one that owns the device
 * @property {number} spins looks at the job number before it sleeps
 */

// The words of the control block; the same as in team.ts.
const [SEQUENCE, TICKET, DONE, FAILED, STOP, PROGRAMS, SLEEPERS] = [0, 1, 2, 3, 4, 5, 6];
const HEADER_BYTES = 64;

/** Node's own module, by a name that bundlers for browsers do not look up, and so do not miss. */
const NODE = { threads: 'node:worker_threads' };

/**
 * @param {Start} start
 * @param {() => void} ready
 */
function serve({ module, memory, control, kernels, thread, spins }, ready) {
  const words = new Int32Array(control, 0, HEADER_BYTES / 4);
  const values = new Float64Array(control, HEADER_BYTES);
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const run = kernels.map((name) => /** @type {(...values: number[]) => unknown} */ (exports[name]));
  let seen = Atomics.load(words, SEQUENCE);
  ready();
  while (Atomics.load(words, STOP) === 0) {
    let sequence = Atomics.load(words, SEQUENCE);
    for (let i = 0; i < spins && sequence === seen; i++) sequence = Atomics.load(words, SEQUENCE);
    if (sequence === seen) {
      Atomics.add(words, SLEEPERS, 1);
      Atomics.wait(words, SEQUENCE, seen);
      Atomics.sub(words, SLEEPERS, 1);
      continue;
    }
    seen = sequence;
    const job = sequence & 0xfffff;
    const programs = words[PROGRAMS];
    for (;;) {
      // A ticket is the job's number and its next program. Taking one proves that the job is still this one, so that what was
      // read of it is whole.
      const ticket = Atomics.load(words, TICKET);
      const program = ticket & 0xfff;
      if (ticket >>> 12 !== job || program >= programs) break;
      if (Atomics.compareExchange(words, TICKET, ticket, ticket + 1) !== ticket) continue;
      try {
        // Its steps: how many; of each the kernel, the number of arguments, the arguments.
        let at = values[program];
        for (let steps = values[at++]; steps > 0; steps--) {
          const kernel = run[values[at]];
          const end = at + 2 + values[at + 1];
          kernel(...values.subarray(at + 2, end), thread);
          at = end;
        }
      } catch {
        Atomics.store(words, FAILED, 1);
      }
      if (Atomics.add(words, DONE, 1) + 1 === programs) Atomics.notify(words, DONE);
    }
  }
}

// Not named `global`, by which checkers tell CommonJS.
const host = /** @type {any} */ (globalThis);
if (typeof host.postMessage === 'function' && typeof host.addEventListener === 'function') {
  host.addEventListener(
    'message',
    (/** @type {{ data: Start }} */ event) => {
      serve(event.data, () => host.postMessage('ready'));
      host.close();
    },
    { once: true },
  );
} else {
  // No top-level await: bundlers that make a classic script of a worker, as Vite does by default, refuse it.
  import(/* @vite-ignore */ NODE.threads).then((/** @type {typeof import('node:worker_threads')} */ { parentPort }) =>
    parentPort?.once('message', (/** @type {Start} */ start) => serve(start, () => parentPort.postMessage('ready'))),
  );
}
