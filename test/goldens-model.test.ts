/**
 * The chapter's ResNet-18 against PyTorch: stages, logits, loss, every gradient, running statistics, twelve steps.
 * A GPU takes half of the steps, in its fast mode; ATALHO_GPU_STEPS sets how many, in both modes: on a processor in disguise a
 * step takes up to half a minute.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resizeBilinear } from '../src/data/resize.js';
import {
  crossEntropy,
  type Device,
  d2lResnet18,
  grad,
  keep,
  noGrad,
  type Sequential,
  sgd,
  tensor,
} from '../src/index.js';
import { gunzip } from '../src/io/gzip.js';
import { readIdx } from '../src/io/idx.js';
import { devices } from './devices.js';
import { doubles, expectWithin, formula, goldens, labelsFor, loadFormula, norm } from './goldens.js';
import { fastGpuDevices, gpuDevices } from './gpu.js';

/**
 * What rounding may do, relative to the size of the thing compared. In float32 a ReLU or a maximum decided the other
 * way, by an input that is 0 but for rounding, moves a gradient by far more than rounding itself: here one ReLU of the
 * 65,536 in stage 1, by 3e-3 of the norm. In float64 no decision differs. decisions.test.ts judges float32 strictly.
 */
const BOUNDS = {
  float32: { forward: 5e-6, gradient: 6e-3 },
  float64: { forward: 1e-13, gradient: 1e-12 },
} as const;

/**
 * The plain loops take a minute for this network: in float64, where nothing but the mathematics can differ. In float32
 * they would repeat what wasm shows, whose bits are theirs (see the conformance tests).
 */
const chosen = [...devices.filter((d) => d.fast || d.name === 'reference float64'), ...gpuDevices, ...fastGpuDevices];
const GPU_STEPS = process.env.ATALHO_GPU_STEPS;
/** Steps of those devices that do not take all. */
const STEPS = new Map([
  ['webgpu', Number(GPU_STEPS ?? 0)],
  ['webgpu, fast', Number(GPU_STEPS ?? 6)],
]);

const largest = (values: ArrayLike<number>): number => Array.from(values).reduce((a, v) => Math.max(a, Math.abs(v)), 0);

