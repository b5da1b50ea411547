/** The network on onnxruntime-web's wasm provider, one thread, with all of its graph optimisations. */
import * as ort from 'onnxruntime-web';
import { onnxModel } from './onnx.mjs';

export async function ortPeer(weights, inputShape, input) {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.proxy = false;
  ort.env.logLevel = 'error';
  const session = await ort.InferenceSession.create(onnxModel(weights, inputShape), {
    executionProviders: ['wasm'],
    graphOptimizationLevel: 'all',
  });
  const x = new ort.Tensor('float32', input, inputShape);
  return {
    name: 'onnxruntime-web',
    version: ort.env.versions.web ?? ort.env.versions.common,
    threads: ort.env.wasm.numThreads,
    run: async () => (await session.run({ x })).logits.data,
  };
}
