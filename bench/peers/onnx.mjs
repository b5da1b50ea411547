/** Writes the network as an ONNX model: Conv, BatchNormalization and Relu as separate nodes, as exporters do. */
import { readFileSync } from 'node:fs';
import protobuf from 'protobufjs';
import { walk } from './network.mjs';

const FLOAT = 1;
const ATTRIBUTE = { float: 1, int: 2, ints: 7 };

function attribute(name, value) {
  if (Array.isArray(value)) return { name, ints: value, type: ATTRIBUTE.ints };
  if (Number.isInteger(value)) return { name, i: value, type: ATTRIBUTE.int };
  return { name, f: value, type: ATTRIBUTE.float };
}

function valueInfo(name, shape) {
  return { name, type: { tensorType: { elemType: FLOAT, shape: { dim: shape.map((dimValue) => ({ dimValue })) } } } };
}

/**
 * The model's bytes; input `x` of shape `inputShape`, output `logits`.
 * @param {Map<string, { shape: readonly number[], data: Float32Array }>} weights
 */
export function onnxModel(weights, inputShape) {
  const nodes = [];
  const node = (opType, input, attributes = {}) => {
    const output = `${opType}_${nodes.length}`;
    nodes.push({
      opType,
      name: output,
      input,
      output: [output],
      attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
    });
    return output;
  };
  const both = (n) => [n, n];
  const around = (n) => [n, n, n, n];
  const builder = {
    convNorm(x, conv, norm, { stride, padding, relu }) {
      const kernel = weights.get(`${conv}.weight`).shape.slice(2);
      const options = { kernel_shape: [...kernel], strides: both(stride), pads: around(padding) };
      let y = node('Conv', [x, `${conv}.weight`, `${conv}.bias`], options);
      if (norm !== null) {
        const parts = ['weight', 'bias', 'running_mean', 'running_var'].map((part) => `${norm}.${part}`);
        y = node('BatchNormalization', [y, ...parts], { epsilon: 1e-5 });
      }
      return relu ? node('Relu', [y]) : y;
    },
    maxPool: (x, { kernelSize, stride, padding }) =>
      node('MaxPool', [x], { kernel_shape: both(kernelSize), strides: both(stride), pads: around(padding) }),
    addRelu: (a, b) => node('Relu', [node('Add', [a, b])]),
    globalAveragePool: (x) => node('Flatten', [node('GlobalAveragePool', [x])]),
    linear: (x, name) => node('Gemm', [x, `${name}.weight`, `${name}.bias`], { transB: 1 }),
  };
  const last = walk(builder, 'x', weights);
  nodes.at(-1).output = ['logits'];
  if (nodes.at(-1).name !== last) throw new Error('onnx: the last node is not the result');
  const classes = weights.get([...weights.keys()].at(-1)).shape[0];

  const schema = protobuf.parse(readFileSync(new URL('onnx.proto', import.meta.url), 'utf8')).root;
  const Model = schema.lookupType('onnx.ModelProto');
  const model = {
    irVersion: 8,
    producerName: 'atalho-bench',
    opsetImport: [{ domain: '', version: 17 }],
    graph: {
      name: 'resnet18',
      node: nodes,
      initializer: [...weights].map(([name, { shape, data }]) => ({
        name,
        dims: [...shape],
        dataType: FLOAT,
        rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
      })),
      input: [valueInfo('x', inputShape)],
      output: [valueInfo('logits', [inputShape[0], classes])],
    },
  };
  const wrong = Model.verify(model);
  if (wrong) throw new Error(`onnx: ${wrong}`);
  return Model.encode(Model.create(model)).finish();
}
