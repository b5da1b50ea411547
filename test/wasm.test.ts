/** What the WASM device does beyond the contract's table: chunks of a batch, its heap, its limits, its errors. */
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { WASM_TEXT } from '../src/device/wasm/binary.gen.js';
import { decodeBinary } from '../src/device/wasm/binary.js';
import { Heap } from '../src/device/wasm/heap.js';
import { WASM_INFER_TEXT } from '../src/embed/inferBinary.gen.js';
import {
  ArgumentError,
  AtalhoError,
  add,
  conv2d,
  type Device,
  DeviceError,
  Generator,
  grad,
  matmul,
  maxPool2d,
  OutOfMemoryError,
  reference,
  relu,
  tensor,
  wasm,
} from '../src/index.js';
import { SEED } from './table.js';

/** Forward and gradients of a convolution on both devices, element by element. */
function differences(a: Device, b: Device, x: number[], w: number[], options: object): number {
  const generator = new Generator(7);
  const draw = (shape: number[]) =>
    Float32Array.from({ length: shape.reduce((p, q) => p * q, 1) }, () => generator.uniform(-1, 1));
  const data = { x: draw(x), w: draw(w), b: draw([w[0]]) };
  const run = (device: Device) => {
    const at = { device, requiresGrad: true };
    const inputs = [tensor(data.x, x, at), tensor(data.w, w, at), tensor(data.b, [w[0]], at)] as const;
    const y = conv2d(...inputs, options);
    const dy = tensor(
      Float32Array.from({ length: y.size }, (_, i) => Math.fround(((i * 37) % 101) / 50 - 1)),
      y.shape,
      { device },
    );
    return [y, ...grad(y, inputs, dy)].map((t) => t.dataSync());
  };
  const [ours, theirs] = [run(a), run(b)];
  let different = 0;
  ours.forEach((values, i) => {
    values.forEach((value, j) => {
      if (!Object.is(value, theirs[i][j])) different++;
    });
  });
  return different;
}

describe.each([1, 2])('convolution across chunks and blocks, %i threads', async (threads) => {
  const device = await wasm({ threads });
  (device as unknown as { context: { grain: number } }).context.grain = 1;
  const spec = reference();
  afterAll(() => device.dispose());

  it.each([
    // Small maps in a batch that does not fit one padded copy: several chunks, the first of at most one pixel block.
    { x: [50, 512, 3, 3], w: [8, 512, 3, 3], options: { padding: 1 } },
    { x: [45, 8, 3, 3], w: [512, 8, 3, 3], options: { padding: 1 } },
    // One block exactly, and one pixel more, for the lazily packed weights.
    { x: [2, 300, 16, 16], w: [5, 300, 1, 1], options: {} },
    { x: [1, 300, 27, 19], w: [5, 300, 1, 1], options: {} },
    // The same where whole row panels are read unpacked, and a last panel of one pixel.
    { x: [2, 300, 16, 16], w: [8, 300, 1, 1], options: {} },
    { x: [1, 70, 7, 7], w: [12, 70, 3, 3], options: { padding: 1 } },
    { x: [1, 33, 7, 7], w: [13, 33, 3, 3], options: { padding: 1, stride: 2 } },
    // A pixel alone against rows in sixteens, in one and in two k blocks, and of a stride of 2.
    { x: [1, 80, 7, 7], w: [80, 80, 3, 3], options: { padding: 1 } },
    { x: [1, 16, 14, 14], w: [160, 16, 3, 3], options: { padding: 1, stride: 2 } },
    // Exactly one block of pixels, whose weights are packed in one place.
    { x: [8, 128, 8, 8], w: [10, 128, 3, 3], options: { padding: 1 } },
    { x: [2, 128, 16, 16], w: [6, 128, 3, 3], options: { padding: 1 } },
    // More blocks of pixels than a job may have programs.
    { x: [1, 1, 1500, 1500], w: [1, 1, 1, 1], options: {} },
    // Two k blocks and weight-gradient blocks that straddle images.
    { x: [7, 40, 9, 9], w: [13, 40, 3, 3], options: { padding: 1 } },
    { x: [3, 5, 40, 40], w: [9, 5, 7, 7], options: { padding: 3, stride: 2 } },
    { x: [9, 66, 5, 7], w: [34, 33, 3, 3], options: { padding: 2, dilation: 2, groups: 2 } },
  ])('is the reference, bit for bit: $x * $w', ({ x, w, options }) => {
    expect(differences(device, spec, x, w, options)).toBe(0);
  });
});

