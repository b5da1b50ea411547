/** Whole models: ResNet-18's forward pass at 224×224, and the chapter's training step with its time split by kernel. */
import { performance } from 'node:perf_hooks';
import { compile, crossEntropy, d2lResnet18, grad, noGrad, oracle, resnet50, sgd, tensor } from './library.mjs';
import { measure } from './measure.mjs';

/** The forward pass of the chapter's network on 3×224×224 images and 1000 classes; `dispose` frees it. */
export function resnetForward(device, batch = 1) {
  return forwardPass(d2lResnet18({ inChannels: 3, numClasses: 1000, device, seed: 0 }), device, batch);
}

/** The same of torchvision's ResNet-50. */
export function resnet50Forward(device, batch = 1) {
  return forwardPass(resnet50({ device, seed: 0 }), device, batch);
}

function forwardPass(net, device, batch) {
  net.eval();
  const x = tensor(oracle.numbers(7, 'image', batch * 3 * 224 * 224, 0, 1), [batch, 3, 224, 224], { device });
  return {
    net,
    x,
    images: batch,
    run: () =>
      // Read, since threads may still compute when an operation returns.
      device.scope(() => noGrad(() => net.forward(x)).dataSync()[0]),
    dispose() {
      x.dispose();
      for (const t of net.stateDict().values()) t.dispose();
    },
  };
}

/** The same, compiled. */
export function resnetCompiled(device, batch = 1) {
  const { net, x, run: plain } = resnetForward(device, batch);
  const { flops } = splitByKernel(device, plain);
  const compiled = compile(net, { inputShape: x.shape });
  return {
    net,
    x,
    images: batch,
    /** Its kernels were made when it was compiled: no clock is around them. */
    flops,
    run: () => compiled.run(x).dataSync()[0],
    dispose() {
      compiled.dispose();
      x.dispose();
      net.dispose();
    },
  };
}

/** One step of the chapter's training at 96×96: forward, loss, gradients, plain SGD. Returns the loss. */
export function trainingStep(device, batch) {
  const net = d2lResnet18({ device, seed: 0 }).train();
  const params = net.parameters();
  const optimizer = sgd(params, { lr: 0.01 });
  const x = tensor(oracle.numbers(7, 'image', batch * 96 * 96, 0, 1), [batch, 1, 96, 96], { device });
  const labels = Int32Array.from({ length: batch }, (_, i) => (3 * i) % 10);
  return {
    net,
    x,
    labels,
    images: batch,
    run: () =>
      device.scope(() => {
        const loss = crossEntropy(net.forward(x), labels);
        optimizer.step(grad(loss, params));
        return loss.dataSync()[0];
      }),
    dispose() {
      x.dispose();
      optimizer.dispose();
      for (const t of net.stateDict().values()) t.dispose();
    },
  };
}

const CONVOLUTIONS = ['conv2d', 'conv2dBackwardInput', 'conv2dBackwardWeight'];

/** FLOPs of one call of a kernel that sums products; 0 for all others. */
function productFlops(name, o) {
  if (name === 'matmul') return 2 * o.batch * o.m * o.n * o.k;
  if (!CONVOLUTIONS.includes(name)) return 0;
  const outputs = o.batch * o.outChannels * o.outHeight * o.outWidth;
  return (2 * outputs * o.inChannels * o.kernelHeight * o.kernelWidth) / o.groups;
}

/**
 * Runs `fn` once with a clock around every kernel of `device`: time, calls and FLOPs by kernel. The rest of the time is
 * JavaScript: graph, shapes, allocation.
 */
export function splitByKernel(device, fn) {
  const { kernels } = device;
  const originals = { ...kernels };
  const byKernel = new Map();
  for (const [name, kernel] of Object.entries(originals)) {
    const entry = { name, ms: 0, calls: 0, flops: 0 };
    byKernel.set(name, entry);
    kernels[name] = (o) => {
      const start = performance.now();
      const result = kernel(o);
      entry.ms += performance.now() - start;
      entry.calls++;
      entry.flops += productFlops(name, o);
      return result;
    };
  }
  const start = performance.now();
  try {
    fn();
  } finally {
    Object.assign(kernels, originals);
  }
  const total = performance.now() - start;
  const parts = [...byKernel.values()].filter(({ calls }) => calls > 0).sort((a, b) => b.ms - a.ms);
  const inKernels = parts.reduce((sum, { ms }) => sum + ms, 0);
  parts.push({ name: 'JavaScript', ms: total - inKernels, calls: 1, flops: 0 });
  const convolution = parts.filter(({ name }) => CONVOLUTIONS.includes(name)).reduce((sum, { ms }) => sum + ms, 0);
  return {
    ms: total,
    flops: parts.reduce((sum, part) => sum + part.flops, 0),
    convolutionShare: convolution / total,
    otherShare: 1 - convolution / total,
    parts: parts.map((part) => ({ ...part, share: part.ms / total })),
  };
}

/** The split of median total time out of an odd number. */
function medianSplit(device, fn, tries) {
  const splits = Array.from({ length: tries }, () => splitByKernel(device, fn));
  return splits.sort((a, b) => a.ms - b.ms)[tries >> 1];
}

const FORWARD = 'model resnet18 forward 224×224 b1';
const STEP = 'model d2l training step 96×96 b32';
const COMPILED = 'model resnet18 compiled 224×224 b1';

/** Rows of the models whose names `wanted` accepts. */
export function* benchModels(device, wanted, context) {
  const { math } = device;
  const suffix = math === 'exact' ? '' : `, ${math}`;
  const models = [
    { name: `${COMPILED}${suffix}`, make: () => resnetCompiled(device), iterations: 10 },
    {
      name: `${STEP}${suffix}`,
      make: () => trainingStep(device, 32),
      iterations: 4,
      // Of the exact mode and of the relaxed one; both on one thread.
      imagesTarget: math === 'exact' ? 19 : undefined,
      otherTarget: math === 'exact' ? 0.11 : 0.15,
    },
  ];
  if (math === 'exact') models.unshift({ name: FORWARD, make: () => resnetForward(device), iterations: 10 });
  for (const { name, make, iterations, imagesTarget, otherTarget } of models) {
    if (!wanted(name)) continue;
    const model = make();
    // Also warms up: every kernel is compiled when the clock starts.
    model.run();
    const split = model.flops === undefined ? medianSplit(device, model.run, context.quick ? 1 : 3) : null;
    let loss = null;
    const step = () => {
      loss = model.run();
    };
    const row = measure(name, step, { flops: split?.flops ?? model.flops, iterations, time: 1000 }, context);
    if (otherTarget !== undefined && !Number.isFinite(loss)) throw new Error(`${name}: loss is ${loss}`);
    model.dispose();
    const images = { best: (model.images * 1000) / row.ms.min, median: (model.images * 1000) / row.ms.median };
    const targets = {};
    if (imagesTarget !== undefined) {
      targets.imagesPerSecond = {
        value: images.median,
        best: images.best,
        target: imagesTarget,
        met: images.median >= imagesTarget,
      };
    }
    if (otherTarget !== undefined) {
      targets.otherShare = { value: split.otherShare, target: otherTarget, met: split.otherShare < otherTarget };
    }
    yield { ...row, section: 'model', images: model.images, imagesPerSecond: images, split, targets };
  }
}
