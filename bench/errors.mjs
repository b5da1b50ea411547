/**
 * How far each mode is from float64: convolutions by shape and direction, and the chapter's network end to end, logits and
 * gradients of one training step. Prints a page: `node bench/errors.mjs > docs/ERRORS.md`.
 */
import './flags.mjs';
import { crossEntropy, d2lResnet18, grad, noGrad, reference, tensor, wasm } from './library.mjs';

const MODES = ['exact', 'fast', 'relaxed'];
const LAYERS = [
  // name, batch, in, out, extent, kernel, stride
  ['64@56', 1, 64, 64, 56, 3, 1],
  ['128@28', 1, 128, 128, 28, 3, 1],
  ['256@14', 1, 256, 256, 14, 3, 1],
  ['512@7', 1, 512, 512, 7, 3, 1],
  ['64@24', 8, 64, 64, 24, 3, 1],
  ['128@12', 8, 128, 128, 12, 3, 1],
  ['256@6', 8, 256, 256, 6, 3, 1],
  ['512@3', 32, 512, 512, 3, 3, 1],
  ['128→256@12, stride 2', 8, 128, 256, 12, 3, 2],
  ['64→128@24, stride 2', 8, 64, 128, 24, 3, 2],
  ['1→64@96, 7×7, stride 2', 2, 1, 64, 96, 7, 2],
  ['64→128@24, 1×1, stride 2', 8, 64, 128, 24, 1, 2],
];

/** Values that no format favours, the same for every device. */
function values(size, seed, scale = 1) {
  let state = seed >>> 0;
  return Float32Array.from({ length: size }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * scale;
  });
}

/** Root mean square of the error over that of the truth, and the largest error over the same. */
function errorOf(got, truth) {
  let [square, size, largest] = [0, 0, 0];
  for (let i = 0; i < truth.length; i++) {
    const off = got[i] - truth[i];
    square += off * off;
    size += truth[i] * truth[i];
    largest = Math.max(largest, Math.abs(off));
  }
  const rms = Math.sqrt(size / truth.length);
  return { rms: Math.sqrt(square / truth.length) / rms, largest: largest / rms };
}

const show = ({ rms, largest }) => `${(rms * 1e7).toFixed(2)} / ${(largest * 1e7).toFixed(1)}`;
const row = (cells) => `| ${cells.join(' | ')} |`;

function layerResults(device, [, batch, inChannels, outChannels, extent, kernel, stride]) {
  const pad = (kernel - 1) / 2;
  const out = Math.floor((extent + 2 * pad - kernel) / stride) + 1;
  const g = {
    ...{ batch, inChannels, inHeight: extent, inWidth: extent, outChannels, outHeight: out, outWidth: out, groups: 1 },
    ...{ kernelHeight: kernel, kernelWidth: kernel, strideHeight: stride, strideWidth: stride },
    ...{ padTop: pad, padLeft: pad, dilationHeight: 1, dilationWidth: 1 },
  };
  const put = (data) => {
    const buffer = device.alloc(data.length);
    device.write(buffer, data);
    return buffer;
  };
  const [x, weight, dy] = [
    put(values(batch * inChannels * extent * extent, 1)),
    put(values(outChannels * inChannels * kernel * kernel, 2)),
    put(values(batch * outChannels * out * out, 3)),
  ];
  const [y, dx, dweight] = [dy.size, x.size, weight.size].map((size) => device.alloc(size));
  device.kernels.conv2d({ ...g, x, weight, bias: null, out: y });
  device.kernels.conv2dBackwardInput({ ...g, dy, weight, dx });
  device.kernels.conv2dBackwardWeight({ ...g, x, dy, dweight });
  const results = [y, dx, dweight].map((buffer) => device.readSync(buffer));
  for (const buffer of [x, weight, dy, y, dx, dweight]) buffer.release();
  return results;
}

/**
 * Puts down what each ReLU lets through and where the maxima are; with `given`, gradients follow those decisions. A ReLU whose
 * input is 0 but for rounding would else move gradients by more than all rounding together.
 */
