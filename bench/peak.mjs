/**
 * The micro-kernel's peak: `tilePeak` of the device's own binary, in a second instance with its own memory, on operands
 * that are packed already. Sampled next to every measurement, since a shared machine changes its speed by the second.
 */
import { performance } from 'node:perf_hooks';
import { decodeBinary, oracle, WASM_TEXT } from './library.mjs';

/** Terms of a sum and row panels, as in the convolution kernels' blocks: 18 KiB of A and 9 KiB of B fit 32 KiB of cache. */
const K = 288;
const PANELS = 4;
/** Runs of about 0.2 ms: long against the clock's grain, short against an interruption. */
const REPEATS = 150;
/** A sample takes as long as what it stands beside, within these bounds. */
const [LEAST_MS, MOST_MS] = [0.6, 12];
const COPY_TRIES = 3;
const FLOPS = 2 * 4 * 8 * K * PANELS * REPEATS;
/** Samples this close together see the same machine. */
const APART_MS = 8;
/** Where the operands start, in bytes: on a cache line. */
const START = 64;
/** Size of a copy: far beyond the caches. */
const COPY_BYTES = 2 ** 26;

export class Peak {
  /** Every sample of this run, GFLOP/s: of its fastest run and on average. */
  all = [];
  #run;
  #last = Number.NEGATIVE_INFINITY;

  constructor() {
    const memory = new WebAssembly.Memory({ initial: 16, maximum: 65536 });
    const module = new WebAssembly.Module(decodeBinary(WASM_TEXT));
    // The binary imports its memory, and at most an abort function that is never called.
    const env = { memory, abort: () => {} };
    const { tilePeak } = new WebAssembly.Instance(module, { env }).exports;
    // In floats: PANELS row panels of [K][4], one column panel of [K][8], and behind both a 4×8 tile for each row panel.
    const [aFloats, bFloats, cFloats] = [PANELS * K * 4, K * 8, PANELS * 32];
    const floats = aFloats + bFloats + cFloats;
    // Untouched pages are all one page of zeros, which would flatter the caches.
    new Float32Array(memory.buffer, START, floats).set(oracle.numbers(1, 'peak', floats, -1, 1));
    const b = START + 4 * aFloats;
    const c = b + 4 * bFloats;
    this.#run = () => tilePeak(START, b, K, PANELS, REPEATS, c);
    // Until the optimising compiler has had its turn.
    for (const end = performance.now() + 300; performance.now() < end; ) this.#run();
  }

  /**
   * Runs for `ms`. The average is what stands beside a call of that length: the fastest of a few short runs would dodge the
   * interruptions that the call cannot.
   */
  sample(ms) {
    let fastest = Number.POSITIVE_INFINITY;
    let runs = 0;
    const start = performance.now();
    const end = start + Math.min(MOST_MS, Math.max(LEAST_MS, ms));
    let last = start;
    while (last < end) {
      const before = last;
      this.#run();
      last = performance.now();
      fastest = Math.min(fastest, last - before);
      runs++;
    }
    this.#last = last;
    const rates = { best: FLOPS / fastest / 1e6, mean: (runs * FLOPS) / (last - start) / 1e6 };
    this.all.push(rates);
    return rates;
  }

  /** A sample of `ms` into `list`, unless one was taken just now. */
  sampleInto(list, ms) {
    if (list.length === 0 || performance.now() - this.#last > APART_MS) list.push(this.sample(ms));
  }
}

/** What memory can do, as the yardstick of kernels that only move data: GB/s of a copy, read and written bytes counted. */
export class CopyPeak {
  #from = new Float32Array(COPY_BYTES / 4).fill(1);
  #to = new Float32Array(COPY_BYTES / 4).fill(2);

  /** Best of a few copies, in GB/s. */
  sample() {
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < COPY_TRIES; i++) {
      const start = performance.now();
      this.#to.set(this.#from);
      best = Math.min(best, performance.now() - start);
    }
    return (2 * COPY_BYTES) / best / 1e6;
  }
}
