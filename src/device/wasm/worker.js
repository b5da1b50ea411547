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

// The words of the control block, then those of each slot; the same as in team.ts.
const [PUBLISHED, DOINGS, MAIN, BESIDE, FAILED, STOP, SLEEPERS] = [0, 1, 2, 3, 4, 5, 6];
const [TICKET, DONE, PROGRAMS, AFTER_MAIN, AFTER_BESIDE, KIND, NUMBER] = [0, 1, 2, 3, 4, 5, 6];
const [SLOTS, LINE, VALUES] = [8, 16, 65536];
const HEADER_BYTES = 4 * LINE * (1 + SLOTS);

/** Node's own module, by a name that bundlers for browsers do not look up, and so do not miss. */
const NODE = { threads: 'node:worker_threads' };

/**
 * @param {Start} start
 * @param {() => void} ready
 */
function serve({ module, memory, control, kernels, thread, spins }, ready) {
  const words = new Int32Array(control, 0, HEADER_BYTES / 4);
  const slots = Array.from(
    { length: SLOTS },
    (_, i) => new Float64Array(control, HEADER_BYTES + 8 * VALUES * i, VALUES),
  );
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const run = kernels.map((name) => /** @type {(...values: number[]) => unknown} */ (exports[name]));

  /**
   * Waits until a word is no longer `value`, or the device ends.
   * @param {number} word
   * @param {number} value
   */
  function wait(word, value) {
    for (let i = 0; i < spins; i++) if (Atomics.load(words, word) !== value) return;
    Atomics.add(words, SLEEPERS, 1);
    Atomics.wait(words, word, value);
    Atomics.sub(words, SLEEPERS, 1);
  }

  /**
   * Whether so many jobs of a kind are done.
   * @param {number} kind
   * @param {number} jobs
   */
  const reached = (kind, jobs) => ((Atomics.load(words, kind) - jobs) | 0) >= 0;

  // The job to look at.
  let next = Atomics.load(words, PUBLISHED);
  ready();
  while (Atomics.load(words, STOP) === 0) {
    const published = Atomics.load(words, PUBLISHED);
    if (published === next) {
      wait(PUBLISHED, published);
      continue;
    }
    const slot = next & (SLOTS - 1);
    const line = LINE * (1 + slot);
    // A ticket is the job's number and its next program. Taking one proves that the slot is still the job's, so that what was
    // read of it is whole.
    const ticket = Atomics.load(words, line + TICKET);
    const program = ticket & 0xfff;
    const programs = Atomics.load(words, line + PROGRAMS);
    if (ticket >>> 12 !== (next & 0xfffff) || program >= programs) {
      next = (next + 1) | 0;
      continue;
    }
    const doings = Atomics.load(words, DOINGS);
    if (!reached(MAIN, words[line + AFTER_MAIN]) || !reached(BESIDE, words[line + AFTER_BESIDE])) {
      wait(DOINGS, doings);
      continue;
    }
    if (Atomics.compareExchange(words, line + TICKET, ticket, ticket + 1) !== ticket) continue;
    const values = slots[slot];
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
      Atomics.store(words, FAILED, 1 + slot);
    }
    const [kind, number] = [words[line + KIND], words[line + NUMBER]];
    if (Atomics.add(words, line + DONE, 1) + 1 === programs) {
      Atomics.store(words, kind, number);
      Atomics.add(words, DOINGS, 1);
      Atomics.notify(words, DOINGS);
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
