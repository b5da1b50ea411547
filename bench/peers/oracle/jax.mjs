/** jax-js as a backend for the oracle; NCHW. Null for what its ops cannot express. A call consumes what it is given. */

const pairs = ([top, bottom, left, right]) => [
  [top, bottom],
  [left, right],
];

const PER_OP = {
  conv2d({ np, lax }, { stride, padding, dilation, groups }, { x, weight, bias }) {
    if (groups !== 1) return null;
    const y = lax.convGeneralDilated(x, weight, stride, pairs(padding), { rhsDilation: dilation });
    return bias ? y.add(np.reshape(bias, [-1, 1, 1])) : y;
  },
  linear({ np }, _, { x, weight, bias }) {
    const y = np.dot(x, np.transpose(weight));
    return bias ? y.add(bias) : y;
  },
  matmul: ({ np }, _, { a, b }) => np.matmul(a, b),
  relu: ({ nn }, _, { x }) => nn.relu(x),
  add: (_, { scalar }, { a, b }) => a.add(b ?? scalar),
  sub: (_, { scalar }, { a, b }) => a.sub(b ?? scalar),
  mul: (_, { scalar }, { a, b }) => a.mul(b ?? scalar),
  div: (_, { scalar }, { a, b }) => a.div(b ?? scalar),
  sum: ({ np }, { dim, keepdim }, { x }) => np.sum(x, dim, { keepdims: keepdim }),
  mean: ({ np }, { dim, keepdim }, { x }) => np.mean(x, dim, { keepdims: keepdim }),
  softmax: ({ nn }, { dim }, { x }) => (x.shape.length > 0 ? nn.softmax(x, dim) : null),
  logSoftmax: ({ nn }, { dim }, { x }) => (x.shape.length > 0 ? nn.logSoftmax(x, dim) : null),
  permute: ({ np }, { dims }, { x }) => np.transpose(x, dims),
  reshape: ({ np }, { shape }, { x }) => np.reshape(x, shape),
};

/** `jax`: the package; `init` and the default device are the caller's. */
export function jaxBackend({ numpy: np, lax, nn }) {
  return async ({ op, attributes, inputs }) => {
    const forward = PER_OP[op];
    if (forward === undefined) return null;
    const arrays = Object.entries(inputs).map(([name, { shape, data }]) => [name, np.array(data).reshape([...shape])]);
    const y = forward({ np, lax, nn }, attributes, Object.fromEntries(arrays));
    return y && { y: { shape: y.shape, data: await y.data() } };
  };
}
