/**
 * PyTorch's files: what tools/pth_files.py wrote with the real thing must read back exactly, in both layouts; what
 * could run code must be refused by name; and over 10,000 damaged or invented files must be read or refused with a
 * FormatError, never with another error, a hang or an allocation out of proportion.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32 as zlibCrc32 } from 'node:zlib';
import fc from 'fast-check';
import { unzipSync, type Zippable, zipSync } from 'fflate';
import { describe, expect, it } from 'vitest';
import { reference } from '../src/device/index.js';
import { ArgumentError, FormatError } from '../src/errors.js';
import { type PthDtype, type PthTensor, type PthValue, pthStateDict, readPth } from '../src/io/index.js';
import { crc32 } from '../src/io/pth/crc32.js';
import { BatchNorm2d, Conv2d, Sequential } from '../src/nn/index.js';

const FOLDER = fileURLToPath(new URL('./pth', import.meta.url));
/** A copy of its own at an address divisible by 8, which slices of Node's pool are not. */
const load = (name: string): Uint8Array => new Uint8Array(readFileSync(join(FOLDER, name)));

const ELEMENTS: Record<PthDtype, { torch: string; from: (values: number[]) => PthTensor['data'] }> = {
  F64: { torch: 'float64', from: (ks) => Float64Array.from(ks, (k) => k / 3) },
  F32: { torch: 'float32', from: (ks) => Float32Array.from(ks, (k) => k / 3) },
  F16: { torch: 'float16', from: (ks) => Float32Array.from(ks, (k) => k / 4) },
  BF16: { torch: 'bfloat16', from: (ks) => Float32Array.from(ks, (k) => k / 4) },
  I64: { torch: 'int64', from: (ks) => BigInt64Array.from(ks, (k) => BigInt(k) * 2n ** 50n + 1n) },
  I32: { torch: 'int32', from: (ks) => Int32Array.from(ks, (k) => k * 2 ** 20 + 1) },
  I16: { torch: 'int16', from: (ks) => Int16Array.from(ks, (k) => k * 2 ** 9 + 1) },
  I8: { torch: 'int8', from: (ks) => Int8Array.from(ks) },
  U8: { torch: 'uint8', from: (ks) => Uint8Array.from(ks, (k) => k + 200) },
  BOOL: { torch: 'bool', from: (ks) => Uint8Array.from(ks, (k) => Number(k > 0)) },
};

/** The tensor of `shape` whose element at a multi-index is number `at(index)` of the rule in tools/pth_files.py. */
function windowOf(dtype: PthDtype, shape: number[], at: (index: number[]) => number): PthTensor {
  const size = shape.reduce((product, extent) => product * extent, 1);
  const ks = Array.from({ length: size }, (_, flat) => {
    let rest = flat;
    const index: number[] = [];
    for (const extent of [...shape].reverse()) {
      index.unshift(rest % extent);
      rest = Math.floor(rest / extent);
    }
    return ((7 * at(index) + 3) % 23) - 11;
  });
  return { dtype, shape, data: ELEMENTS[dtype].from(ks) } as PthTensor;
}

/** A tensor as the script makes them: element i is number start + i. */
function filled(shape: number[], start = 0, dtype: PthDtype = 'F32'): PthTensor {
  let next = start;
  return windowOf(dtype, shape, () => next++);
}

const zeros = (...shape: number[]): PthTensor => ({
  dtype: 'F32',
  shape,
  data: new Float32Array(shape.reduce((product, extent) => product * extent, 1)),
});

function asMap(value: PthValue | undefined): Map<PthValue, PthValue> {
  if (!(value instanceof Map)) throw new Error('want a Map');
  return value;
}

function asTensor(value: PthValue | undefined): PthTensor {
  if (typeof value !== 'object' || value === null || !('dtype' in value)) throw new Error('want a tensor');
  return value;
}

const LAYOUTS = ['pth', 'legacy.pth'];

