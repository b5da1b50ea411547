/** File formats: against bytes made elsewhere, round trips, and one case for each thing a format forbids. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ArgumentError, FormatError } from '../src/errors.js';
import { removeLeftovers, writeFileAtomic } from '../src/io/atomic.js';
import { bfloatReader, bfloatWriter, halfToFloat, halfWriter } from '../src/io/half.js';
import { gunzip, readIdx, readSafetensors, type SafetensorsInput, writeSafetensors } from '../src/io/index.js';
import { readFileBounded } from '../src/io/readFile.js';

const [floatToHalf, floatToBfloat, bfloatToFloat] = [halfWriter(), bfloatWriter(), bfloatReader()];

vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>();
  return { ...real, writeFileSync: vi.fn(real.writeFileSync), fsyncSync: vi.fn(real.fsyncSync) };
});

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function concat(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** A safetensors file with any header and any bytes. */
function fileOf(header: string, data: Uint8Array | number = 0): Uint8Array {
  const body = typeof data === 'number' ? new Uint8Array(data) : data;
  const encoded = text(header);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(encoded.length), true);
  return concat(length, encoded, body);
}

describe('safetensors: writing', () => {
  // Byte for byte the expectations in the tests of the format's Rust implementation (safetensors/src/tensor.rs).
  it('writes the bytes of the Rust implementation', () => {
    const data = new Float32Array([0, 1, 2, 3, 4, 5]);
    const header = '{"attn.0":{"dtype":"F32","shape":[1,2,3],"data_offsets":[0,24]}}';
    expect(writeSafetensors([['attn.0', { shape: [1, 2, 3], data }]])).toEqual(
      fileOf(header, new Uint8Array(data.buffer)),
    );
    const padded = '{"attn0":{"dtype":"F32","shape":[1,1,2,3],"data_offsets":[0,24]}}       ';
    expect(padded.length).toBe(72);
    expect(writeSafetensors([['attn0', { shape: [1, 1, 2, 3], data }]])).toEqual(
      fileOf(padded, new Uint8Array(data.buffer)),
    );
    expect([...writeSafetensors([])]).toEqual([8, 0, 0, 0, 0, 0, 0, 0, 123, 125, 32, 32, 32, 32, 32, 32]);
    expect(writeSafetensors([], { framework: 'pt' })).toEqual(fileOf('{"__metadata__":{"framework":"pt"}}     '));
  });

  it('orders by falling alignment, then by the name in UTF-8, whatever the order given', () => {
    const entries: [string, SafetensorsInput][] = [
      ['u8', { shape: [3], data: new Uint8Array(3) }],
      ['b', { shape: [], data: new Float32Array(1) }],
      ['\u{1f600}', { shape: [1], data: new Float32Array(1) }],
      ['\uffee', { shape: [1], data: new Float32Array(1) }],
      ['n', { shape: [], data: new BigInt64Array([-5n]) }],
      ['a', { shape: [1], data: new Float32Array(1) }],
      ['h', { dtype: 'F16', shape: [1], data: new Float32Array(1) }],
      ['d', { shape: [1], data: new Float64Array(1) }],
    ];
    const bytes = writeSafetensors(entries);
    expect([...readSafetensors(bytes).keys()]).toEqual(['n', 'd', 'a', 'b', '\uffee', '\u{1f600}', 'h', 'u8']);
    expect(writeSafetensors([...entries].reverse())).toEqual(bytes);
  });

  it('takes tensors of a device', () => {
    const tensor = { shape: [2], dtype: 'float32', dataSync: () => new Float32Array([1, 2]) };
    expect(readSafetensors(writeSafetensors(new Map([['t', tensor]]))).get('t')).toEqual({
      dtype: 'F32',
      shape: [2],
      data: new Float32Array([1, 2]),
    });
  });

  it.each<[string, string, () => unknown]>([
    ['a reserved name', 'metadata', () => writeSafetensors([['__metadata__', { shape: [], data: new Uint8Array(1) }]])],
    [
      'a name twice',
      'two tensors',
      () =>
        writeSafetensors([
          ['a', { shape: [], data: new Uint8Array(1) }],
          ['a', { shape: [], data: new Uint8Array(1) }],
        ]),
    ],
    ['a short array', 'wants 6', () => writeSafetensors([['a', { shape: [2, 3], data: new Uint8Array(5) }]])],
    ['a negative extent', 'whole', () => writeSafetensors([['a', { shape: [-1, -1], data: new Uint8Array(1) }]])],
    [
      'a dtype that the array is not',
      'Float64Array',
      () => writeSafetensors([['a', { dtype: 'F64', shape: [1], data: new Float32Array(1) }]]),
    ],
    [
      'an unknown dtype',
      'float32',
      () => writeSafetensors([['a', { dtype: 'float32', shape: [1], data: new Float32Array(1) } as never]]),
    ],
    ['no array', 'typed array', () => writeSafetensors([['a', { shape: [1], data: [1] } as never]])],
    ['metadata that is no string', 'step', () => writeSafetensors([], { step: 5 } as never)],
    [
      'half a surrogate pair',
      'surrogate',
      () => writeSafetensors([['\ud800', { shape: [], data: new Uint8Array(1) }]]),
    ],
  ])('refuses %s', (_, message, write) => {
    expect(write).toThrow(ArgumentError);
    expect(write).toThrow(message);
  });
});

