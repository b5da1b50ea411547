/** The network on jax-js's wasm backend, NCHW: batch norm folded into the convolutions, the whole compiled by its `jit`. */
import { readFileSync } from 'node:fs';
import { defaultDevice, init, jit, lax, nn, numpy as np } from '@jax-js/jax';
import { foldNorm, walk } from './network.mjs';

/** Filters and biases by the name of their layer. */
function prepare(weights) {
  const made = {};
  const array = (data, shape) => np.array(data).reshape([...shape]);
  const layer = (name, norm) => {
    const { shape, data } = weights.get(`${name}.weight`);
    const { scale, bias } = foldNorm(weights, name, norm);
    const size = data.length / shape[0];
    const filter = data.map((value, i) => value * scale[Math.floor(i / size)]);
    made[name] = {
      filter: array(filter, shape),
      bias: array(bias, shape.length === 4 ? [shape[0], 1, 1] : [shape[0]]),
    };
    return name;
  };
  const builder = {
    convNorm: (_x, conv, norm) => layer(conv, norm),
    maxPool: (x) => x,
    addRelu: (a) => a,
    globalAveragePool: (x) => x,
    linear: (_x, name) => layer(name, null),
  };
  walk(builder, '', weights);
  return made;
}

export async function jaxPeer({ weights, shape, input }) {
  await init('wasm');
  defaultDevice('wasm');
  const arrays = prepare(weights);
  const both = (n) => [n, n];
  // A call consumes what it is given; `ref` keeps it.
  const network = (x, layers) => {
    const builder = {
      convNorm(y, conv, _norm, { stride, padding, relu }) {
        const { filter, bias } = layers[conv];
        const z = lax.conv(y.ref, filter.ref, both(stride), both(both(padding))).add(bias.ref);
        return relu ? nn.relu(z) : z;
      },
      maxPool(y, { kernelSize, stride, padding }) {
        // All that is pooled has passed a ReLU, so zeros never win.
        const padded = np.pad(y, [both(0), both(0), both(padding), both(padding)]);
        return lax.reduceWindow(padded, np.max, both(kernelSize), both(stride));
      },
      addRelu: (a, b) => nn.relu(a.add(b)),
      globalAveragePool: (y) => np.mean(y, [2, 3]),
      linear: (y, name) => np.dot(y, np.transpose(layers[name].filter.ref)).add(layers[name].bias.ref),
    };
    return walk(builder, x, weights);
  };
  const run = jit(network);
  const x = np.array(input).reshape(shape);
  const { version } = JSON.parse(
    readFileSync(new URL('node_modules/@jax-js/jax/package.json', import.meta.url), 'utf8'),
  );
  const held = () =>
    Object.fromEntries(
      Object.entries(arrays).map(([name, { filter, bias }]) => [name, { filter: filter.ref, bias: bias.ref }]),
    );
  return { version, run: async () => run(x.ref, held()).data() };
}
