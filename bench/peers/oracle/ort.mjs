/** An ONNX runtime as a backend for the oracle: forward calls that ONNX has an operator for, each a file of one op; NCHW. */
import { onnxCase } from '../../../dist/cli/onnxCase.js';
import { problems } from '../../../dist/oracle/judge.js';

/** `o`: the options of a session; `suite` and `seed` as `judge` gets them. */
export function ortBackend(ort, o, { suite, seed = 1 }) {
  const byId = new Map(problems({ suite, seed }).map((problem) => [problem.id, problem]));
  return async ({ id, inputs }) => {
    const model = onnxCase(byId.get(id));
    if (model === null) return null;
    const session = await ort.InferenceSession.create(model, o);
    try {
      const [[name, { shape, data }]] = Object.entries(inputs);
      const { y } = await session.run({ [name]: new ort.Tensor('float32', data, [...shape]) });
      return { y: { shape: y.dims, data: Float32Array.from(await y.getData()) } };
    } finally {
      await session.release();
    }
  };
}
