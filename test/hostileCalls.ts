/**
 * Calls of the public entry points with hostile arguments: good calls, one argument or one option of which is replaced. What may come
 * of it is a result or a typed error.
 */
import fc from 'fast-check';
import type * as Embed from '../src/embed/index.js';

/** One good call: its name, what is called, its arguments. */
export interface GoodCall {
  readonly name: string;
  readonly call: (...args: never[]) => unknown;
  readonly args: readonly unknown[];
}

/** A tree of arguments: a place in it, as keys from the outside in. */
type Path = readonly (string | number)[];

const isPlain = (value: unknown): value is Record<string, unknown> | unknown[] =>
  Array.isArray(value) ||
  (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype);

/** Every place in the arguments, the arguments themselves included, and one option that is not there. */
export function places(args: readonly unknown[]): Path[] {
  const found: Path[] = [];
  const walk = (value: unknown, path: Path): void => {
    found.push(path);
    if (!isPlain(value) || path.length > 3) return;
    for (const key of Object.keys(value).slice(0, 12)) walk((value as Record<string, unknown>)[key], [...path, key]);
  };
  for (const [i, arg] of args.entries()) walk(arg, [i]);
  found.push([args.length]);
  return found;
}

/** The arguments with `value` at `path`. */
export function replaced(args: readonly unknown[], path: Path, value: unknown): unknown[] {
  const put = (at: unknown, [key, ...rest]: Path): unknown => {
    const copy: Record<string | number, unknown> = Array.isArray(at)
      ? ([...at] as unknown as Record<number, unknown>)
      : { ...(at as object) };
    copy[key] = rest.length === 0 ? value : put(copy[key], rest);
    return copy;
  };
  return put([...args], path) as unknown[];
}

/** A signal that aborts when it was looked at a few times: a hostile number of steps must come to an end. */
class Patience {
  private left = 5;
  get aborted(): boolean {
    this.left = this.left === 0 ? 5 : this.left - 1;
    return this.left === 0;
  }
}

/** Values that nothing asked for. */
export function hostileValues(a: typeof Embed, device: Embed.Device, foreign: Embed.Device): fc.Arbitrary<unknown> {
  const disposed = a.tensor([1, 2], [2], { device });
  disposed.dispose();
  const numbers = [Number.NaN, Infinity, -Infinity, -1, -0, 0, 1, 1.5, 3, 2 ** 31, 2 ** 32, 2 ** 53, -(2 ** 60), 1e308];
  return fc.oneof(
    fc.constantFrom(...numbers),
    fc.constantFrom<unknown>(undefined, null, true, false, '', '3', 'exact', Symbol('s'), 5n, -(2n ** 70n)),
    fc.constantFrom<unknown>(
      [],
      [[]],
      [[1], [2, 3]],
      {},
      () => 1,
      new Date(0),
      /x/,
      new Map(),
      new Set([1]),
      Promise.resolve(1),
    ),
    fc.constantFrom<unknown>(
      [2 ** 31, 2 ** 31],
      [-1, 2],
      [1.5],
      ['2'],
      [2 ** 53, 1],
      [0, 0, 0, 0],
      new Array(5),
      [null],
      [Symbol('t')],
    ),
    fc.constantFrom<unknown>(
      Object.create(null),
      Object.freeze([1]),
      new Float32Array(0),
      new Float64Array([Number.NaN]),
      new Uint8Array(3),
    ),
    fc.constantFrom<unknown>(
      new BigInt64Array(2),
      new ArrayBuffer(8),
      new DataView(new ArrayBuffer(8)),
      { length: 4 },
      { length: -1 },
      { length: 2 ** 53 },
    ),
    fc.constantFrom<unknown>(
      disposed,
      a.tensor([1], [1], { device: foreign }),
      a.tensor(1, { device }),
      a.tensor(new Float32Array(16), [1, 1, 4, 4], { device }),
      device,
      foreign,
    ),
    fc.double(),
    fc.integer({ min: -1000, max: 1_000_000 }),
    fc.string(),
    fc.array(fc.integer({ min: -2, max: 9 }), { maxLength: 6 }),
    fc.uint8Array({ maxLength: 200 }),
    fc.dictionary(fc.string(), fc.integer(), { maxKeys: 3 }),
  );
}

