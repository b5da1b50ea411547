/**
 * `npm run oracle:soundness [-- N]`: does the oracle ever accuse a right result? Random calls are computed in float32 in orders that no
 * library of ours uses (shuffled, pairwise, blocked, in lanes, with fused multiply-adds, with Kahan's compensation), a fifth of them each in
 * plain float32, with factors rounded or cut to TF32, and with inputs and results in float16 or bfloat16, and judged by both bounds. Prints the evaluations, the alarms, and how loose the bounds are; exit code 1 on an alarm by the strict bound.
 */

import { toBfloat, toHalf, toTf32 } from '../../dist/oracle/hypotheses/anywhere.js';
import {
  adaptiveAvgPool2dCase,
  allowance,
  BFLOAT16,
  batchNormTrainCase,
  conv2dCase,
  crossEntropyCase,
  FLOAT16,
  linearCase,
  matmulCase,
  meanCase,
  NARROW,
  numbers,
  probableAllowance,
  seededDraw,
  softmaxCase,
  sumCase,
  TF32,
} from '../../dist/oracle/index.js';
import { float32 } from './float32.mjs';

const TARGET = Number(process.argv[2] ?? 1_000_000);
/** Evaluations of one call, each in an order of its own: the truth costs more than they do. */
const ORDERS_A_CALL = 24;
const f = Math.fround;

/** Sums of products in float32. Each takes the factors of one sum: Σ a[i]·b[i]. */
const ORDERS = {
  shuffled: (a, b, d) => {
    const order = Array.from(a, (_, i) => i);
    for (let i = order.length - 1; i > 0; i--) {
      const j = d.int(0, i);
      [order[i], order[j]] = [order[j], order[i]];
    }
    let sum = 0;
    for (const i of order) sum = f(sum + f(a[i] * b[i]));
    return sum;
  },
  pairwise: (a, b) => {
    const tree = (from, to) => {
      if (to - from === 1) return f(a[from] * b[from]);
      const middle = (from + to) >> 1;
      return f(tree(from, middle) + tree(middle, to));
    };
    return a.length === 0 ? 0 : tree(0, a.length);
  },
  blocked: (a, b, d) => {
    const block = d.int(1, 64);
    let total = 0;
    for (let from = 0; from < a.length; from += block) {
      let sum = 0;
      for (let i = from; i < Math.min(from + block, a.length); i++) sum = f(sum + f(a[i] * b[i]));
      total = f(total + sum);
    }
    return total;
  },
  lanes: (a, b, d) => {
    const lanes = new Float32Array(d.pick([4, 8, 16, 32]));
    for (let i = 0; i < a.length; i++) lanes[i % lanes.length] += f(a[i] * b[i]);
    for (let step = lanes.length / 2; step >= 1; step /= 2) for (let i = 0; i < step; i++) lanes[i] += lanes[i + step];
    return lanes[0];
  },
  // A product of float32 numbers is exact in float64; the sum is rounded twice, which is no closer than once.
  fused: (a, b) => {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum = f(sum + a[i] * b[i]);
    return sum;
  },
  kahan: (a, b) => {
    let [sum, lost] = [0, 0];
    for (let i = 0; i < a.length; i++) {
      const term = f(f(a[i] * b[i]) - lost);
      const next = f(sum + term);
      lost = f(f(next - sum) - term);
      sum = next;
    }
    return sum;
  },
};
const ORDER_NAMES = Object.keys(ORDERS);

/** The factors of every sum of a convolution's outputs, or of its gradients. */
function convTerms(o, [x, weight, bias], dy, [, , outHeight, outWidth]) {
  const { stride, padding, dilation, groups } = o;
  const [inGroup, outGroup] = [o.inChannels / groups, o.outChannels / groups];
  const [y, dx, dweight] = [dy.length, x.length, weight.length].map((n) => Array.from({ length: n }, () => [[], []]));
  const put = (list, at, a, b) => {
    list[at][0].push(a);
    list[at][1].push(b);
  };
  for (let n = 0; n < o.batch; n++)
    for (let k = 0; k < o.outChannels; k++)
      for (let i = 0; i < outHeight; i++)
        for (let j = 0; j < outWidth; j++) {
          const at = ((n * o.outChannels + k) * outHeight + i) * outWidth + j;
          for (let c = 0; c < inGroup; c++)
            for (let p = 0; p < o.kernel[0]; p++)
              for (let q = 0; q < o.kernel[1]; q++) {
                const row = i * stride[0] + p * dilation[0] - padding[0];
                const column = j * stride[1] + q * dilation[1] - padding[2];
                if (row < 0 || row >= o.height || column < 0 || column >= o.width) continue;
                const from =
                  ((n * o.inChannels + Math.floor(k / outGroup) * inGroup + c) * o.height + row) * o.width + column;
                const w = ((k * inGroup + c) * o.kernel[0] + p) * o.kernel[1] + q;
                put(y, at, x[from], weight[w]);
                put(dx, from, dy[at], weight[w]);
                put(dweight, w, dy[at], x[from]);
              }
          if (bias) put(y, at, bias[k], 1);
        }
  return { y, 'grad.x': dx, 'grad.weight': dweight };
}