describe('files of PyTorch', () => {
  it.each(LAYOUTS)('dtypes.%s: every dtype', (layout) => {
    const read = readPth(load(`dtypes.${layout}`));
    const want = Object.entries(ELEMENTS).map(([dtype, { torch }]) => [torch, filled([2, 3], 0, dtype as PthDtype)]);
    expect(read).toEqual(new Map(want as [string, PthTensor][]));
    for (const [name, value] of asMap(read)) {
      const data = asTensor(asMap(new Map(want as [string, PthTensor][])).get(name)).data;
      expect(asTensor(value).data.constructor, String(name)).toBe(data.constructor);
    }
  });

  const at6 = ([i, j]: number[]): number => 6 * i + j;
  const windows: [string, PthTensor][] = [
    ['base', filled([4, 6])],
    ['transposed', windowOf('F32', [6, 4], ([i, j]) => 6 * j + i)],
    ['row', windowOf('F32', [6], ([j]) => 12 + j)],
    ['rows', windowOf('F32', [2, 6], ([i, j]) => at6([i + 1, j]))],
    ['column', windowOf('F32', [4], ([i]) => 6 * i + 4)],
    ['steps', windowOf('F32', [2, 2], ([i, j]) => at6([2 * i + 1, 3 * j]))],
    ['flipped_axes', windowOf('F32', [4, 2, 3], ([k, i, j]) => 12 * i + 4 * j + k)],
    ['channels_last', filled([2, 3, 2, 2])],
    ['halves', windowOf('F16', [4, 3], ([j, i]) => 4 * i + j)],
    ['longs', windowOf('I64', [4, 3], ([j, i]) => 4 * i + j)],
    ['bytes', windowOf('U8', [4, 3], ([j, i]) => 4 * i + j)],
    ['shorts', windowOf('I16', [4, 2], ([j, i]) => 4 * (i + 1) + j)],
    ['unit_axis', windowOf('F32', [1, 1], () => 13)],
    ['scalar', filled([])],
    ['scalar_of_row', windowOf('F32', [], () => 9)],
    ['empty', zeros(0, 3)],
    ['nothing', zeros(0)],
    ['empty_window', zeros(0, 6)],
    ['expanded', windowOf('F32', [5, 3], ([, j]) => j)],
    ['parameter', filled([2, 2])],
    ['frozen', windowOf('F32', [6, 4], ([i, j]) => 6 * j + i)],
    ['again', windowOf('F32', [6], ([j]) => 12 + j)],
  ];

  it.each(LAYOUTS)(
    'windows.%s: transposed, offset, shared, 0-dim, empty, expanded tensors and Parameters',
    (layout) => {
      const bytes = load(`windows.${layout}`);
      const read = readPth(bytes);
      expect([...asMap(read)]).toEqual(windows);
      const data = (name: string): PthTensor['data'] => asTensor(asMap(read).get(name)).data;
      // What shares a storage shares memory, and in the zip layout that is the file's own.
      expect(data('row').buffer).toBe(data('base').buffer);
      expect(data('row').byteOffset - data('base').byteOffset).toBe(48);
      expect(asMap(read).get('again')).toBe(asMap(read).get('row'));
      if (layout === 'pth') expect(data('base').buffer).toBe(bytes.buffer);
      expect(data('transposed').buffer).not.toBe(data('base').buffer);
    },
  );

  it.each(LAYOUTS)('windows.%s: wherever the bytes stand, shared memory and Buffers', (layout) => {
    const bytes = load(`windows.${layout}`);
    for (let offset = 0; offset < 8; offset++) {
      const shared = new Uint8Array(new SharedArrayBuffer(bytes.length + offset), offset);
      shared.set(bytes);
      expect([...asMap(readPth(shared))]).toEqual(windows);
      const buffer = Buffer.alloc(bytes.length + offset).subarray(offset);
      buffer.set(bytes);
      const read = asMap(readPth(buffer));
      expect([...read]).toEqual(windows);
      expect(asTensor(read.get('bytes')).data.constructor).toBe(Uint8Array);
    }
  });

  const plain: [PthValue, PthValue][] = [
    ['epoch', 12],
    ['lr', 0.1],
    ['shape', [1, [2, 3], []]],
    ['best', null],
    ['done', true],
    ['resumed', false],
    [
      'large',
      [2 ** 31, -(2 ** 31) - 1, 2 ** 53 - 1, 2n ** 53n, -(2n ** 63n), 2n ** 100n, -(2n ** 100n), -1, 255, 256, 65536],
    ],
    ['floats', [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 1e-300]],
  ];
  const oddKeys: [PthValue, PthValue][] = [
    [[1, 'a'], 'tuple'],
    [7, 'int'],
  ];
  const unicode: [string, string] = ['naïve “名” 🙂', 'ça 🙂\n\\u0041'];
  const protocols = ['', 'p1.', 'p3.', 'p4.', 'p5.'].flatMap((p) => LAYOUTS.map((layout) => `${p}${layout}`));

  it.each(protocols)('checkpoint.%s: nested state dict, optimizer, plain values', (file) => {
    const read = asMap(readPth(load(`checkpoint.${file}`)));
    const conv = filled([2, 1, 3, 3]);
    const ones = { ...zeros(2), data: new Float32Array([1, 1]) };
    expect([...asMap(read.get('state_dict'))]).toEqual([
      ['conv.weight', conv],
      ['conv.bias', filled([2])],
      ['bn.weight', filled([2])],
      ['bn.bias', filled([2])],
      ['bn.running_mean', zeros(2)],
      ['bn.running_var', ones],
      ['bn.num_batches_tracked', { dtype: 'I64', shape: [], data: new BigInt64Array(1) }],
    ]);
    const buffers = [[2, 1, 3, 3], [2], [2], [2]].map((shape, i) => [
      i,
      new Map([['momentum_buffer', filled(shape, 5)]]),
    ]);
    const optimizer = asMap(read.get('optimizer'));
    expect(optimizer.get('state')).toEqual(new Map(buffers as [number, Map<string, PthTensor>][]));
    const [group] = optimizer.get('param_groups') as PthValue[];
    expect(asMap(group).get('params')).toEqual([0, 1, 2, 3]);
    expect(asMap(group).get('momentum')).toBe(0.9);

    expect([...read].slice(2)).toEqual([
      ...plain,
      ['size', [2, 1, 3, 3]],
      ['device', 'cuda:1'],
      ['dtype', 'torch.bfloat16'],
      unicode,
      ...oddKeys,
      ['__proto__', new Map([['polluted', 1]])],
    ]);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  it.each(LAYOUTS)('plain.p0.%s: protocol 0, which cannot hold tensors', (layout) => {
    expect([...asMap(readPth(load(`plain.p0.${layout}`)))]).toEqual([...plain, unicode, ...oddKeys]);
  });

  it.each(['p3', 'p5'])('bytes.%s.pth', (protocol) => {
    const bytes = new Map([
      ['bytes', Uint8Array.of(0, 255)],
      ['long', new Uint8Array(300).fill(98)],
    ]);
    expect(readPth(load(`bytes.${protocol}.pth`))).toEqual(bytes);
  });

  it.each(LAYOUTS)('tensor.%s: a tensor on its own', (layout) => {
    expect(readPth(load(`tensor.${layout}`))).toEqual(filled([2, 3]));
  });

  const small: [string, PthTensor][] = [
    ['weight', filled([2, 3])],
    ['bias', filled([2])],
  ];
  it.each(['stored', 'zip64', 'byteorder', 'old', 'old.legacy'])('%s.pth: as others write it', (name) => {
    expect([...asMap(readPth(load(`${name}.pth`)))]).toEqual(small);
  });

  it('deflated.pth', () => {
    expect([...asMap(readPth(load('deflated.pth')))]).toEqual([
      ['weight', filled([20, 30])],
      ['zeros', zeros(999)],
    ]);
  });

  it('views.legacy.pth: storages that are views of one, of PyTorch 0.1', () => {
    expect([...asMap(readPth(load('views.legacy.pth')))]).toEqual([
      ['at6', windowOf('F32', [2, 3], ([i, j]) => 6 + 6 * i + j)],
      ['at12', windowOf('F32', [3], ([i]) => 13 + 2 * i)],
    ]);
  });

  it('NaNs keep their bits when a strided tensor is copied', () => {
    const pattern = [0x7fa00001, 0xffc12345, 0x7f800000, 1, 0x80000000, 0x3f800000];
    const storage = new Uint8Array(Uint32Array.from(pattern).buffer);
    const data = asTensor(readPth(tensorFile({ shape: [3, 2], strides: [1, 3], numel: 6 }, storage))).data;
    expect([...new Uint32Array(data.buffer)]).toEqual([0, 3, 1, 4, 2, 5].map((i) => pattern[i]));
  });

  it('checksums are compared, unless that is declined', () => {
    const bytes = load('tensor.pth');
    const weights = new Uint8Array(filled([2, 3]).data.buffer);
    bytes[Buffer.from(bytes).indexOf(weights)] ^= 1;
    expect(() => readPth(bytes)).toThrow(/^pth: zip: entry "archive\/data\/0": content does not have its checksum/);
    expect(asTensor(readPth(bytes, { checksums: false })).shape).toEqual([2, 3]);
    for (let length = 0; length < 20; length++) {
      const some = Uint8Array.from({ length }, (_, i) => (i + 1) * 0x9d);
      expect(crc32(some)).toBe(Number(zlibCrc32(some)));
    }
  });
});

describe('pthStateDict', () => {
  const names = (value: PthValue, key?: string): string[] => [...pthStateDict(value, key).keys()];
  const some = readPth(load('wrapped.pth'));
  const tensor = filled([2]);

  it('finds the state dict, and loads into a model', () => {
    const checkpoint = readPth(load('checkpoint.legacy.pth'));
    const dict = pthStateDict(checkpoint);
    expect(dict.get('conv.weight')).toEqual(filled([2, 1, 3, 3]));
    expect(pthStateDict(checkpoint, 'state_dict')).toEqual(dict);
    const device = reference();
    const net = new Sequential(new Conv2d(1, 2, 3, { device }), new BatchNorm2d(2, { device }));
    net.loadStateDict(new Map([...dict].map(([name, entry]) => [name.replace('conv', '0').replace('bn', '1'), entry])));
    expect([...net.parameters()[0].dataSync()]).toEqual([...filled([2, 1, 3, 3]).data]);
    for (const key of ['model_state_dict', 'model']) {
      expect(
        names(
          new Map<PthValue, PthValue>([
            [key, new Map([['a', tensor]])],
            ['epoch', 1],
          ]),
        ),
      ).toEqual(['a']);
    }
    expect(names(new Map())).toEqual([]);
  });

  it('takes off module. where every name has it', () => {
    expect(names(some)).toEqual(['weight', 'bias']);
    expect(names(readPth(load('half_wrapped.pth')))).toEqual(['module.weight', 'bias']);
  });

  it.each<[string, PthValue, string | undefined, RegExp]>([
    ['a tensor', tensor, undefined, /holds a tensor \(F32 of shape \[2\]\); want a dict/],
    [
      'no usual key',
      new Map([['net', new Map([['a', tensor]])]]),
      undefined,
      /none of .* It holds "net": a dict of 1$/,
    ],
    [
      'two usual keys',
      new Map<PthValue, PthValue>([
        ['model', new Map()],
        ['state_dict', new Map()],
      ]),
      undefined,
      /more than one of state_dict, model_state_dict, model; .*"model": a dict of 0, "state_dict": a dict of 0$/,
    ],
    ['a missing key', new Map([['a', tensor]]), 'b', /no key "b"; the file holds "a": a tensor/],
    ['no dict under the key', new Map([['model', 3]]), undefined, /"model" is 3; want a dict of tensors/],
    [
      'more than tensors',
      new Map([
        [
          'model',
          new Map<PthValue, PthValue>([
            ['a', tensor],
            ['b', 'x'],
            [3, tensor],
          ]),
        ],
      ]),
      undefined,
      /"model" must hold tensors under strings alone; it holds "b": a string, 3: a tensor/,
    ],
  ])('refuses %s', (_, value, key, message) => {
    expect(() => pthStateDict(value, key)).toThrow(ArgumentError);
    expect(() => pthStateDict(value, key)).toThrow(message);
  });
});

/** A pickle of protocol 2 from text for its opcodes, Latin-1, and bytes. */
function pickle(...parts: (string | number[] | Uint8Array)[]): Uint8Array {
  return new Uint8Array(
    Buffer.concat([
      Buffer.from([0x80, 2]),
      ...parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : Buffer.from(part))),
    ]),
  );
}

