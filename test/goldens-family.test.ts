/**
 * torchvision's ResNets against torchvision: logits, loss, every gradient, running statistics. resnet18 and resnet50 by
 * PyTorch 1.13's values, the others by test/goldens/torchvision.safetensors (tools/torchvision_goldens.py).
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as atalho from '../src/index.js';
import { crossEntropy, type Device, grad, keep, noGrad, type Sequential, tensor } from '../src/index.js';
import { devices, fastDevices } from './devices.js';
import { expectWithin, formula, goldens, loadFormula } from './goldens.js';

/**
 * Relative to the largest logit, and to the norm of a gradient. In float32 a ReLU or a maximum decided the other way, by an
 * input that is 0 but for rounding, moves gradients by far more than rounding itself; decisions.test.ts judges float32 strictly.
 */
const DOUBLE = { forward: 1e-12, gradient: 1e-11 };
/** Eval mode, in float32. */
const EVAL = 1.2e-5;
/**
 * A training pass in float32. In resnet50 the last stage normalises 8 values a channel, which magnifies rounding: moving its
 * first weights by one ulp moves the logits as much, and PyTorch's own float32 is 8.0e-5 off in the logits and up to 3.2e-2 of
 * the norm in a gradient (here 6.8e-5 and 1.5e-2 in exact, 1.4e-4 and 2.4e-2 in fast mode).
 */
const SHALLOW = { forward: EVAL, gradient: 2e-3 };
const MEDIUM = { forward: EVAL, gradient: 2e-2 };
const DEEP = { forward: 2.4e-4, gradient: 3.2e-2 };

const every = [...devices, ...fastDevices].filter((d) => d.fast || d.name === 'reference float64');
/** Drawing and loading their weights takes longer than running them, so the largest run in both orders of sums, once each. */
const twoOrders = every.filter((d) => d.name === 'wasm, 3 threads' || d.name === 'wasm, fast, 3 threads');
const others = goldens('torchvision');
const NETS = [
  {
    ...{ name: 'resnet18', make: atalho.resnet18, parameters: 11_689_512, single: SHALLOW },
    ...{ file: goldens('resnet18'), prefix: '', on: every },
  },
  {
    ...{ name: 'resnet50', make: atalho.resnet50, parameters: 25_557_032, single: DEEP },
    ...{ file: goldens('resnet50'), prefix: '', on: every },
  },
  ...[
    { name: 'resnet34', make: atalho.resnet34, parameters: 21_797_672 },
    { name: 'resnet101', make: atalho.resnet101, parameters: 44_549_160 },
    { name: 'resnet152', make: atalho.resnet152, parameters: 60_192_808 },
    { name: 'resnext50_32x4d', make: atalho.resnext50_32x4d, parameters: 25_028_904 },
    { name: 'resnext101_32x8d', make: atalho.resnext101_32x8d, parameters: 88_791_336 },
    { name: 'wide_resnet50_2', make: atalho.wideResnet50_2, parameters: 68_883_240 },
    { name: 'wide_resnet101_2', make: atalho.wideResnet101_2, parameters: 126_886_696 },
  ].map((net) => ({ ...net, single: MEDIUM, file: others, prefix: `${net.name}.`, on: twoOrders })),
];

const largest = (values: ArrayLike<number>): number => Array.from(values).reduce((a, v) => Math.max(a, Math.abs(v)), 0);
const norm = (values: ArrayLike<number>): number => Math.sqrt(Array.from(values).reduce((a, v) => a + v * v, 0));

describe.each(NETS)('$name', ({ make, parameters, single, file, prefix, on }) => {
  const shape = JSON.parse(file.metadata.x) as number[];
  const [low, high] = JSON.parse(file.metadata.x_range) as number[];
  const labels = Int32Array.from(JSON.parse(file.metadata.labels) as number[]);

  describe.each(on)('on $name', (maker) => {
    let device: Device;
    let net: Sequential;
    beforeAll(async () => {
      device = await maker.make();
      net = make({ device });
      loadFormula(net);
    });
    afterAll(() => device.dispose());
    it("has torchvision's number of parameters", () => {
      expect(net.parameters().reduce((sum, { size }) => sum + size, 0)).toBe(parameters);
    });

    const input = () => tensor(formula('x', shape, low, high), shape, { device });

    it('gives the logits of eval mode', { timeout: 600_000 }, async () => {
      const logits = device.scope(() => net.inMode(false, () => noGrad(() => net.forward(input()))));
      const want = file.get(`${prefix}eval.logits`);
      expect(logits.shape).toEqual(want.shape);
      const bound = (device.dtype === 'float32' ? EVAL : DOUBLE.forward) * largest(want.data);
      expectWithin('eval.logits', Float64Array.from(await logits.data(), Number), want.data, bound);
      logits.dispose();
    });

    if (!file.tensors.has(`${prefix}train.loss`)) return;
    it('gives the logits, loss, gradients and running statistics of one training pass', {
      timeout: 900_000,
    }, async () => {
      const { forward, gradient } = device.dtype === 'float32' ? single : DOUBLE;
      const params = net.namedParameters();
      const { logits, loss, grads } = device.scope(() => {
        const logits = keep(net.forward(input()));
        const loss = crossEntropy(logits, labels);
        return { logits, loss, grads: grad(loss, [...params.values()]) };
      });
      const wanted = file.get(`${prefix}train.logits`).data;
      expectWithin('train.logits', Float64Array.from(await logits.data(), Number), wanted, forward * largest(wanted));
      expectWithin('train.loss', await loss.data(), file.get(`${prefix}train.loss`).data, forward * largest(wanted));
      for (const [i, name] of [...params.keys()].entries()) {
        const values = Float64Array.from(await grads[i].data(), Number);
        const head = file.get(`${prefix}grad.${name}.head`).data;
        const size = file.get(`${prefix}grad.${name}.norm`).data[0];
        expectWithin(`|grad ${name}|`, [norm(values)], [size], gradient * size);
        expectWithin(`grad ${name}`, values.subarray(0, head.length), head, gradient * size);
      }
      for (const [name, t] of net.namedBuffers()) {
        if (name.endsWith('num_batches_tracked')) continue;
        const head = file.get(`${prefix}buffer.${name}.head`).data;
        const values = Float64Array.from(await t.data(), Number).subarray(0, head.length);
        expectWithin(name, values, head, forward * Math.max(1, largest(head)));
      }
      for (const t of [logits, loss, ...grads]) t.dispose();
    });
  });
});
