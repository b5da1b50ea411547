/** The oracle as strangers use it: a function in JavaScript, files from any language, our own devices; and its reports. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { grad } from '../src/autograd.js';
import { modelEntry } from '../src/cli/models.js';
import { ArgumentError, crossEntropy, FormatError, readSafetensors, wasm, writeSafetensors } from '../src/index.js';
import { bfloatReader, bfloatWriter, halfWriter, halfToFloat as readHalf } from '../src/io/half.js';
import type { SafetensorsInput } from '../src/io/index.js';
import { importOnnx } from '../src/onnx/index.js';
import { toTf32 } from '../src/oracle/hypotheses/anywhere.js';
import {
  type Answer,
  BFLOAT16,
  checkModelTrace,
  checkResults,
  type Expected,
  expectedOf,
  FAST,
  FLOAT16,
  htmlReport,
  jsonReport,
  judge,
  judgeDevice,
  junitReport,
  type Layout,
  type Manifest,
  makeVectors,
  NARROW,
  naive,
  numbers,
  ONE_PASS,
  type Precision,
  type Question,
  readManifest,
  readTraceManifest,
  reluCase,
  SUITES,
  type SuiteName,
  TF32,
  type TraceManifest,
  textReport,
  trace,
  WEBGPU,
  WIDE,
} from '../src/oracle/index.js';
import { suite } from '../src/oracle/suites.js';
import { type Tensor, tensor } from '../src/tensor.js';
import { Workplace } from './cliRunner.js';
import { devices, fastDevices } from './devices.js';
import { gpuDevices } from './gpu.js';

const [writeHalf, floatToBfloat, bfloatToFloat] = [halfWriter(), bfloatWriter(), bfloatReader()];

const place = new Workplace();
afterAll(() => place.remove());

const sum = (values: ArrayLike<number>): number => Array.from(values).reduce((a, b) => a + b, 0);

/** A backend of ten lines: matrix products and relu in float32, nothing else. `skew` is added to the last element. */
const tiny =
  (skew = 0) =>
  ({ op, inputs }: Question): Answer | null => {
    if (op === 'relu') return { y: inputs.x.data.map((v) => Math.max(v, 0)) };
    if (op !== 'matmul' || inputs.a.shape.length !== 2 || inputs.b.shape.length !== 2) return null;
    const [{ data: a, shape }, { data: b }] = [inputs.a, inputs.b];
    const [m, k] = shape;
    const n = b.length / k;
    const y = new Float32Array(m * n);
    for (let i = 0; i < m; i++)
      for (let p = 0; p < k; p++) for (let j = 0; j < n; j++) y[i * n + j] += a[i * k + p] * b[p * n + j];
    y[y.length - 1] += skew;
    return { y: { shape: [m, n], data: y } };
  };

describe('a suite', () => {
  it.each(SUITES)('%s has calls with ids of their own, the same for a seed, others for another', (name) => {
    const [one, again, other] = [suite(name, 3), suite(name, 3), suite(name, 4)];
    expect(new Set(one.map(({ id }) => id)).size).toBe(one.length);
    const data = (items: typeof one) => items.map(({ trial }) => trial.inputs.map((x) => sum(x.data)));
    expect(data(again)).toEqual(data(one));
    expect(data(other)).not.toEqual(data(one));
  });

  it('refuses what is none', () => {
    expect(() => suite('most' as 'full')).toThrow(/^suite: no suite is called most; want one of smoke, resnet/);
    expect(() => suite('smoke', -1)).toThrow(ArgumentError);
  });
});