it('max pooling has the same bits where no gradient will ask for indices', async () => {
  const devices = [reference(), await wasm()];
  const special = fc.constantFrom(NaN, Infinity, -Infinity, 0, -0, 1, -1, 2 ** -149);
  const drawn = fc
    .record({
      ...{ height: fc.integer({ min: 3, max: 12 }), width: fc.integer({ min: 3, max: 24 }) },
      ...{ kernel: fc.integer({ min: 1, max: 3 }), stride: fc.integer({ min: 1, max: 4 }) },
      ceilMode: fc.boolean(),
    })
    .chain((o) => {
      const size = 2 * o.height * o.width;
      return fc.record({ o: fc.constant(o), x: fc.array(special, { minLength: size, maxLength: size }) });
    });
  fc.assert(
    fc.property(drawn, ({ o: { height, width, kernel, stride, ceilMode }, x }) => {
      const bits = devices.flatMap((device) =>
        [true, false].map((requiresGrad) =>
          device.scope(() => {
            const at = tensor(x, [1, 2, height, width], { device, requiresGrad });
            const y = maxPool2d(at, kernel, { stride, padding: kernel >> 1, ceilMode });
            return [...new Uint32Array(Float32Array.from(y.dataSync() as Float32Array).buffer)];
          }),
        ),
      );
      for (const other of bits) expect(other).toEqual(bits[0]);
    }),
    { numRuns: 150, ...SEED },
  );
  for (const device of devices) device.dispose();
});

describe('heap', () => {
  it('never hands out memory twice, and joins what comes back', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(200_000), fc.nat(1000)), { maxLength: 200 }), (steps) => {
        const heap = new Heap(new WebAssembly.Memory({ initial: 16, maximum: 1024 }), 1024 * 65536);
        const live: { start: number; bytes: number }[] = [];
        for (const [frees, bytes, pick] of steps) {
          if (frees && live.length > 0) heap.release(live.splice(pick % live.length, 1)[0].start);
          else live.push({ start: heap.alloc(bytes, 'test'), bytes });
        }
        const ordered = [...live].sort((a, b) => a.start - b.start);
        ordered.forEach(({ start, bytes }, i) => {
          expect(start % 64).toBe(0);
          expect(start).toBeGreaterThan(0);
          if (i + 1 < ordered.length) expect(start + bytes).toBeLessThanOrEqual(ordered[i + 1].start);
        });
        for (const { start } of live) heap.release(start);
        expect(heap.use().used).toBe(0);
        // All in one piece again: the whole of it can be had, but for its first and its last 64 bytes.
        const whole = heap.memory.buffer.byteLength - 128;
        heap.alloc(whole, 'test');
        expect(heap.memory.buffer.byteLength).toBe(whole + 128);
      }),
    );
  });

  it('refuses to free what it did not give', () => {
    const heap = new Heap(new WebAssembly.Memory({ initial: 16, maximum: 64 }), 64 * 65536);
    expect(() => heap.release(128)).toThrow('not an allocated address');
  });
});

describe('fast convolutions', () => {
  it.each([
    // Two blocks of channels; half a panel of tiles alone, after a whole one, beside an odd panel of rows, and of a stride of 2.
    { x: [1, 520, 7, 7], w: [16, 520, 3, 3], options: { padding: 1 } },
    { x: [1, 520, 7, 7], w: [12, 520, 3, 3], options: { padding: 1 } },
    { x: [3, 520, 7, 7], w: [9, 520, 3, 3], options: { padding: 1 } },
    { x: [1, 520, 13, 13], w: [16, 520, 3, 3], options: { padding: 1, stride: 2 } },
    // Several blocks of rows of the weight gradient, and channels that do not come in fours.
    { x: [2, 11, 9, 9], w: [75, 11, 3, 3], options: { padding: 1 } },
    { x: [2, 11, 11, 11], w: [75, 11, 3, 3], options: { padding: 1, stride: 2 } },
  ])('are the fast reference, bit for bit: $x * $w', async ({ x, w, options }) => {
    for (const threads of [1, 2]) {
      const device = await wasm({ math: 'fast', threads });
      (device as unknown as { context: { grain: number } }).context.grain = 1;
      expect(differences(device, reference({ math: 'fast' }), x, w, options), `${threads} threads`).toBe(0);
      device.dispose();
    }
  });

  it.each([
    [3, 256, 2, 1024, 256],
    [1, 8, 3, 2048, 420],
  ])('of zeros are zeros, however many parts a job has: %j', async (batch, channels, height, width, outChannels) => {
    const device = await wasm({ math: 'fast', threads: 4 });
    const x = tensor(new Float32Array(batch * channels * height * width), [batch, channels, height, width], { device });
    const w = tensor(new Float32Array(outChannels * channels * 9).fill(1), [outChannels, channels, 3, 3], { device });
    const y = conv2d(x, w, null, { padding: 1 }).dataSync() as Float32Array;
    expect(y.every((v) => v === 0)).toBe(true);
    device.dispose();
  });

  it('read no residual past the end of memory', async () => {
    const device = await wasm({ math: 'fast' });
    const { kernels } = device;
    const [height, width] = [14, 62];
    const size = 8 * height * width;
    const [x, weight, out] = [size, 8 * 8 * 9, size].map((n) => device.alloc(n));
    for (const buffer of [x, weight]) kernels.fill({ out: buffer, value: 0 });
    const g = {
      ...{
        batch: 1,
        inChannels: 8,
        inHeight: height,
        inWidth: width,
        outChannels: 8,
        outHeight: height,
        outWidth: width,
      },
      ...{ kernelHeight: 3, kernelWidth: 3, strideHeight: 1, strideWidth: 1, padTop: 1, padLeft: 1 },
      ...{ dilationHeight: 1, dilationWidth: 1, groups: 1 },
    };
    const plain = { ...g, x, weight, bias: null, norm: null, relu: false, out };
    // Its memory is laid out before the residual's, which then is the last of all.
    const first = kernels.prepareConv2d({ ...plain, residual: null });
    first.run();
    const { heap } = (device as unknown as { context: { heap: Heap } }).context;
    const fillers: number[] = [];
    const end = () => heap.memory.buffer.byteLength - 64;
    let residual = device.alloc(size);
    while ((residual as unknown as { address: number }).address + 4 * size !== end()) {
      residual.release();
      fillers.push(heap.alloc(64, 'filler'));
      residual = device.alloc(size);
    }
    kernels.fill({ out: residual, value: 3 });
    const prepared = kernels.prepareConv2d({ ...plain, residual });
    prepared.run();
    expect(Array.from(device.readSync?.(out) ?? [], Number)).toEqual(new Array(size).fill(3));
    device.dispose();
  });
});

