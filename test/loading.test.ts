/** Weights from files of others: their names, what may be missing, and the memory that loading takes. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import {
  d2lResnet,
  Linear,
  type Module,
  meta,
  readSafetensors,
  reference,
  resnet,
  resnet18,
  resnet50,
  resnext50_32x4d,
  Sequential,
  StateDictError,
  type StateEntry,
  type Tensor,
  writeSafetensors,
} from '../src/index.js';
import { BasicBlock } from '../src/models/index.js';

/**
 * The state dict's names of a ResNet as torchvision and timm (its plain ones, such as resnet18, resnet50, resnext50_32x4d and
 * wide_resnet50_2) write them.
 */
function torchNames(layers: readonly number[], convs: number, shortcutInFirst: boolean, counters: boolean): string[] {
  const norm = (name: string): string[] =>
    ['weight', 'bias', 'running_mean', 'running_var', ...(counters ? ['num_batches_tracked'] : [])].map(
      (key) => `${name}.${key}`,
    );
  const names = ['conv1.weight', ...norm('bn1')];
  layers.forEach((count, stage) => {
    for (let i = 0; i < count; i++) {
      const block = `layer${stage + 1}.${i}`;
      for (let c = 1; c <= convs; c++) names.push(`${block}.conv${c}.weight`, ...norm(`${block}.bn${c}`));
      const changes = i === 0 && (stage > 0 || shortcutInFirst);
      if (changes) names.push(`${block}.downsample.0.weight`, ...norm(`${block}.downsample.1`));
    }
  });
  return [...names, 'fc.weight', 'fc.bias'];
}

/** A value for each name, in the shapes of `like`. */
function valuesFor(
  names: readonly string[],
  like: Module,
): Map<string, { shape: readonly number[]; data: Float32Array }> {
  const shapes = like.stateDict();
  return new Map(
    names.map((name, i) => {
      const { shape, size } = shapes.get(name) as Tensor;
      return [name, { shape, data: new Float32Array(size).fill(i) }];
    }),
  );
}

describe('names', () => {
  it.each([
    ['resnet18', resnet18, [2, 2, 2, 2], 2, false],
    ['resnet50', resnet50, [3, 4, 6, 3], 3, true],
    ['resnext50_32x4d', resnext50_32x4d, [3, 4, 6, 3], 3, true],
  ] as const)("of %s are torchvision's and timm's, in their order", (_, make, layers, convs, shortcut) => {
    expect([...make({ device: meta() }).stateDict().keys()]).toEqual(torchNames(layers, convs, shortcut, true));
  });

  const small = (device = reference()) =>
    resnet({ device, block: BasicBlock, layers: [1, 1, 1, 1], planes: 4, numClasses: 3 });

  it('may lack num_batches_tracked, as files from before 2018 do; then it stays', () => {
    const net = small();
    const x = net.stateDict().get('bn1.num_batches_tracked') as Tensor;
    x.write(BigInt64Array.of(7n));
    const names = torchNames([1, 1, 1, 1], 2, false, false);
    expect(net.loadStateDict(valuesFor(names, net))).toBe(net);
    expect(x.dataSync()).toEqual(BigInt64Array.of(7n));
    expect((net.stateDict().get('fc.bias') as Tensor).dataSync()[0]).toBe(names.length - 1);
    // Not with the whole batch norm.
    const without = valuesFor(
      names.filter((name) => !name.startsWith('layer1.0.bn2')),
      net,
    );
    expect(() => net.loadStateDict(without)).toThrow(
      /^loadStateDict: missing: layer1\.0\.bn2\.weight, .*, layer1\.0\.bn2\.num_batches_tracked$/,
    );
  });

  it('need not agree with strict: false, for another head; shapes must', () => {
    const net = small();
    const names = torchNames([1, 1, 1, 1], 2, false, true).filter((name) => !name.startsWith('fc.'));
    const entries: Map<string, StateEntry> = valuesFor(names, net);
    entries.set('head.fc.weight', { shape: [2], data: [1, 2] });
    const head = (net.stateDict().get('fc.weight') as Tensor).dataSync();
    expect(() => net.loadStateDict(entries)).toThrow(
      /^loadStateDict: missing: fc\.weight, fc\.bias\. unexpected: head\.fc\.weight$/,
    );
    expect((net.stateDict().get('bn1.bias') as Tensor).dataSync()[0]).toBe(0);
    expect(net.loadStateDict(entries, { strict: false })).toEqual({
      missing: ['fc.weight', 'fc.bias'],
      unexpected: ['head.fc.weight'],
    });
    expect((net.stateDict().get('bn1.bias') as Tensor).dataSync()[0]).toBe(2);
    expect((net.stateDict().get('fc.weight') as Tensor).dataSync()).toEqual(head);
    entries.set('fc.weight', { shape: [1000, 32], data: new Float32Array(32_000) });
    entries.set('bn1.bias', { shape: [4], data: [5, 5, 5, 5] });
    expect(() => net.loadStateDict(entries, { strict: false })).toThrow(StateDictError);
    expect(() => net.loadStateDict(entries, { strict: false })).toThrow(
      /^loadStateDict: wrong: fc\.weight has shape \[1000, 32\]; want \[3, 32\]$/,
    );
    expect((net.stateDict().get('bn1.bias') as Tensor).dataSync()[0]).toBe(2);
    expect(new Linear(2, 2, { device: meta() }).loadStateDict(new Map(), { strict: false })).toEqual({
      missing: ['weight', 'bias'],
      unexpected: [],
    });
  });
});

