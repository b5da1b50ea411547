/** The network on onnxruntime's native library for the CPU: the mark to reach. */
import * as ort from 'onnxruntime-node';

export async function ortNode({ onnx, shape, input, threads }) {
  const session = await ort.InferenceSession.create(Buffer.from(onnx), {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
  });
  const x = new ort.Tensor('float32', input, shape);
  return {
    version: ort.env.versions.node ?? ort.env.versions.common,
    run: async () => (await session.run({ x })).logits.data,
  };
}