function zipOf(data: Uint8Array, more: Zippable = {}, level: 0 | 6 = 0): Uint8Array {
  return zipSync({ 'a/data.pkl': data, 'a/version': Buffer.from('3\n'), ...more }, { level });
}

const int = (value: number | bigint): number[] => {
  const bytes = new Uint8Array(9);
  const view = new DataView(bytes.buffer);
  view.setBigInt64(0, BigInt.asIntN(64, BigInt(value)), true);
  view.setInt8(8, value < 0 ? -1 : 0);
  return [0x8a, 9, ...bytes];
};
const str = (text: string): number[] => [0x55, text.length, ...Buffer.from(text)];

interface Described {
  shape: readonly (number | bigint)[];
  strides: readonly (number | bigint)[];
  offset?: number | bigint;
  numel: number | bigint;
  type?: string;
}

/** The opcodes of one tensor on storage "0". */
function tensorOpcodes({ shape, strides, offset = 0, numel, type = 'Float' }: Described): number[] {
  return [
    ...Buffer.from('ctorch._utils\n_rebuild_tensor\n(('),
    ...str('storage'),
    ...Buffer.from(`ctorch\n${type}Storage\n`),
    ...str('0'),
    ...str('cpu'),
    ...int(numel),
    ...Buffer.from('tQ'),
    ...int(offset),
    ...Buffer.from('('),
    ...shape.flatMap(int),
    ...Buffer.from('t('),
    ...strides.flatMap(int),
    ...Buffer.from('ttR'),
  ];
}

