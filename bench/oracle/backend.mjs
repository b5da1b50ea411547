/** A backend for the oracle made of naive functions (dist/oracle/naive.js, or a copy with a fault), results rounded to float32. */
import { broadcastShapes } from '../../dist/shape.js';

const f32 = (values) => Float32Array.from(values);
const size = (shape) => shape.reduce((a, b) => a * b, 1);

const OPS = {
  conv2d(n, { attributes, data, shape }) {
    const [batch, inChannels, inHeight, inWidth] = shape.x;
    const [outChannels, , ...kernel] = shape.weight;
    const g = { batch, inChannels, inHeight, inWidth, outChannels, kernel, ...attributes };
    const y = {
      shape: [batch, outChannels, ...n.convOutput(g)],
      data: n.conv2d(data.x, data.weight, data.bias ?? null, g).value,
    };
    if (!data.dy) return { y };
    const { dx, dweight, dbias } = n.conv2dBackward(data.x, data.weight, g, data.dy);
    return { y, 'grad.x': dx.value, 'grad.weight': dweight.value, 'grad.bias': dbias.value };
  },
  linear(n, { data, shape }) {
    const [outFeatures, inFeatures] = shape.weight;
    const g = { rows: data.x.length / inFeatures, inFeatures, outFeatures };
    const y = n.linear(data.x, data.weight, data.bias ?? null, g).value;
    if (!data.dy) return { y };
    const { dx, dweight, dbias } = n.linearBackward(data.x, data.weight, g, data.dy);
    return { y, 'grad.x': dx.value, 'grad.weight': dweight.value, 'grad.bias': dbias.value };
  },
  matmul(n, { data, shape }) {
    const a = shape.a.length === 1 ? [1, ...shape.a] : shape.a;
    const b = shape.b.length === 1 ? [...shape.b, 1] : shape.b;
    const batch = broadcastShapes('matmul', a.slice(0, -2), b.slice(0, -2));
    const y = n.matmul(data.a, a, data.b, b, batch).value;
    if (!data.dy) return { y };
    const { da, db } = n.matmulBackward(data.a, a, data.b, b, batch, data.dy);
    return { y, 'grad.a': da.value, 'grad.b': db.value };
  },
  pool(n, { op, attributes, data, shape }) {
    const [batch, channels, inHeight, inWidth] = shape.x;
    const { kernelSize: kernel, stride, padding, dilation, ceilMode, countIncludePad } = attributes;
    const g = { planes: batch * channels, inHeight, inWidth, kernel, stride, padding, dilation, ceilMode };
    const own = op === 'maxPool2d' ? n.maxPool2d(data.x, g).y : n.avgPool2d(data.x, g, countIncludePad).value;
    const y = { shape: [batch, channels, ...n.poolOutput(g)], data: own };
    if (!data.dy) return { y };
    const dx =
      op === 'maxPool2d'
        ? n.maxPool2dBackward(data.x, g, data.dy)
        : n.avgPool2dBackward(data.x, g, countIncludePad, data.dy);
    return { y, 'grad.x': dx.value };
  },
  adaptiveAvgPool2d(n, { attributes, data, shape }) {
    const [batch, channels, inHeight, inWidth] = shape.x;
    const [outHeight, outWidth] = attributes.outputSize;
    const g = { planes: batch * channels, inHeight, inWidth, outHeight, outWidth };
    const y = n.adaptiveAvgPool2d(data.x, g).value;
    return data.dy ? { y, 'grad.x': n.adaptiveAvgPool2dBackward(g, data.dy).value } : { y };
  },
  batchNorm(n, { op, attributes: { training, momentum, eps, unbiasedRunningVar }, data, shape }) {
    const [batch, channels, ...rest] = shape.x;
    const g = { batch, channels, spatial: size(rest), eps };
    const { x, weight = null, bias = null, residual, runningMean, runningVar, dy } = data;
    const own = training ? n.channelStatistics(x, g) : { mean: runningMean, variance: runningVar };
    const relu = op.startsWith('batchNormRelu');
    let y = n.batchNorm(x, own.mean, own.variance, weight, bias, g);
    if (residual) y = n.elementwise('add', y, shape.x, residual, shape.x, shape.x);
    if (relu) y = n.relu(y);
    const answer = { y };
    if (training && runningMean) {
      const count = g.batch * g.spatial;
      answer['new.runningMean'] = n.runningStatistics(runningMean, own.mean, momentum, count, false);
      answer['new.runningVar'] = n.runningStatistics(runningVar, own.variance, momentum, count, unbiasedRunningVar);
    }
    if (!dy) return answer;
    const direction = relu ? n.reluBackward(y, dy) : dy;
    const { dx, dweight, dbias } = n.batchNormBackward(x, own.mean, own.variance, weight, g, training, direction);
    return { ...answer, 'grad.x': dx, 'grad.weight': dweight, 'grad.bias': dbias, 'grad.residual': direction };
  },
  pointwise(n, { op, attributes, data, shape, outputs }) {
    const [b, bShape] = data.b ? [data.b, shape.b] : [[attributes.scalar], []];
    const y = n.elementwise(op, data.a, shape.a, b, bShape, outputs.y);
    if (!data.dy) return { y };
    const { da, db } = n.elementwiseBackward(op, data.a, shape.a, b, bShape, outputs.y, data.dy);
    return { y, 'grad.a': da.value, 'grad.b': db.value };
  },
  relu(n, { data }) {
    const y = n.relu(data.x);
    return data.dy ? { y, 'grad.x': n.reluBackward(y, data.dy) } : { y };
  },
  same: (_, { data }) => ({ y: data.x, 'grad.x': data.dy }),
  reduce(n, { op, attributes: { dim }, data, shape }) {
    const divisor = op === 'mean' ? size(dim.map((axis) => shape.x[axis])) : 1;
    const y = n.sum(data.x, shape.x, dim, divisor).value;
    return data.dy ? { y, 'grad.x': n.sumBackward(data.dy, shape.x, dim, divisor) } : { y };
  },
  moving(n, { op, attributes: a, data, shape }) {
    const names = Object.keys(data).filter((name) => name !== 'dy');
    const origins = {
      permute: () => n.permuteOrigins(shape.x, a.dims),
      slice: () => n.sliceOrigins(shape.x, a.dim, a.start, a.step, Math.ceil((a.end - a.start) / a.step)),
      pad: () => n.padOrigins(shape.x, a.before, a.after),
      cat: () =>
        n.catOrigins(
          names.map((name) => shape[name]),
          a.dim,
        ),
    }[op]();
    const y = n.gather(
      names.map((name) => data[name]),
      origins,
      a.value ?? 0,
    );
    if (!data.dy) return { y };
    const grads = n.scatter(
      data.dy,
      origins,
      names.map((name) => data[name].length),
    );
    return { y, ...Object.fromEntries(grads.map((g, i) => [`grad.${names[i]}`, g])) };
  },
  softmax(n, { op, attributes: { dim }, data, shape: { x } }) {
    const own = x.length === 0 ? [1] : x;
    const g = { outer: size(own.slice(0, dim)), extent: own[dim], inner: size(own.slice(dim + 1)) };
    const y = n[op](data.x, g);
    return data.dy ? { y, 'grad.x': n[`${op}Backward`](data.x, g, data.dy) } : { y };
  },
  crossEntropy(n, { attributes: { labels, labelSmoothing }, data, shape }) {
    const classes = shape.logits[1];
    const y = [n.crossEntropy(data.logits, labels, classes, labelSmoothing)];
    if (!data.dy) return { y };
    return { y, 'grad.logits': n.crossEntropyBackward(data.logits, labels, classes, labelSmoothing, data.dy[0]) };
  },
  sgd(n, { attributes, data }) {
    const { param, velocity } = n.sgd(data.param, data.grad, data.velocity ?? null, attributes);
    return { 'new.param': param, 'new.velocity': velocity };
  },
  adam(n, { attributes: o, data }) {
    const corrections = { correction1: 1 - o.beta1 ** o.step, correction2: 1 - o.beta2 ** o.step };
    const { param, m, v } = n.adam(data.param, data.grad, data.m, data.v, { ...o, ...corrections });
    return { 'new.param': param, 'new.m': m, 'new.v': v };
  },
  rmsprop(n, { attributes, data }) {
    const { param, v, velocity } = n.rmsprop(data.param, data.grad, data.v, data.velocity ?? null, attributes);
    return { 'new.param': param, 'new.v': v, 'new.velocity': velocity };
  },
};

