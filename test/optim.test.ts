/** Optimizers: PyTorch's golden values, resuming bit for bit, and what they refuse. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ArgumentError,
  adam,
  adamw,
  BatchNorm2d,
  type Device,
  DeviceError,
  d2lResnet,
  keep,
  type Optimizer,
  readSafetensors,
  reference,
  rmsprop,
  StateDictError,
  type StateEntry,
  sgd,
  sub,
  type Tensor,
  tensor,
  wasm,
  writeSafetensors,
} from '../src/index.js';
import { noDecayGroups } from '../src/train/index.js';
import { devices } from './devices.js';
import { expectWithin, formula, goldens } from './goldens.js';

const SIZE = 11;
const STEPS = 5;
const makers: Record<string, (params: Tensor[]) => Optimizer> = {
  sgd: (p) => sgd(p, { lr: 0.05 }),
  sgd_momentum: (p) => sgd(p, { lr: 0.05, momentum: 0.9 }),
  sgd_nesterov_wd: (p) => sgd(p, { lr: 0.05, momentum: 0.9, nesterov: true, weightDecay: 1e-4 }),
  adam: (p) => adam(p, { lr: 0.01 }),
  adam_wd: (p) => adam(p, { lr: 0.01, weightDecay: 0.1 }),
  adamw: (p) => adamw(p, { lr: 0.01, weightDecay: 0.1 }),
  rmsprop: (p) => rmsprop(p, { lr: 0.01, momentum: 0.9 }),
};

describe.each(devices)('optimizers on $name', ({ make }) => {
  const file = goldens('optimizers');
  let device: Device;
  beforeAll(async () => {
    device = await make();
  });
  afterAll(() => device.dispose());

  const weights = (): Tensor => tensor(formula('optim.w', [SIZE]), { device, requiresGrad: true });
  /** Step t with gradient w − target. */
  const advance = (optimizer: Optimizer, w: Tensor, t: number): void =>
    device.scope(() => optimizer.step([sub(w, tensor(formula(`optim.target${t}`, [SIZE]), { device }))]));

  it('covers the golden file', () => {
    expect(Object.keys(makers).sort()).toEqual(Object.keys(file.metadata).sort());
  });

  it.each(Object.keys(makers))('%s follows PyTorch', async (name) => {
    const w = weights();
    const optimizer = makers[name]([w]);
    // Steps are at most 0.2 long and gradients below 2: each of a step's dozen roundings is below an ulp of 1.
    const bound = device.dtype === 'float32' ? 12 * 2 ** -24 : 1e-13;
    for (let t = 0; t < STEPS; t++) {
      advance(optimizer, w, t);
      const values = Float64Array.from(await w.data(), Number);
      expectWithin(`${name}.w${t + 1}`, values, file.get(`${name}.w${t + 1}`).data, bound * (t + 1));
    }
    expect(optimizer.steps).toBe(STEPS);
    optimizer.dispose();
    w.dispose();
    expect(device.memory().used).toBe(0);
  });

  it.each(Object.keys(makers))('%s resumes bit for bit from a file', async (name) => {
    const [straight, first, second] = [weights(), weights(), weights()];
    const whole = makers[name]([straight]);
    for (let t = 0; t < STEPS; t++) advance(whole, straight, t);

    const before = makers[name]([first]);
    for (let t = 0; t < 3; t++) advance(before, first, t);
    const checkpoint = readSafetensors(writeSafetensors(before.state()));
    second.write(first.dataSync() as Float32Array);
    const after = makers[name]([second]);
    after.loadState(checkpoint);
    for (let t = 3; t < STEPS; t++) advance(after, second, t);
    const [a, b] = [straight.dataSync(), second.dataSync()];
    expect(a.every((v, i) => Object.is(v, b[i]))).toBe(true);

    // A state from before the first step takes everything back.
    const fresh = weights();
    after.loadState(makers[name]([fresh]).state());
    second.write(fresh.dataSync() as Float32Array);
    for (let t = 0; t < STEPS; t++) advance(after, second, t);
    expect(second.dataSync()).toEqual(a);
  });
});

