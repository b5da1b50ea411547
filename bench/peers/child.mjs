/**
 * One contestant in a process of its own: `fork('child.mjs', [peer, threads, workload])`. It says once what it is, then answers
 * each `run` with the time it took, and `outputs` with its last outputs.
 */
import '../flags.mjs';
import { performance } from 'node:perf_hooks';
import { exportOnnx, noGrad, wasm } from '../library.mjs';
import { cpuNow } from '../measure.mjs';
import { peakResident } from '../resident.mjs';
import { contestants } from './contestants.mjs';
import { seedWeights } from './network.mjs';
import { makeWorkload } from './workloads.mjs';

// Everything comes from node_modules: a peer that wants to download something fails here.
globalThis.fetch = (address) => {
  throw new Error(`bench:peers: a peer tried to fetch ${address}`);
};

const [peer, threadsText, name] = process.argv.slice(2);
const threads = Number(threadsText);

/** Weights and input, the same for all, out of atalho's state dict; and both as an ONNX file with batch norm as it is. */
async function given() {
  const device = await wasm();
  const workload = makeWorkload(name, device);
  const weights = seedWeights(workload.net);
  const shape = [...workload.x.shape];
  const onnx =
    name.startsWith('infer') && exportOnnx(workload.net, { inputShape: shape, inputName: 'x', outputName: 'logits' });
  const found = { weights, onnx, shape, input: workload.x.dataSync(), labels: workload.labels };
  device.dispose();
  return found;
}

const { base, version, run } = await contestants[peer]({ threads, name, given, makeWorkload, seedWeights, noGrad });
let outputs = [];
process.on('message', async (message) => {
  try {
    if (message === 'outputs') process.send({ outputs: Array.from(outputs) });
    else {
      const [start, cpuStart] = [performance.now(), cpuNow()];
      outputs = await run();
      const own = { ms: performance.now() - start, cpuMs: cpuNow() - cpuStart, base, peak: peakResident() };
      // A process of its own behind this one measures itself.
      process.send(outputs.measured ?? own);
    }
  } catch (error) {
    process.send({ error: String(error?.stack ?? error) });
  }
});
process.send({ version });
