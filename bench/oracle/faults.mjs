/**
 * Faults to plant, one at a time, into a copy of the naive functions: the text that changes, and what the oracle should call it.
 * `op`: whose results are wrong. `suites`: where it is looked for.
 */
const fault = (op, cause, from, to, suites = ['edge', 'resnet']) => ({ op, cause, from, to, suites });
const gradient = (op, cause, from, to) => fault(op, cause, from, to, ['gradients']);

const TAP = '(xAt < 0 ? 0 : x[xAt]) * weight[wAt]';
const EACH_TAP = '((o * inGroup + c) * kernelHeight + p) * kernelWidth + q);';
const ROW =
  'const row = i * g.stride[0] + p * g.dilation[0] - g.padding[0];\n                                const column';
const COLUMN =
  'const column = j * g.stride[1] + q * g.dilation[1] - g.padding[2];\n                                const inside';
const CHANNEL = 'const channel = Math.floor(o / outGroup) * inGroup + c;';
const BIAS =
  'if (bias)\n        for (let i = 0; i < y.value.length; i++)\n            addTerm(y, i, bias[Math.floor(i / plane) % g.outChannels]);';
const MAX_ROW = 'const row = i * g.stride[0] + p * g.dilation[0] - g.padding[0];\n                        const column';
const MAX_OUTSIDE = 'if (row < 0 || row >= g.inHeight || column < 0 || column >= g.inWidth)';
const MAX_SKIP = `${MAX_OUTSIDE}\n                            continue;`;
const MAX_START = 'new Float64Array(g.planes * outHeight * outWidth).fill(-Infinity)';
const NORM = '((v - mean[c]) / Math.sqrt(variance[c] + g.eps)) * (weight ? weight[c] : 1) + (bias ? bias[c] : 0)';
const RUNNING = '(1 - momentum) * v + momentum * batch[c] * scale';
const HALF =
  '(v) => { const f = new Float32Array([v]), b = new Uint32Array(f.buffer); b[0] = (b[0] + 0xfff + ((b[0] >> 13) & 1)) & ~0x1fff; return f[0]; }';
const BFLOAT =
  '(v) => { const f = new Float32Array([v]), b = new Uint32Array(f.buffer); b[0] = (b[0] + 0x7fff + ((b[0] >> 16) & 1)) & ~0xffff; return f[0]; }';
const CUT = '(v) => { const f = new Float32Array([v]), b = new Uint32Array(f.buffer); b[0] &= ~0x1fff; return f[0]; }';
const both = (round) => `(${round})(xAt < 0 ? 0 : x[xAt]) * (${round})(weight[wAt])`;