const BY_NAME = {
  ...{ maxPool2d: 'pool', avgPool2d: 'pool', add: 'pointwise', sub: 'pointwise', mul: 'pointwise', div: 'pointwise' },
  ...{ reshape: 'same', flatten: 'same', sum: 'reduce', mean: 'reduce', logSoftmax: 'softmax', adamw: 'adam' },
  ...{ permute: 'moving', slice: 'moving', pad: 'moving', cat: 'moving' },
};

/** `ops`: answers those alone, as a pattern. */
export function naiveBackend(naive, ops = /./) {
  return ({ op, attributes, inputs, outputs }) => {
    if (!ops.test(op)) return null;
    const kind = op.startsWith('batchNorm') ? 'batchNorm' : (BY_NAME[op] ?? op);
    const entries = Object.entries(inputs);
    const data = Object.fromEntries(entries.map(([name, one]) => [name, Float64Array.from(one.data)]));
    const shape = Object.fromEntries(entries.map(([name, one]) => [name, one.shape]));
    const found = OPS[kind](naive, { op, attributes, data, shape, outputs });
    const answer = {};
    for (const name of Object.keys(outputs)) {
      const own = found[name];
      if (own !== undefined) answer[name] = own.shape ? { shape: own.shape, data: f32(own.data) } : f32(own);
    }
    return answer;
  };
}
