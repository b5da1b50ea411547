/**
 * Who takes part: each a function that gets ready and returns `version`, `run`, which gives outputs (logits of an inference, the
 * loss of a step), and `base`, the resident bytes before there was a model.
 */
import { compile, wasm } from '../library.mjs';
import { resident } from '../resident.mjs';

const atalho =
  (math) =>
  async ({ threads, name, makeWorkload, seedWeights }) => {
    const device = await wasm({ math, threads });
    if (device.math !== math) throw new Error(`this engine gives ${device.math} for ${math}`);
    const base = resident();
    const workload = makeWorkload(name, device);
    seedWeights(workload.net);
    if (name.startsWith('train')) return { base, version: math, run: async () => [workload.run()] };
    const compiled = compile(workload.net, { inputShape: workload.x.shape });
    return { base, version: math, run: async () => compiled.run(workload.x).dataSync() };
  };

async function other(make, { threads, given }) {
  const base = resident();
  const { version, run } = await make({ ...(await given()), threads });
  return { base, version, run };
}

export const contestants = {
  'atalho exact': atalho('exact'),
  'atalho fast': atalho('fast'),
  'atalho relaxed': atalho('relaxed'),
  'onnxruntime-web': async (o) => other((await import('./ortWeb.mjs')).ortWeb, o),
  'onnxruntime-node': async (o) => other((await import('./ortNode.mjs')).ortNode, o),
  'TensorFlow.js wasm': async (o) => other((await import('./tfjs.mjs')).tfjsPeer, o),
  'jax-js wasm': async (o) => other((await import('./jax.mjs')).jaxPeer, o),
  PyTorch: async (o) => (await import('./pytorch.mjs')).pytorch(o),
};
