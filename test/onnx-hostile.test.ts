/**
 * Hostile ONNX files: thousands of generated ones, each of which must be imported or end in a FormatError or ArgumentError;
 * never in another error, a hang or an allocation out of proportion. What is imported must also run, or say why not. On failure
 * fast-check prints seed and counterexample.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  ArgumentError,
  AtalhoError,
  BatchNorm2d,
  Conv2d,
  type Device,
  d2lResnet,
  Flatten,
  FormatError,
  Linear,
  MaxPool2d,
  noGrad,
  ReLU,
  Sequential,
  tensor,
  wasm,
} from '../src/index.js';
import { exportOnnx, importOnnx, type OnnxModel } from '../src/onnx/index.js';
import { ModelProto, type OnnxFile, type OnnxNode, type OnnxTensor } from '../src/onnx/messages.js';
import { readMessage, writeMessage } from '../src/onnx/protobuf.js';
import { floatTensor, int64Tensor } from '../src/onnx/tensorData.js';
import { type Draw, drawFrom } from '../src/oracle/index.js';
import { sizeOf } from '../src/shape.js';

const SEED = 20261124;

let tried = 0;
let refused = 0;

/** Longest that one small input may take, in milliseconds: a hang, on however busy a machine. */
const PATIENCE = 30_000;

let device: Device;
let files: Uint8Array[];
beforeAll(async () => {
  // Little memory, so that a forward pass that asks for much is refused by the device.
  device = await wasm({ maxMemoryBytes: 2 ** 24 });
  const init = { device, seed: 1 };
  const tiny = new Sequential(
    new Conv2d(1, 2, 3, { ...init, padding: 1 }),
    new BatchNorm2d(2, { device }),
    new ReLU(),
    new MaxPool2d(2),
    new Flatten(),
    new Linear(8, 3, init),
  );
  const resnet = d2lResnet({ ...init, channels: [2, 3], blocks: [1, 1] });
  files = [
    exportOnnx(tiny, { inputShape: [1, 1, 4, 4] }),
    exportOnnx(tiny, { inputShape: [2, 1, 4, 4], batch: 'dynamic', opset: 18, foldBatchNorm: true }),
    exportOnnx(resnet, { inputShape: [1, 1, 9, 9] }),
    ...readdirSync(new URL('onnx/', import.meta.url))
      .filter((name) => name.endsWith('.onnx'))
      .map((name) => new Uint8Array(readFileSync(new URL(`onnx/${name}`, import.meta.url)))),
  ];
  tiny.dispose();
  resnet.dispose();
});

/** Runs what was imported, where the file says for which shape, if that is small. */
function run(model: OnnxModel): void {
  const shape = model.inputShape?.map((extent) => (typeof extent === 'number' ? extent : 1));
  if (shape === undefined || sizeOf(shape) > 10_000) return;
  try {
    device.scope(() => {
      const x = tensor(new Float32Array(sizeOf(shape)), shape, { device });
      noGrad(() => model.forward(x));
    });
  } catch (error) {
    if (!(error instanceof AtalhoError)) throw error;
  }
}

/** True when the file was imported. */
function judge(file: Uint8Array): boolean {
  tried++;
  const began = performance.now();
  const { used } = device.memory();
  try {
    const model = importOnnx(file, { device });
    // Elements of two bytes become four, and each may be there twice.
    const taken = device.memory().used - used;
    const slack = 64 * model.stateDict().size;
    if (taken > 4 * file.length + slack) expect.fail(`${taken} bytes of tensors came out of ${file.length}`);
    run(model);
    model.dispose();
    return true;
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof ArgumentError)) throw error;
    if (error.message.length > 20_000) expect.fail(`a message of ${error.message.length} characters`);
    refused++;
    return false;
  } finally {
    expect(device.memory().used).toBe(used);
    const took = performance.now() - began;
    if (took > PATIENCE) expect.fail(`took ${took} ms`);
  }
}

