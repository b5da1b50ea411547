/** Kernels that are wrong by one term, as changes to the text of `assembly/`, and the device that runs one. */
import { readFileSync } from 'node:fs';
import asc from 'assemblyscript/asc';
import { type Device, wasm } from '../src/index.js';

export interface Mutant {
  readonly name: string;
  /** A file of `assembly/`, the text to change there, and what it becomes; every occurrence is changed. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** Rows of the case table that run the kernel. */
  readonly rows: readonly string[];
  /** What must go red there, `row: check`. */
  readonly red: readonly string[];
  /** The mode that runs the kernel; exact by default. */
  readonly math?: 'fast';
}

export const mutants: readonly Mutant[] = [
  {
    name: 'conv2d drops the last tap',
    file: 'conv2d.ts',
    from: '  const k = g.k;\n',
    to: '  const k = max(g.k - 1, 1);\n',
    rows: ['conv2d'],
    // The input gradient runs through the same product.
    red: ['conv2d: forward', 'conv2d: gradient', 'conv2d: bits', 'conv2d: special'],
  },
  {
    name: 'conv2d starts a second block of taps at zero',
    file: 'conv2d.ts',
    from: 'const goOn = k0 > 0;',
    to: 'const goOn = k0 < 0;',
    rows: ['conv2d'],
    red: ['conv2d: forward', 'conv2d: bits'],
  },
  {
    name: 'conv2d adds its bias twice to the last pixels of a row',
    file: 'elementwise.ts',
    from: 'for (; y < end; y += 4) store<f32>(y, load<f32>(y) + value);',
    to: 'for (; y < end; y += 4) store<f32>(y, load<f32>(y) + value + value);',
    rows: ['conv2d', 'prepareConv2d'],
    red: ['conv2d: forward', 'conv2d: bits', 'prepareConv2d: forward', 'prepareConv2d: bits'],
  },
  {
    name: 'a last pixel alone is not stored for the last rows',
    file: 'gemm.ts',
    from: '    v128.store(q3, c3);\n',
    to: '',
    rows: ['conv2d'],
    red: ['conv2d: gradient', 'conv2d: bits'],
  },
  {
    name: 'packed taps run on past the end of a row',
    file: 'convWeight.ts',
    from: '      run = cols;\n',
    to: '      run = count;\n',
    rows: ['conv2d'],
    red: ['conv2d: gradient', 'conv2d: bits'],
  },
  {
    name: 'the last block of the weight gradient forgets the others',
    file: 'convWeight.ts',
    from: '        narrow(tiles, bytes, sum);\n',
    to: '',
    rows: ['conv2d'],
    red: ['conv2d: gradient', 'conv2d: bits'],
  },
  {
    name: 'pixels of the next row come from behind this one',
    file: 'im2col.ts',
    from: 'v128.bitselect(v128.load(first + offset), v128.load(late + offset), early)',
    to: 'v128.load(first + offset)',
    rows: ['conv2d'],
    red: ['conv2d: forward', 'conv2d: gradient', 'conv2d: bits'],
  },
  {
    name: 'the last tap of strided filters goes on as the middle one',
    file: 'pack.ts',
    from: 'a8 += load<u32>(table, 104);',
    to: 'a8 += load<u32>(table, 56);',
    rows: ['conv2d'],
    red: ['conv2d: gradient', 'conv2d: bits'],
  },
  {
    name: 'filters that are fetched for the input gradient are all of the first rows',
    file: 'winogradFar.ts',
    from: 'fetched + (<usize>(q - r)) * 36',
    to: 'fetched',
    rows: ['conv2d'],
    red: ['conv2d: gradient', 'conv2d: bits'],
    math: 'fast',
  },
  {
    name: 'filters side by side lie on each other',
    file: 'winograd.ts',
    from: ': panel - ((<usize>k) << 4) + 16;',
    to: ': panel - ((<usize>k) << 4);',
    rows: ['conv2d'],
    red: ['conv2d: forward', 'conv2d: bits'],
    math: 'fast',
  },
  {
    name: 'one row times columns drops its last odd term',
    file: 'matmul.ts',
    from: 'for (let i = whole; i < k; i++) sum',
    to: 'for (let i = whole; i < k - 1; i++) sum',
    rows: ['matmul', 'linear'],
    red: ['matmul: forward', 'linear: forward'],
  },
  {
    name: 'the weight gradient drops the last position of a block',
    file: 'convWeight.ts',
    from: 'const basesEnd = bases + ((<usize>count) << 2);',
    to: 'const basesEnd = bases + ((<usize>max(count - 1, 1)) << 2);',
    rows: ['conv2d'],
    red: ['conv2d: gradient', 'conv2d: bits'],
  },
  {
    name: 'the weight gradient leaves its first block out',
    file: 'convWeight.ts',
    from: 'widen(tiles, bytes, sum, q0 === 0);',
    to: 'widen(tiles, bytes, sum, q0 <= 512);',
    rows: ['conv2d'],
    red: ['conv2d: gradient', 'conv2d: bits'],
  },
  {
    name: 'half a panel of the weight gradient stores its seventh tap twice',
    file: 'gemm.ts',
    from: 'transpose4(s4, s5, s6, s7, c + 16, ldc);',
    to: 'transpose4(s4, s5, s6, s6, c + 16, ldc);',
    rows: ['conv2d'],
    red: ['conv2d: gradient', 'conv2d: bits'],
  },
  {
    name: 'the fourth of four filters is packed from the third',
    file: 'pack.ts',
    from: 'const p3 = p0 + 108;',
    to: 'const p3 = p0 + 72;',
    rows: ['conv2d'],
    red: ['conv2d: gradient', 'conv2d: bits'],
  },
  {
    name: 'filters that are packed as they are used follow each other by three',
    file: 'pack.ts',
    from: 'p += 144;',
    to: 'p += 108;',
    rows: ['conv2d'],
    red: ['conv2d: gradient', 'conv2d: bits'],
  },
  {
    name: 'the row panel that packs leaves its last column stale',
    file: 'gemm.ts',
    from: 'v128.store(b, b1, 16);',
    to: 'if (b + 32 < bEnd) v128.store(b, b1, 16);',
    rows: ['conv2d'],
    red: ['conv2d: forward', 'conv2d: bits'],
  },
  {
    name: 'max pooling takes the last of equals',
    file: 'pool.ts',
    from: 'if (v > best || v !== v) {',
    to: 'if (v >= best || v !== v) {',
    rows: ['maxPool2d'],
    red: ['maxPool2d: gradient', 'maxPool2d: bits'],
  },
  {
    name: 'lane sums drop the last pixel',
    file: 'reduce.ts',
    from: 'for (let i = 0; i < (n & 7); i++) {',
    to: 'for (let i = 0; i < (n & 7) - 1; i++) {',
    rows: ['batchNorm.train', 'sum'],
    red: ['batchNorm.train: forward', 'batchNorm.train: gradient', 'batchNorm.train: bits', 'sum: forward'],
  },
  {
    name: 'softmax skips the last class',
    file: 'softmax.ts',
    from: 'for (let i = 0; i < n; i++) sum += exp(',
    to: 'for (let i = 0; i < n - 1; i++) sum += exp(',
    rows: ['softmax', 'logSoftmax', 'crossEntropy'],
    red: ['softmax: forward', 'softmax: gradient', 'logSoftmax: forward', 'crossEntropy: forward'],
  },
  {
    name: 'sgd ignores weight decay',
    file: 'optim.ts',
    from: 'if (weightDecay !== 0) g = f32x4.add(g, f32x4.mul(decay4, p));\n    if (velocity',
    to: 'if (velocity',
    rows: ['sgd'],
    red: ['sgd: forward', 'sgd: bits'],
  },
  {
    name: 'relu keeps −0',
    file: 'elementwise.ts',
    from: 'f32x4.add(f32x4.pmax(v128.load(x), zero), zero)',
    to: 'f32x4.pmax(v128.load(x), zero)',
    rows: ['relu'],
    // −0 is in bound of +0: only the bits tell.
    red: ['relu: special'],
  },
  {
    name: 'relu’s gradient is 0 at NaN, past the last four',
    file: 'elementwise.ts',
    from: 'load<f32>(y) <= 0 ? 0 : load<f32>(dy)',
    to: 'load<f32>(y) > 0 ? load<f32>(dy) : 0',
    rows: ['relu'],
    red: ['relu: special'],
  },
  {
    name: 'matmul drops the last term',
    file: 'matmul.ts',
    from: 'pb + panelBytes,',
    to: 'pb + max(panelBytes - 32, 32),',
    rows: ['matmul', 'linear'],
    red: ['matmul: forward', 'matmul: gradient', 'matmul: bits', 'linear: forward'],
  },
  {
    name: 'Winograd’s input transform of F(4, 3) has a constant of one digit less',
    file: 'winogradLines.ts',
    from: 'store<f32>(p + HALF_ROOT, <f32>(SQRT2 / 2));',
    to: 'store<f32>(p + HALF_ROOT, <f32>0.707106);',
    rows: ['conv2d'],
    // Off by 1e-6, which is in bound.
    red: ['conv2d: bits'],
    math: 'fast',
  },
  {
    name: 'Winograd’s output transform of F(3, 3) has a wrong sign',
    file: 'winogradLines.ts',
    from: 'sub(sub(m1, times(k, HALF, m2)), add(m3, m3))',
    to: 'add(sub(m1, times(k, HALF, m2)), add(m3, m3))',
    rows: ['conv2d'],
    red: ['conv2d: forward', 'conv2d: gradient', 'conv2d: bits', 'conv2d: special'],
    math: 'fast',
  },
  {
    name: 'Winograd’s tiles at the edge store a column less',
    file: 'winogradTiles.ts',
    from: 'if (width === 3) v128.store32_lane(to, value, 2, 8);',
    to: '',
    rows: ['conv2d'],
    red: ['conv2d: forward', 'conv2d: gradient', 'conv2d: bits'],
    math: 'fast',
  },
  {
    name: 'Winograd’s weight gradient leaves a block of tiles out',
    file: 'winogradWeight.ts',
    from: 'if (started) tileRowsAdd(',
    to: 'if (started && e !== 7) tileRowsAdd(',
    rows: ['conv2d'],
    red: ['conv2d: gradient', 'conv2d: bits'],
    math: 'fast',
  },
  {
    name: 'Winograd’s filters are not turned for the input gradient',
    file: 'winogradTiles.ts',
    from: 'if (flipped) {',
    to: 'if (flipped && m !== 2) {',
    rows: ['conv2d'],
    red: ['conv2d: gradient', 'conv2d: bits'],
    math: 'fast',
  },
];

