/**
 * The network on TensorFlow.js's wasm backend, one thread, NHWC: batch norm folded into the convolutions and ReLU fused
 * with them, as its converter does it.
 */
import { fileURLToPath } from 'node:url';
import { setThreadsCount, setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { walk } from './network.mjs';
import { nhwc, prepare } from './tfjsLayout.mjs';

export async function tfjsPeer({ weights, shape, input }) {
  setWasmPaths(fileURLToPath(new URL('node_modules/@tensorflow/tfjs-backend-wasm/dist/', import.meta.url)));
  tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false);
  setThreadsCount(1);
  if (!(await tf.setBackend('wasm'))) throw new Error('tfjs: the wasm backend did not start');
  await tf.ready();
  if (!tf.env().getBool('WASM_HAS_SIMD_SUPPORT')) throw new Error('tfjs: no SIMD');

  const prepared = prepare(tf, weights);
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
  const x = nhwc(tf, input, shape);
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
