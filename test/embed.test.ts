/** The builds for sandboxes: what they may touch, how large they are, how a guest's run is bounded, what hostile calls come to. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as embed from '../src/embed/index.js';
import * as inferBuild from '../src/embed/infer.js';
import * as referenceBuild from '../src/embed/reference.js';
import { goodCalls, hostileValues, places, replaced } from './hostileCalls.js';
import { faults } from './isolation.js';

const file = (name: string): string => fileURLToPath(new URL(`../dist/embed/${name}`, import.meta.url));
const code = (name: string): string => readFileSync(file(name), 'utf8');

/** What the language itself has (ECMA-262), as far as the builds use it. */
const LANGUAGE = [
  ...['Array', 'ArrayBuffer', 'BigInt', 'BigInt64Array', 'BigUint64Array', 'DataView', 'Error', 'Float32Array'],
  ...[
    'Float64Array',
    'Int16Array',
    'Int32Array',
    'Int8Array',
    'JSON',
    'Map',
    'Math',
    'NaN',
    'Number',
    'Object',
    'Promise',
  ],
  ...['Proxy', 'RangeError', 'Reflect', 'Set', 'String', 'Symbol', 'Uint16Array', 'Uint32Array', 'Uint8Array'],
  ...['decodeURIComponent', 'encodeURIComponent', 'undefined', 'Infinity'],
];
/** And where threads are asked for, or WebAssembly. */
const WASM = ['WebAssembly', 'Worker', 'SharedArrayBuffer', 'Atomics'];

describe.each([
  ['index.js', [...LANGUAGE, ...WASM]],
  ['infer.js', [...LANGUAGE, ...WASM]],
  ['reference.js', LANGUAGE],
])('dist/embed/%s', (name, allowed) => {
  it('imports nothing, touches no global but the language’s own, evaluates no text and has no state', () => {
    expect(faults(code(name), allowed)).toEqual([]);
  });
});

describe('in a build there would be found', () => {
  it.each([
    ["import 'node:fs'", 'ImportDeclaration'],
    ["export * from 'node:fs'", 'ExportAllDeclaration'],
    ["export { readFileSync } from 'node:fs'", 'ExportNamedDeclaration'],
    ["export const f = () => import('node:fs')", 'ImportExpression'],
    ['export const url = import.meta.url', 'MetaProperty'],
    ['await null; export {}', 'await of the module'],
    ['for await (const x of []); export {}', 'await of the module'],
    ["export const f = () => eval('1')", 'global eval'],
    ["export const f = () => new Function('1')", 'global Function'],
    ["export const f = () => (() => {}).constructor('1')", 'a function of its text'],
    ["export const f = () => fetch('/')", 'global fetch'],
    ['export const f = () => setTimeout(f)', 'global setTimeout'],
    ['export const f = () => Date.now()', 'global Date'],
    ['export const f = () => performance.now()', 'global performance'],
    ["export const f = () => globalThis['fetch']", 'global globalThis'],
    ['export const f = () => process.env', 'global process'],
    ['export const f = () => Math.random()', 'Math.random'],
    ['const { exp: e } = Math; export const f = () => e(1)', 'Math.exp'],
    ['const m = Math; export const f = () => m.exp(1)', 'Math as a value'],
    ["export const f = () => Math['exp'](1)", 'Math.?'],
    ['let n = 0; export const f = () => n++', 'state n'],
    ['let n = 0; export const f = () => { [n] = [1]; }', 'state n'],
    ['let n = 0; export const f = () => { ({ a: n = 2 } = {}); }', 'state n'],
    ['let n = 0; export const f = () => { for (n of [1]); }', 'state n'],
    ['const a = new Float32Array(1); export const f = (x) => { a[0] = x; }', 'state a'],
    ['const o = { p: {} }; export const f = (x) => { o.p.q = x; }', 'state o'],
    ['const o = {}; export const f = () => delete o.p', 'state o'],
    ['const m = new Map(); export const f = (x) => m.set(x, x)', 'state m'],
    ['export const f = () => new WeakMap()', 'state in a WeakMap'],
    ['export const f = "-->"', 'refused by SES: -->'],
  ])('%s', (text, fault) => {
    expect(faults(text, LANGUAGE)).toContain(fault);
  });

  it('nothing in what is allowed', () => {
    const text =
      'const { fround: r } = Math; export const f = (x) => { const a = [r(x)]; a[0] = Math.sqrt(x); a.push(1); let n = 0; n++; return { a, n }; }';
    expect(faults(text, LANGUAGE)).toEqual([]);
  });
});

