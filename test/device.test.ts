/** A device of one's own, made of nothing but what the package exports. */
import { describe, expect, it } from 'vitest';
import { Buffer, type Device, type Kernels, reference } from '../src/device/index.js';
import { add, defineOp, grad, relu, sum, type Tensor, tensor } from '../src/index.js';

describe('a device of one’s own', () => {
  it('runs ops and gradients, and sees every kernel call', () => {
    const inner = reference();
    const calls: string[] = [];
    const kernels = Object.fromEntries(
      Object.entries(inner.kernels).map(([name, kernel]) => [
        name,
        (options: never) => {
          calls.push(name);
          (kernel as (o: never) => void)(options);
        },
      ]),
    ) as unknown as Kernels;
    const device: Device = {
      name: 'mine',
      dtype: 'float32',
      scopes: inner.scopes,
      kernels,
      alloc: (size, dtype) => inner.alloc(size, dtype),
      write: (buffer, data) => inner.write(buffer, data),
      read: (buffer) => inner.read(buffer),
      readSync: (buffer) => inner.readSync?.(buffer) ?? new Float32Array(),
      scope: (fn) => inner.scope(fn),
      memory: () => inner.memory(),
      dispose: () => inner.dispose(),
    };
    const x = tensor([1, -2], { device, requiresGrad: true });
    const [dx] = grad(sum(add(relu(x), x)), [x]);
    expect([...dx.dataSync()]).toEqual([2, 1]);
    expect(calls).toContain('reluBackward');
    expect(x.buffer).toBeInstanceOf(Buffer);
  });

  it('takes ops of one’s own', () => {
    const device = reference();
    const twice = defineOp({
      name: 'twice',
      inputs: ['x'],
      plan: ([x]: readonly [Tensor]) => ({ shape: x.shape }),
      forward({ kernels, inputs: [x], out }) {
        const shape = [out.size];
        kernels.binary({ operator: 'add', a: x, b: x, out, shape, aStrides: [1], bStrides: [1] });
      },
      backward({ kernels, dy, grad }) {
        const out = grad(0);
        const shape = [dy.size];
        if (out) kernels.binary({ operator: 'add', a: dy, b: dy, out, shape, aStrides: [1], bStrides: [1] });
      },
    });
    const x = tensor([1, 2], { device, requiresGrad: true });
    const y = twice([x], undefined);
    expect([...y.dataSync()]).toEqual([2, 4]);
    expect([...grad(sum(y), [x])[0].dataSync()]).toEqual([2, 2]);
  });

  it('refuses a result that no memory could address', () => {
    const device = reference();
    const huge = defineOp({
      name: 'huge',
      inputs: ['x'],
      plan: (_: readonly [Tensor]) => ({ shape: [2 ** 20, 2 ** 20] }),
      forward() {},
      backward() {},
    });
    expect(() => huge([tensor([1], { device })], undefined)).toThrow(/huge: the result .* elements; at most/);
    for (const bad of ['abc', true, [null]])
      expect(() => tensor(bad as never, { device })).toThrow(/tensor: data holds/);
  });
});