describe('judge', () => {
  it('passes a right backend, and says which ops it lacks', async () => {
    const report = await judge(tiny(), { suite: 'edge', name: 'tiny' });
    const of = (op: string) => report.cases.filter((one) => one.op === op).map(({ status }) => status);
    expect(new Set(of('relu'))).toEqual(new Set(['passed']));
    expect(new Set(of('conv2d'))).toEqual(new Set(['absent']));
    expect(of('matmul').filter((status) => status === 'passed').length).toBeGreaterThan(2);
    expect(report.cases.some(({ status }) => status === 'failed')).toBe(false);
  });

  it('fails one that is wrong in one element, and says where and by how much', async () => {
    const report = await judge(tiny(1e-3), { suite: 'edge', only: 'matmul' });
    const failed = report.cases.filter(({ status }) => status === 'failed');
    expect(failed.map(({ op }) => op)).toContain('matmul');
    const [output] = failed[0].outputs;
    expect(output.wrong).toBe(1);
    expect(output.worst?.index).toEqual(output.shape.map((extent) => extent - 1));
    expect(textReport(report)).toMatch(/FAILED matmul-\d+, .*\n {2}y: .* outside; worst at \[\d+, \d+\]: /);
    const [{ factors, value }] = failed[0].terms ?? [];
    const [m, n] = output.shape;
    expect(factors[0]).toMatch(new RegExp(`^a\\[${m - 1}, \\d+\\]$`));
    expect(factors[1]).toMatch(new RegExp(`^b\\[\\d+, ${n - 1}\\]$`));
    expect(Math.abs(value)).toBeGreaterThan(0);
    expect(textReport(report)).toContain(`its largest terms: ${factors.join('·')} = `);
  });

  it('finds 2⁻²² in a sum of whole numbers, whose bound is 0', async () => {
    const report = await judge(tiny(2 ** -10), { suite: 'edge', only: 'matmul-01', bound: 'strict' });
    expect(report.cases[0].title).toBe('a product, whole numbers');
    expect(report.cases[0].outputs[0].worst?.bound).toBe(0);
    expect(report.cases[0].status).toBe('failed');
  });

  it('takes a shape, a size, a throw and NaN for what they are', async () => {
    const answers: Answer[] = [
      { y: { shape: [1], data: [0] } },
      { y: [1, 2] },
      {},
      { y: new Float32Array(15).fill(Number.NaN) },
    ];
    const said: string[] = [];
    for (const answer of answers) {
      const report = await judge(() => answer, { suite: 'edge', only: 'matmul-01' });
      expect(report.cases[0].status).toBe('failed');
      said.push(textReport(report));
    }
    expect(said[0]).toContain('y has shape [1]; want [5, 3]');
    expect(said[1]).toContain('y has 2 elements; want [5, 3]');
    expect(said[2]).toContain('y missing');
    expect(said[3]).toContain('15 of 15 outside');
    const thrown = await judge(() => Promise.reject(new TypeError('no such kernel')), {
      suite: 'edge',
      only: 'matmul-01',
    });
    expect(thrown.cases[0]).toMatchObject({ status: 'error', message: 'TypeError: no such kernel' });
    await expect(judge(tiny(), { only: 'nothing' })).rejects.toThrow(/^judge: no call of the suite resnet/);
  });
});

describe('bounds of narrow arithmetic', () => {
  it.each([
    ['rounded', true],
    ['cut', false],
  ] as const)('TF32: factors that are %s are within, and not within those of float32', async (_, rounds) => {
    const low = ({ op, inputs }: Question): Answer | null => {
      if (op !== 'matmul' || inputs.a.shape.length !== 2 || inputs.b.shape.length !== 2) return null;
      const [a, b] = [inputs.a, inputs.b].map(({ data }) => Float64Array.from(data, (v) => toTf32(v, rounds)));
      return { y: Float32Array.from(naive.matmul(a, inputs.a.shape, b, inputs.b.shape, []).value) };
    };
    const status = async (precision: Precision) => {
      const { cases } = await judge(low, { suite: 'resnet', only: 'matmul', precision, diagnose: false });
      return cases[0].status;
    };
    expect(await status(TF32)).toBe('passed');
    expect(await status(NARROW)).toBe('failed');
  });
});

