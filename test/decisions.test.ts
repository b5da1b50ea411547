/**
 * The gradients of the chapter's network in float32 against float64, with the float32 run's decisions. One ReLU whose
 * input is 0 but for rounding moves a gradient by 3e-3 of its norm, which hides every smaller fault from the golden
 * values; with the same signs and the same maxima on both sides only rounding is left.
 */
import { expect, it } from 'vitest';
import { crossEntropy, type Device, d2lResnet18, grad, reference, tensor, wasm } from '../src/index.js';
import './devices.js';
import { formula, goldens, labelsFor, loadFormula } from './goldens.js';

/** The results of each ReLU, in order, and the places of the maxima. */
interface Decisions {
  readonly relu: ArrayLike<number>[];
  pool: Int32Array;
}

/** Puts down what `device` decides; with `given`, gradients follow those decisions instead of its own. */
function watch(device: Device, given?: Decisions): Decisions {
  const { kernels } = device;
  const { maxPool2d, batchNormTrain, batchNormBackward } = kernels;
  const seen: Decisions = { relu: [], pool: new Int32Array() };
  let left = given?.relu.length ?? 0;
  Object.assign(kernels, {
    batchNormTrain(o: Parameters<typeof batchNormTrain>[0]) {
      batchNormTrain(o);
      if (o.relu) seen.relu.push(Array.from(device.readSync?.(o.out) ?? [], Number));
    },
    maxPool2d(o: Parameters<typeof maxPool2d>[0]) {
      maxPool2d(o);
      if (o.indices === null) return;
      seen.pool = device.readSync?.(o.indices) as Int32Array;
      if (given) device.write(o.indices, given.pool);
    },
    batchNormBackward(o: Parameters<typeof batchNormBackward>[0]) {
      if (!given || o.y === null) return batchNormBackward(o);
      const y = device.alloc(o.y.size);
      device.write(y, given.relu[--left]);
      batchNormBackward({ ...o, y });
      y.release();
    },
  } satisfies Partial<typeof kernels>);
  return seen;
}

function gradients(device: Device): Map<string, number[]> {
  const shape = JSON.parse(goldens('d2l_resnet18').metadata.x) as number[];
  const net = d2lResnet18({ device });
  loadFormula(net);
  const params = net.namedParameters();
  const x = tensor(formula('x', shape, 0, 1), shape, { device });
  const grads = grad(crossEntropy(net.forward(x), labelsFor(shape[0])), [...params.values()]);
  return new Map([...params.keys()].map((name, i) => [name, Array.from(grads[i].dataSync(), Number)]));
}

const norm = (values: readonly number[]): number => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0));

it.each([
  ['exact', 1.5e-5],
  ['fast', 1.5e-5],
  ['relaxed', 1.5e-5],
] as const)(
  '%s: every gradient is within %f of its norm of float64’s, given the same decisions',
  {
    timeout: 600_000,
  },
  async (math, bound) => {
    const single = await wasm({ math });
    const decisions = watch(single);
    const got = gradients(single);
    const double = reference({ dtype: 'float64' });
    watch(double, decisions);
    const want = gradients(double);
    expect(got.size).toBe(76);
    for (const [name, exact] of want) {
      const values = got.get(name) as number[];
      // A convolution's bias before a batch norm has gradient 0, the sum of terms that cancel: judged by its weight's.
      const cancels = /(^0\.0|conv\d)\.bias$/.test(name);
      const size = norm(cancels ? (want.get(name.replace(/bias$/, 'weight')) as number[]) : exact);
      expect(norm(values.map((v, i) => v - exact[i])) / size, name).toBeLessThan(bound);
    }
    single.dispose();
  },
);
