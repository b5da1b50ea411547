/**
 * The network on TensorFlow.js's wasm backend, one thread, NHWC: batch norm folded into the convolutions and ReLU fused
 * with them, as its converter does it.
 */
import { fileURLToPath } from 'node:url';
import { setThreadsCount, setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { foldNorm, walk } from './network.mjs';

/** OIHW to HWIO, each output channel times `scale[o]`. */
function filterOf({ shape, data }, scale) {
  const [outs, ins, height, width] = shape;
  const hwio = new Float32Array(data.length);
  let at = 0;
  for (let o = 0; o < outs; o++)
    for (let i = 0; i < ins; i++)
      for (let p = 0; p < height * width; p++) hwio[(p * ins + i) * outs + o] = data[at++] * scale[o];
  return tf.keep(tf.tensor4d(hwio, [height, width, ins, outs]));
}

/** Filter and bias of each convolution with its batch norm folded in, and the linear layer's matrix, made once and kept through every tidy. */
function prepare(weights) {
  const filters = new Map();
  const array = (name) => weights.get(name).data;
  return {
    folded(conv, norm) {
      if (filters.has(conv)) return filters.get(conv);
      const { scale, bias } = foldNorm(weights, conv, norm);
      const made = { filter: filterOf(weights.get(`${conv}.weight`), scale), bias: tf.keep(tf.tensor1d(bias)) };
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

function nhwc(data, [batch, channels, height, width]) {
  const out = new Float32Array(data.length);
  let at = 0;
  for (let n = 0; n < batch; n++)
    for (let c = 0; c < channels; c++)
      for (let p = 0; p < height * width; p++) out[(n * height * width + p) * channels + c] = data[at++];
  return tf.tensor4d(out, [batch, height, width, channels]);
}

export async function tfjsPeer({ weights, shape, input }) {
  setWasmPaths(fileURLToPath(new URL('node_modules/@tensorflow/tfjs-backend-wasm/dist/', import.meta.url)));
  tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false);
  setThreadsCount(1);
  if (!(await tf.setBackend('wasm'))) throw new Error('tfjs: the wasm backend did not start');
  await tf.ready();
  if (!tf.env().getBool('WASM_HAS_SIMD_SUPPORT')) throw new Error('tfjs: no SIMD');

  const prepared = prepare(weights);
  const builder = {
    convNorm(x, conv, norm, { stride, padding, relu }) {
      const { filter, bias } = prepared.folded(conv, norm);
      const activation = relu ? 'relu' : 'linear';
      return tf.fused.conv2d({ x, filter, strides: stride, pad: padding, bias, activation });
    },
    maxPool: (x, { kernelSize, stride, padding }) => tf.maxPool(x, kernelSize, stride, padding),
    addRelu: (a, b) => tf.relu(tf.add(a, b)),
    globalAveragePool: (x) => tf.mean(x, [1, 2]),
    linear(x, name) {
      const { filter, bias } = prepared.matrix(name);
      return tf.fused.matMul({ a: x, b: filter, bias });
    },
  };
  const x = nhwc(input, shape);
  return {
    version: tf.version_core,
    async run() {
      const y = tf.tidy(() => walk(builder, x, weights));
      const data = await y.data();
      y.dispose();
      return data;
    },
  };
}