describe('variances in one reading', () => {
  const f = Math.fround;
  /** Batch norm in float32 by E[x²] − mean². */
  const onePass = ({ op, attributes, inputs, outputs }: Question): Answer | null => {
    if (op !== 'batchNorm.train') return null;
    const { x, weight, bias, runningMean, runningVar } = inputs;
    const [batch, channels, ...rest] = x.shape;
    const plane = rest.reduce((a, b) => a * b, 1);
    const count = batch * plane;
    const { eps, momentum, unbiasedRunningVar } = attributes as Record<string, number>;
    const y = new Float32Array(x.data.length);
    const answer: Record<string, Float32Array> = { y };
    if (runningMean) {
      answer['new.runningMean'] = new Float32Array(channels);
      answer['new.runningVar'] = new Float32Array(channels);
    }
    for (let c = 0; c < channels; c++) {
      const at = Array.from({ length: count }, (_, i) => (Math.floor(i / plane) * channels + c) * plane + (i % plane));
      let [sum, squares] = [0, 0];
      for (const i of at) {
        sum = f(sum + x.data[i]);
        squares = f(squares + f(x.data[i] * x.data[i]));
      }
      const mean = f(sum / count);
      const variance = Math.max(0, f(f(squares / count) - f(mean * mean)));
      const scale = f((weight?.data[c] ?? 1) * f(1 / f(Math.sqrt(f(variance + f(eps))))));
      for (const i of at) y[i] = f(f(f(x.data[i] - mean) * scale) + (bias?.data[c] ?? 0));
      if (!runningMean) continue;
      const mix = (old: number, now: number) => f(f(f(1 - f(momentum)) * old) + f(f(momentum) * now));
      answer['new.runningMean'][c] = mix(runningMean.data[c], mean);
      const correction = unbiasedRunningVar ? f(count / (count - 1)) : 1;
      answer['new.runningVar'][c] = mix(runningVar.data[c], f(variance * correction));
    }
    expect(Object.keys(answer).sort()).toEqual(Object.keys(outputs).sort());
    return answer;
  };
  const failed = async (own: 'resnet' | 'edge', precision: Precision) => {
    const { cases } = await judge(onePass, { suite: own, only: 'batchNorm.train', precision, diagnose: false });
    return cases.filter(({ status }) => status !== 'passed').map(({ title }) => title);
  };

  it('are within their own bound, and beyond that of two readings where they cancel', async () => {
    expect(await failed('resnet', ONE_PASS)).toEqual([]);
    expect(await failed('edge', ONE_PASS)).toEqual([]);
    expect(await failed('edge', NARROW)).toContain('very far from 0');
  });
});