describe('optimizers', () => {
  const device = reference();
  afterAll(() => device.dispose());
  const leaf = (shape: number[]): Tensor => tensor(formula('w', shape), shape, { device, requiresGrad: true });
  const constant = (shape: number[]): Tensor => tensor(formula('g', shape), shape, { device });

  it('makes state that outlives the scope of the first step, and updates in place', () => {
    const [w, g] = [leaf([2, 3]), constant([2, 3])];
    const { buffer } = w;
    const optimizer = adam([w], {});
    expect([...optimizer.state().keys()]).toEqual(['step']);
    device.scope(() => optimizer.step([g]));
    expect([...optimizer.state().keys()]).toEqual(['step', '0.exp_avg', '0.exp_avg_sq']);
    expect([...optimizer.state().values()].every((t) => !t.disposed)).toBe(true);
    expect(w.buffer).toBe(buffer);
    expect(optimizer.state().get('step')?.dataSync()).toEqual(BigInt64Array.of(1n));
    device.scope(() => optimizer.step([g]));
    expect(optimizer.steps).toBe(2);
  });

  it("has PyTorch's defaults", () => {
    const run = (make: (params: Tensor[]) => Optimizer): unknown => {
      const w = leaf([4]);
      const optimizer = make([w]);
      for (let t = 0; t < 3; t++) optimizer.step([constant([4])]);
      return w.dataSync();
    };
    const moments = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8 } as const;
    expect(run((p) => adam(p))).toEqual(run((p) => adam(p, { ...moments, weightDecay: 0 })));
    expect(run((p) => adamw(p))).toEqual(run((p) => adamw(p, { ...moments, weightDecay: 0.01 })));
    const mean = { lr: 0.01, alpha: 0.99, eps: 1e-8, momentum: 0, weightDecay: 0 };
    expect(run((p) => rmsprop(p))).toEqual(run((p) => rmsprop(p, mean)));
    expect(run((p) => sgd(p, { lr: 0.1 }))).toEqual(
      run((p) => sgd(p, { lr: 0.1, momentum: 0, nesterov: false, weightDecay: 0 })),
    );
  });

  it('starts momentum at the first gradient itself, sign of zero included', () => {
    const optimizer = sgd([leaf([2])], { lr: 1, momentum: 0.9 });
    optimizer.step([tensor([-0, 3], { device })]);
    const v = optimizer.state().get('0.momentum_buffer')?.dataSync();
    expect([Object.is(v?.[0], -0), v?.[1]]).toEqual([true, 3]);
  });

  it('takes a new learning rate between steps', () => {
    const w = tensor([1], { device, requiresGrad: true });
    const optimizer = sgd([w], { lr: 0.5 });
    optimizer.step([tensor([1], { device })]);
    expect(w.item()).toBe(0.5);
    optimizer.lr = 0.25;
    optimizer.step([tensor([1], { device })]);
    expect(w.item()).toBe(0.25);
    expect(() => {
      optimizer.lr = -1;
    }).toThrow(/lr is -1/);
    expect(optimizer.lr).toBe(0.25);
  });

  it('refuses bad options and parameters', () => {
    const w = leaf([2]);
    const bad: [() => unknown, RegExp][] = [
      [() => sgd([], { lr: 1 }), /params is empty/],
      [() => sgd([w, w], { lr: 1 }), /a tensor twice/],
      [() => sgd([constant([2])], { lr: 1 }), /params\[0\] \[2\] has requiresGrad false/],
      [() => sgd([sub(w, 1)], { lr: 1 }), /result of an op; want a leaf/],
      [() => sgd([w], {} as { lr: number }), /lr is undefined/],
      [() => sgd([w], { lr: Number.NaN }), /lr is NaN/],
      [() => sgd([w], { lr: 1, momentum: -1 }), /momentum is -1/],
      [() => sgd([w], { lr: 1, nesterov: true }), /nesterov is true with momentum 0/],
      [() => sgd([w], { lr: 1, weightDecay: -1 }), /weightDecay is -1/],
      [() => adam([w], { betas: [0.9, 1] }), /adam: betas\[1\] is 1/],
      [() => adamw([w], { eps: -1 }), /adamw: eps is -1/],
      [() => rmsprop([w], { alpha: -0.1 }), /alpha is -0.1/],
    ];
    for (const [run, message] of bad) {
      expect(run).toThrow(ArgumentError);
      expect(run).toThrow(message);
    }
    const other = reference();
    const far = tensor([1], { device: other, requiresGrad: true });
    expect(() => sgd([w, far], { lr: 1 })).toThrow(DeviceError);
    other.dispose();
  });

  it('refuses gradients that do not fit, and changes nothing', () => {
    const [a, b] = [leaf([2]), leaf([3])];
    const before = a.dataSync();
    const optimizer = sgd([a, b], { lr: 1, momentum: 0.9 });
    expect(() => optimizer.step([constant([2])])).toThrow(/got 1 gradients; want 2/);
    expect(() => optimizer.step([constant([2]), constant([2])])).toThrow(/grads\[1\] has shape \[2\].*want \[3\]/);
    const gone = constant([3]);
    gone.dispose();
    expect(() => optimizer.step([constant([2]), gone])).toThrow(DeviceError);
    expect([a.dataSync(), optimizer.steps]).toEqual([before, 0]);
  });

  it('loads all of a state or nothing', () => {
    const w = keep(leaf([2]));
    const optimizer = sgd([w], { lr: 1, momentum: 0.9 });
    optimizer.step([constant([2])]);
    const saved = new Map([...optimizer.state()].map(([name, t]) => [name, t.dataSync()]));
    const used = device.memory().used;
    const step = { shape: [], data: [7] };
    const attempt =
      (entries: [string, { shape: number[]; data: number[] }][], to = optimizer) =>
      (): void =>
        to.loadState(new Map(entries));
    expect(attempt([])).toThrow(/missing: step, 0.momentum_buffer/);
    expect(attempt([['step', step]])).toThrow(/missing: 0.momentum_buffer/);
    expect(attempt([['step', { shape: [], data: [-1] }]])).toThrow(StateDictError);
    expect(
      attempt([
        ['step', { shape: [], data: [0] }],
        ['0.momentum_buffer', { shape: [2], data: [1, 2] }],
      ]),
    ).toThrow(/unexpected: 0.momentum_buffer/);
    const misshapen = { shape: [3], data: [1, 2, 3] };
    const fresh = sgd([leaf([2])], { lr: 1, momentum: 0.9 });
    const now = device.memory().used;
    for (const to of [optimizer, fresh]) {
      expect(
        attempt(
          [
            ['step', step],
            ['0.momentum_buffer', misshapen],
          ],
          to,
        ),
      ).toThrow(/has shape \[3\]; want \[2\]/);
    }
    expect(device.memory().used).toBe(now);
    expect(now).toBeGreaterThan(used);
    expect(new Map([...optimizer.state()].map(([name, t]) => [name, t.dataSync()]))).toEqual(saved);
    expect(optimizer.steps).toBe(1);
  });
});

