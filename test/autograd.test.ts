/** The graph: order of accumulation, what frees what, depth, misuse. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  AutogradError,
  add,
  batchNorm,
  conv2d,
  crossEntropy,
  type Device,
  DeviceError,
  detach,
  div,
  flatten,
  grad,
  keep,
  linear,
  matmul,
  mean,
  mul,
  noGrad,
  reference,
  relu,
  reshape,
  type Shape,
  sgd,
  sub,
  sum,
  type Tensor,
  tensor,
} from '../src/index.js';
import { devices } from './devices.js';
import { formula } from './goldens.js';
import { gpuDevices } from './gpu.js';

describe.each([...devices, ...gpuDevices])('autograd on $name', ({ make }) => {
  let device: Device;
  beforeEach(async () => {
    device = await make();
  });
  afterEach(() => device.dispose());

  const leaf = (data: number | number[] | Float32Array, shape?: Shape): Tensor =>
    tensor(data, shape, { device, requiresGrad: true });
  const values = async (t: Tensor): Promise<number[]> => Array.from(await t.data(), Number);
  const drawn = (name: string, shape: Shape): Tensor => leaf(formula(name, shape), shape);

  it('differentiates a small expression', async () => {
    const [x, w] = [leaf([1, 2, 3]), leaf([4, -5, 6])];
    const [dx, dw] = grad(sum(mul(mul(x, x), w)), [x, w]);
    expect(await values(dx)).toEqual([8, -20, 36]);
    expect(await values(dw)).toEqual([1, 4, 9]);
  });

  it('takes dy for a result that is no scalar', async () => {
    const x = leaf([1, 2]);
    const [dx] = grad(mul(x, 3), [x], tensor([10, 100], { device }));
    expect(await values(dx)).toEqual([30, 300]);
  });

  it('sums a diamond, and a tensor that is both operands', async () => {
    const x = leaf([3]);
    const y = mul(x, 2);
    const [dx, dy] = grad(sum(mul(add(y, x), sub(y, x))), [x, y]);
    // (y + x)(y − x) = y² − x²: 2y = 12 by y; −2x + 2·12 = 18 by x.
    expect(await values(dy)).toEqual([12]);
    expect(await values(dx)).toEqual([18]);
  });

  it('adds contributions in the order in which consumers are met, last op first', async () => {
    const x = leaf([1]);
    const [a, b, c] = [-(2 ** 60), 2 ** 60, 1].map((v) => tensor([v], { device }));
    const run = (): Tensor => grad(sum(add(add(mul(x, a), mul(x, b)), mul(x, c))), [x])[0];
    // (c + b) + a: c is lost in rounding. Any order that adds a and b first would give 1.
    expect(await values(run())).toEqual([0]);
    expect(await values(run())).toEqual([0]);
  });

  it('gives the same bits twice', async () => {
    const [x, w] = [drawn('x', [4, 6]), drawn('w', [5, 6])];
    const run = async (): Promise<number[][]> => {
      const h = relu(linear(x, w, null));
      const grads = grad(mean(mul(add(h, h), h)), [x, w]);
      return Promise.all(grads.map(values));
    };
    expect(await run()).toEqual(await run());
  });

  it('gives gradients of intermediates', async () => {
    const x = leaf([2]);
    const y = mul(x, x);
    const [dy] = grad(sum(mul(y, y)), [y]);
    expect(await values(dy)).toEqual([8]);
  });

  it('spends the graph', () => {
    const x = leaf([1, -1]);
    const y = sum(relu(x));
    grad(y, [x]);
    expect(() => grad(y, [x])).toThrow(AutogradError);
    expect(() => grad(y, [x])).toThrow(/sum.*already spent/);
  });

  it('names what it was asked wrongly', () => {
    const [x, other] = [leaf([1, 2]), leaf([1])];
    const plain = tensor([1, 2], { device });
    expect(() => grad(relu(x), [x])).toThrow(/y has shape \[2\]; want a scalar/);
    expect(() => grad(relu(x), [x], leaf([1]))).toThrow(/dy has shape \[1\].*want \[2\]/);
    expect(() => grad(sum(x), [x, other])).toThrow(/xs\[1\] \[1\] does not influence y/);
    expect(() => grad(sum(mul(x, plain)), [plain])).toThrow(/xs\[0\] \[2\] has requiresGrad false/);
  });

  it('says so when an input was disposed before its gradient', () => {
    const [x, y] = [leaf([1]), leaf([2])];
    const z = sum(mul(x, y));
    y.dispose();
    expect(() => grad(z, [x])).toThrow(/b of mul \[1\] was disposed before its gradient was taken/);
    expect(() => add(x, y)).toThrow(DeviceError);
  });

  it('records nothing under noGrad, and again after it, even when it throws', () => {
    const x = leaf([1]);
    expect(noGrad(() => noGrad(() => relu(x))).requiresGrad).toBe(false);
    expect(() =>
      noGrad(() => {
        throw new Error('inside');
      }),
    ).toThrow('inside');
    const y = relu(x);
    expect(y.requiresGrad).toBe(true);
    expect(relu(tensor([1], { device })).node).toBe(null);
  });

  it('walks 10,000 ops without a stack overflow', async () => {
    const x = leaf([1]);
    const { used } = device.memory();
    const [dx] = device.scope(() => {
      let y = x;
      for (let i = 0; i < 10_000; i++) y = mul(y, i % 2 === 0 ? 2 : 0.5);
      return grad(sum(y), [x]);
    });
    expect(await values(dx)).toEqual([1]);
    expect(device.memory().used).toBe(2 * used);
  });

  it('frees a training step to the baseline, its optimizer state aside', () => {
    const params = [drawn('w', [4, 2, 3, 3]), drawn('b', [4]), drawn('g', [4]), drawn('h', [4]), drawn('l', [10, 64])];
    const [w, b, g, h, l] = params;
    const optimizer = sgd(params, { lr: 0.1, momentum: 0.9 });
    const step = (): void =>
      device.scope(() => {
        const x = tensor(formula('x', [3, 2, 4, 4]), [3, 2, 4, 4], { device });
        const y = relu(batchNorm(conv2d(x, w, b, { padding: 1 }), { weight: g, bias: h, training: true }));
        const loss = crossEntropy(linear(flatten(y, 1), l, null), [1, 2, 3]);
        optimizer.step(grad(loss, params));
      });
    step();
    const used = device.memory().used;
    for (let i = 0; i < 3; i++) step();
    expect(device.memory().used).toBe(used);
    optimizer.dispose();
    for (const p of params) p.dispose();
    expect(device.memory().used).toBe(0);
  });

  it('frees what an abandoned graph had saved', () => {
    const x = drawn('x', [4, 10]);
    const used = device.memory().used;
    device.scope(() => crossEntropy(mul(x, 2), [1, 2, 3, 4])).dispose();
    expect(device.memory().used).toBe(used);
    expect(() =>
      device.scope(() => {
        crossEntropy(mul(x, 2), [1, 2, 3, 4]);
        throw new Error('inside');
      }),
    ).toThrow('inside');
    expect(device.memory().used).toBe(used);
  });

  it('peaks at the activations once and a few gradients', () => {
    const [depth, size] = [40, 10_000];
    const bytes = size * (device.dtype === 'float32' ? 4 : 8);
    const x = drawn('x', [size]);
    device.scope(() => {
      let y = x;
      for (let i = 0; i < depth; i++) y = relu(y);
      grad(sum(y), [x]);
    });
    // x, the activations, and at any time two gradients.
    expect(device.memory().peak).toBeLessThanOrEqual((depth + 4) * bytes);
    expect(device.memory().peak).toBeGreaterThan(depth * bytes);
  });

  it('keeps outside a scope every tensor that an op returned', async () => {
    const x = leaf([-1, 2]);
    const y = relu(x);
    grad(sum(y), [x]);
    expect(await values(y)).toEqual([0, 2]);
  });

  it('inside a scope frees intermediates on the way, but not kept ones, y and xs', async () => {
    const x = leaf([-1, 2]);
    const [kept, gone, y, dx] = device.scope(() => {
      const kept = keep(relu(x));
      const gone = mul(kept, 2);
      const y = sum(gone);
      return [kept, gone, y, ...grad(y, [x])];
    });
    expect([kept.disposed, gone.disposed, y.disposed, dx.disposed]).toEqual([false, true, false, false]);
    expect(await values(kept)).toEqual([0, 2]);
    expect(await values(y)).toEqual([4]);
  });

  it('shares memory in a reshape and frees it once', async () => {
    const x = leaf([1, 2, 3, 4, 5, 6]);
    const used = device.memory().used;
    const y = reshape(x, [2, -1]);
    expect(device.memory().used).toBe(used);
    x.dispose();
    expect(await values(y)).toEqual([1, 2, 3, 4, 5, 6]);
    y.dispose();
    expect(device.memory().used).toBe(0);
  });

  it('leaves gradients of a batched product and a quotient right', async () => {
    const [a, b] = [leaf([1, 2, 3, 4], [2, 2]), leaf([2, 4], [2])];
    const [da, db] = grad(sum(div(matmul(a, b), b)), [a, b]);
    // y0 = (a00·b0 + a01·b1)/b0, y1 = (a10·b0 + a11·b1)/b1.
    expect(await values(da)).toEqual([1, 2, 0.5, 1]);
    expect(await values(db)).toEqual([(-2 * 4) / 4 + 3 / 4, 2 / 2 - (3 * 2) / 16]);
  });
});

describe('the tensors that grad returns', () => {
  it('share no memory, with each other or with dy', async () => {
    const device = reference();
    const a = tensor([1, 2], { device, requiresGrad: true });
    const b = tensor([3, 4], { device, requiresGrad: true });
    const dy = tensor([5, 6], { device });
    const [da, db] = grad(add(a, b), [a, b], dy);
    da.write([0, 0]);
    expect([...db.dataSync()]).toEqual([5, 6]);
    expect([...dy.dataSync()]).toEqual([5, 6]);
  });
});

describe('a graph that was cut or changed', async () => {
  const device = reference();
  const leaf = (data: number[]) => tensor(data, { device, requiresGrad: true });

  it('is an error when an intermediate was disposed, whatever its op reads', () => {
    const x = leaf([1, 2]);
    const h = relu(x);
    const y = sum(add(relu(h), h));
    h.dispose();
    expect(() => grad(y, [x])).toThrow(/\[2\] between xs and y was disposed/);
  });

  it('is an error when two losses share an activation that the first grad freed in a scope', () => {
    const x = leaf([1, 2]);
    device.scope(() => {
      const h = relu(x);
      const [a, b] = [sum(relu(h)), sum(h)];
      grad(a, [x]);
      expect(() => grad(b, [x])).toThrow(AutogradError);
    });
  });

  it('is an error when a scope freed the middle of it', () => {
    const x = leaf([1, 2]);
    const y = device.scope(() => relu(add(relu(x), x)));
    expect(() => grad(sum(y), [x])).toThrow(/end of its scope/);
  });

  it('may be cut on purpose', () => {
    const x = leaf([1, 2]);
    const h = relu(x);
    const y = sum(mul(detach(h), x));
    h.dispose();
    expect([...grad(y, [x])[0].dataSync()]).toEqual([1, 2]);
  });

  it('is an error when what an op read was written to since', () => {
    const [x, w] = [leaf([1, 2]), leaf([3, 4])];
    const y = sum(mul(x, w));
    sgd([w], { lr: 1 }).step([tensor([1, 1], { device })]);
    expect(() => grad(y, [x])).toThrow(/b of mul \[2\] was changed in place/);
    const z = sum(mul(x, w));
    x.write([5, 6]);
    expect(() => grad(z, [w])).toThrow(/a of mul \[2\] was changed in place/);
    // What backward does not read may change.
    const v = sum(add(x, w));
    x.write([7, 8]);
    expect([...grad(v, [w])[0].dataSync()]).toEqual([1, 1]);
  });

  it('refuses an async function under noGrad, and a dy of another type', () => {
    expect(() => noGrad(async () => 1)).toThrow(/noGrad: fn returned a promise/);
    expect(() => noGrad(5 as never)).toThrow('noGrad: fn is 5; want a function');
    const x = leaf([1, 2]);
    expect(() => grad(relu(x), [x], tensor(BigInt64Array.of(1n, 1n), { device }))).toThrow(AutogradError);
  });
});