describe('a diagnosis', () => {
  const { matmul } = naive;
  const product =
    (change: (a: Float64Array, b: Float64Array, k: number, n: number) => [Float64Array, Float64Array]) =>
    ({ op, inputs }: Question): Answer | null => {
      if (op !== 'matmul' || inputs.a.shape.length !== 2 || inputs.b.shape.length !== 2) return null;
      const [k, n] = inputs.b.shape;
      const [a, b] = change(Float64Array.from(inputs.a.data), Float64Array.from(inputs.b.data), k, n);
      return { y: Float32Array.from(matmul(a, inputs.a.shape, b, inputs.b.shape, []).value) };
    };
  const likeliest = async (backend: (q: Question) => Answer | null, own: 'edge' | 'resnet' = 'edge') => {
    const report = await judge(backend, { suite: own, only: 'matmul' });
    const failed = report.cases.filter(({ status }) => status === 'failed');
    expect(failed.length).toBeGreaterThan(0);
    return failed.find(({ diagnosis }) => diagnosis && diagnosis.length > 0)?.diagnosis?.[0].cause;
  };

  it('names transposed operands, dropped terms, low precision', async () => {
    const turned = product((a, b, k, n) => [a, b.map((_, i) => b[(i % n) * k + Math.floor(i / n)])]);
    expect(await likeliest(turned)).toBe('the second operand is read transposed');
    const dropped = product((a, b, k, n) => [a, b.map((v, i) => (i < (k - (k % 8)) * n ? v : 0))]);
    expect(await likeliest(dropped)).toBe('the last terms of each sum, beyond a multiple of 8, dropped');
    const half = (v: number) => readHalf(writeHalf(v));
    const low = product((a, b) => [a.map(half), b.map(half)]);
    expect(await likeliest(low, 'resnet')).toMatch(/^operands are rounded to (float16|TF32)$/);
  });

  it('lets relu choose either way where it may take a number as 0, in a trace as in the table', () => {
    const small = 2 ** -130;
    const [x, dy] = [Float64Array.of(small, -small, 0, 1), Float64Array.of(5, 5, 5, 5)];
    const row = reluCase.trial({ salt: 1, shape: [4] });
    for (const precision of [WEBGPU, WIDE]) {
      const error = (expected: Expected | null | undefined): number[] => [...(expected?.error(precision) ?? [])];
      const [out, dx] = precision === WEBGPU ? [small, 5] : [0, 0];
      for (const y of [expectedOf('relu', { x, out: x }).out, row.forward([x]).y]) {
        expect(error(y)).toEqual([out, out, 0, 0]);
      }
      for (const gradient of [expectedOf('reluBackward', { y: x, dy, dx: dy }).dx, row.backward([x], dy).x]) {
        expect(error(gradient)).toEqual([dx, dx, 0, 0]);
      }
    }
  });

  it('knows that subnormal numbers were flushed, where they may not be', async () => {
    const flushing = ({ op, inputs }: Question): Answer | null =>
      op === 'relu' ? { y: inputs.x.data.map((v) => (Math.abs(v) < 2 ** -126 ? 0 : Math.max(v, 0))) } : null;
    const status = async (precision: Precision, run = flushing, suite: SuiteName = 'edge') => {
      const { cases } = await judge(run, { suite, only: 'relu', precision });
      return cases.filter((one) => one.status === 'failed').map(({ diagnosis }) => diagnosis?.[0].cause);
    };
    expect(await status(NARROW)).toEqual([]);
    expect(await status(WIDE)).toEqual(['subnormal numbers are flushed to 0']);
    // Compared as 0: what it would have chosen then is right too, in y and in the gradient.
    const compared = ({ op, inputs: { x, dy } }: Question): Answer | null => {
      if (op !== 'relu') return null;
      const taken = x.data.map((v) => (Math.abs(v) < 2 ** -126 ? 0 : v));
      const dx = dy && { 'grad.x': dy.data.map((g, i) => (taken[i] > 0 ? g : 0)) };
      return { y: x.data.map((v, i) => (taken[i] < 0 ? 0 : v)), ...dx };
    };
    expect(await status(NARROW, compared, 'gradients')).toEqual([]);
    expect(await status(WIDE, compared, 'gradients')).toHaveLength(1);
  });

  it('says so when two runs differ', async () => {
    let run = 0;
    const race = (q: Question) => tiny(++run)(q);
    expect(await likeliest(race)).toMatch(/^two runs give different results/);
  });

  it('stands in every report, and in those made from files', async () => {
    const { manifest, inputs, truth } = await makeVectors({ suite: 'edge' });
    const zeros = ({ op, outputs }: Question): Answer | null =>
      op === 'matmul' ? { y: new Float32Array(outputs.y.reduce((a, b) => a * b, 1)) } : null;
    const report = checkResults(manifest, truth, answer(manifest, inputs, zeros));
    for (const text of [textReport(report), junitReport(report), htmlReport([report])]) {
      expect(text).toContain('nothing was written: all is 0');
    }
  });

  it.each(['float16', 'bfloat16'])('knows sums in %s', async (kind) => {
    const round =
      kind === 'float16' ? (v: number) => readHalf(writeHalf(v)) : (v: number) => bfloatToFloat(floatToBfloat(v));
    const half = ({ op, inputs }: Question): Answer | null => {
      if (op !== 'matmul' || inputs.a.shape.length !== 2 || inputs.b.shape.length !== 2) return null;
      const [[m, k], [, n]] = [inputs.a.shape, inputs.b.shape];
      const y = new Float32Array(m * n);
      for (let i = 0; i < y.length; i++) {
        for (let p = 0; p < k; p++) {
          y[i] = round(y[i] + round(inputs.a.data[Math.floor(i / n) * k + p] * inputs.b.data[p * n + (i % n)]));
        }
      }
      return { y };
    };
    expect(await likeliest(half, 'resnet')).toBe(`sums are rounded to ${kind} as they go`);
  });
});

describe.each([...devices, ...fastDevices, ...gpuDevices])('judgeDevice: $name', ({ make, precision, name }) => {
  it.each(['smoke', 'edge'] as const)(
    'is within its bounds, %s',
    async (own) => {
      const device = await make();
      const used = device.memory().used;
      const report = await judgeDevice(device, { suite: own, precision, bits: true });
      expect(report.cases.filter(({ status }) => status !== 'passed').map((one) => one.id)).toEqual([]);
      if (/^(wasm|reference float32)(, 3 threads)?$/.test(name)) {
        const outputs = report.cases.flatMap(({ outputs }) => outputs);
        expect(outputs.filter((o) => o.equalBits !== o.elements)).toEqual([]);
      }
      expect(device.memory().used).toBe(used);
      device.dispose();
    },
    300_000,
  );
});