function tensorFile(described: Described, storage: Uint8Array): Uint8Array {
  return zipOf(pickle(tensorOpcodes(described), '.'), { 'a/data/0': storage });
}

/** The same value in the legacy layout: the four other pickles around `data`, and one storage. */
function legacyOf(data: Uint8Array, storage: Uint8Array | null = null, width = 4): Uint8Array {
  const count = new Uint8Array(BigInt64Array.of(BigInt((storage?.length ?? 0) / width)).buffer);
  return new Uint8Array(
    Buffer.concat([
      pickle([0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19], '.'),
      pickle('M', [0xe9, 0x03], '.'),
      pickle('}', str('little_endian'), [0x88], 's.'),
      data,
      storage ? pickle(']', str('0'), 'a.') : pickle('].'),
      ...(storage ? [count, storage] : []),
    ]),
  );
}

describe('refuses', () => {
  const global = (name: string): RegExp =>
    new RegExp(`^pth: pickle, byte \\d+: refuses global ${name.replaceAll('.', '\\.')}: `);
  const only = ': only tensors and plain containers are read';
  it.each<[string, RegExp | string]>([
    ...['system', 'system.p4'].flatMap((name) =>
      LAYOUTS.map((layout): [string, string] => [`${name}.${layout}`, `refuses global posix.system${only}`]),
    ),
    ['eval.pth', `refuses global __builtin__.eval${only}`],
    ['eval.legacy.pth', `refuses global __builtin__.eval${only}`],
    ['module.pth', `refuses global torch.nn.modules.linear.Linear${only}; save a model's state_dict(), not the model`],
    ['module.legacy.pth', global('torch.nn.modules.linear.Linear')],
    ['own_module.pth', `refuses global __main__.Net${only}; save a model's state_dict(), not the model`],
    ['instance.pth', global('zipfile.ZipInfo')],
    ['set.pth', global('__builtin__.set')],
    ['set.p4.pth', /opcode 0x8f is not read: only tensors and plain containers are/],
    ['complex.pth', /refuses global torch\.ComplexFloatStorage: its element type is not among those that are read/],
    ['sparse.pth', global('torch._utils._rebuild_sparse_tensor')],
    ['storage.pth', /^pth: a bare storage stands where a value should; want tensors$/],
    ['storage.legacy.pth', /a bare storage stands where a value should/],
    ['type.pth', /^pth: torch\.(FloatStorage|Size) stands where a value should$/],
    ['loop.pth', /^pth: a container holds itself$/],
    ['negated.pth', /a tensor has metadata \(a dict of 1\); want none/],
    ['huge_expanded.pth', /strided tensors take more than 1048624 bytes, .*12; one is F32 of shape \[1000000000\]/],
    ['huge_expanded.legacy.pth', /strided tensors take more than/],
    ['big_endian.pth', /^pth: byte order is "big"; want "little"$/],
    ['big_endian.legacy.pth', /^pth: file is big-endian; want little-endian$/],
    ['bzip2.pth', /has method 12; want stored \(0\) or deflated \(8\)/],
    ['torchscript.pt', /^pth: file is a TorchScript archive, which holds a program; want tensors/],
  ])('%s', (name, message) => {
    expect(() => readPth(load(name))).toThrow(FormatError);
    expect(() => readPth(load(name))).toThrow(message);
  });

  it.each<[string, string]>([
    ['os.system', 'cos\nsystem\n'],
    ['builtins.eval', 'cbuiltins\neval\n'],
    ['builtins.getattr', 'cbuiltins\ngetattr\n'],
    ['torch.load', 'ctorch\nload\n'],
    ['torch.hub.load', 'ctorch\nhub.load\n'],
    ['os.system', 'ios\nsystem\n'],
    ['os.system', '\x8c\x02os\x8c\x06system\x93'],
    ['collections.OrderedDict.fromkeys', 'ccollections\nOrderedDict.fromkeys\n'],
    ['torch._utils._rebuild_tensor_v2.__globals__', 'ctorch._utils\n_rebuild_tensor_v2.__globals__\n'],
    ['__proto__.constructor', 'c__proto__\nconstructor\n'],
  ])('the global %s, in both layouts and wherever it stands', (name, opcodes) => {
    for (const data of [pickle(opcodes, '.'), pickle('(', opcodes, '0N.'), pickle(opcodes, ')R.')]) {
      for (const file of [zipOf(data), legacyOf(data), data]) {
        expect(() => readPth(file)).toThrow(`refuses global ${name}${only}`);
      }
    }
  });

  const tensorPickle = pickle(tensorOpcodes({ shape: [2], strides: [1], numel: 2 }), '.');
  const storage = new Uint8Array(8);
  const tar = new Uint8Array(1024);
  tar.set(Buffer.from('sys_info'));
  tar.set(Buffer.from('ustar'), 257);
  const otherVersion = legacyOf(pickle('N.'));
  otherVersion[otherVersion.indexOf(0xe9)] = 0xea;
  const flagged = (offset: number, value: number): Uint8Array => {
    const file = load('stored.pth');
    file[Buffer.from(file).indexOf('PK\x01\x02', 0, 'latin1') + offset] |= value;
    return file;
  };

  it.each<[string, Uint8Array, RegExp]>([
    ['an empty file', new Uint8Array(0), /^pth: file is empty$/],
    ['another file', Buffer.from('hello, this is none'), /^pth: file begins with 68 65 6c 6c; want 50 4b 03 04/],
    ['a pickle of something else', pickle('N.'), /a pickle that begins with None; want torch\.save's magic number/],
    ['the tar layout', tar, /^pth: file is a tar archive, PyTorch's layout before 0\.1\.10/],
    ['another legacy version', otherVersion, /^pth: legacy version is 1002; want 1001$/],
    ['a truncated zip', load('tensor.pth').subarray(0, 500), /zip: no directory at the end of the file: truncated/],
    [
      'a truncated legacy file',
      load('tensor.legacy.pth').subarray(0, -1),
      /wants 24 bytes where 23 are left: truncated/,
    ],
    ['a truncated legacy pickle', load('tensor.legacy.pth').subarray(0, 200), /: truncated$/],
    ['bytes after a legacy file', new Uint8Array([...load('tensor.legacy.pth'), 0]), /1 bytes follow the last storage/],
    [
      'a zip without data.pkl',
      zipSync({ 'a/b': storage }),
      /zip has 0 entries NAME\/data\.pkl; .* begins with "a\/b"$/,
    ],
    ['a zip with two', zipSync({ 'a/data.pkl': storage, 'b/data.pkl': storage }), /zip has 2 entries NAME\/data\.pkl/],
    ['a zip without a version', zipSync({ 'a/data.pkl': tensorPickle }), /there is no entry "a\/version"/],
    ['a later version', zipOf(tensorPickle, { 'a/version': Buffer.from('11\n') }), /version is "11\\n"; want 1 to 10/],
    ['a zip without a storage', zipOf(tensorPickle), /there is no entry "a\/data\/0"/],
    [
      'a storage that is short',
      zipOf(tensorPickle, { 'a/data/0': storage.subarray(1) }),
      /storage "0" has 7 bytes; 2 elements of F32 want 8/,
    ],
    ['an encrypted entry', flagged(8, 1), /zip: entry ".*" is encrypted/],
    ['a directory that lies', flagged(28, 0x40), /zip: directory is damaged/],
    ['a storage that is not in the legacy file', legacyOf(tensorPickle), /storage "0" is not in the file/],
    ['a storage of another length', legacyOf(tensorPickle, storage, 8), /has 1 elements; its tensors want 2/],
    ['a storage that nobody wants', legacyOf(pickle('N.'), storage), /storage "0" belongs to no tensor/],
    ['bytes after data.pkl', zipOf(new Uint8Array([...tensorPickle, 0])), /data\.pkl has 1 bytes after its pickle/],
    ['a deflated bomb', zipOf(tensorPickle, { 'a/data/0': new Uint8Array(3e6) }, 6), /more than \d+ would be inflated/],
  ])('%s', (_, bytes, message) => {
    expect(() => readPth(bytes)).toThrow(FormatError);
    expect(() => readPth(bytes)).toThrow(message);
  });

  it.each<[string, Parameters<typeof pickle>, RegExp]>([
    ['an empty pickle', [''], /1 bytes are wanted where 0 are left: truncated/],
    ['a stack underflow', ['.'], /byte 2: stack underflow/],
    ['a pop beneath a mark', ['N(.'], /stack underflow/],
    ['a pair beneath a mark', ['}(s.'], /stack underflow/],
    ['items without a mark', ['}u.'], /no mark on the stack/],
    ['items left over', ['NN.'], /1 items or marks are left on the stack/],
    ['an open mark', ['(N.'], /1 items or marks are left on the stack/],
    ['a memo entry that is not there', ['h\x07.'], /memo has no entry 7/],
    ['a text memo index', ['g-1\n.'], /memo index -1/],
    ['an append to a tuple', [')Na.'], /append to a list or tuple of 0; want a list/],
    ['an append to None', ['NNa.'], /append to None; want a list/],
    ['an item of a list', [']NNs.'], /items are set in a list or tuple of 0; want a dict/],
    ['a key without a value', ['}(Nu.'], /a dict has a key without a value/],
    ['a list as a key', ['}]Ns.'], /a list or tuple of 0 is the key of a dict/],
    ['a dict as a key', ['}}Ns.'], /a dict of 0 is the key of a dict/],
    ['a long string', ['X\xff\xff\xff\x7f'], /2147483647 bytes are wanted where 0 are left: truncated/],
    ['a string of 2^63 bytes', ['\x8d\0\0\0\0\0\0\0\x80'], /bytes are wanted where 0 are left/],
    ['a string that is not UTF-8', ['U\x01\xff.'], /a string is not valid UTF-8/],
    ['a long int', ['\x8b\0\x10\0\0.'], /an int of 4096 bytes; want at most 255/],
    ['a negative length', ['\x8b\xff\xff\xff\xff.'], /an int of -1 bytes/],
    ['a text int that is none', ['I0x10\n.'], /"0x10" is no int/],
    ['a text int of many digits', [`L${'9'.repeat(1000)}L\n.`], /an int of 1000 digits/],
    ['a text float that is none', ['F1_0\n.'], /"1_0" is no float/],
    ['a code point beyond Unicode', ['V\\U00110000\n.'], /beyond Unicode/],
    ['a line without an end', ['I12'], /a line does not end: truncated/],
    ['protocol 6', ['\x80\x06N.'], /protocol 6; want at most 5/],
    ['a frame beyond the end', ['\x95\xff\0\0\0\0\0\0\0N.'], /255 bytes are wanted where 2 are left/],
    ['the opcode OBJ', ['(No.'], /opcode 0x6f is not read/],
    ['the extension registry', ['\x82\x01.'], /opcode 0x82 is not read/],
    ['a text persistent id', ['Pa\n.'], /opcode 0x50 is not read/],
    ['a persistent id of no storage', ['(U\x06moduleNtQ.'], /persistent id of "module"; want "storage"/],
    ['a persistent id of None', ['NQ.'], /persistent id of None/],
    ['a call of a string', ['U\x01a)R.'], /a string is called; want a function/],
    ['a call of a dtype', ['ctorch\nfloat32\n)R.'], /a string is called/],
    ['a call of a storage type', ['ctorch\nFloatStorage\n)R.'], /torch\.FloatStorage is called; want a function/],
    ['a call without a tuple', ['ctorch\nSize\nNR.'], /torch\.Size is called with None; want a tuple/],
    ['a global named by None', ['NN\x93.'], /a global is named by None and None; want two strings/],
    ['attributes of a list', [']}b.'], /a list or tuple of 0 is given the attributes a dict of 0/],
    [
      'torch.Size of strings',
      ['ctorch\nSize\n(U\x01at\x85R.'],
      /torch\.Size is a list or tuple of 1; want at most 64 whole/,
    ],
    ['torch.device of None', ['ctorch\ndevice\nN\x85R.'], /torch\.device of None; want a string/],
    ['a Parameter of None', ['ctorch._utils\n_rebuild_parameter\nNNN\x87R.'], /a Parameter of None; want a tensor/],
    ['an OrderedDict of None', ['ccollections\nOrderedDict\nN\x85R.'], /OrderedDict of None; want a list of pairs/],
    ['nesting', [']'.repeat(3000), 'a'.repeat(2999), '.'], /containers nest deeper than 1000/],
    ['too many containers', [')'.repeat(1_000_001)], /more than 1000000 containers/],
  ])('%s', (_, parts, message) => {
    for (const file of [zipOf(pickle(...parts)), legacyOf(pickle(...parts))]) {
      expect(() => readPth(file)).toThrow(FormatError);
    }
    expect(() => readPth(zipOf(pickle(...parts)))).toThrow(message);
  });

  it('values that double and chains that share, without walking through them all', () => {
    const grow = (levels: number): Uint8Array =>
      pickle(
        ']q\0',
        ...Array.from({ length: levels }, (_, i) => [0x30, 0x5d, 0x28, 0x68, i, 0x68, i, 0x65, 0x71, i + 1]),
        '.',
      );
    expect(() => readPth(zipOf(grow(40)))).toThrow(/more than 10000000 values, those shared counted each time/);
    expect(readPth(zipOf(grow(10)))).toHaveLength(2);
    const deep = (levels: number): Uint8Array => pickle(']'.repeat(levels), 'a'.repeat(levels - 1), '.');
    expect(() => readPth(zipOf(deep(1001)))).toThrow(/nest deeper than 1000/);
    expect(readPth(zipOf(deep(1000)))).toHaveLength(1);
  });

  it.each<[string, Partial<Described>, RegExp]>([
    ['one element too many', { shape: [3, 3] }, /tensor F32 of shape \[3, 3\] reaches element 8 of storage "0", .* 6/],
    ['an offset', { offset: 1 }, /reaches element 6/],
    ['a stride', { strides: [4, 1] }, /reaches element 6/],
    [
      'a negative extent',
      { shape: [-2, 3] },
      /a tensor's shape is a list or tuple of 2; want at most 64 whole numbers/,
    ],
    ['a negative stride', { strides: [-3, 1] }, /a tensor's strides/],
    ['a negative offset', { offset: -1 }, /a tensor's offset is -1/],
    ['an extent of 2^60', { shape: [2n ** 60n, 3] }, /a tensor's shape/],
    ['too large a shape', { shape: [2 ** 40, 2 ** 40], strides: [0, 0] }, /is too large/],
    ['too many axes', { shape: Array(65).fill(1), strides: Array(65).fill(1) }, /at most 64/],
    ['fewer strides', { strides: [1] }, /2 axes and 1 strides/],
    ['a huge storage', { numel: 2 ** 50 }, /storage "0" has 24 bytes; \d+ elements of F32 want/],
    [
      'a huge expansion',
      { shape: [2 ** 30, 2 ** 20], strides: [0, 0] },
      /strided tensors take more than 1048672 bytes/,
    ],
    ['an expansion beyond the limit', { shape: [2 ** 18 + 25], strides: [0] }, /strided tensors take more than/],
    ['a storage type of another module', { type: '.Float' }, /refuses global/],
  ])('a tensor with %s', (_, change, message) => {
    const file = tensorFile({ shape: [2, 3], strides: [3, 1], numel: 6, ...change }, new Uint8Array(24));
    const before = process.memoryUsage().arrayBuffers;
    expect(() => readPth(file)).toThrow(FormatError);
    expect(() => readPth(file)).toThrow(message);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 20);
  });

  it('an expansion within the limit is read', () => {
    const file = tensorFile({ shape: [2 ** 18], strides: [0], numel: 6 }, new Uint8Array(24));
    expect(asTensor(readPth(file)).data).toHaveLength(2 ** 18);
  });
});

/** Inputs tried; the issue asks for 10,000 in total. */
let tried = 0;
let refused = 0;
/** The same files in every run; fast-check prints it with a counterexample. */
const SEED = 20240607;
/** Longest that one small input may take, in milliseconds: a hang, on however busy a machine. */
const PATIENCE = 30_000;

/** Walks through a value, checks that it makes sense, and gives the bytes of what was allocated for it. */
function audit(root: PthValue, file: Uint8Array): number {
  const buffers = new Set<ArrayBufferLike>();
  const seen = new Set<PthValue>();
  const queue: PthValue[] = [root];
  for (let value = queue.pop(); value !== undefined; value = queue.pop()) {
    if (seen.has(value)) continue;
    seen.add(value);
    if (value instanceof Map) queue.push(...value.keys(), ...value.values());
    else if (Array.isArray(value)) queue.push(...value);
    else if (value instanceof Uint8Array) buffers.add(value.buffer);
    else if (typeof value === 'object' && value !== null) {
      const { shape, data, dtype } = value;
      buffers.add(data.buffer);
      const size = shape.reduce((product, extent) => product * extent, 1);
      if (data.length !== size) expect.fail(`${data.length} elements of shape [${shape}]`);
      if (!(dtype in ELEMENTS)) expect.fail(`dtype ${dtype}`);
    } else if (!['string', 'number', 'bigint', 'boolean'].includes(typeof value) && value !== null) {
      expect.fail(`a ${typeof value}`);
    }
  }
  buffers.delete(file.buffer);
  return [...buffers].reduce((sum, buffer) => sum + buffer.byteLength, 0);
}

function judge(bytes: Uint8Array, deflated = false): PthValue | undefined {
  tried++;
  const began = performance.now();
  try {
    const value = readPth(bytes, { checksums: tried % 2 === 0 });
    const size = audit(value, bytes);
    // Widened, aligned and strided copies, and what deflated entries hold.
    const most = (deflated ? 64 * 8 : 8) * bytes.length + 2 ** 21;
    if (size > most) expect.fail(`${size} bytes came out of ${bytes.length}`);
    return value;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    if (error.message.length > 2000) expect.fail(`a message of ${error.message.length} characters`);
    refused++;
    return undefined;
  } finally {
    const took = performance.now() - began;
    if (took > PATIENCE) expect.fail(`took ${took} ms`);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  }
}

const BASES = ['windows', 'checkpoint', 'checkpoint.p4', 'dtypes', 'old', 'tensor', 'zip64', 'deflated', 'plain.p0'];
const zips = BASES.map((name) => load(`${name}.pth`));
const legacies = ['windows', 'checkpoint', 'checkpoint.p4', 'dtypes', 'old', 'views', 'plain.p0'].map((name) =>
  load(`${name}.legacy.pth`),
);

/** Opcodes with arguments of the right form, small enough to do harm. */
const opcode: fc.Arbitrary<number[]> = fc.oneof(
  fc.constantFrom(...'(.01NRQtl)]}deausb'.split('').map((c) => [c.charCodeAt(0)])),
  fc.constantFrom(0x85, 0x86, 0x87, 0x88, 0x89, 0x93, 0x94).map((c) => [c]),
  fc.tuple(fc.constantFrom(0x68, 0x71, 0x4b), fc.nat(12)).map(([c, n]) => [c, n]),
  fc
    .tuple(fc.constantFrom(0x6a, 0x72, 0x4a), fc.constantFrom(0, 1, 3, -1, 2 ** 31 - 1))
    .map(([c, n]) => [c, ...new Uint8Array(Int32Array.of(n).buffer)]),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(int),
  fc.nat(7).map(int),
  fc.double().map((value) => {
    const bytes = Buffer.alloc(9, 0x47);
    bytes.writeDoubleBE(value, 1);
    return [...bytes];
  }),
  fc.constantFrom('storage', '0', 'cpu', 'torch._utils', '_rebuild_tensor_v2', '', '__proto__').map(str),
  fc
    .constantFrom(
      'ccollections\nOrderedDict\n',
      'ctorch._utils\n_rebuild_tensor\n',
      'ctorch._utils\n_rebuild_tensor_v2\n',
      'ctorch._utils\n_rebuild_parameter\n',
      'ctorch.nn.parameter\nParameter\n',
      'ctorch\nFloatStorage\n',
      'ctorch\nHalfStorage\n',
      'ctorch.storage\nUntypedStorage\n',
      'ctorch\nSize\n',
      'ctorch\ndevice\n',
      'ctorch\nint8\n',
      'cos\nsystem\n',
      'I01\n',
      'L12L\n',
      'F0.5\n',
      'V\\u0041\n',
      'p1\n',
      'g1\n',
      'X\x02\0\0\0ab',
      'C\x01\xff',
      'ctorch\nSize\n(K\x02K\x03t\x85R',
      '((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x06tQ',
    )
    .map((text) => [...Buffer.from(text, 'latin1')]),
  fc
    .tuple(fc.array(fc.nat(4), { maxLength: 3 }), fc.array(fc.nat(4), { maxLength: 3 }), fc.nat(3))
    .map(([shape, strides, offset]) => tensorOpcodes({ shape, strides, offset, numel: 6 })),
  fc.nat(255).map((byte) => [byte]),
);

type Damage =
  | { kind: 'flip'; at: number; bit: number }
  | { kind: 'byte'; at: number; value: number }
  | { kind: 'cut'; at: number }
  | { kind: 'insert'; at: number; bytes: number[] }
  | { kind: 'remove' | 'repeat'; at: number; count: number }
  | { kind: 'splice'; at: number; from: number; count: number };

const position = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const damage: fc.Arbitrary<Damage> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at: position, bit: fc.nat(7) }),
  fc.record({ kind: fc.constant('byte' as const), at: position, value: fc.nat(255) }),
  fc.record({ kind: fc.constant('cut' as const), at: position }),
  fc.record({ kind: fc.constant('insert' as const), at: position, bytes: opcode }),
  fc.record({
    kind: fc.constantFrom('remove' as const, 'repeat' as const),
    at: position,
    count: fc.integer({ min: 1, max: 40 }),
  }),
  fc.record({
    kind: fc.constant('splice' as const),
    at: position,
    from: position,
    count: fc.integer({ min: 1, max: 80 }),
  }),
);
const damages = fc.array(damage, { minLength: 1, maxLength: 3 });

function apply(bytes: Uint8Array, step: Damage): Uint8Array {
  const at = Math.floor(step.at * bytes.length);
  const parts = (...list: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(list));
  switch (step.kind) {
    case 'flip':
      return bytes.map((byte, i) => (i === at ? byte ^ (1 << step.bit) : byte));
    case 'byte':
      return bytes.map((byte, i) => (i === at ? step.value : byte));
    case 'cut':
      return bytes.slice(0, at);
    case 'insert':
      return parts(bytes.subarray(0, at), Uint8Array.from(step.bytes), bytes.subarray(at));
    case 'remove':
      return parts(bytes.subarray(0, at), bytes.subarray(at + step.count));
    case 'repeat':
      return parts(bytes.subarray(0, at + step.count), bytes.subarray(at));
    case 'splice': {
      const from = Math.floor(step.from * bytes.length);
      return parts(bytes.subarray(0, at), bytes.subarray(from, from + step.count), bytes.subarray(at));
    }
  }
}

const damaged = (bytes: Uint8Array, steps: readonly Damage[]): Uint8Array => steps.reduce(apply, bytes);

describe('hostile files', () => {
  it('are tried from bases that can be read', () => {
    for (const bytes of [...zips, ...legacies]) expect(judge(bytes, true)).toBeDefined();
    const names = readdirSync(FOLDER);
    expect(names.length).toBeGreaterThan(50);
    for (const name of names) judge(load(name), true);
  });

  it('damaged zips', () => {
    fc.assert(
      fc.property(fc.constantFrom(...zips), damages, (file, steps) => {
        judge(damaged(file, steps), true);
      }),
      { numRuns: 2500, seed: SEED },
    );
  });

  it('damaged pickles in sound zips', () => {
    const opened = zips.map((file) => unzipSync(file));
    fc.assert(
      fc.property(fc.constantFrom(...opened), damages, (entries, steps) => {
        const pickles = Object.keys(entries).filter((name) => name.endsWith('data.pkl'));
        const changed = pickles.map((name) => [name, damaged(entries[name], steps)]);
        judge(zipSync({ ...entries, ...Object.fromEntries(changed) }, { level: 0 }));
      }),
      { numRuns: 2500, seed: SEED },
    );
  });

  it('damaged legacy files', () => {
    fc.assert(
      fc.property(fc.constantFrom(...legacies), damages, (file, steps) => {
        judge(damaged(file, steps));
      }),
      { numRuns: 2500, seed: SEED },
    );
  });

  it('pickles made of opcodes', () => {
    const storage = new Uint8Array(24);
    fc.assert(
      fc.property(fc.array(opcode, { maxLength: 25 }), fc.boolean(), (list, legacy) => {
        const data = pickle(...list, '.');
        judge(legacy ? legacyOf(data, storage) : zipOf(data, { 'a/data/0': storage }));
      }),
      { numRuns: 2500, seed: SEED },
    );
  });

  it('every truncation is refused', () => {
    for (const file of [
      load('tensor.pth'),
      load('tensor.legacy.pth'),
      load('deflated.pth'),
      load('views.legacy.pth'),
    ]) {
      for (let length = 0; length < file.length; length++) {
        if (judge(file.subarray(0, length)) !== undefined) expect.fail(`${length} bytes of ${file.length} are read`);
      }
    }
  });

  it('windows of a storage: exactly those within it are read', () => {
    const widths = { Float: 4, Double: 8, Half: 2, Byte: 1, Long: 8 };
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(4), fc.nat(6)), { maxLength: 4 }),
        fc.nat(9),
        fc.nat(20),
        fc.constantFrom(...(Object.keys(widths) as (keyof typeof widths)[])),
        fc.boolean(),
        (axes, offset, numel, type, legacy) => {
          const shape = axes.map(([extent]) => extent);
          const strides = axes.map(([, stride]) => stride);
          const storage = Uint8Array.from({ length: numel * widths[type] }, (_, i) => i % 64);
          const described = { shape, strides, offset, numel, type };
          const data = pickle(tensorOpcodes(described), '.');
          const value = judge(legacy ? legacyOf(data, storage, widths[type]) : tensorFile(described, storage));
          const size = shape.reduce((product, extent) => product * extent, 1);
          const last = axes.reduce((sum, [extent, stride]) => sum + (extent - 1) * stride, offset);
          if (size > 0 && last >= numel) {
            expect(value).toBeUndefined();
            return;
          }
          const { data: got } = asTensor(value);
          // Whichever way it was read, element by element from the storage itself.
          const whole = asTensor(readPth(tensorFile({ shape: [numel], strides: [1], numel, type }, storage))).data;
          const want: (number | bigint)[] = [];
          for (let flat = 0; flat < size; flat++) {
            let rest = flat;
            let at = offset;
            for (let axis = shape.length - 1; axis >= 0; axis--) {
              at += (rest % shape[axis]) * strides[axis];
              rest = Math.floor(rest / shape[axis]);
            }
            want.push(whole[at]);
          }
          expect([...got]).toEqual(want);
        },
      ),
      { numRuns: 1000, seed: SEED },
    );
  });

  it('many tensors on one storage, and bombs, take no more than they may', () => {
    const count = 20_000;
    const size = 4096;
    const one = (strides: number[]): number[] => tensorOpcodes({ shape: [64, 64], strides, numel: size });
    const many = (opcodes: number[]): Uint8Array =>
      zipOf(pickle('(', ...Array.from({ length: count }, () => opcodes), 'l.'), {
        'a/data/0': new Uint8Array(4 * size),
      });
    const [views, copies] = [many(one([64, 1])), many(one([1, 64]))];
    const zeros = new Uint8Array(2e7);
    const bombs = ['a/data/0', 'a/byteorder', 'a/version', 'a/data.pkl'].map((name) =>
      zipOf(pickle(tensorOpcodes({ shape: [], strides: [], numel: zeros.length / 4 }), '.'), { [name]: zeros }, 6),
    );
    const before = process.memoryUsage().arrayBuffers;
    // Views cost nothing, however many; 20,000 copies would take 328 MB.
    expect(readPth(views)).toHaveLength(count);
    expect(() => readPth(copies)).toThrow(/strided tensors take more than/);
    for (const bomb of bombs) {
      expect(bomb.length).toBeLessThan(50_000);
      expect(judge(bomb, true)).toBeUndefined();
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16e6);
  });

  it('were at least 10,000 in total', () => {
    console.log(
      `pth: seed ${SEED}, ${tried} inputs tried, ${refused} refused with a FormatError, ${tried - refused} read`,
    );
    expect(tried).toBeGreaterThanOrEqual(10_000);
  });
});