/** Random calls, and how each output is computed by a given way of adding. */
const KINDS = {
  conv2d(d) {
    const groups = d.pick([1, 1, 2]);
    const kernel = [d.int(1, 3), d.int(1, 3)];
    const padding = [d.int(0, 1), d.int(0, 1), d.int(0, 1), d.int(0, 1)];
    const o = {
      ...{
        salt: d.int(0, 2 ** 31 - 1),
        batch: d.int(1, 2),
        groups,
        inChannels: groups * d.int(1, 6),
        outChannels: groups * d.int(1, 2),
      },
      ...{
        height: d.int(3, 5),
        width: d.int(3, 5),
        kernel,
        stride: [d.int(1, 2), d.int(1, 2)],
        dilation: [1, 1],
        bias: d.bool(),
      },
    };
    const trial = conv2dCase.trial({ ...o, padding: [padding.slice(0, 2), padding.slice(2)] });
    const terms = (v, dy) => convTerms({ ...o, padding }, v, dy, trial.shape);
    return { trial, terms };
  },
  matmul(d) {
    const [m, n, k] = [d.int(1, 3), d.int(1, 3), d.int(1, d.pick([8, 40, 600]))];
    const trial = matmulCase.trial({ salt: d.int(0, 2 ** 31 - 1), a: [m, k], b: [k, n] });
    return {
      trial,
      terms: ([a, b]) => ({
        y: Array.from({ length: m * n }, (_, at) => [
          Array.from({ length: k }, (_, p) => a[Math.floor(at / n) * k + p]),
          Array.from({ length: k }, (_, p) => b[p * n + (at % n)]),
        ]),
      }),
    };
  },
  linear(d) {
    const [rows, outFeatures, inFeatures] = [d.int(1, 3), d.int(1, 3), d.int(1, d.pick([8, 40, 300]))];
    const bias = d.bool();
    const trial = linearCase.trial({ salt: d.int(0, 2 ** 31 - 1), lead: [rows], inFeatures, outFeatures, bias });
    return {
      trial,
      terms: ([x, w, own]) => ({
        y: Array.from({ length: rows * outFeatures }, (_, at) => {
          const [r, o] = [Math.floor(at / outFeatures), at % outFeatures];
          const a = Array.from({ length: inFeatures }, (_, i) => x[r * inFeatures + i]);
          const b = Array.from({ length: inFeatures }, (_, i) => w[o * inFeatures + i]);
          return own
            ? [
                [...a, own[o]],
                [...b, 1],
              ]
            : [a, b];
        }),
      }),
    };
  },
  sum(d) {
    const from = [d.int(1, 3), d.int(1, d.pick([9, 700]))];
    const trial = sumCase.trial({ salt: d.int(0, 2 ** 31 - 1), from, dim: [1], keepdim: false });
    const row = (x, r) => Array.from(x.subarray(r * from[1], (r + 1) * from[1]));
    return {
      trial,
      terms: ([x]) => ({ y: Array.from({ length: from[0] }, (_, r) => [row(x, r), row(x, r).fill(1)]) }),
    };
  },
  mean(d) {
    const from = [d.int(1, 3), d.int(1, d.pick([9, 700]))];
    return { trial: meanCase.trial({ salt: d.int(0, 2 ** 31 - 1), from, dim: [1], keepdim: false }) };
  },
  adaptiveAvgPool2d(d) {
    const o = { batch: 1, channels: d.int(1, 3), height: d.int(2, 7), width: d.int(2, 7), outputSize: 1 };
    return { trial: adaptiveAvgPool2dCase.trial({ salt: d.int(0, 2 ** 31 - 1), ...o }) };
  },
  'batchNorm.train'(d) {
    const shape = [d.int(2, 4), d.int(1, 3), d.int(1, 6), d.int(1, 6)];
    const usual = { weight: true, bias: true, running: true, unbiased: true, residual: false, momentum: 0.1 };
    const own = { eps: d.pick([1e-5, 0.1]), offset: d.pick([0, 3]) };
    return { trial: batchNormTrainCase.trial({ salt: d.int(0, 2 ** 31 - 1), shape, ...own, ...usual }) };
  },
  softmax(d) {
    const shape = [d.int(1, 3), d.int(1, d.pick([9, 200]))];
    return { trial: softmaxCase.trial({ salt: d.int(0, 2 ** 31 - 1), shape, dim: 1, range: d.pick([1, 12]) }) };
  },
  crossEntropy(d) {
    const [rows, classes] = [d.int(1, 5), d.int(2, d.pick([10, 100]))];
    const own = { labelSmoothing: d.pick([0, 0.1]), range: d.pick([1, 12]) };
    return { trial: crossEntropyCase.trial({ salt: d.int(0, 2 ** 31 - 1), rows, classes, ...own }) };
  },
};