const position = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
type Damage = (file: Uint8Array) => Uint8Array;
const join = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
const at = (file: Uint8Array, where: number): number => Math.floor(where * file.length);
const damage: fc.Arbitrary<Damage> = fc.oneof(
  fc.tuple(position, fc.nat(7)).map(
    ([where, bit]): Damage =>
      (file) => {
        const copy = file.slice();
        copy[at(file, where)] ^= 1 << bit;
        return copy;
      },
  ),
  fc.tuple(position, fc.constantFrom(0, 1, 2, 8, 0x0a, 0x12, 0x7f, 0x80, 0xff)).map(
    ([where, value]): Damage =>
      (file) => {
        const copy = file.slice();
        copy[at(file, where)] = value;
        return copy;
      },
  ),
  position.map(
    (where): Damage =>
      (file) =>
        file.slice(0, at(file, where)),
  ),
  fc.tuple(position, fc.uint8Array({ minLength: 1, maxLength: 9 })).map(
    ([where, bytes]): Damage =>
      (file) => {
        return join(file.subarray(0, at(file, where)), bytes, file.subarray(at(file, where)));
      },
  ),
  fc.tuple(position, fc.integer({ min: 1, max: 20 })).map(
    ([where, count]): Damage =>
      (file) => {
        return join(file.subarray(0, at(file, where)), file.subarray(at(file, where) + count));
      },
  ),
  fc.tuple(position, fc.integer({ min: 1, max: 60 })).map(
    ([where, count]): Damage =>
      (file) => {
        return join(file.subarray(0, at(file, where) + count), file.subarray(at(file, where)));
      },
  ),
);

const fileAt = (i: number): Uint8Array => files[i % files.length];

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Graph = Mutable<NonNullable<OnnxFile['graph']>>;

const OPERATORS = [
  'Conv BatchNormalization Relu MaxPool AveragePool GlobalAveragePool GlobalMaxPool Add Sub Mul Div Flatten Reshape Gemm',
  'MatMul Identity Dropout Softmax LogSoftmax Constant ReduceMean ReduceSum Concat Transpose Slice Pad ConstantOfShape Cast',
  'Resize If Loop __proto__ constructor',
].flatMap((line) => line.split(' '));
const ATTRIBUTES = [
  'kernel_shape strides pads dilations group auto_pad ceil_mode count_include_pad axis axes keepdims perm alpha beta transA',
  'transB epsilon momentum training_mode value value_int value_ints value_float value_floats mode allowzero starts ends to',
  'noop_with_empty_axes storage_order spatial __proto__',
].flatMap((line) => line.split(' '));
const NUMBERS = [
  0,
  1,
  2,
  3,
  -1,
  -2,
  7,
  64,
  1000,
  2 ** 15,
  2 ** 20,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 53 - 1,
  -(2 ** 31),
  -(2 ** 62),
];
const WORDS = ['', 'NOTSET', 'VALID', 'SAME_UPPER', 'SAME_LOWER', 'SAME', 'constant', 'reflect', '\u0000', 'é'];

const number = (d: Draw): number => (d.int(0, 2) > 0 ? d.int(-1, 4) : d.pick(NUMBERS));
const numbers = (d: Draw): number[] =>
  Array.from({ length: d.pick([0, 1, 1, 2, 2, 2, 3, 4, 4, 8, 70]) }, () => number(d));

function tensorOf(d: Draw, name: string): OnnxTensor {
  const dims = Array.from({ length: d.int(0, 4) }, () => d.int(0, 3));
  const made = d.bool()
    ? int64Tensor(name, numbers(d))
    : floatTensor(name, dims, new Float32Array(sizeOf(dims)).fill(0.5));
  return d.int(0, 3) > 0 ? made : { ...made, dims: numbers(d) };
}