const root = new URL('../', import.meta.url);
const options = [
  'assembly/index.ts',
  '--config',
  'asconfig.json',
  '--target',
  'release',
  '--outFile',
  'build/mutant.wasm',
];

/** The binary of `assembly/` with one change, compiled in memory as the build compiles it; null changes nothing. */
export async function compiled(mutant: Mutant | null): Promise<Uint8Array<ArrayBuffer>> {
  let binary: Uint8Array<ArrayBuffer> | null = null;
  let applied = false;
  const { error, stderr } = await asc.main(options, {
    readFile(name) {
      let text: string;
      try {
        text = readFileSync(new URL(name, root), 'utf8');
      } catch {
        return null;
      }
      if (mutant === null || name !== `assembly/${mutant.file}`) return text;
      applied = text.includes(mutant.from);
      return text.replaceAll(mutant.from, mutant.to);
    },
    writeFile(name, contents) {
      if (name.endsWith('.wasm') && typeof contents !== 'string') binary = Uint8Array.from(contents);
    },
    listFiles: () => [],
  });
  if (error || !binary) throw new Error(`asc failed: ${error?.message} ${stderr.toString()}`);
  if (mutant && !applied) throw new Error(`${mutant.name}: '${mutant.from}' is not in assembly/${mutant.file}`);
  return binary;
}

export async function mutated(mutant: Mutant | null, math: 'exact' | 'fast' = 'exact'): Promise<Device> {
  return wasm({ module: await compiled(mutant), math });
}