describe('module', () => {
  const bytes = decodeBinary(WASM_TEXT);

  it('is this package’s own binary, compiled or not', async () => {
    const found = await Promise.all([
      wasm({ module: bytes }),
      wasm({ module: bytes.buffer }),
      wasm({ module: new WebAssembly.Module(bytes) }),
      wasm({ module: bytes, threads: 2 }),
    ]);
    for (const device of found) {
      expect([...relu(tensor([-1, 2], { device })).dataSync()]).toEqual([0, 2]);
      device.dispose();
    }
  });

  it.each([1, 2])('is no other binary: a typed error that says so, %i threads', async (threads) => {
    const infer = decodeBinary(WASM_INFER_TEXT);
    await expect(wasm({ module: infer, threads })).rejects.toThrow(
      new ArgumentError('wasm: module is not the binary of this build: it has no batchNormBackward'),
    );
    for (const module of [5, 'atalho.wasm', null]) {
      await expect(wasm({ module: module as never, threads })).rejects.toThrow(/^wasm: module is .*; want bytes/);
    }
  });

  it.each([1, 2])(
    'may be cut short anywhere, or be anything: a typed error, never a hang, %i threads',
    async (threads) => {
      const header = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
      const cut = Array.from({ length: 60 }, (_, i) => bytes.slice(0, i));
      // Sections that say that they end before they begin.
      const back = [
        [1, 0xff, 0xff, 0xff, 0xff, 0x0f],
        [...new Array(20).fill(0x80)],
        [2, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f],
      ];
      const draw = new Generator(3);
      const any = Array.from({ length: 60 }, () => Array.from({ length: 40 }, () => draw.int(256)));
      for (const module of [...cut, ...[...back, ...any].map((rest) => Uint8Array.from([...header, ...rest]))]) {
        await expect(wasm({ module, threads })).rejects.toThrow(AtalhoError);
      }
    },
  );
});