describe.each(chosen)('d2lResnet18 against PyTorch on $name', ({ name, make, fast, precision }) => {
  const file = goldens('d2l_resnet18');
  const shape = JSON.parse(file.metadata.x) as number[];
  let device: Device;
  let net: Sequential;
  beforeAll(async () => {
    device = await make();
    net = d2lResnet18({ device, initWeights: false });
    loadFormula(net);
  });
  afterAll(() => device.dispose());

  it('gives the stages and logits of eval mode, and changes no buffer', { timeout: 600_000 }, async () => {
    const bound = BOUNDS[device.dtype].forward;
    const buffers = [...net.namedBuffers()];
    const before = await Promise.all(buffers.map(([, t]) => t.data()));
    net.eval();
    const outputs = device.scope(() =>
      noGrad(() => {
        let x = tensor(formula('x', shape, 0, 1), shape, { device });
        return [...net].map((layer) => {
          x = layer.forward(x);
          return x;
        });
      }),
    );
    for (const [i, t] of outputs.entries()) {
      const values = doubles(await t.data());
      const mean = values.reduce((a, v) => a + Math.abs(v), 0) / values.length;
      const want = file.get(`eval.stage${i}.mean_abs`).data[0];
      expectWithin(`stage ${i}: mean |x|`, [mean], [want], bound * want);
      if (i === outputs.length - 1) {
        const logits = file.get('eval.logits');
        expect(t.shape).toEqual(logits.shape);
        expectWithin('eval.logits', values, logits.data, bound * largest(logits.data));
      }
      t.dispose();
    }
    const after = await Promise.all(buffers.map(([, t]) => t.data()));
    expect(after).toEqual(before);
  });

  it('gives the logits, loss, gradients and running statistics of one training pass', {
    timeout: 600_000,
  }, async () => {
    const { forward, gradient } = BOUNDS[device.dtype];
    net.train();
    const params = net.namedParameters();
    const used = device.memory().used;
    const { logits, loss, grads } = device.scope(() => {
      const x = tensor(formula('x', shape, 0, 1), shape, { device });
      const logits = keep(net.forward(x));
      const loss = crossEntropy(logits, labelsFor(shape[0]));
      return { logits, loss, grads: grad(loss, [...params.values()]) };
    });
    const wanted = file.get('train.logits').data;
    expectWithin('train.logits', doubles(await logits.data()), wanted, forward * largest(wanted));
    expectWithin('train.loss', await loss.data(), file.get('train.loss').data, forward * 3);

    const names = [...params.keys()];
    for (const [i, name] of names.entries()) {
      const values = doubles(await grads[i].data());
      const head = file.get(`grad.${name}.head`).data;
      const size = file.get(`grad.${name}.norm`).data[0];
      // A convolution's bias before a batch norm has gradient 0, the sum of terms that cancel: judged by their size.
      const cancels = /(^0\.0|conv\d)\.bias$/.test(name);
      const weight = cancels ? file.get(`grad.${name.replace(/bias$/, 'weight')}.norm`).data[0] : size;
      expectWithin(`|grad ${name}|`, [norm(values)], [size], gradient * weight);
      expectWithin(`grad ${name}`, values.subarray(0, head.length), head, gradient * weight);
    }
    for (const [name, t] of net.namedBuffers()) {
      const values = doubles(await t.data());
      if (name.endsWith('num_batches_tracked')) {
        expect(values[0], name).toBe(1);
        continue;
      }
      const head = file.get(`buffer.${name}.head`).data;
      expectWithin(name, values.subarray(0, head.length), head, forward * Math.max(1, largest(head)));
    }
    for (const t of [logits, loss, ...grads]) t.dispose();
    expect(device.memory().used).toBe(used);
  });

  // The plain loops would take an hour.
  const steps = STEPS.get(name) ?? 12;
  if (!fast || steps === 0) return;
  it(`follows ${steps} steps of SGD`, { timeout: 1_800_000 }, async () => {
    const curve = goldens('curve_d2l_resnet18');
    const [batch, side] = [32, 96];
    const idx = async (name: string): Promise<Uint8Array> => {
      const packed = readFileSync(new URL(`../data/fashion-mnist/${name}.gz`, import.meta.url));
      return readIdx(await gunzip(packed, { maxBytes: 60_000 * 784 + 16 })).data as Uint8Array;
    };
    const images = await idx('train-images-idx3-ubyte');
    const labels = await idx('train-labels-idx1-ubyte');
    loadFormula(net);
    net.train();
    const params = net.parameters();
    const optimizer = sgd(params, { lr: 0.0005 });
    for (let step = 0; step < steps; step++) {
      const pixels = new Float32Array(batch * side * side);
      const own = Int32Array.from({ length: batch }, (_, i) => labels[step * batch + i]);
      for (let i = 0; i < batch; i++) {
        const at = (step * batch + i) * 784;
        const resized = resizeBilinear(images.subarray(at, at + 784), 28, 28, side, side);
        pixels.set(
          Float32Array.from(resized, (v) => v / 255),
          i * side * side,
        );
      }
      const { logits, loss } = device.scope(() => {
        const logits = keep(net.forward(tensor(pixels, [batch, 1, side, side], { device })));
        const loss = crossEntropy(logits, own);
        optimizer.step(grad(loss, params));
        return { logits, loss };
      });
      // Each step multiplies the difference that rounding made before it. The cap is what it comes to: moving every
      // first weight by one ulp moves the loss of step 9 by 2e-4. Winograd's sums begin with about twice the error
      // (docs/ERRORS.md): reference({ math: 'fast' }) itself is 4.7e-6 off at step 1.
      const first = precision.winograd ? 2e-6 : 1e-6;
      const want = curve.get('loss.float64').data[step];
      expectWithin(`loss of step ${step}`, await loss.data(), [want], Math.min(first * 4 ** step, 3e-4));
      const scores = doubles(await logits.data());
      const right = own.filter((label, i) => {
        const row = scores.subarray(i * 10, i * 10 + 10);
        return row.indexOf(Math.max(...row)) === label;
      }).length;
      expect(right / batch, `accuracy of step ${step}`).toBe(curve.get('accuracy').data[step]);
      logits.dispose();
      loss.dispose();
    }
    optimizer.dispose();
  });
});