describe('in NHWC', () => {
  it('images and weights lie the other way, and gradients too', async () => {
    const device = await wasm();
    const seen: Record<string, readonly number[]> = {};
    const note = async ({ id, op, inputs, outputs }: Question): Promise<null> => {
      if (op !== 'conv2d' || id !== 'conv2d-04') return null;
      for (const [name, { shape }] of Object.entries(inputs)) seen[name] = shape;
      Object.assign(seen, outputs);
      return null;
    };
    await judge(note, { suite: 'gradients', layout: 'NHWC' });
    expect(seen).toEqual({
      ...{ x: [3, 7, 10, 4], weight: [3, 2, 4, 6], bias: [6], dy: [3, 7, 9, 6], y: [3, 7, 9, 6] },
      ...{ 'grad.x': [3, 7, 10, 4], 'grad.weight': [3, 2, 4, 6], 'grad.bias': [6] },
    });
    const report = await judgeDevice(device, { suite: 'gradients', layout: 'NHWC' });
    expect(report.cases.filter(({ status }) => status !== 'passed')).toEqual([]);
    device.dispose();
  });
});

/** Answers from the inputs' file alone, as another language would find them. */
function answer(manifest: Manifest, inputsFile: Uint8Array, backend = tiny()): Uint8Array {
  const inputs = readSafetensors(inputsFile);
  const results: [string, { shape: readonly number[]; data: Float32Array }][] = [];
  for (const { id, op, attributes, inputs: names, outputs } of manifest.cases) {
    const given = Object.fromEntries(
      names.map(({ name, shape }) => [name, { shape, data: inputs.get(`${id}/${name}`)?.data as Float32Array }]),
    );
    const wanted = Object.fromEntries(outputs.map(({ name, shape }) => [name, shape]));
    const found = backend({ id, op, attributes, inputs: given, outputs: wanted, layout: manifest.layout });
    for (const [name, values] of Object.entries(found ?? {})) {
      const data = Float32Array.from('data' in values ? values.data : values);
      results.push([`${id}/${name}`, { shape: wanted[name], data }]);
    }
  }
  return writeSafetensors(results);
}

describe('vectors and checkResults', () => {
  it.each(['NCHW', 'NHWC'] as const)('judge a file as judge does a function, %s', async (layout: Layout) => {
    const { manifest, inputs, truth } = await makeVectors({ suite: 'smoke', seed: 5, layout, bits: true });
    expect(readManifest(JSON.stringify(manifest))).toEqual(manifest);
    for (const skew of [0, 1e-3]) {
      const here = await judge(tiny(skew), { suite: 'smoke', seed: 5, layout, bits: true });
      const there = checkResults(manifest, truth, answer(manifest, inputs, tiny(skew)));
      expect(there.cases.map(({ status }) => status)).toEqual(here.cases.map(({ status }) => status));
      const worst = (report: typeof here) =>
        report.cases.map(({ outputs }) => outputs.map((o) => [o.wrong, o.worst?.index]));
      expect(worst(there)).toEqual(worst(here));
    }
  });

  it('judge half precision as it is: off the bounds of float32', async () => {
    const { manifest, inputs, truth } = await makeVectors({ suite: 'resnet' });
    const exactly = readSafetensors(answer(manifest, inputs));
    const half = writeSafetensors(
      [...exactly].map(([name, { shape, data }]) => [name, { dtype: 'F16', shape, data: data as Float32Array }]),
    );
    const report = checkResults(manifest, truth, half);
    expect(report.cases.find(({ op }) => op === 'matmul')?.status).toBe('failed');
  });

  it.each(['float16', 'bfloat16'] as const)('take %s for what it is where it was asked for', async (kind) => {
    const precision = kind === 'float16' ? FLOAT16 : BFLOAT16;
    const { manifest, inputs, truth } = await makeVectors({ suite: 'resnet', precision, numbers: kind });
    expect(manifest.numbers).toBe(kind);
    const dtype = kind === 'float16' ? 'F16' : 'BF16';
    const results = (bits: number) =>
      writeSafetensors(
        [...readSafetensors(answer(manifest, inputs))].map(([name, { shape, data }]) => {
          // Its last bits wrong, or not.
          const off = (data as Float32Array).map((v) => v * (1 + bits));
          return [name, { dtype, shape, data: off }];
        }),
      );
    const of = (file: Uint8Array) =>
      checkResults(manifest, truth, file).cases.find(({ op }) => op === 'matmul')?.status;
    expect(of(results(0))).toBe('passed');
    expect(of(results(kind === 'float16' ? 2 ** -9 : 2 ** -6))).toBe('failed');
  });

  it('refuse files that are not theirs', async () => {
    const { manifest, truth } = await makeVectors({ suite: 'smoke' });
    const results = (name: string) => writeSafetensors([[name, { shape: [1], data: Float32Array.of(0) }]]);
    expect(() => checkResults(manifest, truth, results('conv2d-99/y'))).toThrow(
      new ArgumentError('results: no case asks for "conv2d-99/y"'),
    );
    expect(() => checkResults(manifest, truth, new Uint8Array(3))).toThrow(FormatError);
    expect(() => checkResults(manifest, results('x'), results('matmul-01/y'))).toThrow(/^truth: matmul-01\/y/);
    const wrong: [string, unknown][] = [
      ['not JSON', '{'],
      ['format', { ...manifest, format: 'other' }],
      ['version', { ...manifest, version: 2 }],
      ['suite', { ...manifest, suite: 'most' }],
      ['layout', { ...manifest, layout: 'HW' }],
      ['cases is no list', { ...manifest, cases: {} }],
      ['case 1 lacks', { ...manifest, cases: [manifest.cases[0], { id: 'a' }] }],
      ['format', null],
    ];
    for (const [what, value] of wrong) {
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      expect(() => readManifest(text), what).toThrow(FormatError);
      expect(() => readManifest(text), what).toThrow(what);
    }
  });
});

