/** One call of a suite as an ONNX file, so that an ONNX runtime is judged without code of its own. */
import type { Device } from '../device/device.js';
import { reference } from '../device/reference.js';
import { ArgumentError } from '../errors.js';
import { Module } from '../nn/module.js';
import { exportOnnx } from '../onnx/index.js';
import type { Trial } from '../oracle/cases/case.js';
import type { Problem } from '../oracle/problem.js';
import { type Tensor, tensor } from '../tensor.js';

/** A network of one op: its first operand is the network's input, the others are its weights. */
class OneOp extends Module {
  readonly operands: Tensor[];
  readonly #run: Trial['run'];

  constructor(device: Device, { run, inputs }: Trial) {
    super();
    this.#run = run;
    this.operands = inputs.slice(1).map(({ shape, data }) => tensor(data, shape, { device }));
  }

  forward(x: Tensor): Tensor {
    const y = this.#run([x, ...this.operands]);
    if (y === null) throw new ArgumentError('an op that works in place is no operator of ONNX');
    return y;
  }
}

/** The file, whose input is called as the op's first and whose output is `y`; null where ONNX has no operator for it. */
export function onnxCase({ inputs, item, op, attributes }: Problem): Uint8Array | null {
  // Training changes running statistics, and losses take labels: no forward operator.
  if (attributes.training === true || op === 'crossEntropy' || item.gradients) return null;
  const device = reference();
  try {
    const model = new OneOp(device, item.trial).eval();
    return exportOnnx(model, { device, inputShape: inputs[0].shape, inputName: inputs[0].name, outputName: 'y' });
  } catch (error) {
    if (error instanceof ArgumentError) return null;
    throw error;
  } finally {
    device.dispose();
  }
}