it('keeps to the size budget', () => {
  const script = fileURLToPath(new URL('../scripts/size.mjs', import.meta.url));
  expect(() => execFileSync(process.execPath, [script], { stdio: 'pipe' })).not.toThrow();
});

const images = (count: number) => ({
  images: Float32Array.from({ length: count * 64 }, (_, i) => Math.sin(i)),
  shape: [count, 1, 8, 8],
});
const labels = (count: number): number[] => Array.from({ length: count }, (_, i) => i % 3);
const build = (a: typeof embed | typeof referenceBuild, device: embed.Device): embed.Sequential =>
  a.d2lResnet({
    device: device as never,
    seed: 3,
    channels: [4, 8],
    blocks: [1, 1],
    numClasses: 3,
  }) as embed.Sequential;

describe('predict and fit', () => {
  it('give the same bits on wasm, on the reference and in the builds, whatever the batch', async () => {
    const device = await embed.wasm();
    const net = build(embed, device);
    const logits = await embed.predict(net, { ...images(7), batchSize: 3 });
    expect(logits).toHaveLength(21);
    expect(await embed.predict(net, { ...images(7) })).toEqual(logits);
    expect(await embed.predict(build(embed, embed.reference()), { ...images(7), batchSize: 1 })).toEqual(logits);
    const slow = build(referenceBuild, referenceBuild.reference());
    expect(await referenceBuild.predict(slow as never, images(7))).toEqual(logits);
    const only = inferBuild.d2lResnet({
      device: await inferBuild.wasm(),
      seed: 3,
      channels: [4, 8],
      blocks: [1, 1],
      numClasses: 3,
    });
    expect(await inferBuild.predict(only, images(7))).toEqual(logits);

    const run = { ...images(7), labels: labels(7), steps: 5, batchSize: 3 };
    const losses = await embed.fit(net, embed.sgd(net.parameters(), { lr: 0.1 }), run);
    expect(losses[4]).not.toBe(losses[0]);
    const again = await referenceBuild.fit(
      slow as never,
      referenceBuild.sgd(slow.parameters() as never, { lr: 0.1 }),
      run,
    );
    expect(again).toEqual(losses);
  });

  it('take the images in order, or in the generator’s, each once a pass', async () => {
    const device = await embed.wasm();
    const seen = async (generator?: embed.Generator): Promise<number[][]> => {
      const batches: number[][] = [];
      class Spy extends embed.Module {
        readonly layer = new embed.Linear(1, 2, { device });
        forward(x: embed.Tensor): embed.Tensor {
          batches.push([...(x.dataSync() as Float32Array)]);
          return this.layer.forward(embed.flatten(x, 1));
        }
      }
      const spy = new Spy();
      const five = { images: [0, 1, 2, 3, 4], shape: [5, 1, 1, 1], labels: [0, 1, 0, 1, 0] };
      await embed.fit(spy, embed.sgd(spy.parameters(), { lr: 0 }), { ...five, steps: 5, batchSize: 2, generator });
      return batches;
    };
    expect(await seen()).toEqual([
      [0, 1],
      [2, 3],
      [4, 0],
      [1, 2],
      [3, 4],
    ]);
    const shuffled = (await seen(new embed.Generator(1))).flat();
    expect(shuffled.slice(0, 5).sort()).toEqual([0, 1, 2, 3, 4]);
    expect(shuffled.slice(5).sort()).toEqual([0, 1, 2, 3, 4]);
    expect(shuffled.slice(0, 5)).not.toEqual(shuffled.slice(5));
  });

  it('wait for what onProgress returns, end by its error or by the signal, and leave no memory behind', async () => {
    const device = await embed.wasm();
    const net = build(embed, device);
    const optimizer = embed.sgd(net.parameters(), { lr: 0.1 });
    const run = { ...images(6), labels: labels(6), steps: 4, batchSize: 2 };
    const before = device.memory().used;
    const order: string[] = [];
    const onProgress = async ({ done, total }: embed.Progress) => {
      order.push(`told ${done} of ${total}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
      order.push('slept');
    };
    await embed.fit(net, optimizer, { ...run, onProgress });
    expect(order.join()).toBe([1, 2, 3, 4].flatMap((n) => [`told ${n} of 4`, 'slept']).join());

    const controller = new AbortController();
    const stopping = { ...run, signal: controller.signal, onProgress: () => controller.abort() };
    await expect(embed.fit(net, optimizer, stopping)).rejects.toMatchObject({ name: 'AbortedError', done: 1 });
    const aborted = { ...images(6), batchSize: 4, signal: { aborted: true } };
    await expect(embed.predict(net, aborted)).rejects.toThrow('predict: aborted after 0 of 6 images');
    const failing = () => {
      throw new Error('the host says no');
    };
    await expect(embed.fit(net, optimizer, { ...run, onProgress: failing })).rejects.toThrow('the host says no');
    expect(device.memory().used).toBe(before);
  });

  it.each(['wasm', 'reference'] as const)(
    'stop at maxMemoryBytes on %s; the next run is as good as ever',
    async (kind) => {
      const maxMemoryBytes = 2 << 20;
      const device = kind === 'wasm' ? await embed.wasm({ maxMemoryBytes }) : embed.reference({ maxMemoryBytes });
      const net = build(embed, device);
      const optimizer = embed.sgd(net.parameters(), { lr: 0.1 });
      const before = device.memory().used;
      const count = 9000;
      const large = { images: new Float32Array(count * 64), shape: [count, 1, 8, 8], batchSize: count };
      const tooMuch = embed.fit(net, optimizer, { ...large, labels: labels(count), steps: 1 });
      await expect(tooMuch).rejects.toBeInstanceOf(embed.OutOfMemoryError);
      await expect(embed.predict(net, large)).rejects.toBeInstanceOf(embed.OutOfMemoryError);
      expect(() => embed.resnet50({ device })).toThrow(embed.OutOfMemoryError);
      expect(() => embed.preactResnet18({ device })).toThrow(embed.OutOfMemoryError);
      expect(() => embed.d2lResnet18({ device })).toThrow(embed.OutOfMemoryError);
      expect(device.memory().used).toBe(before);
      const small = embed.fit(net, optimizer, { ...images(2), labels: [0, 1], steps: 1, batchSize: 2 });
      await expect(small).resolves.toHaveLength(1);
    },
  );

  it('leave nothing behind where the optimizer finds no memory for its state', async () => {
    const run = { ...images(2), labels: [0, 1], steps: 1, batchSize: 2 };
    const roomy = embed.reference();
    const first = build(embed, roomy);
    await embed.fit(first, embed.sgd(first.parameters(), { lr: 0.1 }), run);
    const device = embed.reference({ maxMemoryBytes: roomy.memory().peak });
    const net = build(embed, device);
    const adam = embed.adam(net.parameters(), { lr: 0.1 });
    const before = device.memory().used;
    await expect(embed.fit(net, adam, run)).rejects.toBeInstanceOf(embed.OutOfMemoryError);
    expect(device.memory().used).toBe(before);
  });

  const { BasicBlock, Bottleneck, PreactBasicBlock, PreactBottleneck } = embed;
  it.each([BasicBlock, Bottleneck, PreactBasicBlock, PreactBottleneck])(
    'may be of a block (%o), which leaves nothing behind past maxMemoryBytes',
    (Block) => {
      const device = embed.reference({ maxMemoryBytes: 20_000 });
      expect(() => new Block(20, 20, { device })).toThrow(embed.OutOfMemoryError);
      expect(device.memory().peak).toBeGreaterThan(0);
      expect(device.memory().used).toBe(0);
    },
  );

  it('say what is wrong with their arguments', async () => {
    const net = build(embed, embed.reference());
    const optimizer = embed.sgd(net.parameters(), { lr: 0.1 });
    const run = { ...images(2), labels: [0, 1], steps: 1, batchSize: 2 };
    const refused = (change: object, message: string) =>
      expect(embed.fit(net, optimizer, { ...run, ...change } as never)).rejects.toThrow(message);
    await refused({ shape: [3, 1, 8, 8] }, 'fit: images has 128 values; want 192 for [3, 1, 8, 8]');
    await refused({ shape: [2, 64] }, 'fit: shape is [2, 64]; want [N, C, H, W]');
    await refused({ labels: [0] }, 'fit: labels has 1 elements; want 2, one for each image');
    for (const label of [0.5, '1', Number.NaN, 2 ** 32 + 1, undefined]) {
      await refused({ labels: [0, label] }, 'crossEntropy: labels[1] is');
    }
    await refused({ images: new BigInt64Array(128) }, 'fit: a pixel is 0n; want numbers');
    await refused({ images: new Array(128) }, 'fit: a pixel is undefined; want numbers');
    await refused({ images: { length: 1e13 }, shape: [1, 1, 1, 1e13], labels: [0], batchSize: 1 }, 'fit: ');
    await refused({ labels: [0, 7] }, 'crossEntropy: labels[1] is 7; want a whole number from 0 to 2');
    await refused({ batchSize: 3 }, 'fit: batchSize is 3; want a whole number from 1 to 2');
    await refused({ steps: 0 }, 'fit: steps is 0');
    await refused({ signal: {} }, 'fit: signal is no AbortSignal');
    const tab = { device: embed.reference(), tab: 'mxnet' as const };
    expect(() => embed.d2lResnet({ ...tab, channels: null as never })).toThrow(embed.ArgumentError);
    expect(() => embed.d2lResnet({ ...tab, channels: [1], blocks: [200_000] })).toThrow(embed.ArgumentError);
    expect(() => new embed.Conv2d(1, 1, 3, { ...tab, padding: [[1n]] as never })).toThrow(embed.ArgumentError);
    await refused({ onProgress: 1 }, 'fit: onProgress is a number; want a function');
    await refused({ generator: 1 }, 'fit: generator is 1; want a Generator');
  });
});

describe('the build that only infers', () => {
  it('says so where training is asked of it', async () => {
    const device = await inferBuild.wasm();
    const net = inferBuild.d2lResnet({ device, channels: [4], blocks: [1] });
    const x = inferBuild.tensor(new Float32Array(128), [2, 1, 8, 8], { device });
    expect(() => net.forward(x)).toThrow('batchNormTrain: this build only infers; model.eval() first');
    expect(net.eval().forward(x).shape).toEqual([2, 10]);
    expect('fit' in inferBuild || 'grad' in inferBuild).toBe(false);
  });

  it('takes its own binary as a compiled module or as bytes, and no other', async () => {
    const bytes = readFileSync(file('infer.wasm'));
    for (const module of [bytes, new WebAssembly.Module(bytes)]) {
      expect((await inferBuild.wasm({ module })).math).toBe('exact');
    }
    const empty = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);
    await expect(inferBuild.wasm({ module: empty })).rejects.toThrow(/module is not the binary of this build/);
    await expect(inferBuild.wasm({ module: empty })).rejects.toBeInstanceOf(inferBuild.ArgumentError);
    await expect(embed.wasm({ module: bytes })).rejects.toThrow(
      /^wasm: module is not the binary of this build: it has no \w+$/,
    );
    await expect(embed.wasm({ module: new Uint8Array(3) })).rejects.toBeInstanceOf(embed.DeviceError);
  });
});

describe('threads of a sandbox', () => {
  it('want a way to start workers, and compute the same bits', async () => {
    await expect(embed.wasm({ threads: 2 })).rejects.toThrow(/threads take createWorker, or workerUrl/);
    const { Worker } = await import('node:worker_threads');
    const device = await embed.wasm({ threads: 2, createWorker: () => new Worker(file('worker.js')) });
    expect(device.threads).toBe(2);
    const alone = await embed.predict(build(embed, await embed.wasm()), images(9));
    expect(await embed.predict(build(embed, device), images(9))).toEqual(alone);
    device.dispose();
  });

  it('take any bytes for a module, and refuse them', async () => {
    const createWorker = () => new EventTarget() as never;
    const whole = [...readFileSync(file('atalho.wasm'))];
    // Cut off in the length of a section; a section that ends before it begins.
    for (const bytes of [whole.slice(0, 9), [...whole.slice(0, 8), 1, 0xfa, 0xff, 0xff, 0xff, 0x0f], [], [1, 2, 3]]) {
      const wasm = embed.wasm({ module: Uint8Array.from(bytes), threads: 2, createWorker });
      await expect(wasm).rejects.toBeInstanceOf(embed.DeviceError);
    }
  });
});

/** The tensors in a value, and in arrays and records within. */
function tensorsIn(value: unknown, found = new Set<unknown>(), seen = new Set<unknown>()): Set<unknown> {
  if (typeof value !== 'object' || value === null || seen.has(value) || ArrayBuffer.isView(value)) return found;
  seen.add(value);
  if (value instanceof embed.Tensor) found.add(value);
  // Not its state dict: a lazy layer has none yet.
  else if (value instanceof embed.Module)
    value.apply((module) => {
      for (const part of Object.values(module)) if (part instanceof embed.Tensor) found.add(part);
    });
  else for (const part of value instanceof Map ? value.values() : Object.values(value)) tensorsIn(part, found, seen);
  return found;
}

/** Frees what a call came to, but what it was given, so that memory can be compared. */
function free(made: unknown, given: unknown): void {
  const { dispose } = Object(made ?? {}) as { dispose?(): void };
  const parts = made instanceof embed.Tensor || made instanceof embed.Module;
  if (typeof dispose === 'function' && !parts) dispose.call(made);
  const kept = tensorsIn(given);
  for (const t of tensorsIn(made)) if (!kept.has(t)) (t as embed.Tensor).dispose();
}

/** Errors, classes that their makers make or that are derived from, and networks that only name a call of a general one. */
const OTHERS =
  /Error$|^(Tensor|Module|Lazy|Optimizer|CompiledModel|defineOp)$|^(resnet|resnext|wideResnet|preactResnet|cifar\w*Resnet|d2lResnet)\d/;

describe('hostile calls', () => {
  const seed = Number(process.env.ATALHO_SEED ?? 20261127);

  it(`10,000 of them, seed ${seed}: typed errors alone, no memory lost, and the next call works`, async () => {
    const device = await embed.wasm({ maxMemoryBytes: 16 << 20 });
    const foreign = embed.reference({ maxMemoryBytes: 1 << 20 });
    const calls = goodCalls(embed, device, foreign);
    const called = calls.map(({ name }) => name.replace('new ', ''));
    const callable = Object.entries(embed).filter(([name, value]) => typeof value === 'function' && !OTHERS.test(name));
    expect(callable.map(([name]) => name).filter((name) => !called.includes(name))).toEqual([]);
    for (const { name, call, args } of calls)
      await expect((async () => free(await call(...(args as never[])), args))(), name).resolves.toBeUndefined();
    const spots = calls.flatMap((good) => places(good.args).map((path) => ({ good, path })));
    const values = fc.sample(hostileValues(embed, device, foreign), { numRuns: 10_000, seed });
    const probe = embed.keep(embed.tensor([1, 2, 3, 4], [2, 2], { device }));
    const before = device.memory().used;
    const untyped: string[] = [];
    let refused = 0;
    for (let i = 0; i < values.length; i++) {
      const { good, path } = spots[i % spots.length];
      const args = replaced(good.args, path, values[i]) as never[];
      let made: unknown;
      try {
        device.scope(() => {
          made = good.call(...args);
        });
        free(await made, args);
      } catch (error) {
        if (error instanceof embed.AtalhoError) refused++;
        else untyped.push(`call ${i}: ${good.name} with another ${path.join('.')}: ${String(error)}`);
      }
      if (device.memory().used !== before) {
        untyped.push(
          `call ${i}: ${good.name} with another ${path.join('.')} kept ${device.memory().used - before} bytes`,
        );
        break;
      }
      if (i % 100 === 0) {
        const y = device.scope(() => embed.matmul(probe, probe).dataSync());
        expect([...y]).toEqual([7, 10, 15, 22]);
      }
    }
    expect(untyped.slice(0, 20)).toEqual([]);
    expect(refused).toBeGreaterThan(5000);
    console.log(
      `embed: seed ${seed}, ${values.length} hostile calls of ${calls.length} entry points, ${refused} refused`,
    );
  });
});
