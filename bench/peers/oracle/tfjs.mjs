/** TensorFlow.js as a backend for the oracle, on whatever backend `tf` has; NHWC. Null for what its ops cannot express. */

/** [top, bottom, left, right] as its NHWC ops take it. */
const padOf = ([top, bottom, left, right]) =>
  top + bottom + left + right === 0
    ? 'valid'
    : [
        [0, 0],
        [top, bottom],
        [left, right],
        [0, 0],
      ];

const PER_OP = {
  conv2d(tf, { stride, padding, dilation, groups }, { x, weight, bias }) {
    const pad = padOf(padding);
    // It takes a stride or a dilation, not both.
    if (stride.some((s) => s > 1) && dilation.some((d) => d > 1)) return null;
    const plus = (y) => (bias ? tf.add(y, bias) : y);
    if (groups === 1) return plus(tf.conv2d(x, weight, stride, pad, 'NHWC', dilation));
    // Groups are depthwise or nothing.
    if (groups !== x.shape[3] || stride[0] !== stride[1]) return null;
    const [height, width, , out] = weight.shape;
    const filter = tf.reshape(weight, [height, width, groups, out / groups]);
    return plus(tf.depthwiseConv2d(x, filter, stride, pad, 'NHWC', dilation));
  },
  linear(tf, _, { x, weight, bias }) {
    if (x.shape.length !== 2) return null;
    const y = tf.matMul(x, weight, false, true);
    return bias ? tf.add(y, bias) : y;
  },
  matmul: (tf, _, { a, b }) => (a.shape.length < 2 || b.shape.length < 2 ? null : tf.matMul(a, b)),
  'batchNorm.eval': (tf, { eps }, { x, weight, bias, runningMean, runningVar }) =>
    tf.batchNorm(x, runningMean, runningVar, bias, weight, eps),
  maxPool2d(tf, { kernelSize, stride, padding, dilation, ceilMode }, { x }) {
    if (ceilMode || dilation.some((d) => d > 1)) return null;
    const pad = padOf(padding);
    return tf.maxPool(x, kernelSize, stride, pad);
  },
  avgPool2d(tf, { kernelSize, stride, padding, ceilMode, countIncludePad }, { x }) {
    const padded = padding.some((p) => p > 0);
    // Its divisor never counts the padding.
    if (ceilMode || (padded && countIncludePad)) return null;
    return tf.avgPool(x, kernelSize, stride, padOf(padding));
  },
  adaptiveAvgPool2d: (tf, { outputSize }, { x }) =>
    outputSize.every((n) => n === 1) ? tf.mean(x, [1, 2], true) : null,
  relu: (tf, _, { x }) => tf.relu(x),
  reshape: (tf, { shape }, { x }) => tf.reshape(x, shape),
  add: (tf, { scalar }, { a, b }) => tf.add(a, b ?? scalar),
  sub: (tf, { scalar }, { a, b }) => tf.sub(a, b ?? scalar),
  mul: (tf, { scalar }, { a, b }) => tf.mul(a, b ?? scalar),
  div: (tf, { scalar }, { a, b }) => tf.div(a, b ?? scalar),
  sum: (tf, { dim, keepdim }, { x }) => tf.sum(x, dim, keepdim),
  mean: (tf, { dim, keepdim }, { x }) => tf.mean(x, dim, keepdim),
  softmax: (tf, { dim }, { x }) => (x.shape.length > 0 && dim === x.shape.length - 1 ? tf.softmax(x) : null),
  logSoftmax: (tf, { dim }, { x }) => (x.shape.length > 0 && dim === x.shape.length - 1 ? tf.logSoftmax(x) : null),
  crossEntropy(tf, { labels, labelSmoothing }, { logits }) {
    const target = tf.oneHot(tf.tensor1d(labels, 'int32'), logits.shape[1]);
    return tf.losses.softmaxCrossEntropy(target, logits, undefined, labelSmoothing);
  },
  permute: (tf, { dims }, { x }) => (dims.length > 0 ? tf.transpose(x, dims) : null),
  pad: (tf, { before, after, value }, { x }) =>
    before.length === 0 || [...before, ...after].some((p) => p < 0)
      ? null
      : tf.pad(
          x,
          before.map((p, i) => [p, after[i]]),
          value,
        ),
  cat: (tf, { dim }, tensors) => (Object.keys(tensors).length > 1 ? tf.concat(Object.values(tensors), dim) : null),
};

export function tfjsBackend(tf) {
  return async ({ op, attributes, inputs, outputs }) => {
    const forward = PER_OP[op];
    if (forward === undefined) return null;
    const made = Object.entries(inputs).map(([name, { shape, data }]) => [name, tf.tensor(data, [...shape])]);
    const tensors = Object.fromEntries(made);
    const { dy, ...operands } = tensors;
    const results = {};
    try {
      const y = forward(tf, attributes, operands);
      if (y === null) return null;
      results.y = y;
      const names = Object.keys(operands).filter((name) => `grad.${name}` in outputs);
      if (dy !== undefined && names.length > 0) {
        const of = (...given) =>
          forward(tf, attributes, { ...operands, ...Object.fromEntries(names.map((n, i) => [n, given[i]])) });
        const found = tf.grads(of)(
          names.map((name) => operands[name]),
          dy,
        );
        found.forEach((one, i) => {
          results[`grad.${names[i]}`] = one;
        });
      }
      const answer = {};
      for (const [name, one] of Object.entries(results)) answer[name] = { shape: one.shape, data: await one.data() };
      return answer;
    } finally {
      for (const one of [...Object.values(tensors), ...Object.values(results)]) one.dispose();
    }
  };
}
