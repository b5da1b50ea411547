/**
 * How evenly the machine lets all threads compute at once: arithmetic in registers alone, which no memory, no cache and no code of ours
 * can slow. What is slow here is slow in every other row.
 */
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';

const SLICE_MS = 0.5;
const SLICES = 3000;
/** What makes a slice slow, against the fastest of its thread. */
export const SLOW = 1.25;

function work(iterations) {
  let [a, b, c, d] = [1, 2, 3, 4];
  for (let i = 0; i < iterations; i++) {
    a = a * 0.9 + 0.1;
    b = b * 0.9 + 0.2;
    c = c * 0.9 + 0.3;
    d = d * 0.9 + 0.4;
  }
  return a + b + c + d;
}

function time(iterations) {
  const start = performance.now();
  if (!Number.isFinite(work(iterations))) throw new Error('evenness: not finite');
  return performance.now() - start;
}

function slices() {
  const calibration = 100_000;
  const fastest = Math.min(...Array.from({ length: 400 }, () => time(calibration)));
  const iterations = Math.round((calibration * SLICE_MS) / fastest);
  return Array.from({ length: SLICES }, () => time(iterations));
}

if (!isMainThread) parentPort.postMessage(slices());

/** For each of so many threads side by side, the share of its slices that are slow, and how slow the slowest hundredth is. */
export async function evenness(threads) {
  const all = await Promise.all(
    Array.from(
      { length: threads },
      () =>
        new Promise((resolve, reject) => {
          const worker = new Worker(fileURLToPath(import.meta.url));
          worker.once('message', resolve);
          worker.once('error', reject);
        }),
    ),
  );
  return all.map((times) => {
    const sorted = times.toSorted((x, y) => x - y);
    const [best] = sorted;
    return {
      slow: sorted.filter((ms) => ms > SLOW * best).length / sorted.length,
      worst: sorted[Math.floor(0.99 * sorted.length)] / best,
    };
  });
}