describe('safetensors: reading', () => {
  it('reads what PyTorch users wrote', () => {
    const file = readSafetensors(readFileSync(new URL('goldens/layers.safetensors', import.meta.url)));
    expect(JSON.parse(file.metadata.conv0).x).toEqual([2, 3, 9, 8]);
    const y = file.get('conv0.y');
    expect(y?.dtype).toBe('F64');
    expect(y?.shape).toEqual([2, 4, 9, 8]);
    expect(y?.data).toBeInstanceOf(Float64Array);
    expect(y?.data.length).toBe(576);
  });

  it('gives back every dtype, with its bits', () => {
    const entries: [string, SafetensorsInput][] = [
      ['BOOL', { dtype: 'BOOL', shape: [2], data: new Uint8Array([0, 1]) }],
      ['U8', { dtype: 'U8', shape: [3], data: new Uint8Array([0, 128, 255]) }],
      ['I8', { dtype: 'I8', shape: [2], data: new Int8Array([-128, 127]) }],
      ['I16', { dtype: 'I16', shape: [2], data: new Int16Array([-32768, 32767]) }],
      ['U16', { dtype: 'U16', shape: [1], data: new Uint16Array([65535]) }],
      ['F16', { dtype: 'F16', shape: [3], data: new Float32Array([-0, 1.5, 65504]) }],
      ['BF16', { dtype: 'BF16', shape: [2], data: new Float32Array([-2.5, 2 ** 100]) }],
      ['I32', { dtype: 'I32', shape: [1], data: new Int32Array([-(2 ** 31)]) }],
      ['U32', { dtype: 'U32', shape: [1], data: new Uint32Array([2 ** 32 - 1]) }],
      [
        'F32',
        { dtype: 'F32', shape: [2, 2], data: new Float32Array([Number.NaN, -0, 1e-45, Number.NEGATIVE_INFINITY]) },
      ],
      ['F64', { dtype: 'F64', shape: [], data: new Float64Array([Math.PI]) }],
      ['I64', { dtype: 'I64', shape: [1], data: new BigInt64Array([-(2n ** 63n)]) }],
      ['U64', { dtype: 'U64', shape: [1], data: new BigUint64Array([2n ** 64n - 1n]) }],
      ['empty', { dtype: 'F32', shape: [0, 7], data: new Float32Array(0) }],
    ];
    const back = readSafetensors(writeSafetensors(entries, { 'a"\n': 'ü\u0001' }));
    expect(back.metadata['a"\n']).toBe('ü\u0001');
    expect(back.size).toBe(entries.length);
    for (const [name, entry] of entries) expect(back.get(name), name).toEqual(entry);
    expect(writeSafetensors(back, back.metadata)).toEqual(writeSafetensors(entries, { 'a"\n': 'ü\u0001' }));
  });

  it('gives views where aligned and copies elsewhere', () => {
    const bytes = writeSafetensors([['a', { shape: [2], data: new Float32Array([1, 2]) }]]);
    expect(readSafetensors(bytes).get('a')?.data.buffer).toBe(bytes.buffer);
    const shifted = concat(new Uint8Array(1), bytes).subarray(1);
    const copy = readSafetensors(shifted).get('a');
    expect(copy?.data).toEqual(new Float32Array([1, 2]));
    expect(copy?.data.buffer).not.toBe(shifted.buffer);
    // A Buffer's slice is a view, unlike a Uint8Array's: a copy must not depend on it.
    expect(readSafetensors(Buffer.from(shifted)).get('a')?.data).toEqual(new Float32Array([1, 2]));
  });

  it('reads from shared memory', () => {
    const bytes = writeSafetensors([['a', { shape: [2], data: new Float32Array([1, 2]) }]], { k: 'v' });
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
    shared.set(bytes);
    expect(readSafetensors(shared).get('a')?.data).toEqual(new Float32Array([1, 2]));
  });

  it('takes names that objects have as names', () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', ''];
    const file = readSafetensors(
      writeSafetensors(
        names.map((name, i) => [name, { shape: [], data: new Uint8Array([i]) }] as const),
        JSON.parse('{"__proto__":"p","constructor":"c"}'),
      ),
    );
    names.forEach((name, i) => {
      expect(file.get(name)?.data).toEqual(new Uint8Array([i]));
    });
    expect(Object.getPrototypeOf(file)).toBe(Map.prototype);
    expect(Object.keys(file.metadata)).toEqual(['__proto__', 'constructor']);
    expect(Object.values(file.metadata)).toEqual(['p', 'c']);
    expect(readSafetensors(fileOf('{}')).metadata.constructor).toBeUndefined();
  });

  it('takes tensors in any order in the header, and JSON spaces', () => {
    const info = (a: number, b: number): string => `{ "data_offsets":[${a},${b}] ,"shape" : [1]\n,"dtype":"U8"}`;
    const file = readSafetensors(fileOf(`{"b":${info(1, 2)} , "\\u0061":${info(0, 1)}}  \n`, new Uint8Array([7, 9])));
    expect([...file.keys()]).toEqual(['b', 'a']);
    expect(file.get('a')?.data).toEqual(new Uint8Array([7]));
  });

  const u8 = (shape: string, offsets: string): string =>
    `{"dtype":"U8","shape":[${shape}],"data_offsets":[${offsets}]}`;
  it.each<[string, Uint8Array, RegExp]>([
    ['no length', new Uint8Array(7), /7 bytes/],
    ['a header over 100 MB', new Uint8Array([0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0]), /100000001 bytes; want at most/],
    ['a header length of 2^64 - 1', new Uint8Array(16).fill(255), /want at most 100000000/],
    ['a header that is cut off', fileOf('{}').subarray(0, 9), /truncated/],
    ['an empty header', fileOf(''), /begin with \{/],
    ['a header that is no object', fileOf('[]'), /begin with \{/],
    ['a space before the header', fileOf(' {}'), /begin with \{/],
    ['a byte order mark', fileOf('\ufeff{}'), /begin with \{/],
    ['bytes that are no UTF-8', new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0, 255]), /UTF-8/],
    ['an open object', fileOf('{"a":'), /must be|want/],
    ['a comma too many', fileOf(`{"a":${u8('1', '0,1')},}`, 1), /must be a string/],
    ['two objects', fileOf('{}{}'), /after the closing/],
    ['a name twice', fileOf(`{"a":${u8('1', '0,1')},"\\u0061":${u8('1', '1,2')}}`, 2), /two tensors are called "a"/],
    ['metadata twice', fileOf('{"__metadata__":{},"__metadata__":{}}'), /twice/],
    ['a metadata key twice', fileOf('{"__metadata__":{"a":"","a":""}}'), /twice/],
    ['metadata that is no string', fileOf('{"__metadata__":{"a":1}}'), /must be a string/],
    ['metadata that is nested', fileOf('{"__metadata__":{"a":{"b":"c"}}}'), /must be a string/],
    ['a bad escape', fileOf('{"\\x":1}'), /valid JSON string/],
    ['a raw control character', fileOf('{"\n":1}'), /valid JSON string/],
    ['half a surrogate pair', fileOf(`{"\\ud800":${u8('1', '0,1')}}`, 1), /surrogate/],
    ['a field too few', fileOf('{"a":{"dtype":"U8","shape":[]}}'), /"a" lacks a field/],
    ['a field too many', fileOf('{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1],"x":1}}', 1), /"x" too many/],
    [
      'a field twice',
      fileOf('{"a":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}}', 1),
      /"dtype" too many/,
    ],
    ['an unknown dtype', fileOf('{"a":{"dtype":"F7","shape":[],"data_offsets":[0,1]}}', 1), /"F7"; want one of BOOL/],
    ['a dtype of __proto__', fileOf('{"a":{"dtype":"__proto__","shape":[],"data_offsets":[0,1]}}', 1), /"__proto__"/],
    ['a negative extent', fileOf(`{"a":${u8('-1', '0,1')}}`, 1), /whole numbers of at least 0/],
    ['a broken extent', fileOf(`{"a":${u8('1.5', '0,1')}}`, 1), /whole numbers/],
    ['an extent with an exponent', fileOf(`{"a":${u8('1e0', '0,1')}}`, 1), /whole numbers/],
    ['an extent with a leading zero', fileOf(`{"a":${u8('01', '0,1')}}`, 1), /want|whole/],
    ['an extent beyond 2^53', fileOf(`{"a":${u8('9007199254740993', '0,1')}}`, 1), /beyond 2\^53/],
    ['a shape beyond 2^53 bytes', fileOf(`{"a":${u8('4294967296,4294967296,0', '0,0')}}`), /too large/],
    ['a negative offset', fileOf(`{"a":${u8('1', '-1,0')}}`, 1), /whole numbers/],
    ['offsets the wrong way round', fileOf(`{"a":${u8('1', '1,0')}}`, 1), /hold -1 bytes/],
    ['three offsets', fileOf(`{"a":${u8('1', '0,1,2')}}`, 1), /3 data_offsets/],
    [
      'bytes that disagree with the shape',
      fileOf(`{"a":${u8('2,3', '0,5')}}`, 5),
      /hold 5 bytes; U8 of shape \[2, 3\] wants 6/,
    ],
    ['an overlap', fileOf(`{"a":${u8('4', '0,4')},"b":${u8('4', '2,6')}}`, 6), /"b" begins at 2 and overlaps/],
    ['the same bytes twice', fileOf(`{"a":${u8('4', '0,4')},"b":${u8('4', '0,4')}}`, 4), /overlaps/],
    ['a hole', fileOf(`{"a":${u8('1', '0,1')},"b":${u8('1', '2,3')}}`, 3), /"b" begins at 2 and leaves a hole/],
    ['a hole at the front', fileOf(`{"a":${u8('1', '1,2')}}`, 2), /hole/],
    ['an offset past the end', fileOf(`{"a":${u8('9', '0,9')}}`, 8), /truncated/],
    ['trailing bytes', fileOf(`{"a":${u8('1', '0,1')}}`, 2), /trailing/],
    ['deep nesting', fileOf(`{"a":${'['.repeat(1e6)}`), /want|must/],
  ])('refuses %s', (_, bytes, message) => {
    expect(() => readSafetensors(bytes)).toThrow(FormatError);
    expect(() => readSafetensors(bytes)).toThrow(message);
  });
});

describe('16-bit floats', () => {
  it('half: every value goes to float32 and back', () => {
    expect(halfToFloat(0x3c01)).toBe(1 + 2 ** -10);
    expect(halfToFloat(0x0001)).toBe(2 ** -24);
    expect(halfToFloat(0xfbff)).toBe(-65504);
    expect(halfToFloat(0x8000)).toBe(-0);
    let previous = Number.NEGATIVE_INFINITY;
    for (let half = 0; half < 0x10000; half++) {
      const value = halfToFloat(half);
      if (Number.isNaN(value)) expect(half & 0x7fff).toBeGreaterThan(0x7c00);
      else if (floatToHalf(value) !== half) expect.fail(`half ${half} comes back as ${floatToHalf(value)}`);
      if (half > 0 && half <= 0x7c00 && !(value > previous)) expect.fail(`half ${half} is not above the one before`);
      previous = value;
    }
    expect(floatToHalf(Number.NaN) & 0x7fff).toBe(0x7e00);
  });

  it('half: rounds to nearest, ties to even', () => {
    for (let half = 0; half < 0x7c00; half++) {
      const low = halfToFloat(half);
      // Beyond the largest finite half stands 2^16 in the rounding, as if it were one.
      const high = half === 0x7bff ? 65536 : halfToFloat(half + 1);
      const middle = (low + high) / 2;
      const even = half % 2 === 0 ? half : half + 1;
      const step = middle * 2 ** -23;
      if (floatToHalf(middle) !== even) expect.fail(`tie above ${low}`);
      if (floatToHalf(middle - step) !== half) expect.fail(`below the tie above ${low}`);
      if (floatToHalf(middle + step) !== half + 1) expect.fail(`above the tie above ${low}`);
      if (floatToHalf(-middle) !== (even | 0x8000)) expect.fail(`tie below ${-low}`);
    }
    expect(floatToHalf(1e-30)).toBe(0);
    expect(floatToHalf(-1e-30)).toBe(0x8000);
    expect(floatToHalf(1e30)).toBe(0x7c00);
  });

  it('bfloat: exact widening, rounding to nearest even', () => {
    expect(bfloatToFloat(0x3fc0)).toBe(1.5);
    expect(bfloatToFloat(0xff80)).toBe(Number.NEGATIVE_INFINITY);
    for (let bfloat = 0; bfloat < 0x10000; bfloat++) {
      const value = bfloatToFloat(bfloat);
      if (Number.isNaN(value)) expect(bfloatToFloat(floatToBfloat(value))).toBeNaN();
      else if (floatToBfloat(value) !== bfloat) expect.fail(`bfloat ${bfloat}`);
    }
    expect(floatToBfloat(1 + 2 ** -8)).toBe(0x3f80);
    expect(floatToBfloat(1 + 3 * 2 ** -8)).toBe(0x3f82);
    expect(floatToBfloat(1 + 2 ** -8 + 2 ** -20)).toBe(0x3f81);
    expect(floatToBfloat(3.4e38)).toBe(0x7f80);
  });
});

describe('IDX', () => {
  const idx = (type: number, extents: number[], ...data: number[]): Uint8Array => {
    const bytes = new Uint8Array(4 + 4 * extents.length + data.length);
    bytes.set([0, 0, type, extents.length]);
    extents.forEach((extent, i) => {
      new DataView(bytes.buffer).setUint32(4 + 4 * i, extent);
    });
    bytes.set(data, 4 + 4 * extents.length);
    return bytes;
  };

  it('reads every type, big-endian', () => {
    expect(readIdx(idx(0x08, [2, 1], 5, 255))).toEqual({
      dtype: 'uint8',
      shape: [2, 1],
      data: new Uint8Array([5, 255]),
    });
    expect(readIdx(idx(0x09, [1], 0xff))).toEqual({ dtype: 'int8', shape: [1], data: new Int8Array([-1]) });
    expect(readIdx(idx(0x0b, [2], 0x01, 0x02, 0xff, 0xfe)).data).toEqual(new Int16Array([258, -2]));
    expect(readIdx(idx(0x0c, [1], 0x80, 0, 0, 1)).data).toEqual(new Int32Array([-(2 ** 31) + 1]));
    expect(readIdx(idx(0x0d, [1], 0x3f, 0xc0, 0, 0)).data).toEqual(new Float32Array([1.5]));
    expect(readIdx(idx(0x0e, [1], 0xc0, 0x04, 0, 0, 0, 0, 0, 0)).data).toEqual(new Float64Array([-2.5]));
    const nan = readIdx(idx(0x0d, [1], 0x7f, 0xa0, 0, 1)).data;
    expect(new Uint32Array(nan.buffer, nan.byteOffset, 1)[0]).toBe(0x7fa00001);
    expect(readIdx(idx(0x08, [0])).data.length).toBe(0);
  });

  it.each<[string, Uint8Array, RegExp]>([
    ['an empty file', new Uint8Array(0), /0 bytes/],
    ['another magic number', idx(0x08, [1], 1).fill(1, 0, 1), /magic number is 01 00 08 01/],
    ['an unknown type', idx(0x0a, [1], 1), /magic number is 00 00 0a 01/],
    ['no axes', idx(0x08, [], 1), /0 axes/],
    ['extents that are cut off', idx(0x08, [1, 1, 1]).subarray(0, 9), /3 extents alone want 16/],
    [
      'data that is cut off',
      idx(0x08, [2, 3], 1, 2, 3, 4, 5),
      /\[2, 3\] wants 6 bytes after the header; got 5: truncated/,
    ],
    ['trailing bytes', idx(0x08, [2], 1, 2, 3), /got 3: trailing/],
    ['a huge shape', idx(0x0e, Array(255).fill(2 ** 32 - 1)), /truncated/],
    ['a huge shape with a 0', idx(0x0e, [...Array(254).fill(2 ** 32 - 1), 0]), /NaN|truncated/],
  ])('refuses %s', (_, bytes, message) => {
    expect(() => readIdx(bytes)).toThrow(FormatError);
    expect(() => readIdx(bytes)).toThrow(message);
  });
});

describe('gunzip', () => {
  const content = Uint8Array.from({ length: 200_000 }, (_, i) => (i * i) >> 7);
  const packed = new Uint8Array(gzipSync(content));

  it('unpacks', async () => {
    expect(Buffer.compare(await gunzip(packed, { maxBytes: content.length }), content)).toBe(0);
    expect(await gunzip(new Uint8Array(gzipSync('')), { maxBytes: 0 })).toEqual(new Uint8Array(0));
    const shared = new Uint8Array(new SharedArrayBuffer(packed.length));
    shared.set(packed);
    expect(Buffer.compare(await gunzip(shared, { maxBytes: content.length }), content)).toBe(0);
  });

  const changed = (fromEnd: number): Uint8Array => {
    const copy = packed.slice();
    copy[copy.length - fromEnd] ^= 1;
    return copy;
  };
  it.each<[string, Uint8Array, RegExp]>([
    ['nothing', new Uint8Array(0), /unexpected end/],
    ['no gzip', text('hello, this is no gzip file'), /header/],
    ['a cut-off header', packed.subarray(0, 5), /unexpected end/],
    ['cut-off data', packed.subarray(0, 1000), /unexpected end/],
    ['a cut-off trailer', packed.subarray(0, -1), /unexpected end/],
    ['a wrong checksum', changed(7), /data check/],
    ['a wrong length', changed(3), /length check/],
    ['bytes after the end', concat(packed, text('more')), /gzip/],
    ['zeros after the end', concat(packed, new Uint8Array(512)), /bytes follow the end/],
    ['a second member', concat(packed, packed), /larger|bytes follow the end/],
  ])('refuses %s', async (_, bytes, message) => {
    await expect(gunzip(bytes, { maxBytes: 1e6 })).rejects.toThrow(FormatError);
    await expect(gunzip(bytes, { maxBytes: 1e6 })).rejects.toThrow(message);
  });

  it('stops a bomb at the bound', async () => {
    const bomb = new Uint8Array(gzipSync(new Uint8Array(300e6)));
    expect(bomb.length).toBeLessThan(400_000);
    const before = process.memoryUsage();
    await expect(gunzip(bomb, { maxBytes: 1e6 })).rejects.toThrow(/larger than the 1000000 bytes allowed/);
    expect(process.memoryUsage().arrayBuffers - before.arrayBuffers).toBeLessThan(20e6);
  });
});

describe('atomic files', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'atalho-io-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
    vi.clearAllMocks();
  });

  it('writes and replaces, and flushes file and folder', () => {
    const path = join(folder, 'a.bin');
    writeFileAtomic(path, new Uint8Array([1, 2, 3]));
    writeFileAtomic(path, 'four');
    expect(readFileSync(path, 'utf8')).toBe('four');
    expect(readdirSync(folder)).toEqual(['a.bin']);
    expect(fs.fsyncSync).toHaveBeenCalledTimes(process.platform === 'win32' ? 2 : 4);
  });

  it('keeps the old file and leaves nothing behind on a full disk', () => {
    const path = join(folder, 'a.bin');
    writeFileAtomic(path, 'old');
    vi.mocked(fs.writeFileSync).mockImplementationOnce((handle) => {
      fs.writeSync(handle as number, 'ne');
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    });
    expect(() => writeFileAtomic(path, 'new')).toThrow(/ENOSPC/);
    expect(readdirSync(folder)).toEqual(['a.bin']);
    expect(readFileSync(path, 'utf8')).toBe('old');
  });

  it('leaves nothing behind when the rename fails', () => {
    const path = join(folder, 'taken');
    fs.mkdirSync(path);
    expect(() => writeFileAtomic(path, 'x')).toThrow(/EISDIR|EPERM|ENOTEMPTY|EEXIST/);
    expect(readdirSync(folder)).toEqual(['taken']);
  });

  it('clears up what killed processes have left, not what is being written', () => {
    const temporaries = new Set<string>();
    vi.mocked(fs.writeFileSync).mockImplementation(() => {
      for (const name of readdirSync(folder)) temporaries.add(name);
      throw new Error('killed');
    });
    for (let i = 0; i < 20; i++) expect(() => writeFileAtomic(join(folder, 'a.bin'), 'x')).toThrow(/killed/);
    vi.mocked(fs.writeFileSync).mockReset();
    // As unique as their random part, so that processes of the same number do not share one.
    expect(temporaries.size).toBe(20);
    const names = [...temporaries, 'a.bin', '.hidden', 'x.1.1.tmp', '.a.bin.12.tmp'];
    for (const name of names) fs.closeSync(fs.openSync(join(folder, name), 'w'));
    const [live, ...dead] = [...temporaries].sort();
    const past = new Date(Date.now() - 120_000);
    for (const name of names.filter((n) => n !== live)) fs.utimesSync(join(folder, name), past, past);
    expect(removeLeftovers(folder, 60_000).sort()).toEqual(dead);
    expect(readdirSync(folder).sort()).toEqual(['.a.bin.12.tmp', '.hidden', live, 'a.bin', 'x.1.1.tmp'].sort());
    expect(removeLeftovers(folder, 0)).toEqual([live]);
    expect(removeLeftovers(join(folder, 'missing'), 0)).toEqual([]);
  });
});

describe('files that nobody vouches for', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'atalho-io-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('are read up to their limit', () => {
    const path = join(folder, 'a.bin');
    for (const size of [0, 1, 99, 100]) {
      const content = Uint8Array.from({ length: size }, (_, i) => i);
      fs.writeFileSync(path, content);
      expect(readFileBounded(path, 100)).toEqual(content);
    }
    expect(() => readFileBounded(path, 99)).toThrow(/a\.bin: has 100 bytes; want at most 99$/);
    expect(() => readFileBounded(path, 99)).toThrow(FormatError);
    expect(() => readFileBounded(join(folder, 'none'), 99)).toThrow(/ENOENT/);
  });

  it('must be files: folders, devices and pipes are refused, without waiting', () => {
    expect(() => readFileBounded(folder, 99)).toThrow(/is no regular file/);
    if (process.platform === 'win32') return;
    expect(() => readFileBounded('/dev/zero', 99)).toThrow(/^\/dev\/zero: is no regular file; want one$/);
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    expect(() => readFileBounded(join(folder, 'pipe'), 99)).toThrow(/pipe: is no regular file/);
  });
});
