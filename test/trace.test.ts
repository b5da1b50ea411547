/** Traces: every kernel call of a run judged by what its own operands allow, on every device; a planted fault is found where it is. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { grad, noGrad } from '../src/autograd.js';
import type { Kernels } from '../src/device/device.js';
import {
  adamw,
  crossEntropy,
  type Device,
  d2lResnet,
  Generator,
  type Module,
  rmsprop,
  sgd,
  type Tensor,
  tensor,
  wasm,
} from '../src/index.js';
import { compile } from '../src/nn/index.js';
import { type Call, cases, drawFrom, judgeTrace, numbers, type Trial, trace } from '../src/oracle/index.js';
import { type DeviceMaker, devices, fastDevices } from './devices.js';
import { gpuDevices } from './gpu.js';
import { MINUTES, SEED } from './table.js';

const BATCH = 3;
const SIDE = 20;

function network(device: Device): Module {
  return d2lResnet({ device, generator: new Generator(7), channels: [8, 16], blocks: [1, 1] });
}

function batch(device: Device): { x: Tensor; labels: number[] } {
  const data = numbers(1, 'x', BATCH * SIDE * SIDE, 0, 1);
  return { x: tensor(data, [BATCH, 1, SIDE, SIDE], { device }), labels: [3, 0, 7] };
}

/** Two training steps of each optimizer on a small residual network: the calls, named. */
async function trainingTrace(device: Device): Promise<Call[]> {
  const tracer = trace(device);
  const calls: Call[] = [];
  for (const make of [sgd, adamw, rmsprop]) {
    const net = network(tracer.device);
    net.train();
    tracer.name(net.namedParameters());
    const params = net.parameters();
    const options = { lr: 0.01, weightDecay: 0.01 };
    const optimizer = make === adamw ? adamw(params, options) : make(params, { ...options, momentum: 0.9 });
    for (let step = 0; step < 2; step++) {
      tracer.device.scope(() => {
        const { x, labels } = batch(tracer.device);
        optimizer.step(grad(crossEntropy(net.forward(x), labels, { labelSmoothing: 0.1 }), params));
      });
      calls.push(...(await tracer.take()));
    }
  }
  return calls;
}

async function compiledTrace(device: Device): Promise<Call[]> {
  const tracer = trace(device);
  const net = network(tracer.device);
  net.eval();
  const plan = compile(net, { inputShape: [BATCH, 1, SIDE, SIDE] });
  const { x } = batch(tracer.device);
  plan.run(x);
  plan.run(x);
  const calls = await tracer.take();
  plan.dispose();
  return calls;
}

const red = (findings: Awaited<ReturnType<typeof judgeTrace>>): string[] =>
  findings.filter((f) => !f.passed).map((f) => f.detail);

describe.each([...devices, ...fastDevices, ...gpuDevices])('a trace on $name', ({ make, precision }: DeviceMaker) => {
  it('has every call of training within its bound', async () => {
    const device = await make();
    const calls = await trainingTrace(device);
    const findings = await judgeTrace(calls, { precision });
    expect(red(findings)).toEqual([]);
    const kernels: readonly (keyof Kernels)[] = [
      ...(['conv2d', 'conv2dBackwardInput', 'conv2dBackwardWeight', 'batchNormTrain', 'batchNormBackward'] as const),
      ...(['maxPool2d', 'maxPool2dBackward', 'adaptiveAvgPool2d', 'adaptiveAvgPool2dBackward', 'matmul'] as const),
      ...(['crossEntropy', 'crossEntropyBackward', 'sgd', 'adam', 'rmsprop'] as const),
    ];
    expect([...new Set(findings.map((f) => f.kernel))]).toEqual(expect.arrayContaining([...kernels]));
    device.dispose();
  }, 300_000);

  it('has every call of a compiled network within its bound', async () => {
    const device = await make();
    const findings = await judgeTrace(await compiledTrace(device), { precision });
    expect(red(findings)).toEqual([]);
    expect(findings.filter((f) => f.kernel === 'prepareConv2d').length).toBeGreaterThan(8);
    device.dispose();
  }, 300_000);
});

describe.each([...fastDevices.slice(2), ...gpuDevices])(
  'step by step beside wasm exact: $name',
  ({ make, precision }) => {
    it('has every call within the bounds of both', async () => {
      const device = await make();
      const against = await wasm();
      const used = against.memory().used;
      const calls = await trainingTrace(device);
      expect(red(await judgeTrace(calls, { precision, against }))).toEqual([]);
      expect(against.memory().used).toBe(used);
      device.dispose();
      against.dispose();
    }, 300_000);
  },
);