function watch(device, given = null) {
  const { kernels } = device;
  const { maxPool2d, batchNormTrain, batchNormBackward } = kernels;
  const seen = { relu: [], pool: null };
  let left = given?.relu.length ?? 0;
  Object.assign(kernels, {
    batchNormTrain(o) {
      batchNormTrain(o);
      if (o.relu) seen.relu.push(device.readSync(o.out));
    },
    maxPool2d(o) {
      maxPool2d(o);
      seen.pool = device.readSync(o.indices);
      if (given) device.write(o.indices, given.pool);
    },
    batchNormBackward(o) {
      if (given === null || o.y === null) return batchNormBackward(o);
      const y = device.alloc(o.y.size);
      device.write(y, given.relu[--left]);
      batchNormBackward({ ...o, y });
      y.release();
    },
  });
  return {
    seen,
    stop: () => Object.assign(kernels, { maxPool2d, batchNormTrain, batchNormBackward }),
  };
}

/** Logits in eval mode and the gradients of every weight but biases before a batch norm, which are noise. */
function networkResults(device, given = null) {
  const model = d2lResnet18({ device, seed: 0 });
  const x = tensor(values(4 * 96 * 96, 7).map(Math.abs), [4, 1, 96, 96], { device });
  const parameters = model.parameters();
  const logits = noGrad(() => model.inMode(false, () => model.forward(x))).dataSync();
  const { seen, stop } = watch(device, given);
  const grads = device.scope(() =>
    grad(crossEntropy(model.forward(x), Int32Array.of(3, 1, 4, 1)), parameters).map((g) => g.dataSync()),
  );
  stop();
  const names = [...model.namedParameters().keys()];
  const gradients = grads.filter((_, i) => names[i].endsWith('weight'));
  x.dispose();
  model.dispose();
  return { logits, gradients, seen };
}

const devices = [];
for (const math of MODES) devices.push(await wasm({ math }));
const truth = reference({ dtype: 'float64' });

console.log(`# Errors, measured

How far each mode is from float64, printed by \`node bench/errors.mjs > docs/ERRORS.md\`. Operands are uniform in [−1, 1]; each cell
is the root mean square of the error, then the largest, both in 10⁻⁷ of the result's root mean square. \`exact\` is the plain
sum in its stated order; \`fast\` and \`relaxed\` take Winograd's algorithm where [NUMERICS.md](NUMERICS.md) says so. What each may be
off at most is proved in \`src/oracle/bounds.ts\` and \`src/oracle/winograd.ts\`; the conformance run judges them by that.

Where the engine has no relaxed SIMD, \`relaxed\` is \`fast\`; here: ${devices[2].math}. Node ${process.versions.node}, V8 ${process.versions.v8}.

## Convolutions
`);
console.log(row(['layer', 'direction', ...MODES]));
console.log(row(['---', '---', '--:', '--:', '--:']));
for (const layer of LAYERS) {
  const want = layerResults(truth, layer);
  const got = devices.map((device) => layerResults(device, layer));
  ['forward', 'input gradient', 'weight gradient'].forEach((direction, i) => {
    const cells = got.map((results) => show(errorOf(results[i], want[i])));
    console.log(row([i === 0 ? `${layer[0]}, batch ${layer[1]}` : '', direction, ...cells]));
  });
}

console.log(`
## The chapter's network, 96×96, batch 4

Logits in eval mode with the first weights; gradients of the cross-entropy in training mode, of every weight, each in 10⁻⁷ of its
own root mean square: the median over the weights, and the worst. The float64 run goes by the same decisions, which inputs a ReLU
lets through and which is the largest of a window.
`);
console.log(row(['', ...MODES]));
console.log(row(['---', '--:', '--:', '--:']));
const results = devices.map((device) => {
  const own = networkResults(device);
  const want = networkResults(truth, own.seen);
  return {
    logits: show(errorOf(own.logits, want.logits)),
    gradients: own.gradients.map((g, i) => errorOf(g, want.gradients[i]).rms * 1e7).sort((a, b) => a - b),
  };
});
console.log(row(['logits', ...results.map(({ logits }) => logits)]));
console.log(row(['gradients, median', ...results.map(({ gradients: g }) => g[g.length >> 1].toFixed(1))]));
console.log(row(['gradients, worst', ...results.map(({ gradients: g }) => g[g.length - 1].toFixed(1))]));
for (const device of devices) device.dispose();
