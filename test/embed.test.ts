/** The builds for sandboxes: what they may touch, how large they are, how a guest's run is bounded, what hostile calls come to. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { analyze } from 'periscopic';
import { parseAst } from 'rolldown/parseAst';
import { describe, expect, it } from 'vitest';
import * as embed from '../src/embed/index.js';
import * as inferBuild from '../src/embed/infer.js';
import * as referenceBuild from '../src/embed/reference.js';
import { goodCalls, hostileValues, places, replaced } from './hostileCalls.js';

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

type Node = { readonly type: string } & Record<string, unknown>;

/** Every node below `node`, with the scope that it lies in. */
function walk(node: unknown, visit: (node: Node) => void): void {
  if (Array.isArray(node)) for (const part of node) walk(part, visit);
  else if (typeof node === 'object' && node !== null && 'type' in node) {
    visit(node as Node);
    for (const part of Object.values(node)) walk(part, visit);
  }
}

describe.each([
  ['index.js', [...LANGUAGE, ...WASM]],
  ['infer.js', [...LANGUAGE, ...WASM]],
  ['reference.js', LANGUAGE],
])('dist/embed/%s', (name, allowed) => {
  const ast = parseAst(code(name)) as unknown as Node;

  it('touches no global but the language’s own', () => {
    const { globals } = analyze(ast as never);
    expect([...globals.keys()].filter((global) => !allowed.includes(global))).toEqual([]);
  });

  it('imports nothing, evaluates nothing, and has what SES refuses nowhere in its text', () => {
    const types = new Set<string>();
    walk(ast, ({ type }) => types.add(type));
    for (const type of ['ImportDeclaration', 'ImportExpression', 'MetaProperty', 'AwaitExpressionAtTop']) {
      // new.target is a MetaProperty too, and not used either.
      expect(types.has(type), type).toBe(false);
    }
    // A method called eval is what SES takes for the function unless a dot stands before it.
    const refused = /(^|[^.])\beval\s*\(|\bFunction\(|Math\.(random|exp|log|pow|sin|cos)\b|\bDate\b|import\(|<!--|-->/;
    expect(refused.exec(code(name))?.[0]).toBeUndefined();
  });

  it('has no state: nothing at the top of the module is assigned to later, nor a collection that fills', () => {
    const { map, scope: top } = analyze(ast as never);
    const mutable: string[] = [];
    let scope: { find_owner(name: string): unknown } = top;
    const check = (target: unknown): void => {
      const { type, name: target_name } = target as Node;
      if (type === 'Identifier' && scope.find_owner(String(target_name)) === top) mutable.push(String(target_name));
    };
    const visit = (node: unknown): void => {
      if (Array.isArray(node)) for (const part of node) visit(part);
      else if (typeof node === 'object' && node !== null && 'type' in node) {
        const before = scope;
        scope = map.get(node as never) ?? scope;
        const { type } = node as Node;
        if (type === 'AssignmentExpression') check((node as Node).left);
        if (type === 'UpdateExpression') check((node as Node).argument);
        for (const part of Object.values(node)) visit(part);
        scope = before;
      }
    };
    visit(ast);
    expect(mutable).toEqual([]);
    expect(/WeakMap|WeakSet|WeakRef|FinalizationRegistry/.exec(code(name))?.[0]).toBeUndefined();
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

  it('say what is wrong with their arguments', async () => {
    const net = build(embed, embed.reference());
    const optimizer = embed.sgd(net.parameters(), { lr: 0.1 });
    const run = { ...images(2), labels: [0, 1], steps: 1, batchSize: 2 };
    const refused = (change: object, message: string) =>
      expect(embed.fit(net, optimizer, { ...run, ...change } as never)).rejects.toThrow(message);
    await refused({ shape: [3, 1, 8, 8] }, 'fit: images has 128 values; want 192 for [3, 1, 8, 8]');
    await refused({ shape: [2, 64] }, 'fit: shape is [2, 64]; want [N, C, H, W]');
    await refused({ labels: [0] }, 'fit: labels has 1 elements; want 2, one for each image');
    await refused({ labels: [0, 7] }, 'crossEntropy: labels[1] is 7; want a whole number from 0 to 2');
    await refused({ batchSize: 3 }, 'fit: batchSize is 3; want a whole number from 1 to 2');
    await refused({ steps: 0 }, 'fit: steps is 0');
    await refused({ signal: {} }, 'fit: signal is no AbortSignal');
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
});

/** The tensors in a value, and in arrays and records within. */
function tensorsIn(value: unknown, found = new Set<unknown>(), seen = new Set<unknown>()): Set<unknown> {
  if (typeof value !== 'object' || value === null || seen.has(value) || ArrayBuffer.isView(value)) return found;
  seen.add(value);
  if (value instanceof embed.Tensor) found.add(value);
  else if (value instanceof embed.Module) for (const t of value.stateDict().values()) found.add(t);
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

describe('hostile calls', () => {
  const seed = Number(process.env.ATALHO_SEED ?? 20261127);

  it(`10,000 of them, seed ${seed}: typed errors alone, no memory lost, and the next call works`, async () => {
    const device = await embed.wasm({ maxMemoryBytes: 16 << 20 });
    const foreign = embed.reference({ maxMemoryBytes: 1 << 20 });
    const calls = goodCalls(embed, device);
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
