/** Weights and images in TensorFlow.js's layout; `tf` is its core, whatever backend it has. */
import { foldNorm } from './network.mjs';

/** OIHW to HWIO, each output channel times `scale[o]`, where there is one. */
export function filterOf(tf, { shape, data }, scale) {
  const [outs, ins, height, width] = shape;
  const hwio = new Float32Array(data.length);
  let at = 0;
  for (let o = 0; o < outs; o++)
    for (let i = 0; i < ins; i++)
      for (let p = 0; p < height * width; p++)
        hwio[(p * ins + i) * outs + o] = data[at++] * (scale === null ? 1 : scale[o]);
  return tf.keep(tf.tensor4d(hwio, [height, width, ins, outs]));
}

/** Filter and bias of each convolution with its batch norm folded in, and the linear layer's matrix, made once and kept through every tidy. */
export function prepare(tf, weights) {
  const filters = new Map();
  const array = (name) => weights.get(name).data;
  return {
    folded(conv, norm) {
      if (filters.has(conv)) return filters.get(conv);
      const { scale, bias } = foldNorm(weights, conv, norm);
      const made = { filter: filterOf(tf, weights.get(`${conv}.weight`), scale), bias: tf.keep(tf.tensor1d(bias)) };
      filters.set(conv, made);
      return made;
    },
    matrix(name) {
      if (filters.has(name)) return filters.get(name);
      const { shape, data } = weights.get(`${name}.weight`);
      // TensorFlow's layout is [in, out]; transposeB is wrong by percents on this backend.
      const filter = tf.keep(tf.tidy(() => tf.transpose(tf.tensor2d(data, [...shape]))));
      const made = { filter, bias: tf.keep(tf.tensor1d(array(`${name}.bias`))) };
      filters.set(name, made);
      return made;
    },
  };
}

export function nhwc(tf, data, [batch, channels, height, width]) {
  const out = new Float32Array(data.length);
  let at = 0;
  for (let n = 0; n < batch; n++)
    for (let c = 0; c < channels; c++)
      for (let p = 0; p < height * width; p++) out[(n * height * width + p) * channels + c] = data[at++];
  return tf.tensor4d(out, [batch, height, width, channels]);
}