export const faults = [
  fault(
    'conv2d',
    /flipped/,
    EACH_TAP,
    '((o * inGroup + c) * kernelHeight + (kernelHeight - 1 - p)) * kernelWidth + (kernelWidth - 1 - q));',
  ),
  fault(
    'conv2d',
    /rows and columns are swapped|OIWH/,
    EACH_TAP,
    '((o * inGroup + c) * kernelWidth + q) * kernelHeight + p);',
  ),
  fault(
    'conv2d',
    /strides of rows and columns/,
    ['g.stride[0]),\n        count(g.inWidth + left', 'g.stride[1]),\n    ];\n}\nfunction eachTap', ROW, COLUMN],
    [
      'g.stride[1]),\n        count(g.inWidth + left',
      'g.stride[0]),\n    ];\n}\nfunction eachTap',
      ROW.replace('stride[0]', 'stride[1]'),
      COLUMN.replace('stride[1]', 'stride[0]'),
    ],
    ['edge'],
  ),
  fault(
    'conv2d',
    /odd zero/,
    [ROW, COLUMN],
    [ROW.replace('g.padding[0]', 'g.padding[1]'), COLUMN.replace('g.padding[2]', 'g.padding[3]')],
  ),
  fault(
    'conv2d',
    /dilation is ignored/,
    [ROW, COLUMN],
    [ROW.replace('p * g.dilation[0]', 'p'), COLUMN.replace('q * g.dilation[1]', 'q')],
  ),
  fault(
    'conv2d',
    /dilation is one too many/,
    [ROW, COLUMN],
    [ROW.replace('g.dilation[0]', '(g.dilation[0] + 1)'), COLUMN.replace('g.dilation[1]', '(g.dilation[1] + 1)')],
  ),
  fault(
    'conv2d',
    /stride is ignored/,
    [ROW, COLUMN],
    [ROW.replace('i * g.stride[0]', 'i'), COLUMN.replace('j * g.stride[1]', 'j')],
  ),
  fault(
    'conv2d',
    /stride is one too many/,
    [ROW, COLUMN],
    [ROW.replace('g.stride[0]', '(g.stride[0] + 1)'), COLUMN.replace('g.stride[1]', '(g.stride[1] + 1)')],
  ),
  fault('conv2d', /row too low/, ROW, ROW.replace('- g.padding[0]', '- g.padding[0] + 1')),
  fault('conv2d', /column too far left/, COLUMN, COLUMN.replace('- g.padding[2]', '- g.padding[2] - 1')),
  fault(
    'conv2d',
    /repeats the border/,
    [ROW, COLUMN],
    [
      ROW.replace('= i *', '= clamp(g.inHeight, i *').replace('g.padding[0]', 'g.padding[0])'),
      COLUMN.replace('= j *', '= clamp(g.inWidth, j *').replace('g.padding[2]', 'g.padding[2])'),
    ],
  ),
  fault('conv2d', /interleaved input channels/, CHANNEL, 'const channel = c * g.groups + Math.floor(o / outGroup);'),
  fault('conv2d', /interleaved output channels/, CHANNEL, 'const channel = (o % g.groups) * inGroup + c;'),
  fault('conv2d', /input of the first/, CHANNEL, 'const channel = c;'),
  fault(
    'conv2d',
    /groups are in reverse/,
    CHANNEL,
    'const channel = (g.groups - 1 - Math.floor(o / outGroup)) * inGroup + c;',
  ),
  fault(
    'conv2d',
    /beyond a multiple of 4, dropped/,
    'for (let c = 0; c < inGroup; c++)',
    'for (let c = 0; c < inGroup - (inGroup % 4); c++)',
  ),
  fault(
    'conv2d',
    /beyond a multiple of 8, dropped/,
    'for (let c = 0; c < inGroup; c++)',
    'for (let c = 0; c < inGroup - (inGroup % 8); c++)',
  ),
  fault(
    'conv2d',
    /last input channel of a group is dropped/,
    'for (let c = 0; c < inGroup; c++)',
    'for (let c = 0; c < inGroup - 1; c++)',
  ),
  fault(
    'conv2d',
    /last row of the kernel/,
    'for (let p = 0; p < kernelHeight; p++)',
    'for (let p = 0; p < kernelHeight - 1; p++)',
  ),
  fault(
    'conv2d',
    /last column of the kernel/,
    'for (let q = 0; q < kernelWidth; q++)',
    'for (let q = 0; q < kernelWidth - 1; q++)',
  ),
  fault('conv2d', /last tap/, TAP, `${TAP} * ((wAt + 1) % (g.kernel[0] * g.kernel[1]) === 0 ? 0 : 1)`),
  fault(
    'conv2d',
    /last output channels, beyond a multiple of 4/,
    'for (let o = 0; o < g.outChannels; o++)\n            for (let i = 0; i < outHeight; i++)',
    'for (let o = 0; o < g.outChannels - (g.outChannels % 4); o++)\n            for (let i = 0; i < outHeight; i++)',
  ),
  fault('conv2d', /bias is missing/, BIAS, ''),
  fault('conv2d', /bias is added twice/, BIAS, BIAS.replace('addTerm(y, i, bias', 'addTerm(y, i, 2 * bias')),
  fault(
    'conv2d',
    /only the first image has the bias/,
    BIAS,
    BIAS.replace('i < y.value.length', 'i < y.value.length / g.batch'),
  ),
  fault(
    'conv2d',
    /every image is the first/,
    '((n * g.inChannels + channel) * g.inHeight + row)',
    '(channel * g.inHeight + row)',
  ),
  fault('conv2d', /HWIO/, EACH_TAP, '((p * kernelWidth + q) * inGroup + c) * g.outChannels + o);'),
  fault('conv2d', /IOHW/, EACH_TAP, '((c * g.outChannels + o) * kernelHeight + p) * kernelWidth + q);'),
  fault('conv2d', /OHWI/, EACH_TAP, '((o * kernelHeight + p) * kernelWidth + q) * inGroup + c);'),
  fault(
    'conv2d',
    /input in NHWC/,
    '((n * g.inChannels + channel) * g.inHeight + row) * g.inWidth + column',
    '((n * g.inHeight + row) * g.inWidth + column) * g.inChannels + channel',
  ),
  fault('conv2d', /rounded to TF32/, TAP, both(HALF)),
  fault('conv2d', /cut to TF32/, TAP, both(CUT)),
  fault('conv2d', /operands are rounded to bfloat16/, TAP, both(BFLOAT)),
  fault(
    'conv2d',
    /one element|elements of y are wrong|only the end/,
    '    return y;\n}\nexport function conv2dBackward(',
    '    y.value[y.value.length - 1] *= 1 + 1e-3;\n    return y;\n}\nexport function conv2dBackward(',
  ),
  fault('linear', /bias is missing/, 'if (bias)\n                addTerm(y, at, bias[o]);', ''),
  fault(
    'linear',
    /transposed/,
    'weight[o * g.inFeatures + i]);\n            if (bias)',
    'weight[i * g.outFeatures + o]);\n            if (bias)',
  ),
  fault(
    'linear',
    /beyond a multiple of 4, dropped/,
    'for (let i = 0; i < g.inFeatures; i++)\n                addTerm(y',
    'for (let i = 0; i < g.inFeatures - (g.inFeatures % 4); i++)\n                addTerm(y',
  ),
  fault(
    'matmul',
    /transposed/,
    'a[a0 + i * k + p] * b[b0 + p * n + j]);\n    }',
    'a[a0 + i * k + p] * b[b0 + j * k + p]);\n    }',
  ),
  fault(
    'matmul',
    /beyond a multiple of 8, dropped/,
    'for (let p = 0; p < k; p++)\n                    addTerm(y',
    'for (let p = 0; p < k - (k % 8); p++)\n                    addTerm(y',
  ),
  fault(
    'maxPool2d',
    /padding takes part as 0/,
    [MAX_SKIP, 'from[at] < 0 || x[source] > y[at]'],
    [`${MAX_OUTSIDE} {\n y[at] = Math.max(y[at], 0); continue; }`, 'x[source] > y[at]'],
  ),
  fault(
    'maxPool2d',
    /starts at 0/,
    [MAX_START, 'from[at] < 0 || x[source] > y[at]'],
    ['new Float64Array(g.planes * outHeight * outWidth)', 'x[source] > y[at]'],
  ),
  fault(
    'maxPool2d',
    /dilation is ignored/,
    [
      'p * g.dilation[0] - g.padding[0];\n                        const column',
      'q * g.dilation[1] - g.padding[2];\n                        if',
    ],
    ['p - g.padding[0];\n                        const column', 'q - g.padding[2];\n                        if'],
    ['edge'],
  ),
  fault('maxPool2d', /row too low/, MAX_ROW, MAX_ROW.replace('- g.padding[0]', '- g.padding[0] + 1')),
  fault('maxPool2d', /rounded down/, 'if (g.ceilMode &&', 'if (false &&', ['edge']),
  gradient('maxPool2d', /last/, 'x[source] > y[at]', 'x[source] >= y[at]'),
  fault('avgPool2d', /leaves the padding out/, 'const divisor = countIncludePad', 'const divisor = false'),
  fault('avgPool2d', /counts the padding/, 'const divisor = countIncludePad', 'const divisor = true', ['edge']),
  fault(
    'avgPool2d',
    /sum instead of a mean/,
    'addTerm(y, yAt, x[xAt] / divisor));\n    return y;\n}\nexport function avgPool2dBackward',
    'addTerm(y, yAt, x[xAt]));\n    return y;\n}\nexport function avgPool2dBackward',
  ),
  fault(
    'adaptiveAvgPool2d',
    /rounded down/,
    ['Math.ceil(((i + 1) * g.inHeight) / g.outHeight)', 'Math.ceil(((j + 1) * g.inWidth) / g.outWidth)'],
    ['Math.floor(((i + 1) * g.inHeight) / g.outHeight)', 'Math.floor(((j + 1) * g.inWidth) / g.outWidth)'],
    ['edge'],
  ),
  fault(
    'adaptiveAvgPool2d',
    /sum instead of a mean/,
    'addTerm(y, yAt, x[xAt] / divisor));\n    return y;\n}\nexport function adaptiveAvgPool2dBackward',
    'addTerm(y, yAt, x[xAt]));\n    return y;\n}\nexport function adaptiveAvgPool2dBackward',
  ),
  fault(
    'batchNorm.train',
    /normalises by the unbiased/,
    NORM,
    NORM.replace('variance[c]', '(variance[c] * x.length) / (x.length - mean.length)'),
  ),
  fault(
    'batchNorm.train',
    /eps is outside/,
    NORM,
    NORM.replace('Math.sqrt(variance[c] + g.eps)', '(Math.sqrt(variance[c]) + g.eps)'),
  ),
  fault('batchNorm.train', /eps is left out/, NORM, NORM.replace(' + g.eps', '')),
  fault('batchNorm.train', /eps is squared/, NORM, NORM.replace('g.eps', 'g.eps ** 2')),
  fault('batchNorm.train', /momentum weighs the old/, RUNNING, 'momentum * v + (1 - momentum) * batch[c] * scale'),
  fault('batchNorm.train', /biased one/, 'const scale = unbias ? count / (count - 1) : 1;', 'const scale = 1;'),
  fault('batchNorm.train', /replaced by the batch/, RUNNING, 'batch[c] * scale'),
  fault('batchNorm.train', /not updated/, RUNNING, 'v'),
  fault(
    'batchNorm.train',
    /divided by the variance/,
    NORM,
    NORM.replace('Math.sqrt(variance[c] + g.eps)', '(variance[c] + g.eps)'),
  ),
  fault('batchNorm.train', /mean is not subtracted/, NORM, NORM.replace('(v - mean[c])', 'v')),
  fault('batchNorm.train', /weight is missing/, NORM, NORM.replace('(weight ? weight[c] : 1)', '1')),
  fault('batchNorm.train', /bias is missing/, NORM, NORM.replace('(bias ? bias[c] : 0)', '0')),
  gradient('batchNorm.train', /statistics for given/, 'const centred = training ?', 'const centred = false ?'),
  fault('relu', /leaky/, 'Math.max(v, 0));', '(v < 0 ? 0.01 * v : v));'),
  fault('relu', /absolute/, 'Math.max(v, 0));', 'Math.abs(v));'),
  gradient('relu', /not masked/, '(v > 0 || Number.isNaN(v) ? dy[i] : 0)', 'dy[i]'),
  fault('sub', /operands are swapped/, "op === 'sub' ? p - q", "op === 'sub' ? q - p"),
  fault('div', /it is mul/, ': p / q;', ': p * q;'),
  fault(
    'sum',
    /mean instead of a sum|sum instead of a mean/,
    'x[i] / divisor);\n    return y;',
    'x[i] / (divisor * (x.length / y.value.length)));\n    return y;',
  ),
  fault(
    'mean',
    /divides by one less/,
    'x[i] / divisor);\n    return y;',
    'x[i] / Math.max(divisor - 1, 1));\n    return y;',
  ),
  fault('softmax', /not divided/, 'y[i] = exp(x[i] - max) / sum;', 'y[i] = exp(x[i] - max);'),
  fault(
    'softmax',
    /base is 2/,
    'export function softmax(x, g) {',
    'export function softmax(x, g) { x = x.map((v) => v * Math.LN2);',
  ),
  fault('logSoftmax', /logarithm is missing/, 'y[i] = x[i] - lse;', 'y[i] = exp(x[i] - lse);'),
  fault('crossEntropy', /sum over the rows/, 'return loss / labels.length;', 'return loss;'),
  fault(
    'crossEntropy',
    /smoothing is ignored/,
    '(k === label ? 1 - smoothing : 0) + smoothing / classes',
    '(k === label ? 1 : 0)',
  ),
  fault(
    'crossEntropy',
    /own class out/,
    '(k === label ? 1 - smoothing : 0) + smoothing / classes',
    '(k === label ? 1 - smoothing : classes === 1 ? smoothing : smoothing / (classes - 1))',
  ),
  fault(
    'crossEntropy',
    /counted from 1/,
    '(k === label ? 1 - smoothing',
    '(k === (label + classes - 1) % classes ? 1 - smoothing',
  ),
  gradient('crossEntropy', /not divided by the rows/, '* dy) / labels.length', '* dy)'),
  fault(
    'sgd',
    /weight decay is ignored/,
    'return weightDecay === 0 ? grad : grad + weightDecay * param;',
    'return grad;',
  ),
  fault('sgd', /Nesterov’s term is missing/, 'g = o.nesterov ? g + o.momentum * v[i] : v[i];', 'g = v[i];'),
  fault('sgd', /damped/, 'o.momentum * velocity[i] + g;', 'o.momentum * velocity[i] + (1 - o.momentum) * g;'),
  fault('sgd', /uphill/, 'return w - o.lr * g;', 'return w + o.lr * g;'),
  fault('sgd', /first step is taken/, 'v[i] = o.first ? g :', 'v[i] = false ? g :'),
  fault('adam', /not corrected/, ['newM[i] / o.correction1', 'newV[i] / o.correction2'], ['newM[i]', 'newV[i]']),
  fault(
    'adam',
    /eps is inside/,
    ['Math.sqrt(newV[i] / o.correction2)', '(deviation + o.eps)'],
    ['Math.sqrt(newV[i] / o.correction2 + o.eps)', 'deviation'],
    ['edge'],
  ),
  fault(
    'adamw',
    /joins the gradient/,
    ['o.decoupled ? w * (1 - o.lr * o.weightDecay) : w', 'o.decoupled ? grad[i] :'],
    ['w', 'false ? grad[i] :'],
  ),
  fault(
    'adam',
    /betas are swapped/,
    'export function adam(param, grad, m, v, o) {',
    'export function adam(param, grad, m, v, o) { o = { ...o, beta1: o.beta2, beta2: o.beta1, correction1: o.correction2, correction2: o.correction1 };',
  ),
];

/** A module's text without docstrings: a fault may reach from one function to the next. */
export const withoutDocstrings = (text) => text.replace(/^ *\/\*\*[\s\S]*?\*\/\n/gm, '');

/** What faults call besides. */
const HELPERS = '\nfunction clamp(extent, i) { return Math.min(Math.max(i, 0), extent - 1); }\n';

/**
 * The text of the naive functions, without docstrings, with a fault in it.
 * @throws Error where they do not hold what it changes
 */
export function planted(source, { op, cause, from, to }) {
  const [olds, news] = [from, to].map((one) => (Array.isArray(one) ? one : [one]));
  const text = olds.reduce((before, old, k) => {
    if (!before.includes(old))
      throw new Error(`${op}, ${cause}: the naive functions do not hold ${JSON.stringify(old)}`);
    return before.replace(old, () => news[k]);
  }, source);
  return text + HELPERS;
}
