/**
 * The case table on every device, with shapes and options drawn by fast-check; and the table on trial: devices that
 * are broken by one term must be found out.
 *
 * ATALHO_RUNS sets the draws per row (default 25), ATALHO_SEED repeats the draws of a failure, whose message names
 * it.
 */
import { describe, expect, it } from 'vitest';
import { grad } from '../src/autograd.js';
import type { Buffer, Device, Kernels } from '../src/device/device.js';
import { reference } from '../src/device/reference.js';
import { WEIGHT_TILES, winogradTile } from '../src/device/winograd.js';
import * as ops from '../src/ops/index.js';
import { convGeometry, naiveGeometry } from '../src/oracle/cases/products.js';
import {
  type ConvOptions,
  cases,
  conformance,
  conv2dCase,
  DOUBLE,
  examine,
  examineBadInput,
  NARROW,
  numbers,
  reluCase,
  seededDraw,
  type Trial,
  WIDE,
} from '../src/oracle/index.js';
import { specialsFor, withSpecials } from '../src/oracle/special.js';
import { type ConvGeometry, sizeOf } from '../src/shape.js';
import { tensor } from '../src/tensor.js';
import { devices, fastDevices } from './devices.js';
import { failures, judgeByTable } from './table.js';

const RUNS = Number(process.env.ATALHO_RUNS ?? 25);

describe.each([...devices, ...fastDevices])('conformance of $name', (maker) => judgeByTable(maker, RUNS));

/** The geometry of a drawn convolution, as `winogradTile` takes it. */
const geometryOf = (trial: Trial): ConvGeometry =>
  convGeometry(naiveGeometry(trial.options as unknown as ConvOptions), trial.shape);

