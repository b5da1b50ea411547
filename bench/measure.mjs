/** One measurement: tinybench runs the function, the peak is sampled between its calls for as long, both are summed up alike. */
import { performance } from 'node:perf_hooks';
import { Bench } from 'tinybench';

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Processor time of this process so far, ms: on a busy machine it says what the wall clock cannot. */
export function cpuNow() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/**
 * @typedef {object} Work
 * @property {number} [flops] floating-point operations of one call
 * @property {number} [bytes] bytes that one call reads and writes, each operand once
 * @property {() => void} [beforeEach] prepares one call; not timed
 * @property {number} [time] least time to measure, ms
 * @property {number} [iterations] least number of calls
 */

/**
 * Times `fn`. Rates come as `best` (fastest call) and `median`; `share` compares them with the best and the median of
 * the peak samples that were taken between the very calls; `share.cpu` is the median share by processor time, waiting
 * for the processor left out.
 * @param {string} name
 * @param {() => unknown} fn
 * @param {Work} work
 * @param {{ peak: import('./peak.mjs').Peak, quick: boolean }} context
 */
export function measure(name, fn, work, { peak, quick }) {
  const { flops, bytes, beforeEach, time = 400, iterations = 8 } = work;
  const peaks = [];
  const cpu = [];
  let started = 0;
  let [began, took] = [0, 0];
  const bench = new Bench({
    time: quick ? time / 4 : time,
    iterations: quick ? Math.ceil(iterations / 2) : iterations,
    warmupTime: Math.min(time / 4, 60),
    warmupIterations: 2,
    throws: true,
  });
  bench.add(name, fn, {
    beforeEach(mode) {
      if (mode !== 'warmup') peak.sampleInto(peaks, took);
      beforeEach?.();
      started = cpuNow();
      began = performance.now();
    },
    afterEach(mode) {
      took = performance.now() - began;
      if (mode !== 'warmup') cpu.push(cpuNow() - started);
    },
    afterAll: () => peak.sampleInto(peaks, took),
  });
  bench.runSync();
  const { latency } = bench.tasks[0].result;
  const ms = { min: latency.min, median: latency.p50, max: latency.max };
  const means = peaks.map(({ mean }) => mean);
  const peakRate = {
    best: Math.max(...peaks.map(({ best }) => best)),
    median: median(means),
    worst: Math.min(...means),
  };
  const rates = (amount) => ({ best: amount / ms.min / 1e6, median: amount / ms.median / 1e6 });
  const cpuMs = { min: cpu.reduce((a, b) => Math.min(a, b)), median: median(cpu) };
  const row = { name, ms, cpuMs, calls: latency.samplesCount, peakGflops: peakRate };
  if (bytes !== undefined) row.gbytesPerSecond = rates(bytes);
  if (flops !== undefined) {
    const gflops = rates(flops);
    row.flops = flops;
    row.gflops = gflops;
    row.share = {
      best: gflops.best / peakRate.best,
      median: gflops.median / peakRate.median,
      cpu: flops / cpuMs.median / 1e6 / peakRate.median,
    };
  }
  return row;
}