describe('the calls of every row of the case table', () => {
  /** Runs forward and backward as the table does. */
  function run(device: Device, trial: Trial): void {
    const { salt } = trial.options;
    const tensors = trial.inputs.map((x) => tensor(x.data, x.shape, { device, requiresGrad: x.differentiable }));
    const xs = tensors.filter((t) => t.requiresGrad);
    const y = xs.length > 0 ? trial.run(tensors) : noGrad(() => trial.run(tensors));
    if (!y || xs.length === 0) return;
    grad(y, xs, tensor(numbers(salt, 'dy', y.size, -1, 1), trial.shape, { device }));
  }

  it.each(cases)(
    '$name',
    async (row) => {
      const device = await wasm();
      await fc.assert(
        fc.asyncProperty(fc.gen(), async (g) => {
          const tracer = trace(device);
          const trial = row.draw(drawFrom((min, max) => g(fc.integer, { min, max })));
          device.scope(() => run(tracer.device, trial));
          expect(red(await judgeTrace(await tracer.take()))).toEqual([]);
        }),
        { numRuns: 10, ...SEED },
      );
      device.dispose();
    },
    5 * MINUTES,
  );
});

describe('a planted fault', () => {
  /** A device whose kernel does something wrong to its result. */
  function faulty<K extends keyof Kernels>(
    device: Device,
    kernel: K,
    fault: (o: Parameters<Kernels[K]>[0]) => void,
  ): Device {
    const kernels = Object.assign(Object.create(Object.getPrototypeOf(device.kernels)), device.kernels);
    const right = device.kernels[kernel].bind(device.kernels) as (o: Parameters<Kernels[K]>[0]) => unknown;
    kernels[kernel] = (o: Parameters<Kernels[K]>[0]) => {
      const result = right(o);
      fault(o);
      return result;
    };
    return new Proxy(device, {
      get(target, key) {
        if (key === 'kernels') return kernels;
        const value = Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  }

  it.each([false, true])(
    'is found in the call that made it, by its name (beside wasm: %s)',
    async (beside) => {
      const plain = await wasm();
      let seen = 0;
      // The third weight gradient has one element off by 2⁻¹⁰ of its size: later calls inherit it.
      const device = faulty(plain, 'conv2dBackwardWeight', ({ dweight }) => {
        if (++seen !== 3) return;
        const values = Float32Array.from((plain.readSync?.(dweight) ?? []) as Float32Array);
        const at = values.reduce((best, v, i) => (Math.abs(v) > Math.abs(values[best]) ? i : best), 0);
        values[at] *= 1 + 2 ** -10;
        plain.write(dweight, values);
      });
      const against = beside ? await wasm() : undefined;
      const findings = await judgeTrace(await trainingTrace(device), { against });
      const wrong = findings.filter((f) => !f.passed);
      expect(wrong.map((f) => f.kernel)).toEqual(['conv2dBackwardWeight']);
      expect(wrong[0].at).toBe(findings.filter((f) => f.kernel === 'conv2dBackwardWeight')[2].at);
      expect(wrong[0].detail).toMatch(/^call \d+, conv2dBackwardWeight of .*dweight\[\d+\] is .*% of the bound/);
      plain.dispose();
    },
    120_000,
  );

  it('would show in any output of any call', async () => {
    const device = await wasm();
    const calls = [...(await trainingTrace(device)), ...(await compiledTrace(device))];
    const damaged: Call[] = [];
    for (const call of calls) {
      for (const [name, values] of Object.entries(call.after)) {
        const wrong = Float64Array.from(values as Float32Array);
        const at = wrong.reduce((best, v, i) => (Math.abs(v) > Math.abs(wrong[best]) ? i : best), 0);
        if (wrong[at] === 0) continue;
        wrong[at] *= 1 + 2 ** -8;
        damaged.push({ ...call, after: { ...call.after, [name]: wrong } });
      }
    }
    const findings = await judgeTrace(damaged);
    expect(findings.filter((f) => f.passed).map((f) => f.detail)).toEqual([]);
    expect(findings.length).toBeGreaterThan(calls.length);
    device.dispose();
  }, 120_000);

  it('names the parameters that a call was about', async () => {
    const plain = await wasm();
    const device = faulty(plain, 'sgd', ({ param }) => {
      const values = Float32Array.from((plain.readSync?.(param) ?? []) as Float32Array);
      if (values.length !== 8) return;
      values[7] += 0.5;
      plain.write(param, values);
    });
    const findings = await judgeTrace(await trainingTrace(device));
    const [first] = findings.filter((f) => !f.passed);
    expect(first.detail).toMatch(/^call \d+, sgd of param 8 \([\w.]+bias\), .*param\[7\] is /);
    plain.dispose();
  }, 120_000);
});