describe('the table', () => {
  it('has a row for every op', () => {
    const covered = new Set(cases.map((row) => row.op));
    expect(Object.keys(ops).filter((name) => !covered.has(name))).toEqual([]);
  });

  it('draws what kernels stumble over', () => {
    const drawn = Array.from({ length: 400 }, (_, i) => conv2dCase.draw(seededDraw(i, 'conv2d')));
    interface Conv {
      kernel: [number, number];
      stride: number | [number, number];
      dilation: number | [number, number];
      padding: unknown;
      groups: number;
      batch: number;
      inChannels: number;
    }
    const some = (what: string, is: (o: Conv, trial: Trial) => boolean): void => {
      const count = drawn.filter((trial) => is(trial.options as unknown as Conv, trial)).length;
      expect(count, what).toBeGreaterThanOrEqual(5);
    };
    const both = (v: number | [number, number]): [number, number] => (typeof v === 'number' ? [v, v] : v);
    const positions = (trial: Trial): number => trial.shape[0] * trial.shape[2] * trial.shape[3];
    some('more than 576 terms', (o) => (o.inChannels / o.groups) * o.kernel[0] * o.kernel[1] > 576);
    some('more than 256 pixels', (_, { shape }) => shape[2] * shape[3] > 256);
    some('weight gradients over more than 512 pixels', (_, t) => positions(t) > 512);
    some('weight gradients over more than 1024 pixels', (_, t) => positions(t) > 1024);
    some('depthwise', (o) => o.groups > 1 && o.groups === o.inChannels);
    some('groups of several channels', (o) => o.groups > 1 && o.groups < o.inChannels);
    some('stride beyond the kernel', (o) => both(o.stride)[0] > o.kernel[0]);
    some('dilation', (o) => both(o.dilation)[0] > 1 && o.kernel[0] > 1);
    some("'same' with an even span", (o) => o.padding === 'same' && o.kernel[0] % 2 === 0);
    some('zeros on one side alone', (o) => Array.isArray(o.padding) && Array.isArray(o.padding[0]));
    some("'SAME' with a stride", (o) => o.padding === 'SAME' && both(o.stride)[0] > 1);
    some('oblong kernels', (o) => o.kernel[0] !== o.kernel[1]);
    some('batch 1', (o) => o.batch === 1);
    some('a single output pixel', (_, { shape }) => shape[2] === 1 && shape[3] === 1);
    some('15 to 17 output channels', (_, { shape }) => shape[1] >= 15 && shape[1] <= 17);
    some('one output channel', (_, { shape }) => shape[1] === 1);
    some('a kernel of 5 to 7 at stride 1', (o) => Math.min(...o.kernel) >= 5 && both(o.stride)[0] === 1);
    some('a kernel of 5 to 7 at stride 2', (o) => Math.min(...o.kernel) >= 5 && both(o.stride)[0] === 2);
    some('more than 32 channels on both sides', (o, { shape }) => o.inChannels > 32 && shape[1] > 32);
    some('more than 64 output channels', (_, { shape }) => shape[1] > 64);
    some('batch 4 or more', (o) => o.batch >= 4);
    some('batch 0', (o) => o.batch === 0);
    for (const direction of ['forward', 'input', 'weight'] as const) {
      for (const m of [2, 3, 4]) {
        for (const stride of m === 2 ? [1] : [1, 2]) {
          some(`Winograd's F(${m}, 3), stride ${stride}, ${direction}`, (_, t) => {
            const g = geometryOf(t);
            return g.strideHeight === stride && winogradTile(direction, g) === m;
          });
        }
      }
    }
    const tiles = (t: Trial): [number, number] => {
      const g = geometryOf(t);
      const m = winogradTile('weight', g);
      const wide = m === 0 ? 0 : Math.ceil(g.outWidth / m);
      return [m === 0 ? 0 : g.batch * Math.ceil(g.outHeight / m) * wide, wide];
    };
    some('more than a block of tiles', (_, t) => tiles(t)[0] > WEIGHT_TILES);
    const wideRows = drawn.filter((t) => tiles(t)[1] > WEIGHT_TILES).length;
    expect(wideRows, 'more than a block of tiles in a row').toBeGreaterThanOrEqual(2);
  });

  it('draws empty tensors wherever PyTorch takes them', () => {
    const empty = (name: string, is: (trial: Trial) => boolean): number => {
      const row = cases.find((one) => one.name === name);
      return Array.from({ length: 400 }, (_, i) => row?.draw(seededDraw(i, name))).filter((t) => t && is(t)).length;
    };
    const some = (t: Trial): boolean => t.inputs.some(({ shape }) => shape.includes(0));
    // Training statistics and the mean loss of nothing are NaN; the optimizers have no empty parameters to meet.
    const training = ['batchNorm.train', 'batchNormRelu.train'];
    const never = [...training, 'crossEntropy', 'accumulate', 'sgd', 'adam', 'adamw', 'rmsprop'];
    const counts = cases.map(({ name }) => [name, empty(name, some)] as const);
    expect(counts.filter(([, n]) => n === 0).map(([name]) => name)).toEqual(never);
    // A product over no terms is 0 everywhere; so is a sum.
    for (const name of ['matmul', 'linear', 'sum']) {
      expect(
        empty(name, (t) => some(t) && !t.shape.includes(0)),
        name,
      ).toBeGreaterThanOrEqual(3);
    }
  });

  it.each(cases)('the witness has NaN and infinities where the reference has them: $name', (row) => {
    const device = reference({ dtype: 'float64' });
    const classes = (values: ArrayLike<number>): (number | 'finite')[] =>
      Array.from(values, (v) => (Number.isFinite(v) ? 'finite' : v));
    for (let seed = 0; seed < 40; seed++) {
      const trial = row.draw(seededDraw(seed, row.name));
      const { salt } = trial.options;
      const data = trial.inputs.map((x, i) => withSpecials(x.data, specialsFor(seed, false), salt + i, 7));
      const values = data.map((v) => Float64Array.from(v));
      device.scope(() => {
        const tensors = trial.inputs.map(({ shape, differentiable }, i) =>
          tensor(data[i], shape, { device, requiresGrad: differentiable }),
        );
        const want = trial.forward(values);
        const y = trial.run(tensors);
        const of = `${row.name}, seed ${seed}`;
        if (y && want.y) {
          expect(classes(want.y.value), of).toEqual(classes(y.dataSync() as Float64Array));
          const xs = tensors.filter((t) => t.requiresGrad);
          const dy = numbers(salt, 'dy', sizeOf(trial.shape), -1, 1);
          const expected = trial.backward(values, Float64Array.from(dy));
          const found = xs.length > 0 ? grad(y, xs, tensor(dy, trial.shape, { device })) : [];
          const names = trial.inputs.filter((x) => x.differentiable).map((x) => x.name);
          found.forEach((g, i) => {
            const own = classes(g.dataSync() as Float64Array);
            expect(classes(expected[names[i]].value), `${of}, ${names[i]}`).toEqual(own);
          });
        }
        trial.inputs.forEach(({ name }, i) => {
          const after = want.changed[name];
          if (after) expect(classes(after.value), of).toEqual(classes(tensors[i].dataSync() as Float64Array));
        });
      });
    }
  });

  it('a run repeats from its seed alone', async () => {
    const device = reference();
    const all = await conformance(device, { cases: ['conv2d', 'softmax'], seed: 5, runs: 3 });
    const third = all.filter((f) => f.seed === 7 && f.case === 'softmax' && f.check !== 'badInput');
    expect(third.map((f) => f.check)).toEqual(['forward', 'gradient', 'special', 'memory']);
    const again = await conformance(device, { cases: ['softmax'], seed: 7, runs: 1 });
    expect(again.filter((f) => f.check !== 'badInput')).toEqual(third);
    await expect(conformance(device, { cases: ['conv3d'] })).rejects.toThrow(/conv3d/);
  });

  it('a float32 device without float64 inside has room', async () => {
    const findings = await conformance(reference(), { runs: 5, precision: NARROW });
    expect(failures(findings)).toEqual([]);
  });
});