const same = (v) => v;
const [half, bfloat] = [toHalf, toBfloat].map((round) => (v) => round(v));
/** What is rounded beside the sums: inputs, the factors of products, results. */
const ARITHMETICS = {
  float32: { precision: NARROW, input: same, factor: same, result: same },
  'TF32 rounded': { precision: TF32, input: same, factor: (v) => toTf32(v), result: same },
  'TF32 cut': { precision: TF32, input: same, factor: (v) => toTf32(v, false), result: same },
  float16: { precision: FLOAT16, input: half, factor: same, result: half },
  bfloat16: { precision: BFLOAT16, input: bfloat, factor: same, result: bfloat },
};
const ARITHMETIC_NAMES = Object.keys(ARITHMETICS);

const tally = new Map(
  Object.keys(KINDS).map((kind) => [kind, { calls: 0, evaluations: 0, elements: 0, strict: 0, probable: 0 }]),
);
const byOrder = new Map([...ORDER_NAMES, ...ARITHMETIC_NAMES].map((name) => [name, 0]));
const alarms = [];
const started = performance.now();
let [evaluations, last] = [0, started];
for (let call = 0; evaluations < TARGET; call++) {
  const kind = Object.keys(KINDS)[call % tally.size];
  const d = seededDraw(call, kind);
  const arithmetic = ARITHMETIC_NAMES[Math.floor(call / tally.size) % ARITHMETIC_NAMES.length];
  const { precision, input, factor, result } = ARITHMETICS[arithmetic];
  const { trial: drawn, terms } = KINDS[kind](d);
  const trial = { ...drawn, inputs: drawn.inputs.map((x) => ({ ...x, data: x.data.map(input) })) };
  const values = trial.inputs.map((x) => x.data);
  const named = Object.fromEntries(trial.inputs.map((x) => [x.name, x.data]));
  const shapes = Object.fromEntries(trial.inputs.map((x) => [x.name, x.shape]));
  const wide = values.map((v) => Float64Array.from(v));
  const dy = numbers(
    trial.options.salt,
    'dy',
    trial.shape.reduce((a, b) => a * b, 1),
    -1,
    1,
  ).map(input);
  const factors = terms?.(values, dy);
  const { y, changed } = trial.forward(wide);
  const wanted = { y };
  if (factors && 'grad.x' in factors) {
    for (const [name, expected] of Object.entries(trial.backward(wide, Float64Array.from(dy))))
      wanted[`grad.${name}`] = expected;
  }
  for (const [name, expected] of Object.entries(changed)) wanted[`new.${name}`] = expected;
  const bounds = Object.fromEntries(
    Object.entries(wanted).map(([name, e]) => [
      name,
      { strict: allowance(e, precision), probable: probableAllowance(e, precision), value: e.value },
    ]),
  );
  const own = tally.get(kind);
  own.calls++;
  for (let turn = 0; turn < ORDERS_A_CALL; turn++) {
    const order = ORDER_NAMES[turn % ORDER_NAMES.length];
    const add = (a, b) => ORDERS[order](a, b, d);
    // A plain sum has no factors.
    const product = ([a, b]) => (kind === 'sum' ? add(a, b) : add(a.map(factor), b.map(factor)));
    const found = terms
      ? Object.fromEntries(Object.entries(factors).map(([name, all]) => [name, all.map(product)]))
      : float32(kind, named, shapes, trial.attributes, add);
    evaluations++;
    own.evaluations++;
    for (const name of [order, arithmetic]) byOrder.set(name, byOrder.get(name) + 1);
    for (const [name, got] of Object.entries(found)) {
      const { strict, probable, value } = bounds[name];
      for (let i = 0; i < value.length; i++) {
        own.elements++;
        const off = Math.abs(result(got[i]) - value[i]);
        if (off > strict[i]) own.strict++;
        if (off > probable[i]) own.probable++;
        if (off > probable[i] && alarms.length < 5)
          alarms.push({
            kind,
            call,
            order,
            arithmetic,
            name,
            i,
            got: got[i],
            want: value[i],
            strict: strict[i],
            probable: probable[i],
          });
      }
    }
  }
  if (performance.now() - last > 10_000) {
    last = performance.now();
    const left = ((last - started) / evaluations) * (TARGET - evaluations);
    process.stderr.write(`${evaluations} of ${TARGET}, ${(left / 1000).toFixed(0)} s left\n`);
  }
}
let [strict, probable, elements] = [0, 0, 0];
for (const [kind, t] of tally) {
  console.log(
    `${kind.padEnd(13)} ${t.calls} calls, ${t.evaluations} evaluations, ${t.elements} elements: ${t.strict} strict alarms, ${t.probable} probable`,
  );
  strict += t.strict;
  probable += t.probable;
  elements += t.elements;
}
console.log([...byOrder].map(([name, n]) => `${name} ${n}`).join(', '));
for (const one of alarms) console.log(one);
console.log(
  `${evaluations} evaluations, ${elements} elements: ${strict} false alarms by the strict bound, ${probable} by the probable one`,
);
if (strict + probable > 0) process.exitCode = 1;
