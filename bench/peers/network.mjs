/**
 * The chapter's ResNet-18 as one walk over its state dict, so that every peer is built from the same description.
 */
import * as oracle from '../../dist/oracle/index.js';

/**
 * Weights that keep activations alive and batch norm from being a no-op, drawn by name: the state dict of `net` is
 * overwritten with them.
 * @returns {Map<string, { shape: readonly number[], data: Float32Array }>} what the peers get
 */
export function seedWeights(net) {
  const entries = new Map();
  for (const [name, t] of net.stateDict()) {
    if (t.dtype === 'int64') {
      entries.set(name, { shape: t.shape, data: [0n] });
      continue;
    }
    const fanIn = t.size / t.shape[0];
    let [low, high] = [-0.1, 0.1];
    if (name.endsWith('running_var')) [low, high] = [0.5, 1.5];
    else if (t.shape.length === 1 && name.endsWith('weight')) [low, high] = [0.8, 1.2];
    else if (t.shape.length === 4) [low, high] = [-Math.sqrt(6 / fanIn), Math.sqrt(6 / fanIn)];
    else if (t.shape.length === 2) [low, high] = [-Math.sqrt(1 / fanIn), Math.sqrt(1 / fanIn)];
    entries.set(name, { shape: t.shape, data: oracle.numbers(11, name, t.size, low, high) });
  }
  net.loadStateDict(entries);
  const exported = new Map();
  for (const [name, t] of net.stateDict()) {
    if (t.dtype !== 'int64') exported.set(name, { shape: t.shape, data: t.dataSync() });
  }
  return exported;
}

const EPS = 1e-5;

/**
 * A convolution with the batch norm after it folded in: what each output channel's filter is multiplied by, and the bias.
 * @param {ReadonlyMap<string, { data: Float32Array }>} weights
 * @param {string | null} norm null where there is none
 */
export function foldNorm(weights, conv, norm) {
  const array = (name) => weights.get(name).data;
  const bias = Float32Array.from(array(`${conv}.bias`));
  const scale = new Float64Array(bias.length).fill(1);
  if (norm !== null) {
    const [gamma, beta] = [array(`${norm}.weight`), array(`${norm}.bias`)];
    const [mean, variance] = [array(`${norm}.running_mean`), array(`${norm}.running_var`)];
    scale.forEach((_, o) => {
      scale[o] = gamma[o] / Math.sqrt(variance[o] + EPS);
      bias[o] = (bias[o] - mean[o]) * scale[o] + beta[o];
    });
  }
  return { scale, bias };
}

/**
 * @template T
 * @typedef {object} Builder how a peer makes a layer; `x` and results are whatever the peer works with
 * @property {(x: T, conv: string, norm: string, o: { stride: number, padding: number, relu: boolean }) => T} convNorm
 *   a convolution and the batch norm after it, by their names in the state dict, and perhaps a ReLU
 * @property {(x: T, o: { kernelSize: number, stride: number, padding: number }) => T} maxPool
 * @property {(a: T, b: T) => T} addRelu
 * @property {(x: T) => T} globalAveragePool to [N, C]
 * @property {(x: T, name: string) => T} linear
 */

/**
 * Builds the network with `builder`; the result of its last layer.
 * @template T
 * @param {Builder<T>} builder
 * @param {T} x
 * @param {ReadonlyMap<string, unknown>} weights
 */
export function walk(builder, x, weights) {
  let y = builder.convNorm(x, '0.0', '0.1', { stride: 2, padding: 3, relu: true });
  y = builder.maxPool(y, { kernelSize: 3, stride: 2, padding: 1 });
  let stage = 1;
  for (; weights.has(`${stage}.0.conv1.weight`); stage++) {
    for (let block = 0; weights.has(`${stage}.${block}.conv1.weight`); block++) {
      const at = `${stage}.${block}`;
      const shrinks = weights.has(`${at}.conv3.weight`);
      const stride = shrinks ? 2 : 1;
      let z = builder.convNorm(y, `${at}.conv1`, `${at}.bn1`, { stride, padding: 1, relu: true });
      z = builder.convNorm(z, `${at}.conv2`, `${at}.bn2`, { stride: 1, padding: 1, relu: false });
      const shortcut = shrinks ? builder.convNorm(y, `${at}.conv3`, null, { stride, padding: 0, relu: false }) : y;
      y = builder.addRelu(z, shortcut);
    }
  }
  // Children of the chapter's Sequential: pooling, flatten, linear.
  return builder.linear(builder.globalAveragePool(y), String(stage + 2));
}