/** One change to the graph that keeps it a message. */
function mutate(d: Draw, graph: Graph): void {
  const nodes = [...graph.node] as Mutable<OnnxNode>[];
  const initializers = [...graph.initializer] as Mutable<OnnxTensor>[];
  graph.node = nodes;
  graph.initializer = initializers;
  const names = [
    ...[...nodes.flatMap(({ input, output }) => [...input, ...output]), 'nowhere', ''],
    ...[...initializers, ...graph.input, ...graph.output].map(({ name = '' }) => name),
  ];
  const i = d.int(0, Math.max(0, nodes.length - 1));
  const node = nodes[i] ?? { input: [], output: [], attribute: [] };
  const j = d.int(0, Math.max(0, initializers.length - 1));
  const weight = initializers[j] ?? tensorOf(d, 'w');
  const put = (change: Partial<OnnxNode>): void => {
    nodes[i] = { ...node, ...change };
  };
  const set = (change: Partial<OnnxTensor>): void => {
    initializers[j] = { ...weight, ...change };
  };
  const replaced = <T>(list: readonly T[], value: T): T[] => {
    const where = d.int(0, list.length);
    return list.map((one, k) => (k === where ? value : one)).concat(where === list.length ? [value] : []);
  };
  switch (d.int(0, 17)) {
    case 0:
      put({ input: replaced(node.input, d.pick(names)) });
      break;
    case 1:
      put({ output: replaced(node.output, d.pick(names)) });
      break;
    case 2:
      put({ opType: d.pick(OPERATORS) });
      break;
    case 3: {
      const [name, value] = [d.pick(ATTRIBUTES), d.int(0, 5)];
      const lists = { floats: [], ints: [], strings: [] };
      const kind = [
        { i: number(d), type: 2 },
        { f: d.pick([0, 0.5, -1, Number.NaN, Number.POSITIVE_INFINITY]), type: 1 },
        { s: new TextEncoder().encode(d.pick(WORDS)), type: 3 },
        { ints: numbers(d), type: 7 },
        { floats: numbers(d).map(Math.fround), type: d.int(0, 12) },
        { t: tensorOf(d, ''), type: 4 },
      ][value];
      const others = node.attribute.filter((one) => d.int(0, 5) === 0 || one.name !== name);
      put({ attribute: [...others, { ...lists, name, ...kind }] });
      break;
    }
    case 4: {
      const attribute = node.attribute.map((one) => ({
        ...one,
        ...(one.i !== undefined && { i: number(d) }),
        ...(one.ints.length > 0 && { ints: d.bool() ? replaced(one.ints, number(d)) : numbers(d) }),
      }));
      put({ attribute });
      break;
    }
    case 5:
      nodes.splice(i, 1);
      break;
    case 6:
      nodes.splice(d.int(0, nodes.length), 0, node);
      break;
    case 7:
      nodes.reverse();
      break;
    case 8:
      initializers.splice(j, 1);
      break;
    case 9:
      initializers.push(weight);
      break;
    case 10:
      set({ dims: replaced(weight.dims, number(d)) });
      break;
    case 11:
      set({ rawData: (weight.rawData ?? new Uint8Array(8)).slice(0, d.int(0, 40)) });
      break;
    case 12:
      set({ dataType: d.int(-1, 20) });
      break;
    case 13:
      set({ name: d.pick(names) });
      break;
    case 14:
      set({
        [d.pick(['floatData', 'int32Data', 'int64Data', 'doubleData'] as const)]: [1, 2],
        rawData: undefined,
      });
      break;
    case 15:
      initializers[j] = { ...tensorOf(d, weight.name ?? '') };
      break;
    case 16: {
      const ends = [graph.input, graph.output];
      const end = d.pick(ends);
      const renamed = end.map((info) => ({ ...info, name: d.pick(names) }));
      if (end === graph.input) graph.input = d.bool() ? renamed : [...end, ...renamed];
      else graph.output = d.bool() ? renamed : [...end, ...renamed];
      break;
    }
    default: {
      // Another node in front, of anything, that something then reads.
      const output = d.bool() ? `extra${d.int(0, 3)}` : d.pick(names);
      const input = Array.from({ length: d.int(0, 4) }, () => d.pick(names));
      nodes.splice(i, 0, { opType: d.pick(OPERATORS), name: 'extra', input, output: [output], attribute: [] });
      put({ input: replaced(node.input, output) });
    }
  }
}