/** A good call of every entry point of `a`. */
export function goodCalls(a: typeof Embed, device: Embed.Device, foreign: Embed.Device): GoodCall[] {
  const t = (shape: number[], requiresGrad = false): Embed.Tensor =>
    a.tensor(
      Float32Array.from({ length: shape.reduce((x, y) => x * y, 1) }, (_, i) => Math.sin(i)),
      shape,
      { device, requiresGrad },
    );
  const keptTensor = (shape: number[], requiresGrad = false): Embed.Tensor => a.keep(t(shape, requiresGrad));
  const x = keptTensor([2, 3, 5, 4]);
  const [w, b] = [keptTensor([4, 3, 3, 3]), keptTensor([4])];
  const channel = keptTensor([3]);
  const vector = keptTensor([3], true);
  const m = keptTensor([2, 3]);
  const init = { device, generator: new a.Generator(1) };
  const net = new a.Sequential(
    new a.Conv2d(1, 2, 3, init),
    new a.BatchNorm2d(2, { device }),
    new a.ReLU(),
    new a.Flatten(),
    new a.Linear(8, 3, init),
  );
  const counter = new a.BatchNorm2d(1, { device }).numBatchesTracked as NonNullable<
    Embed.BatchNorm2d['numBatchesTracked']
  >;
  const images = { images: new Float32Array(2 * 16), shape: [2, 1, 4, 4] };
  const file = a.writeSafetensors([['a', { shape: [2], data: new Float32Array(2) }]]);
  const [still, moving] = [a.sgd([vector], { lr: 0 }), a.adam([vector], { lr: 0 })];
  const window = { stride: 1, padding: 1 };
  const call = (name: string, args: readonly unknown[], fn: unknown = a[name as keyof typeof a]): GoodCall => ({
    name,
    args,
    call: fn as GoodCall['call'],
  });
  const make = (name: string, args: readonly unknown[]): GoodCall => {
    const Class = a[name as keyof typeof a] as unknown as new (...given: unknown[]) => unknown;
    return call(`new ${name}`, args, (...given: unknown[]) => new Class(...given));
  };
  const model = (name: string, o: object = {}): GoodCall => call(name, [{ device, seed: 1, ...o }]);
  const small = { channels: [2, 3], blocks: [1, 1] };
  return [
    call('tensor', [[1, 2, 3, 4], [2, 2], { device, requiresGrad: true }]),
    call('keep', [t([2])]),
    call('detach', [vector]),
    call('inferenceMode', [device, () => 1]),
    call('add', [x, x]),
    call('sub', [x, 2]),
    call('mul', [x, channelLike(a, device)]),
    call('div', [x, 2]),
    call('matmul', [m, keptTensor([3, 2])]),
    call('linear', [m, keptTensor([4, 3]), b]),
    call('relu', [x]),
    call('flatten', [x, 1, -1]),
    call('reshape', [x, [6, -1]]),
    call('permute', [x, [0, 2, 3, 1]]),
    call('pad', [x, [1, 2, 0, 1], 0]),
    call('slice', [x, 1, { start: 0, end: 2, step: 1 }]),
    call('cat', [[x, x], 1]),
    call('mean', [x, [2, 3], true]),
    call('sum', [x, 1]),
    call('softmax', [x, 1]),
    call('logSoftmax', [x, -1]),
    call('crossEntropy', [m, [0, 2], { labelSmoothing: 0.1 }]),
    call('conv2d', [x, w, b, { stride: [1, 2], padding: 1, dilation: 1, groups: 1 }]),
    call('maxPool2d', [x, [2, 3], { ...window, dilation: 1, ceilMode: true }]),
    call('avgPool2d', [x, 3, { ...window, ceilMode: false, countIncludePad: false }]),
    call('adaptiveAvgPool2d', [x, [1, 1]]),
    call('batchNorm', [
      x,
      {
        runningMean: channel,
        runningVar: keptTensor([3]),
        weight: channel,
        bias: channel,
        training: false,
        momentum: 0.1,
        eps: 1e-5,
      },
    ]),
    call('batchNormRelu', [
      x,
      {
        runningMean: channel,
        runningVar: keptTensor([3]),
        weight: channel,
        bias: channel,
        residual: x,
        training: false,
        eps: 1e-5,
      },
    ]),
    call('grad', [], (y: unknown, xs: unknown) =>
      a.grad((y ?? a.sum(a.mul(vector, vector))) as Embed.Tensor, (xs ?? [vector]) as Embed.Tensor[]),
    ),
    make('Generator', [5]),
    call('Generator.permutation', [5], (n: number) => new a.Generator(1).permutation(n)),
    call('Generator.normalArray', [[2, 3], 1], (...args: [number[], number]) =>
      new a.Generator(1).normalArray(...args),
    ),
    call('Generator.fromState', [new a.Generator(1).state()], (state: number[]) => a.Generator.fromState(state)),
    make('Conv2d', [2, 4, [3, 3], { ...init, stride: 1, padding: 'same', dilation: 1, groups: 2, bias: true }]),
    make('BatchNorm2d', [3, { device, eps: 1e-5, momentum: 0.1 }]),
    make('Linear', [3, 2, { ...init, bias: false }]),
    make('MaxPool2d', [3, window]),
    make('AvgPool2d', [3, window]),
    make('AdaptiveAvgPool2d', [[1, 1]]),
    make('Flatten', [1, -1]),
    make('ReLU', []),
    make('Identity', []),
    make('LazyConv2d', [
      4,
      3,
      {
        ...init,
        padding: [
          [0, 1],
          [1, 0],
        ],
      },
    ]),
    make('LazyBatchNorm2d', [{ device, eps: 1e-5 }]),
    make('LazyLinear', [2, { ...init, flatten: true }]),
    make('LazyResidual', [4, { ...init, use1x1conv: true, strides: 2, norm: { eps: 1e-3 } }]),
    make('ChannelsLast', [new a.ReLU()]),
    make('BasicBlock', [2, 2, { ...init, stride: 2, downsample: null }]),
    make('Bottleneck', [2, 2, { ...init, groups: 2, widthPerGroup: 64, strideOn: '1x1' }]),
    make('ZeroPadShortcut', [4, 2]),
    make('PreactBasicBlock', [2, 2, { ...init, preactivation: 'both' }]),
    make('PreactBottleneck', [2, 2, { ...init, stride: 2 }]),
    make('Sequential', [new a.ReLU(), [new a.ReLU()]]),
    make('Sequential', [{ one: new a.ReLU(), two: [new a.ReLU()] }]),
    make('Residual', [2, 4, { ...init, use1x1conv: true, strides: 2 }]),
    call('resnetBlock', [2, 4, 1, { ...init, firstBlock: false }]),
    call('initXavierUniform', [net, new a.Generator(3)]),
    model('d2lResnet', { ...small, inChannels: 1, numClasses: 3 }),
    // Of as many stages and blocks as it has by default: layers that are made later take no memory that is bounded.
    model('d2lResnet', { numClasses: 3, tab: 'mxnet' }),
    call('d2lLayerNames', [net]),
    model('resnet', { block: a.BasicBlock, layers: [1, 1], planes: 4, numClasses: 3 }),
    model('cifarPreactResnet', { depth: 8, numClasses: 3, planes: 4 }),
    model('preactResnet', { block: a.PreactBasicBlock, layers: [1, 1], planes: 4, numClasses: 3 }),
    model('cifarResnet', { depth: 8, numClasses: 3, planes: 4 }),
    call('compile', [net, { inputShape: [1, 1, 4, 4] }]),
    call('CompiledModel.run', [new Float32Array(16)], (data: Float32Array) => {
      const plan = a.compile(net, { inputShape: [1, 1, 4, 4] });
      try {
        plan.run(data);
      } finally {
        plan.dispose();
      }
    }),
    call('summarize', [net, { inputShape: [1, 1, 4, 4] }]),
    call('Module.forward', [t([1, 1, 4, 4])], (input: Embed.Tensor) => net.forward(input)),
    call(
      'Module.loadStateDict',
      [
        new Map(
          [...net.stateDict()].map(([name, { shape, size, dtype }]) => [
            name,
            { shape, data: dtype === 'int64' ? new BigInt64Array(size) : new Float32Array(size) },
          ]),
        ),
        { strict: true },
      ],
      (entries: never, o: never) => void net.loadStateDict(entries, o),
    ),
    call('Tensor.write', [new Float32Array(4)], (data: never) => b.write(data)),
    call('Counter.write', [[3]], (data: never) => counter.write(data)),
    call('Tensor.to', [foreign], async (to: never) => (to === device ? null : m.to(to))),
    call('Sequential.at', [0], (i: number) => void net.at(i)),
    call('readSafetensors', [file]),
    call('writeSafetensors', [[['a', { shape: [2], data: new Float32Array(2), dtype: 'F32' }]], { format: 'pt' }]),
    call('sgd', [[vector], { lr: 0.1, momentum: 0.9, nesterov: true, weightDecay: 0.1 }]),
    call('adam', [[vector], { lr: 0.1, betas: [0.9, 0.99], eps: 1e-8 }]),
    call('adamw', [[{ params: [vector], lr: 0.2 }], { lr: 0.1 }]),
    call('rmsprop', [[vector], { lr: 0.1, alpha: 0.9, momentum: 0.5 }]),
    call('Optimizer.step', [[vector]], (grads: Embed.Tensor[]) => still.step(grads)),
    call('Optimizer.loadState', [new Map([['step', { shape: [], data: new BigInt64Array(1) }]])], (state: never) =>
      moving.loadState(state),
    ),
    call('predict', [net, { ...images, batchSize: 1, signal: new Patience(), onProgress: () => undefined }]),
    call('fit', [
      net,
      a.sgd(net.parameters(), { lr: 0 }),
      {
        ...images,
        labels: [0, 1],
        steps: 1,
        batchSize: 2,
        labelSmoothing: 0,
        generator: new a.Generator(1),
        signal: new Patience(),
        onProgress: () => undefined,
      },
    ]),
    call('reference', [{ dtype: 'float64', maxMemoryBytes: 1 << 20, math: 'exact' }]),
    call('wasm', [{ math: 'fast', maxMemoryBytes: 1 << 20, threads: 1 }]),
    call('device.scope', [() => 1], (fn: () => unknown) => device.scope(fn)),
    call('device.alloc', [3, 'float32'], (size: number, dtype: 'float32') => device.alloc(size, dtype).release()),
  ];
}

function channelLike(a: typeof Embed, device: Embed.Device): Embed.Tensor {
  return a.keep(a.tensor([1, 2, 3], [3, 1, 1], { device }));
}