/** A reference device with one kernel replaced; `original` are the sound ones. */
function broken(dtype: 'float32' | 'float64', breakIt: (original: Kernels, device: Device) => Partial<Kernels>) {
  const device = reference({ dtype });
  Object.assign(device.kernels, breakIt({ ...device.kernels }, device));
  return device;
}

/** Runs `use` with a copy of `buffer` whose elements went through `change`. */
function changed(
  device: Device,
  buffer: Buffer,
  change: (value: number, i: number) => number,
  use: (b: Buffer) => void,
) {
  const copy = device.alloc(buffer.size, buffer.dtype);
  const values = device.readSync?.(buffer) ?? new Float64Array();
  device.write(copy, Array.from(values as Float64Array, change));
  use(copy);
  copy.release();
}

describe('a device broken by one term is found out', () => {
  const breaks: [string, string, (original: Kernels, device: Device) => Partial<Kernels>][] = [
    [
      'conv2d drops the last tap',
      'conv2d',
      (k, d) => ({
        conv2d(o) {
          const taps = o.weight.size / o.outChannels;
          changed(
            d,
            o.weight,
            (v, i) => (i % taps === taps - 1 ? 0 : v),
            (weight) => k.conv2d({ ...o, weight }),
          );
        },
      }),
    ],
    [
      'the input gradient drops the last output channel',
      'conv2d',
      (k, d) => ({
        conv2dBackwardInput(o) {
          const last = o.weight.size - o.weight.size / o.outChannels;
          changed(
            d,
            o.weight,
            (v, i) => (i >= last ? 0 : v),
            (weight) => k.conv2dBackwardInput({ ...o, weight }),
          );
        },
      }),
    ],
    [
      'the weight gradient drops the last pixel',
      'conv2d',
      (k, d) => ({
        conv2dBackwardWeight(o) {
          changed(
            d,
            o.dy,
            (v, i) => (i === o.dy.size - 1 ? 0 : v),
            (dy) => k.conv2dBackwardWeight({ ...o, dy }),
          );
        },
      }),
    ],
    [
      'matmul drops the last term',
      'matmul',
      (k, d) => ({
        matmul(o) {
          changed(
            d,
            o.a,
            (v, i) => (i === o.a.size - 1 ? 0 : v),
            (a) => k.matmul({ ...o, a }),
          );
        },
      }),
    ],
    [
      'sum drops the first term',
      'sum',
      (k, d) => ({
        sum(o) {
          changed(
            d,
            o.x,
            (v, i) => (i === 0 ? 0 : v),
            (x) => k.sum({ ...o, x }),
          );
        },
      }),
    ],
    ['mean takes one term too many', 'mean', (k) => ({ sum: (o) => k.sum({ ...o, divisor: o.divisor + 1 }) })],
    ['sub adds', 'sub', (k) => ({ binary: (o) => k.binary({ ...o, operator: 'add' }) })],
    ['relu lets its input through', 'relu', (k) => ({ reluBackward: (o) => k.reluBackward({ ...o, y: o.dy }) })],
    [
      'max pooling gives its gradient to the next pixel',
      'maxPool2d',
      (k, d) => ({
        maxPool2dBackward(o) {
          changed(
            d,
            o.indices,
            (v) => Math.max(0, v - 1),
            (indices) => k.maxPool2dBackward({ ...o, indices }),
          );
        },
      }),
    ],
    [
      'average pooling miscounts padding',
      'avgPool2d',
      (k) => ({ avgPool2d: (o) => k.avgPool2d({ ...o, countIncludePad: !o.countIncludePad }) }),
    ],
    [
      'adaptive pooling gives no gradient',
      'adaptiveAvgPool2d',
      (k) => ({ adaptiveAvgPool2dBackward: (o) => k.fill({ out: o.dx, value: 0 }) }),
    ],
    [
      'batch norm mixes its running statistics the other way round',
      'batchNorm.train',
      (k) => ({ batchNormTrain: (o) => k.batchNormTrain({ ...o, momentum: 1 - o.momentum }) }),
    ],
    [
      'batch norm forgets that the statistics depend on x',
      'batchNorm.train',
      (k) => ({ batchNormBackward: (o) => k.batchNormBackward({ ...o, training: false }) }),
    ],
    [
      'the residual is added after relu',
      'batchNormRelu.eval',
      (k) => ({
        batchNormEval(o) {
          k.batchNormEval({ ...o, residual: null });
          if (o.residual) k.accumulate({ x: o.residual, out: o.out });
        },
      }),
    ],
    [
      'the residual gets the gradient that relu should have masked',
      'batchNormRelu.train',
      (k) => ({
        batchNormBackward(o) {
          k.batchNormBackward(o);
          if (o.dresidual) k.expand({ x: o.dy, out: o.dresidual, shape: [o.dy.size], xStrides: [1], divisor: 1 });
        },
      }),
    ],
    [
      'a prepared convolution forgets relu',
      'prepareConv2d',
      (k) => ({ prepareConv2d: (o) => k.prepareConv2d({ ...o, relu: false }) }),
    ],
    [
      'a prepared convolution takes another eps',
      'prepareConv2d',
      (k) => ({ prepareConv2d: (o) => k.prepareConv2d({ ...o, norm: o.norm && { ...o.norm, eps: 0 } }) }),
    ],
    ['evaluation forgets eps', 'batchNorm.eval', (k) => ({ batchNormEval: (o) => k.batchNormEval({ ...o, eps: 0 }) })],
    [
      'softmax’s gradient forgets the sum',
      'softmax',
      (k) => ({
        softmaxBackward(o) {
          k.binary({
            operator: 'mul',
            a: o.y,
            b: o.dy,
            out: o.dx,
            shape: [o.dx.size],
            aStrides: [1],
            bStrides: [1],
          });
        },
      }),
    ],
    ['logSoftmax’s gradient is softmax’s', 'logSoftmax', (k) => ({ logSoftmaxBackward: (o) => k.softmaxBackward(o) })],
    [
      'cross-entropy forgets smoothing backwards',
      'crossEntropy',
      (k) => ({ crossEntropyBackward: (o) => k.crossEntropyBackward({ ...o, labelSmoothing: 0 }) }),
    ],
    ['sgd ignores nesterov', 'sgd', (k) => ({ sgd: (o) => k.sgd({ ...o, nesterov: false }) })],
    ['adam does not correct the bias', 'adam', (k) => ({ adam: (o) => k.adam({ ...o, correction2: 1 }) })],
    ['adamw is adam', 'adamw', (k) => ({ adam: (o) => k.adam({ ...o, decoupled: false }) })],
    ['rmsprop forgets its momentum', 'rmsprop', (k) => ({ rmsprop: (o) => k.rmsprop({ ...o, momentum: 0 }) })],
    [
      'relu writes to its input',
      'relu',
      (k) => ({
        relu(o) {
          k.relu(o);
          k.relu({ x: o.out, out: o.x });
        },
      }),
    ],
  ];

  it.each(breaks)('%s', async (_, name, breakIt) => {
    for (const dtype of ['float32', 'float64'] as const) {
      const findings = await conformance(broken(dtype, breakIt), { cases: [name], runs: 12 });
      const red = failures(findings);
      expect(red.length, `${dtype}: failures`).toBeGreaterThan(0);
      // What was drawn, and one call that shows it again.
      expect(red[0]).toMatch(/drawn: \{.*"salt":\d+.*\}; again: conformance\(device, \{ cases: \['.*'\], seed: \d+/);
    }
  });

  it('a gradient that kernel and analytic formula get wrong alike does not meet the finite differences', async () => {
    const device = broken('float64', (k) => ({
      reluBackward(o) {
        k.reluBackward(o);
        k.accumulate({ x: o.dx, out: o.dx });
      },
    }));
    const trial = reluCase.trial({ salt: 3, shape: [4, 5] });
    const doubled: Trial = {
      ...trial,
      backward(values, dy) {
        const { x } = trial.backward(values, dy);
        return { x: { ...x, value: x.value.map((v) => 2 * v) } };
      },
    };
    expect(failures(await examine(reluCase, trial, device, null, DOUBLE)).join()).toMatch(/% of the bound|want/);
    expect(failures(await examine(reluCase, doubled, device, null, DOUBLE)).join()).toMatch(/finite difference is/);
  });

  it('another order of summation keeps the bound and loses the bits', async () => {
    const device = broken('float32', (k, d) => ({
      matmul(o) {
        // B[k−1 … 0] against A's columns in the same order: the same products, added backwards.
        const flip =
          (rows: number, columns: number, along: 'rows' | 'columns', read: Float64Array) =>
          (_: number, i: number): number => {
            const size = rows * columns;
            const base = Math.floor(i / size) * size;
            const row = Math.floor((i % size) / columns);
            const column = i % columns;
            return along === 'columns'
              ? read[base + row * columns + (columns - 1 - column)]
              : read[base + (rows - 1 - row) * columns + column];
          };
        const values = (b: Buffer): Float64Array => Float64Array.from(d.readSync?.(b) as Float32Array);
        const left = o.transposeA ? flip(o.k, o.m, 'rows', values(o.a)) : flip(o.m, o.k, 'columns', values(o.a));
        const right = o.transposeB ? flip(o.n, o.k, 'columns', values(o.b)) : flip(o.k, o.n, 'rows', values(o.b));
        changed(d, o.a, left, (a) => changed(d, o.b, right, (b) => k.matmul({ ...o, a, b })));
      },
    }));
    const findings = await conformance(device, { cases: ['matmul', 'linear'], runs: 20, exact: true });
    const red = new Set(findings.filter((f) => !f.passed).map((f) => f.check));
    expect(red).toEqual(new Set(['bits', 'special']));
    const bits = findings.find((f) => !f.passed && f.check === 'bits');
    expect(bits?.detail).toMatch(/\[\d+\] is \S+; the reference has \S+; \d+ of \d+ elements differ/);
  });

  it('NaN lost and −0 kept by a clamp show among the special values', async () => {
    const device = broken('float32', (_, d) => ({
      relu(o) {
        const x = d.readSync?.(o.x) as Float32Array;
        d.write(
          o.out,
          x.map((v) => (v < 0 || Number.isNaN(v) ? 0 : v)),
        );
      },
    }));
    const findings = await conformance(device, { cases: ['relu'], runs: 40, exact: true });
    expect(failures(findings.filter((f) => f.check !== 'special'))).toEqual([]);
    const details = failures(findings).join('\n');
    expect(details).toMatch(/the reference has NaN/);
    expect(details).toMatch(/is -0; the reference has 0/);
  });

  /** Runs `kernel`, then passes what it wrote through `change`. */
  const rewritten = (device: Device, out: Buffer, change: (value: number) => number): void =>
    device.write(out, Array.from(device.readSync?.(out) as Float32Array, change));
  const finite = (v: number): number => (Number.isFinite(v) ? v : 0);
  const flush = (v: number): number => (Math.abs(v) < 2 ** -126 ? 0 : v);

  it.each<[string, string, RegExp, (k: Kernels, d: Device) => Partial<Kernels>]>([
    [
      'relu turns NaN and infinities into 0',
      'relu',
      /y\[\d+\] is 0; the reference has (NaN|Infinity)/,
      (k, d) => ({
        relu(o) {
          k.relu(o);
          rewritten(d, o.out, finite);
        },
      }),
    ],
    [
      'conv2d turns NaN and infinities into 0',
      'conv2d',
      /y\[\d+\] is 0; the reference has (NaN|-?Infinity)/,
      (k, d) => ({
        conv2d(o) {
          k.conv2d(o);
          rewritten(d, o.out, finite);
        },
      }),
    ],
    [
      'the weight gradient loses NaN',
      'conv2d',
      /gradient of weight\[\d+\] is 0; the reference has NaN/,
      (k, d) => ({
        conv2dBackwardWeight(o) {
          k.conv2dBackwardWeight(o);
          rewritten(d, o.dweight, (v) => (Number.isNaN(v) ? 0 : v));
        },
      }),
    ],
    [
      'add forgets the sign of an infinity',
      'add',
      /y\[\d+\] is Infinity; the reference has -Infinity/,
      (k, d) => ({
        binary(o) {
          k.binary(o);
          rewritten(d, o.out, (v) => (v === -Infinity ? Infinity : v));
        },
      }),
    ],
    [
      'max pooling passes NaN over',
      'maxPool2d',
      /the reference has NaN/,
      (k, d) => ({
        maxPool2d(o) {
          changed(
            d,
            o.x,
            (v) => (Number.isNaN(v) ? -Infinity : v),
            (x) => k.maxPool2d({ ...o, x }),
          );
        },
      }),
    ],
    [
      'a finite result beside the special ones is off',
      'relu',
      /y\[\d+\] is \S+; the reference has \S+, the witness/,
      (k, d) => ({
        relu(o) {
          k.relu(o);
          const values = Array.from(d.readSync?.(o.out) as Float32Array);
          if (values.every(Number.isFinite)) return;
          d.write(
            o.out,
            values.map((v) => v * 1.0001),
          );
        },
      }),
    ],
  ])('special values count without a claim to the bits: %s', async (_, name, message, breakIt) => {
    for (const precision of [WIDE, NARROW]) {
      const findings = await conformance(broken('float32', breakIt), { cases: [name], runs: 40, precision });
      expect(failures(findings.filter((f) => f.check !== 'special'))).toEqual([]);
      expect(failures(findings).join('\n')).toMatch(message);
    }
  });

  it('subnormal numbers may be taken as 0 by a device without float64 inside, and by no other', async () => {
    const device = broken('float32', (k, d) => ({
      relu(o) {
        changed(d, o.x, flush, (x) => k.relu({ ...o, x }));
      },
      binary(o) {
        changed(d, o.a, flush, (a) => changed(d, o.b, flush, (b) => k.binary({ ...o, a, b })));
        rewritten(d, o.out, flush);
      },
      conv2d(o) {
        changed(d, o.x, flush, (x) => changed(d, o.weight, flush, (weight) => k.conv2d({ ...o, x, weight })));
        rewritten(d, o.out, flush);
      },
    }));
    const judge = async (precision: typeof WIDE) =>
      failures(await conformance(device, { cases: ['relu', 'add', 'mul', 'div', 'conv2d'], runs: 40, precision }));
    expect(await judge(NARROW)).toEqual([]);
    const red = (await judge(WIDE)).join('\n');
    expect(red).toMatch(/relu on reference, special: .* y\[\d+\] is 0; the reference has \d\S*e-\d+/);
    expect(red).toMatch(/mul on reference, special/);
  });

  it('a wrong call that is taken, or leaves memory behind, is found out', async () => {
    const row = cases.find((one) => one.name === 'softmax');
    if (!row) throw new Error('no row softmax');
    const device = reference();
    const lax = {
      ...row,
      badInput: [
        { why: 'nothing', shapes: [[2]], call: () => null },
        {
          why: 'a foreign error',
          shapes: [[2]],
          call: () => {
            throw new TypeError('softmax');
          },
        },
        {
          why: 'a leak',
          shapes: [[2]],
          call() {
            device.alloc(3);
            return ops.softmax(row.draw(seededDraw(1)).run([]) as never, 9);
          },
        },
      ],
    };
    const red = failures(examineBadInput(lax, device));
    expect(red.length).toBe(3);
    expect(red[0]).toMatch(/nothing was taken/);
    expect(red[1]).toMatch(/TypeError/);
  });
});
