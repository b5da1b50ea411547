/**
 * The contestants in a page, on one WebGPU adapter: atalho, TensorFlow.js webgpu and onnxruntime-web webgpu infer; atalho and
 * TensorFlow.js train. The chapter's network, the same weights and images.
 */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import '@tensorflow/tfjs-backend-webgpu';
import { compile, crossEntropy, d2lResnet18, grad, reference, sgd, tensor, webgpu } from '../../../dist/index.js';
import { exportOnnx } from '../../../dist/onnx/index.js';
import { seedWeights, walk } from '../network.mjs';
import { filterOf, nhwc, prepare } from '../tfjsLayout.mjs';

function setup(side, batch) {
  const net = d2lResnet18({ device: reference() });
  const weights = seedWeights(net);
  const shape = [batch, 1, side, side];
  const input = Float32Array.from({ length: batch * side * side }, (_, i) => ((i * 7919) % 1000) / 1000);
  return { net, weights, shape, input };
}

const plain = (o) => ({ strides: o.stride, pad: o.padding, activation: o.relu ? 'relu' : 'linear' });
/** What both of TensorFlow.js's networks share. */
const layers = {
  maxPool: (x, { kernelSize, stride, padding }) => tf.maxPool(x, kernelSize, stride, padding),
  addRelu: (a, b) => tf.relu(tf.add(a, b)),
  globalAveragePool: (x) => tf.mean(x, [1, 2]),
};

const infer = {
  async atalho(side, batch) {
    const { weights, shape, input } = setup(side, batch);
    const device = await webgpu();
    const net = d2lResnet18({ device });
    net.loadStateDict(weights);
    net.eval();
    const plan = compile(net, { inputShape: shape });
    return { adapter: device.adapter, run: () => plan.run(input).data() };
  },
  async 'TensorFlow.js'(side, batch) {
    const { weights, shape, input } = setup(side, batch);
    await tf.setBackend('webgpu');
    await tf.ready();
    const prepared = prepare(tf, weights);
    const builder = {
      ...layers,
      convNorm: (x, conv, norm, o) => tf.fused.conv2d({ x, ...prepared.folded(conv, norm), ...plain(o) }),
      linear(x, name) {
        const { filter, bias } = prepared.matrix(name);
        return tf.fused.matMul({ a: x, b: filter, bias });
      },
    };
    const x = nhwc(tf, input, shape);
    return {
      async run() {
        const y = tf.tidy(() => walk(builder, x, weights));
        const data = await y.data();
        y.dispose();
        return data;
      },
    };
  },
  async 'onnxruntime-web'(side, batch) {
    const { net, shape, input } = setup(side, batch);
    const ort = await import('onnxruntime-web/webgpu');
    ort.env.wasm.wasmPaths = '/ort/';
    ort.env.wasm.numThreads = 1;
    const onnx = await exportOnnx(net, { inputShape: shape });
    const session = await ort.InferenceSession.create(onnx, { executionProviders: ['webgpu'] });
    const x = new ort.Tensor('float32', input, shape);
    return {
      run: async () => (await session.run({ [session.inputNames[0]]: x }))[session.outputNames[0]].data,
    };
  },
};

const labelsOf = (batch) => Int32Array.from({ length: batch }, (_, i) => (3 * i) % 10);

/** One step of plain SGD; `run` gives the loss. */
const train = {
  async atalho(side, batch) {
    const { weights, shape, input } = setup(side, batch);
    const device = await webgpu();
    const net = d2lResnet18({ device });
    net.loadStateDict(weights);
    const params = net.parameters();
    const optimizer = sgd(params, { lr: 0.01 });
    return {
      adapter: device.adapter,
      async run() {
        const loss = device.scope(() => {
          const loss = crossEntropy(net.forward(tensor(input, shape, { device })), labelsOf(batch));
          optimizer.step(grad(loss, params));
          return loss;
        });
        const data = await loss.data();
        loss.dispose();
        return data;
      },
    };
  },
  async 'TensorFlow.js'(side, batch) {
    const { weights, shape, input } = setup(side, batch);
    await tf.setBackend('webgpu');
    await tf.ready();
    const variables = new Map();
    const variable = (name, make) => {
      if (!variables.has(name)) variables.set(name, tf.variable(make(weights.get(name))));
      return variables.get(name);
    };
    const vector = (name) => variable(name, ({ data }) => tf.tensor1d(data));
    const builder = {
      ...layers,
      convNorm(x, conv, norm, { stride, padding, relu }) {
        const filter = variable(`${conv}.weight`, (entry) => filterOf(tf, entry, null));
        const y = tf.add(tf.conv2d(x, filter, stride, padding), vector(`${conv}.bias`));
        if (norm === null) return relu ? tf.relu(y) : y;
        const { mean, variance } = tf.moments(y, [0, 1, 2]);
        const z = tf.batchNorm(y, mean, variance, vector(`${norm}.bias`), vector(`${norm}.weight`), 1e-5);
        return relu ? tf.relu(z) : z;
      },
      linear(x, name) {
        const matrix = variable(`${name}.weight`, ({ shape, data }) => tf.transpose(tf.tensor2d(data, [...shape])));
        return tf.add(tf.matMul(x, matrix), vector(`${name}.bias`));
      },
    };
    const x = nhwc(tf, input, shape);
    const targets = tf.cast(tf.oneHot(tf.tensor1d(labelsOf(batch), 'int32'), 10), 'float32');
    const lossOf = () =>
      tf.mul(tf.mean(tf.sum(tf.mul(targets, tf.logSoftmax(walk(builder, x, weights))), 1)), tf.scalar(-1));
    tf.tidy(() => lossOf());
    const optimizer = tf.train.sgd(0.01);
    return {
      async run() {
        const loss = optimizer.minimize(lossOf, true, [...variables.values()]);
        const data = await loss.data();
        loss.dispose();
        return data;
      },
    };
  },
};

const ready = new Map();

/** Makes a contestant ready, and runs it once; what it computes, and on what. */
async function prepareContestant(task, name, side, batch) {
  const made = await { infer, train }[task][name](side, batch);
  ready.set(`${task} ${name}`, made);
  return { adapter: made.adapter ?? null, result: [...(await made.run())] };
}

/** Milliseconds of one run. */
async function time(task, name) {
  const { run } = ready.get(`${task} ${name}`);
  const began = performance.now();
  await run();
  return performance.now() - began;
}

globalThis.bench = { prepareContestant, time };