describe('reports', () => {
  const hostile = `<&"'\u0000>`;

  it('are JSON, JUnit XML and a page that asks for nothing', async () => {
    const nan = ({ op }: Question): Answer | null => {
      if (op === 'relu') throw new Error(hostile);
      return op === 'matmul' ? { y: [Number.NaN] } : null;
    };
    const report = await judge(nan, { suite: 'smoke', name: hostile });
    const json = JSON.parse(jsonReport(report));
    expect(json.cases.length).toBe(report.cases.length);
    expect(JSON.stringify(json)).toContain('"Infinity"');

    const xml = junitReport(report);
    const count = (pattern: RegExp) => [...xml.matchAll(pattern)].length;
    expect(count(/<testcase /g)).toBe(report.cases.length);
    expect(count(/<failure /g)).toBe(report.cases.filter(({ status }) => status === 'failed').length);
    expect(count(/<error /g)).toBe(report.cases.filter(({ status }) => status === 'error').length);
    expect(count(/<error /g)).toBeGreaterThan(0);
    expect(xml).toContain('name="&lt;&amp;&quot;&#39;?&gt;"');
    // Every < begins a tag of ours.
    expect(xml.replace(/<\/?(testsuites?|testcase|failure|error|skipped)\b[^<>]*>|<\?xml[^<>]*\?>/g, '')).not.toMatch(
      /[<>]/,
    );

    const page = htmlReport([report, await judge(tiny(), { suite: 'smoke', name: 'tiny' })]);
    expect(page).not.toMatch(/<script|\bsrc=|https?:|@import|url\(/);
    expect(page).not.toContain(hostile);
    expect(page).toContain('<td class="failed">');
    expect(page).toContain('<td class="passed">');
  });
});

describe('atalho oracle', () => {
  it('asks in files, and judges files: exit 0 or 1', async () => {
    const made = await place.run('oracle', 'vectors', '--out', 'vectors', '--suite', 'smoke', '--seed', '2');
    expect(made.stdout).toMatch(/^\d+ cases, \d+ of them ONNX files too, [\d.]+ MB of vectors in vectors\n$/);
    const folder = join(place.path, 'vectors');
    const manifest = readManifest(readFileSync(join(folder, 'manifest.json'), 'utf8'));
    const inputs = readFileSync(join(folder, 'inputs.safetensors'));
    for (const [skew, code] of [
      [0, 0],
      [1e-3, 1],
    ]) {
      writeFileSync(join(place.path, 'results'), answer(manifest, inputs, tiny(skew)));
      const files = ['--json', 'r.json', '--junit', 'r.xml', '--html', 'r.html'];
      const judged = await place.run('oracle', 'check', 'vectors', 'results', '--name', 'tiny', ...files);
      expect(judged.code, judged.stderr).toBe(code);
      expect(judged.stdout).toMatch(/^tiny: suite smoke, seed 2, NCHW, judged by the probable bound\n/);
      expect(judged.stdout).toMatch(code === 0 ? /\d+ passed, 0 failed, 0 threw, \d+ absent\n$/ : /FAILED matmul/);
      expect(JSON.parse(readFileSync(join(place.path, 'r.json'), 'utf8')).backend).toBe('tiny');
      for (const name of ['r.xml', 'r.html']) expect(readFileSync(join(place.path, name), 'utf8')).toContain('tiny');
    }
    const none = await place.run('oracle', 'check', 'nowhere', 'results');
    expect(none.code).toBe(1);
    expect(none.stderr).toMatch(/^error: cannot read nowhere.manifest\.json/);
    writeFileSync(join(place.path, 'broken'), 'no tensors');
    const broken = await place.run('oracle', 'check', 'vectors', 'broken');
    expect(broken.stderr).toMatch(/^error: vectors and broken: safetensors: /);
  });

  it('has the forward calls as ONNX files, which say the same', async () => {
    const folder = join(place.path, 'vectors');
    const manifest = readManifest(readFileSync(join(folder, 'manifest.json'), 'utf8'));
    const inputs = readSafetensors(readFileSync(join(folder, 'inputs.safetensors')));
    const device = await wasm();
    const results: [string, { shape: readonly number[]; data: Float32Array }][] = [];
    const ops = new Set<string>();
    for (const {
      id,
      op,
      onnx,
      inputs: [first],
    } of manifest.cases) {
      if (onnx === undefined) continue;
      const model = importOnnx(readFileSync(join(folder, onnx)), { device });
      const x = tensor(inputs.get(`${id}/${first.name}`)?.data as Float32Array, first.shape, { device });
      const y = model.forward(x);
      results.push([`${id}/y`, { shape: y.shape, data: Float32Array.from(y.dataSync() as Float32Array) }]);
      ops.add(op);
    }
    const report = checkResults(manifest, readFileSync(join(folder, 'truth.safetensors')), writeSafetensors(results));
    expect(report.cases.filter(({ status }) => status === 'failed')).toEqual([]);
    expect([...ops]).toEqual(
      expect.arrayContaining([
        'conv2d',
        'matmul',
        'linear',
        'batchNorm.eval',
        'maxPool2d',
        'avgPool2d',
        'softmax',
        'cat',
      ]),
    );
    device.dispose();
  });

  it("writes a model's training step, and finds where another's goes wrong", async () => {
    const flags = ['--model', 'd2l-resnet-tiny', '--input', '2,1,24,24', '--out', 'step'];
    const made = await place.run('oracle', 'trace', ...flags);
    expect(made.stdout, made.stderr).toMatch(
      /^\d+ calls of a training step of d2l-resnet-tiny on 2×1×24×24, [\d.]+ MB in step\n$/,
    );
    const folder = join(place.path, 'step');
    const manifest = readTraceManifest(readFileSync(join(folder, 'manifest.json'), 'utf8')) as TraceManifest;
    const values = readFileSync(join(folder, 'values.safetensors'));

    // Another implementation: the same step in a fast mode, one weight gradient a hundredth too large.
    const device = await wasm({ math: 'fast' });
    const tracer = trace(device);
    const net = modelEntry('d2l-resnet-tiny').make({ device: tracer.device, inChannels: 1, numClasses: 10 });
    const fill = (name: string, t: Tensor): void => {
      const leaf = manifest.leaves.find((one) => one.name === name);
      if (leaf) device.write(t.buffer, numbers(manifest.seed, name, t.size, leaf.low, leaf.high));
    };
    for (const [name, t] of net.stateDict()) fill(name, t);
    const x = tensor(new Float32Array(2 * 576), [2, 1, 24, 24], { device: tracer.device });
    fill('x', x);
    tracer.name([...net.stateDict(), ['x', x]]);
    await tracer.take();
    tracer.device.scope(() => void grad(crossEntropy(net.forward(x), manifest.labels), net.parameters()));
    const calls = await tracer.take();
    expect(calls.map(({ outputs }) => outputs)).toEqual(
      manifest.nodes.map(({ outputs }) =>
        Object.fromEntries(Object.entries(outputs).map(([arg, { name }]) => [arg, name])),
      ),
    );
    const wrong = calls.findLastIndex(({ kernel }) => kernel === 'conv2dBackwardWeight');
    const results = calls.flatMap(({ outputs, after }, at) =>
      Object.entries(outputs).map(([arg, name]): [string, SafetensorsInput] => {
        // Statistics stay as wide as they are: others are found from them.
        const data = at === wrong ? Float32Array.from(after[arg] as Float32Array, (v) => v * 1.01) : after[arg];
        return [name, { shape: [data.length], data: data as Float32Array }];
      }),
    );
    const report = checkModelTrace(manifest, values, writeSafetensors(results), { precision: FAST });
    const failed = report.cases.filter(({ status }) => status === 'failed').map(({ id }) => Number(id));
    expect(failed[0]).toBe(wrong);
    // Those that were given the wrong numbers are judged by what they made of the right ones.
    const readers = calls.flatMap(({ inputs }, at) =>
      Object.values(inputs).some((name) => Object.values(calls[wrong].outputs).includes(name)) ? [at] : [],
    );
    expect(failed.slice(1).every((at) => readers.includes(at))).toBe(true);

    // Handed in without its operands, a result says nothing of its own call.
    const alone = results.filter(([name]) => name === Object.values(calls[wrong].outputs)[0]);
    const { cases } = checkModelTrace(manifest, values, writeSafetensors(alone));
    expect(new Set(cases.map(({ status }) => status))).toEqual(new Set(['absent']));
    const short = writeSafetensors([[alone[0][0], { shape: [1], data: Float32Array.of(0) }]]);
    expect(() => checkModelTrace(manifest, values, short)).toThrow(/^results: ".*" has 1 elements; want \d+$/);

    // Manifests that are not ours.
    const [node] = manifest.nodes;
    const damaged: [string, unknown][] = [
      ['node 0', { ...manifest, nodes: [{ ...node, kernel: 'constructor' }] }],
      ['node 0', { ...manifest, nodes: [{ ...node, outputs: {} }] }],
      ['node 0', { ...manifest, nodes: [{ ...node, options: { ...node.options, strideHeight: 0 } }] }],
      ['leaf 0', { ...manifest, leaves: [{ name: 'x', shape: [1e12], low: 0, high: 1 }] }],
      ['version', { ...manifest, version: 2 }],
      ['leaves', { ...manifest, leaves: null }],
    ];
    for (const [what, value] of damaged) {
      expect(() => readTraceManifest(JSON.stringify(value)), what).toThrow(FormatError);
      expect(() => readTraceManifest(JSON.stringify(value)), what).toThrow(what);
    }
    const reaching = { ...node, inputs: JSON.parse('{"__proto__.residual": "x"}') };
    expect(() => checkModelTrace({ ...manifest, nodes: [reaching] }, values, writeSafetensors([]))).not.toThrow();
    const first = results.find(([name]) => name === Object.values(node.outputs)[0].name) as (typeof results)[0];
    expect(() => checkModelTrace({ ...manifest, nodes: [reaching] }, values, writeSafetensors([first]))).toThrow(
      /there is no argument "__proto__\.residual"/,
    );
    expect('residual' in {}).toBe(false);

    writeFileSync(join(place.path, 'found'), writeSafetensors(results));
    const judged = await place.run('oracle', 'check', 'step', 'found', '--name', 'mine');
    expect(judged.code).toBe(1);
    expect(judged.stdout).toContain(`FAILED ${String(wrong).padStart(3, '0')}, `);
    device.dispose();
  });

  it('judges our own devices', async () => {
    const { code, stdout } = await place.run('oracle', 'device', 'wasm', '--suite', 'smoke', '--threads', '1');
    expect(code).toBe(0);
    expect(stdout).toMatch(/conv2d +3 of 3 passed, at most [\d.]+ % of the bound, bits equal in 3 of 3 outputs/);
  });
});
