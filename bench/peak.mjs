/**
 * The micro-kernel's peak: `tilePeak` of the device's own binary, in a second instance with its own memory, on operands
 * that are packed already. Sampled next to every measurement, since a shared machine changes its speed by the second.
 */
import { performance } from 'node:perf_hooks';
import { oracle, WASM_BASE64 } from './library.mjs';

/** Terms of a sum and column panels: the block that the convolution kernels work on. */
const K = 288;
const PANELS = 8;
/** Calls of about 0.2 ms: long against the clock's grain, short against an interruption. */
const REPEATS = 60;
const TRIES = 3;
const FLOPS = 2 * 4 * 8 * K * PANELS * REPEATS;
/** Samples this close together see the same machine. */
const APART_MS = 8;

export class Peak {
  /** GFLOP/s of every sample of this run. */
  all = [];
  #run;
  #last = Number.NEGATIVE_INFINITY;

  constructor() {
    const memory = new WebAssembly.Memory({ initial: 16, maximum: 65536 });
    const module = new WebAssembly.Module(Buffer.from(WASM_BASE64, 'base64'));
    // The binary imports its memory, and at most an abort function that is never called.
    const env = { memory, abort: () => {} };
    const { tilePeak } = new WebAssembly.Instance(module, { env }).exports;
    const floats = K * 4 + PANELS * K * 8;
    // Untouched pages are all one page of zeros, which would flatter the caches.
    new Float32Array(memory.buffer, 64, floats).set(oracle.numbers(1, 'peak', floats, -1, 1));
    const b = 64 + K * 16;
    const c = b + PANELS * K * 32;
    this.#run = () => tilePeak(64, b, K, PANELS, REPEATS, c);
    // Until the optimising compiler has had its turn.
    for (const end = performance.now() + 300; performance.now() < end; ) this.#run();
  }

  /** Best of a few short runs, in GFLOP/s. */
  sample() {
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < TRIES; i++) {
      const start = performance.now();
      this.#run();
      best = Math.min(best, performance.now() - start);
    }
    this.#last = performance.now();
    const rate = FLOPS / best / 1e6;
    this.all.push(rate);
    return rate;
  }

  /** A sample into `list`, unless one was taken just now. */
  sampleInto(list) {
    if (list.length === 0 || performance.now() - this.#last > APART_MS) list.push(this.sample());
  }
}