describe('hostile ONNX', () => {
  it('valid files are imported', () => {
    for (const file of files) expect(judge(file)).toBe(true);
  });

  it('damaged files', () => {
    fc.assert(
      fc.property(fc.nat(), fc.array(damage, { minLength: 1, maxLength: 3 }), (i, steps) => {
        judge(steps.reduce((file, step) => step(file), fileAt(i)));
      }),
      { seed: SEED, numRuns: 3500 },
    );
  });

  it('every truncation of a file is refused', () => {
    const [file] = files;
    for (let length = 0; length < file.length; length++) {
      const kept = judge(file.subarray(0, length));
      // The operator set is the last field: only with all of it is a file whole.
      if (kept) expect.fail(`${length} of ${file.length} bytes were imported`);
    }
  });

  it('splices of two files', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), position, position, (i, j, from, to) => {
        const [a, b] = [fileAt(i), fileAt(j)];
        judge(join(a.subarray(0, at(a, from)), b.subarray(at(b, to))));
      }),
      { seed: SEED, numRuns: 1000 },
    );
  });

  it('messages that contradict themselves', () => {
    let imported = 0;
    fc.assert(
      fc.property(
        fc.nat(),
        fc.infiniteStream(fc.nat({ max: 2 ** 30 })),
        // One contradiction suffices to be refused, so that few changes get furthest.
        fc.constantFrom(1, 1, 1, 2, 3, 4),
        fc.constantFrom(17, 17, 17, 7, 11, 13, 18, 23, 24, 0, -1),
        (i, stream, changes, version) => {
          const d = drawFrom((min, max) => min + ((stream.next().value as number) % (max - min + 1)));
          const model = { ...readMessage(ModelProto, fileAt(i)) };
          const graph = { ...(model.graph as Graph) };
          for (let change = 0; change < changes; change++) mutate(d, graph);
          const opsetImport = d.int(0, 9) > 0 ? model.opsetImport : [{ domain: '', version }];
          if (judge(writeMessage(ModelProto, { ...model, graph, opsetImport }))) imported++;
        },
      ),
      { seed: SEED, numRuns: 5000 },
    );
    // Enough of them get as far as running.
    expect(imported).toBeGreaterThan(300);
  });

  it('anything at all', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        judge(bytes);
      }),
      { seed: SEED, numRuns: 500 },
    );
  });

  /** A file of one input, and whatever `write` puts into its graph. */
  const graphOf = (write: (graph: BinaryWriter) => void): Uint8Array => {
    const info = (name: string) => new BinaryWriter().tag(1, WireType.LengthDelimited).string(name).finish();
    const graph = new BinaryWriter();
    write(graph);
    graph.tag(11, WireType.LengthDelimited).bytes(info('x')).tag(12, WireType.LengthDelimited).bytes(info('y'));
    const set = new BinaryWriter().tag(2, WireType.Varint).int64(17).finish();
    const file = new BinaryWriter().tag(7, WireType.LengthDelimited).bytes(graph.finish());
    return file.tag(8, WireType.LengthDelimited).bytes(set).finish();
  };
  const nodeBytes = (opType: string, input: string, output: string) =>
    new BinaryWriter()
      .tag(1, WireType.LengthDelimited)
      .string(input)
      .tag(2, WireType.LengthDelimited)
      .string(output)
      .tag(4, WireType.LengthDelimited)
      .string(opType)
      .finish();

  it('long, deep and repetitive files, in linear time and little memory', () => {
    const before = process.memoryUsage().arrayBuffers;
    const relu = (graph: BinaryWriter) => graph.tag(1, WireType.LengthDelimited).bytes(nodeBytes('Relu', 'x', 'y'));
    expect(judge(graphOf(relu))).toBe(true);
    // Groups in groups, which nothing here reads.
    for (const depth of [50, 200, 100_000]) {
      const nested = graphOf((graph) => {
        for (let i = 0; i < depth; i++) graph.tag(99, WireType.StartGroup);
        for (let i = 0; i < depth; i++) graph.tag(99, WireType.EndGroup);
        relu(graph);
      });
      expect(judge(nested)).toBe(depth < 100);
    }
    // Messages of nothing.
    for (const field of [1, 5, 11]) {
      const empty = graphOf((graph) => {
        for (let i = 0; i < 400_000; i++) graph.tag(field, WireType.LengthDelimited).uint32(0);
      });
      expect(judge(empty)).toBe(false);
    }
    // A chain of as many kinds as nodes, none of them known, and names without end.
    const kinds = graphOf((graph) => {
      for (let i = 0; i < 20_000; i++) {
        const name = 'n'.repeat(20) + i;
        const from = i === 0 ? 'x' : `${'n'.repeat(20)}${i - 1}`;
        graph.tag(1, WireType.LengthDelimited).bytes(nodeBytes(`Op${i}`, from, i === 19_999 ? 'y' : name));
      }
    });
    expect(judge(kinds)).toBe(false);
    expect(judge(graphOf((g) => g.tag(1, WireType.LengthDelimited).bytes(nodeBytes('R'.repeat(1e6), 'x', 'y'))))).toBe(
      false,
    );
    // A long chain of what is known is fine.
    const chain = graphOf((graph) => {
      for (let i = 0; i < 5_000; i++) {
        const from = i === 0 ? 'x' : `v${i - 1}`;
        graph.tag(1, WireType.LengthDelimited).bytes(nodeBytes('Relu', from, i === 4_999 ? 'y' : `v${i}`));
      }
    });
    expect(judge(chain)).toBe(true);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64e6);
  });

  it('few bytes cannot ask for many', () => {
    const info = (name: string) => ({ name, type: { tensorType: { elemType: 1 } } });
    const node = (opType: string, input: string[], output: string) => ({
      opType,
      name: output,
      input,
      output: [output],
      attribute: [],
    });
    const file = (nodes: OnnxNode[], initializer: OnnxTensor[]) =>
      writeMessage(ModelProto, {
        ...{ irVersion: 8, opsetImport: [{ version: 17 }] },
        graph: { name: 'g', node: nodes, initializer, input: [info('x')], output: [info('y')], sparseInitializer: [] },
      });
    const before = device.memory();
    // Thousands of names for one tensor, each of which would be a copy.
    const copies = Array.from({ length: 3000 }, (_, i) => node('Identity', ['w'], `w${i}`));
    const sums = copies.map(({ output }, i) =>
      node('Add', [i === 0 ? 'x' : `s${i - 1}`, output[0]], i === copies.length - 1 ? 'y' : `s${i}`),
    );
    const big = floatTensor('w', [50_000], new Float32Array(50_000));
    expect(() => importOnnx(file([...copies, ...sums], [big]), { device })).toThrow(/Identity nodes repeat tensors to/);
    expect(judge(file([...copies, ...sums], [big]))).toBe(false);
    // A long list of options for thousands of nodes.
    const shape = int64Tensor('s', new Array<number>(50_000).fill(1));
    const reshapes = Array.from({ length: 3000 }, (_, i) =>
      node('Reshape', [i === 0 ? 'x' : `r${i - 1}`, 's'], i === 2999 ? 'y' : `r${i}`),
    );
    expect(() => importOnnx(file(reshapes, [shape]), { device })).toThrow(/want a short list of ints/);
    // Integers that double in every node.
    const doubling = Array.from({ length: 60 }, (_, i) => ({
      ...node('Concat', [`d${i}`, `d${i}`], `d${i + 1}`),
      attribute: [{ name: 'axis', i: 0, type: 2, floats: [], ints: [], strings: [] }],
    }));
    const last = node('Reshape', ['x', 'd60'], 'y');
    expect(judge(file([...doubling, last], [int64Tensor('d0', [1, 1])]))).toBe(false);
    expect(device.memory()).toEqual(before);
  });

  it('a device without room leaves nothing behind', async () => {
    const narrow = await wasm({ maxMemoryBytes: 2 ** 20 });
    const info = (name: string) => ({ name, type: { tensorType: { elemType: 1 } } });
    const sized = (name: string) => floatTensor(name, [200_000], new Float32Array(200_000));
    const node = (input: string[], output: string) => ({
      opType: 'Add',
      name: output,
      input,
      output: [output],
      attribute: [],
    });
    const bytes = writeMessage(ModelProto, {
      ...{ irVersion: 8, opsetImport: [{ version: 17 }] },
      graph: {
        ...{ name: 'g', node: [node(['x', 'a'], 'z'), node(['z', 'b'], 'y')], initializer: [sized('a'), sized('b')] },
        ...{ input: [info('x')], output: [info('y')], sparseInitializer: [] },
      },
    });
    const { used } = narrow.memory();
    expect(() => importOnnx(bytes, { device: narrow })).toThrow(AtalhoError);
    expect(narrow.memory().used).toBe(used);
  });

  it('were at least 10,000 in total', () => {
    console.log(`hostile ONNX, seed ${SEED}: ${tried} files tried, ${refused} refused, ${tried - refused} imported`);
    expect(tried).toBeGreaterThanOrEqual(10_000);
  });
});