describe('limits', () => {
  it('takes null for no options, as other functions do', async () => {
    const device = await wasm(null as never);
    expect([device.math, device.threads]).toEqual(['exact', 1]);
    device.dispose();
  });

  it('runs out of memory with a typed error, loses nothing, and goes on', async () => {
    const device = await wasm({ maxMemoryBytes: 4 << 20 });
    const x = tensor(new Float32Array(100_000).fill(1.5), [100_000], { device });
    const before = device.memory().used;
    let error: unknown;
    try {
      device.scope(() => {
        let y = x;
        for (let i = 0; i < 100; i++) y = add(y, x);
      });
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(OutOfMemoryError);
    expect(String(error)).toMatch(/wants 400000 bytes; \d+ in use, \d+ reserved, limit 4194304.*smaller batch/);
    expect(device.memory().used).toBe(before);
    expect(relu(x).dataSync()[99_999]).toBe(1.5);
    device.dispose();
  });

  it('grows past 2 GiB and computes up there', async () => {
    const device = await wasm();
    // Untouched pages cost address space only.
    const ballast = device.alloc(600_000_000);
    const x = tensor([1, -2, 3, -4, 5], { device });
    const y = relu(add(x, x));
    expect(device.memory().reserved).toBeGreaterThan(2 ** 31);
    expect([...y.dataSync()]).toEqual([2, 0, 6, 0, 10]);
    const w = tensor([2], [1, 1, 1, 1], { device });
    const z = conv2d(tensor([1, 2, 3], [1, 1, 1, 3], { device }), w);
    expect([...z.dataSync()]).toEqual([2, 4, 6]);
    ballast.release();
    device.dispose();
  });

  it.each([{ threads: 0 }, { math: 'sloppy' }, { maxMemoryBytes: 10 }, { maxMemoryBytes: 2 ** 40 }])(
    'refuses options it does not have: %j',
    async (options) => {
      await expect(wasm(options as object)).rejects.toThrow(/^wasm: /);
    },
  );

  it('names reference() where there is no WebAssembly, or none with SIMD', async () => {
    const engine = globalThis.WebAssembly;
    try {
      Reflect.deleteProperty(globalThis, 'WebAssembly');
      await expect(wasm()).rejects.toThrow(/no WebAssembly; use reference\(\)/);
      globalThis.WebAssembly = { ...engine, validate: () => false } as typeof WebAssembly;
      await expect(wasm()).rejects.toThrow(/no WebAssembly SIMD; use reference\(\)/);
    } finally {
      globalThis.WebAssembly = engine;
    }
  });

  it('says what a page must allow where compiling is forbidden', async () => {
    const engine = globalThis.WebAssembly;
    try {
      const instantiate = () => Promise.reject(new engine.CompileError('blocked by Content Security Policy'));
      const names = ['Memory', 'Module', 'Instance', 'validate', 'CompileError'] as const;
      const kept = Object.fromEntries(names.map((name) => [name, engine[name]]));
      globalThis.WebAssembly = {
        ...kept,
        instantiate,
        instantiateStreaming: instantiate,
      } as unknown as typeof WebAssembly;
      await expect(wasm()).rejects.toThrow(/wasm-unsafe-eval.*reference\(\)/);
    } finally {
      globalThis.WebAssembly = engine;
    }
  });

  it('checks the buffers that kernels are handed', async () => {
    const device = await wasm();
    const [four, hundred] = [device.alloc(4), device.alloc(100)];
    expect(() => device.kernels.relu({ x: four, out: hundred })).toThrow(/4 elements; want at least 100/);
    const int64 = device.alloc(2, 'int64');
    expect(() => device.kernels.fill({ out: int64, value: 1 })).toThrow(/holds int64; want float32/);
    four.release();
    expect(() => device.kernels.relu({ x: four, out: four })).toThrow(/memory was given back/);
    await expect(device.read(four)).rejects.toThrow(/memory was given back/);
    for (const size of [-5, 1.5, Number.NaN]) expect(() => device.alloc(size)).toThrow(/alloc: size/);
    device.dispose();
    expect(device.memory()).toEqual({ used: 0, peak: 0, reserved: 0 });
  });

  it('multiplies matrices whose packed form would not fit 32 bits', async () => {
    const device = await wasm();
    const spec = reference();
    const product = (d: Device) => {
      // A dot product of 2^21 terms, and 1,100 rows: several blocks of each kind.
      const a = tensor(
        Float32Array.from({ length: 1 << 21 }, (_, i) => ((i * 7) % 13) - 6),
        [1, 1 << 21],
        { device: d },
      );
      const b = tensor(
        Float32Array.from({ length: 1 << 21 }, (_, i) => ((i * 5) % 11) / 8),
        [1 << 21, 1],
        { device: d },
      );
      const c = tensor(
        Float32Array.from({ length: 1100 * 3 }, (_, i) => Math.fround(i / 7)),
        [1100, 3],
        { device: d },
      );
      return [
        matmul(a, b),
        matmul(
          c,
          tensor(
            [
              [1, 2],
              [3, 4],
              [5, 7],
            ],
            { device: d },
          ),
        ),
      ].map((t) => [...t.dataSync()]);
    };
    expect(product(device)).toEqual(product(spec));
    device.dispose();
  });

  it('does not make rows as long as an idle stride', async () => {
    const device = await wasm();
    expect(differences(device, reference(), [1, 2, 8, 8], [3, 2, 3, 3], { stride: 1e9, padding: 1 })).toBe(0);
    device.dispose();
  });

  it('refuses tensors of another instance and use after dispose', async () => {
    const [a, b] = [await wasm(), await wasm()];
    const x = tensor([1], { device: a });
    const y = tensor([1], { device: b });
    expect(() => add(x, y)).toThrow(DeviceError);
    a.dispose();
    expect(() => relu(x)).toThrow('disposed');
    x.dispose();
    b.dispose();
  });
});