describe('parameter groups', () => {
  const device = reference();
  afterAll(() => device.dispose());
  const leaf = (value: number): Tensor => tensor([value], { device, requiresGrad: true });
  const one = (): Tensor => tensor([1], { device });

  it('take their own options, and the rest from the optimizer', () => {
    const [a, b, c] = [leaf(4), leaf(4), leaf(4)];
    const optimizer = sgd([{ params: [a], weightDecay: 0 }, { params: [b] }, { params: [c], lr: 0.25 }], {
      lr: 0.5,
      weightDecay: 0.5,
    });
    optimizer.step([one(), one(), one()]);
    // 4 − 0.5·1; 4 − 0.5·(1 + 0.5·4); 4 − 0.25·(1 + 0.5·4)
    expect([a, b, c].map((t) => t.item())).toEqual([3.5, 2.5, 3.25]);
    expect(optimizer.paramGroups.map(({ lr, weightDecay }) => [lr, weightDecay])).toEqual([
      [0.5, 0],
      [0.5, 0.5],
      [0.25, 0.5],
    ]);
    expect(optimizer.lr).toBe(0.5);
    optimizer.paramGroups[2].lr = 1;
    optimizer.step([one(), one(), one()]);
    expect(c.item()).toBe(3.25 - (1 + 0.5 * 3.25));
    expect(() => {
      optimizer.paramGroups[0].lr = -1;
    }).toThrow(/sgd: lr is -1/);
    optimizer.lr = 0.125;
    expect(optimizer.paramGroups.map(({ lr }) => lr)).toEqual([0.125, 0.125, 0.125]);
  });

  it.each<[string, (group: object) => Optimizer, (params: Tensor[], group: object) => Optimizer]>([
    [
      'sgd',
      (group) => sgd([{ params: [leaf(1)], ...group }, { params: [leaf(2)] }], { lr: 0.1, momentum: 0.9 }),
      (params, group) => sgd(params, { lr: 0.1, momentum: 0.9, ...group }),
    ],
    [
      'adam',
      (group) => adam([{ params: [leaf(1)], ...group }, { params: [leaf(2)] }], { lr: 0.1 }),
      (params, group) => adam(params, { lr: 0.1, ...group }),
    ],
    [
      'rmsprop',
      (group) => rmsprop([{ params: [leaf(1)], ...group }, { params: [leaf(2)] }], { momentum: 0.9 }),
      (params, group) => rmsprop(params, { momentum: 0.9, ...group }),
    ],
  ])('%s: are as an optimizer each, options of its own and state included', (name, grouped, alone) => {
    const own = { sgd: { momentum: 0 }, adam: { betas: [0.5, 0.75], eps: 0.1 }, rmsprop: { momentum: 0, alpha: 0.5 } };
    const group = own[name as keyof typeof own];
    const both = grouped(group);
    const [first, second] = [alone([leaf(1)], group), alone([leaf(2)], {})];
    for (let t = 0; t < 3; t++) {
      both.step([one(), one()]);
      first.step([one()]);
      second.step([one()]);
    }
    const expected = [first, second].map((o) => o.params[0].item());
    expect(both.params.map((t) => t.item())).toEqual(expected);
    // Resumed: as if never interrupted.
    const again = grouped(group);
    again.params.forEach((t, i) => {
      t.write(both.params[i].dataSync());
    });
    again.loadState(new Map([...both.state()].map(([key, t]) => [key, { shape: t.shape, data: t.dataSync() }])));
    both.step([one(), one()]);
    again.step([one(), one()]);
    expect(again.params.map((t) => t.item())).toEqual(both.params.map((t) => t.item()));
  });

  it('refuses what is no group, a bad option in one, and a tensor in two', () => {
    const w = leaf(1);
    const mixed = [{ params: [w] }, leaf(2)] as { params: Tensor[] }[];
    expect(() => sgd(mixed, { lr: 1 })).toThrow(/params\[1\] is no group; want { params, ... } throughout/);
    expect(() => sgd([{ params: [w], weightDecay: -1 }], { lr: 1 })).toThrow(/weightDecay is -1/);
    expect(() => adam([{ params: [w], betas: [0, 1] }])).toThrow(/adam: betas\[1\] is 1/);
    expect(() => sgd([{ params: [w] }, { params: [w] }], { lr: 1 })).toThrow(/a tensor twice/);
    expect(() => sgd([{ params: [] }], { lr: 1 })).toThrow(/params is empty/);
  });

  it('noDecayGroups parts weights from biases and batch norms', () => {
    const net = d2lResnet({ device, channels: [2, 4], blocks: [1, 1] });
    const names = new Map([...net.namedParameters()].map(([name, t]) => [t, name]));
    const [decay, none] = noDecayGroups(net);
    expect([decay.weightDecay, none.weightDecay]).toEqual([undefined, 0]);
    expect(decay.params.map((t) => t.shape.length)).toEqual(decay.params.map((t) => (t.shape.length === 2 ? 2 : 4)));
    expect(none.params.every((t) => t.shape.length === 1)).toBe(true);
    expect(decay.params.length + none.params.length).toBe(names.size);
    expect(none.params.map((t) => names.get(t))).toContain('0.1.weight');
    expect(noDecayGroups(new BatchNorm2d(2, { device }))).toHaveLength(1);
    expect(sgd(noDecayGroups(net), { lr: 1, weightDecay: 0.1 }).paramGroups.map((g) => g.weightDecay)).toEqual([
      0.1, 0,
    ]);
  });
});

describe('a state that claims many steps', () => {
  it('loads at once: the powers of β have vanished long before', () => {
    const device = reference();
    const p = tensor([1], { device, requiresGrad: true });
    const optimizer = adam([p], { lr: 0.1 });
    optimizer.step([tensor([1], { device })]);
    const state = new Map<string, StateEntry>(optimizer.state());
    state.set('step', { shape: [], data: BigInt64Array.of(2n ** 53n - 1n) });
    optimizer.loadState(state);
    expect(optimizer.steps).toBe(2 ** 53 - 1);
  });
});

describe('a weight decay that rounds to nothing', () => {
  it('is none, on every device', async () => {
    for (const device of [reference(), await wasm()]) {
      const p = tensor([Number.POSITIVE_INFINITY], { device, requiresGrad: true });
      sgd([p], { lr: 0.1, weightDecay: 1e-46 }).step([tensor([1], { device })]);
      expect(p.item()).toBe(Number.POSITIVE_INFINITY);
    }
  });
});
