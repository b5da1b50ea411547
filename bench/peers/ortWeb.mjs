/** The network on onnxruntime-web's wasm provider, with all of its graph optimisations. */
import * as ort from 'onnxruntime-web';

export async function ortWeb({ onnx, shape, input, threads }) {
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.proxy = false;
  ort.env.logLevel = 'error';
  const session = await ort.InferenceSession.create(onnx, {
    executionProviders: ['wasm'],
    graphOptimizationLevel: 'all',
  });
  if (ort.env.wasm.numThreads !== threads) throw new Error(`onnxruntime-web took ${ort.env.wasm.numThreads} threads`);
  const x = new ort.Tensor('float32', input, shape);
  return {
    version: ort.env.versions.web ?? ort.env.versions.common,
    run: async () => (await session.run({ x })).logits.data,
  };
}