describe('tensors that no view can show', () => {
  it('are decoded when asked for, and load as their values, whatever else is in the file', () => {
    const device = reference();
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            dtype: fc.constantFrom('F16' as const, 'BF16' as const, 'F32' as const, 'F64' as const),
            size: fc.integer({ min: 1, max: 40 }),
          }),
          { minLength: 1, maxLength: 5 },
        ),
        fc.boolean(),
        (tensors, unaligned) => {
          const net = new Sequential(...tensors.map(({ size }) => new Linear(size, 1, { device, bias: false })));
          // Small eighths, which every dtype holds.
          const wanted = tensors.map(({ size }, k) =>
            Array.from({ length: size }, (_, i) => ((i * 7 + k) % 31) / 8 - 2),
          );
          const entries = tensors.map(({ dtype, size }, k): [string, never] => {
            const data = dtype === 'F64' ? Float64Array.from(wanted[k]) : Float32Array.from(wanted[k]);
            return [`${k}.weight`, { dtype, shape: [1, size], data } as never];
          });
          const written = writeSafetensors(entries);
          // In the middle of a buffer at an odd place every tensor is out of line.
          const bytes = new Uint8Array(written.length + 1).subarray(unaligned ? 1 : 0).subarray(0, written.length);
          bytes.set(written);
          const file = readSafetensors(bytes);
          net.loadStateDict(file);
          const got = [...net.stateDict().values()].map((t) => Array.from(t.dataSync(), Number));
          expect(got).toEqual(wanted);
          for (const [name, { data }] of file)
            expect(Array.from(data, Number)).toEqual(wanted[Number.parseInt(name, 10)]);
          net.dispose();
        },
      ),
      { numRuns: 60 },
    );
  });

  it('keep their checks: length, dtype, whole numbers', () => {
    const net = new Linear(2, 1, { device: reference(), bias: false });
    const bytes = writeSafetensors([['weight', { shape: [1, 2], data: BigInt64Array.of(1n, 2n) }]]);
    const odd = new Uint8Array(bytes.length + 1).subarray(1);
    odd.set(bytes);
    for (const file of [bytes, odd]) {
      expect(() => net.loadStateDict(readSafetensors(file))).toThrow(/weight has dtype int64; want float32/);
    }
    const counter = d2lResnet({ device: reference(), channels: [2], blocks: [1] });
    const half = writeSafetensors([
      ['0.1.num_batches_tracked', { dtype: 'F16', shape: [], data: Float32Array.of(0.5) }],
    ]);
    expect(() => counter.loadStateDict(readSafetensors(half), { strict: false })).toThrow(/numbers that are not whole/);
    const whole = writeSafetensors([
      ['0.1.num_batches_tracked', { dtype: 'F16', shape: [], data: Float32Array.of(3) }],
    ]);
    counter.loadStateDict(readSafetensors(whole), { strict: false });
    expect(counter.stateDict().get('0.1.num_batches_tracked')?.dataSync()).toEqual(BigInt64Array.of(3n));
  });
});

describe('loading a 102 MB file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'atalho-loading-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const script = fileURLToPath(new URL('../bench/safetensorsMemory.mjs', import.meta.url));
  const node = (...args: readonly string[]): string => execFileSync(process.execPath, args, { encoding: 'utf8' });

  it.each(['F32', 'BF16', 'F16', 'unaligned'])(
    'of %s takes less than 1.3 times the file beyond the model',
    async (dtype) => {
      const file = join(folder, `${dtype}.safetensors`);
      node(script, 'write', file, dtype);
      const load = () => JSON.parse(node('--expose-gc', script, 'load', file)) as Record<string, number>;
      // The middle of five: what the collector gives back late, on a busy machine, may fall on either side.
      const { fileBytes, peakBytes, modelBytes, last } = Array.from({ length: 5 }, load).sort(
        (a, b) => a.peakBytes - b.peakBytes,
      )[2];
      expect(fileBytes).toBeGreaterThan(dtype.endsWith('16') ? 51e6 : 102e6);
      expect(modelBytes).toBeGreaterThan(102e6);
      // The file's bytes have to be there.
      expect(peakBytes).toBeGreaterThan(0.9 * fileBytes);
      expect(peakBytes).toBeLessThan(1.3 * fileBytes);
      const bias = readSafetensors(readFileSync(file)).get('fc.bias')?.data as Float32Array;
      expect(last).toBe(bias[999]);
    },
  );
});
