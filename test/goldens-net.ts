/** How a network of torchvision's is judged by torchvision's own values: logits, loss, every gradient, running statistics. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  crossEntropy,
  type Device,
  grad,
  type InitOptions,
  keep,
  noGrad,
  type Sequential,
  tensor,
} from '../src/index.js';
import type { DeviceMaker } from './devices.js';
import { doubles, expectWithin, formula, type GoldenFile, loadFormula, norm } from './goldens.js';

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
export const SHALLOW = { forward: EVAL, gradient: 2e-3 };
export const MEDIUM = { forward: EVAL, gradient: 2e-2 };
export const DEEP = { forward: 2.4e-4, gradient: 3.2e-2 };

const largest = (values: ArrayLike<number>): number => Array.from(values).reduce((a, v) => Math.max(a, Math.abs(v)), 0);

export interface Net {
  readonly name: string;
  readonly make: (options: InitOptions) => Sequential;
  readonly parameters: number;
  readonly file: GoldenFile;
  /** Of its entries in the file. */
  readonly prefix: string;
  /** Bounds of a float32 training pass. */
  readonly single: { readonly forward: number; readonly gradient: number };
  readonly on: readonly DeviceMaker[];
}

/** Its tests, on every device of `on`. */
export function describeNet({ name, make, parameters, single, file, prefix, on }: Net): void {
  const shape = JSON.parse(file.metadata.x) as number[];
  const [low, high] = JSON.parse(file.metadata.x_range) as number[];
  const labels = Int32Array.from(JSON.parse(file.metadata.labels) as number[]);

  describe.each(on)(`${name} on $name`, (maker) => {
    let device: Device;
    let net: Sequential;
    beforeAll(async () => {
      device = await maker.make();
      net = make({ device, initWeights: false });
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
      expectWithin('eval.logits', doubles(await logits.data()), want.data, bound);
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
      expectWithin('train.logits', doubles(await logits.data()), wanted, forward * largest(wanted));
      expectWithin('train.loss', await loss.data(), file.get(`${prefix}train.loss`).data, forward * largest(wanted));
      for (const [i, name] of [...params.keys()].entries()) {
        const values = doubles(await grads[i].data());
        const head = file.get(`${prefix}grad.${name}.head`).data;
        const size = file.get(`${prefix}grad.${name}.norm`).data[0];
        expectWithin(`|grad ${name}|`, [norm(values)], [size], gradient * size);
        expectWithin(`grad ${name}`, values.subarray(0, head.length), head, gradient * size);
      }
      for (const [name, t] of net.namedBuffers()) {
        if (name.endsWith('num_batches_tracked')) continue;
        const head = file.get(`${prefix}buffer.${name}.head`).data;
        const values = doubles(await t.data()).subarray(0, head.length);
        expectWithin(name, values, head, forward * Math.max(1, largest(head)));
      }
      for (const t of [logits, loss, ...grads]) t.dispose();
    });
  });
}
