/** Exercise 1: what an Inception block and a residual block have in common, and which paths to take away. */
import {
  add,
  BatchNorm2d,
  Conv2d,
  cat,
  Generator,
  grad,
  Identity,
  MaxPool2d,
  Module,
  pad,
  ReLU,
  Residual,
  relu,
  Sequential,
  tensor,
} from 'atalho';
import { countMacs, countParameters, grouped } from './count.mjs';
import { holds, Page, table } from './page.mjs';

/** GoogLeNet's first Inception block, 3a: 28×28 maps of 192 channels come in. */
const CHANNELS = 192;
const EXTENT = 28;
const WIDTHS = { one: 64, three: [96, 128], five: [16, 32], pool: 32 };

/** Paths that all read x, and what joins their results. */
class Paths extends Module {
  /**
   * @param {readonly Module[]} paths
   * @param {(results: import('atalho').Tensor[]) => import('atalho').Tensor} join
   */
  constructor(paths, join) {
    super();
    this.paths = paths;
    this.join = join;
  }

  forward(x) {
    return this.join(this.paths.map((path) => path.forward(x)));
  }
}

/** A convolution that keeps the extents, and batch norm. */
function conv(from, to, kernel, init, stride = 1) {
  return [
    new Conv2d(from, to, kernel, { ...init, stride, padding: (kernel - 1) / 2 }),
    new BatchNorm2d(to, { device: init.device }),
  ];
}

const concatenate = (results) => cat(results, 1);
const addThenRelu = ([a, b]) => relu(add(a, b));

/** The four paths of an Inception block. */
function inceptionPaths({ one, three, five, pool }, init) {
  return [
    new Sequential(...conv(CHANNELS, one, 1, init), new ReLU()),
    new Sequential(...conv(CHANNELS, three[0], 1, init), new ReLU(), ...conv(three[0], three[1], 3, init), new ReLU()),
    new Sequential(...conv(CHANNELS, five[0], 1, init), new ReLU(), ...conv(five[0], five[1], 5, init), new ReLU()),
    new Sequential(new MaxPool2d(3, { stride: 1, padding: 1 }), ...conv(CHANNELS, pool, 1, init), new ReLU()),
  ];
}

/**
 * What is left of an Inception block: a shortcut, and two convolutions of which the first has the kernel size `first`.
 * Without `projection` the shortcut is x.
 */
function twoPaths(from, to, { first, projection, stride = 1, init }) {
  const shortcut = projection ? new Conv2d(from, to, 1, { ...init, stride }) : new Identity();
  const branch = new Sequential(...conv(from, to, first, init, stride), new ReLU(), ...conv(to, to, 3, init));
  return new Paths([shortcut, branch], addThenRelu);
}

/** Where `twoPaths` keeps what a `Residual` calls by these names. */
const PLACES = { conv3: 'paths.0', conv1: 'paths.1.0', bn1: 'paths.1.1', conv2: 'paths.1.3', bn2: 'paths.1.4' };

function copyWeights(residual, block) {
  const renamed = new Map();
  for (const [name, value] of residual.stateDict()) {
    const [layer, ...rest] = name.split('.');
    renamed.set([PLACES[layer], ...rest].join('.'), value);
  }
  block.loadStateDict(renamed);
}

/** How many of the numbers, and in how many the two differ in a bit. */
function compare(a, b) {
  const [x, y] = [a.dataSync(), b.dataSync()];
  if (x.length !== y.length) throw new Error(`inception: ${x.length} and ${y.length} numbers; want as many`);
  return { numbers: x.length, different: x.reduce((sum, v, i) => sum + (Object.is(v, y[i]) ? 0 : 1), 0) };
}

/** Outputs of both in training and in eval mode, and gradients of the input: how many differ. */
function against(residual, block, from, device) {
  copyWeights(residual, block);
  const shape = [2, from, EXTENT, EXTENT];
  const pixels = new Generator(5).uniformArray(shape, 1);
  return device.scope(() => {
    const [x1, x2] = [0, 1].map(() => tensor(pixels, shape, { device, requiresGrad: true }));
    const [y1, y2] = [residual.forward(x1), block.forward(x2)];
    const outputs = compare(y1, y2);
    const weights = tensor(new Generator(6).uniformArray(y1.shape, 1), y1.shape, { device });
    const gradients = compare(...[grad(y1, [x1], weights)[0], grad(y2, [x2], weights)[0]]);
    const evaluated = compare(
      residual.inMode(false, () => residual.forward(x1)),
      block.inMode(false, () => block.forward(x2)),
    );
    return { outputs, evaluated, gradients };
  });
}

/** @param {import('atalho').Device} device */
export async function measure(device) {
  const init = { device, generator: new Generator(1) };
  const shape = [1, CHANNELS, EXTENT, EXTENT];
  const paths = inceptionPaths(WIDTHS, init);
  const steps = [
    ['Inception block: 1×1; 1×1, 3×3; 1×1, 5×5; pooling, 1×1; concatenated', new Paths(paths, concatenate)],
    ['without the 5×5 and the pooling path', new Paths(paths.slice(0, 2), concatenate)],
    [
      'added instead of concatenated, so both paths with all channels; the last ReLU after the addition',
      twoPaths(CHANNELS, CHANNELS, { first: 1, projection: true, init }),
    ],
    [
      'a 3×3 for the 1×1 before the 3×3: `Residual`, `use1x1conv: true`',
      twoPaths(CHANNELS, CHANNELS, { first: 3, projection: true, init }),
    ],
    [
      'no convolution on the short path: `Residual`',
      twoPaths(CHANNELS, CHANNELS, { first: 3, projection: false, init }),
    ],
  ];
  const rows = steps.map(([name, block], i) => {
    const result = device.scope(() =>
      block.forward(tensor(new Float32Array(CHANNELS * EXTENT ** 2), shape, { device })),
    );
    const macs = countMacs(block, shape, device) / 1e6;
    const cells = [i, name, result.shape.slice(1).join('×'), grouped(countParameters(block)), macs.toFixed(1)];
    result.dispose();
    return cells;
  });

  const pairs = [
    ['`Residual(192, 192)`, step 4', CHANNELS, CHANNELS, { projection: false, stride: 1 }],
    ['`Residual(192, 192, { use1x1conv: true })`, step 3', CHANNELS, CHANNELS, { projection: true, stride: 1 }],
    ['`Residual(192, 384, { use1x1conv: true, strides: 2 })`', CHANNELS, 2 * CHANNELS, { projection: true, stride: 2 }],
  ];
  const compared = pairs.map(([name, from, to, { projection, stride }]) => {
    const residual = new Residual(from, to, { ...init, use1x1conv: projection, strides: stride });
    const block = twoPaths(from, to, { first: 3, projection, stride, init });
    const found = against(residual, block, from, device);
    return [name, ...Object.values(found).map(({ numbers, different }) => `${different} of ${grouped(numbers)}`)];
  });

  const [joined, summed] = device.scope(() => {
    const x = tensor(new Generator(7).uniformArray(shape, 1), shape, { device });
    const results = paths.map((path) => path.forward(x));
    let before = 0;
    const total = results.reduce((sum, y) => sum + y.shape[1], 0);
    const padded = results.map((y) => {
      const behind = total - before - y.shape[1];
      const wide = pad(y, [0, 0, 0, 0, before, behind]);
      before += y.shape[1];
      return wide;
    });
    return [concatenate(results), padded.reduce((sum, y) => add(sum, y))];
  });
  const alike = compare(joined, summed);
  joined.dispose();
  summed.dispose();

  for (const [, block] of steps) block.dispose();
  return { rows, compared, alike };
}

/** @param {Awaited<ReturnType<typeof measure>>} found */
export function write({ rows, compared, alike }) {
  const page = new Page('inception', 'Exercise 1: the Inception block and the residual block');
  page.add(
    '> What are the main differences between the Inception block and the residual block? After removing some paths in the Inception block, how are they related?',
    '**Both run several paths over the same input and join the results. An Inception block has four paths of different receptive fields and concatenates them; a residual block has two, of which one does nothing or next to nothing, and adds them.** Take the 5×5 path and the pooling path away, join by addition, let the 3×3 path begin with a 3×3 as well: that is the residual block, with the 1×1 path as its shortcut. Take that convolution away too and the shortcut is the input itself.',
    '## From one to the other',
    `GoogLeNet's block 3a, on maps of ${CHANNELS} channels, ${EXTENT}×${EXTENT}. Each convolution of a path that is not the shortcut is followed by batch norm, as in the second version of the network (Ioffe and Szegedy 2015); the first, of 2014, had none. The shortcut's 1×1 has none either, as in the chapter. Parameters are those of the block; millions of multiply-adds (MMAC) are those of its convolutions for one image.`,
    table(['step', 'block', 'result', 'parameters', 'MMAC'], rows),
    'What changes on the way:',
    [
      '- **The join.** Concatenated paths each own some of the channels, and their numbers may differ. Added paths share all channels, so they must agree in shape: hence the 1×1 convolution on the shortcut where channels or stride change.',
      '- **The cost.** An Inception block buys several receptive fields for little, with 1×1 convolutions that narrow the maps before the larger kernels. A basic residual block spends all on two 3×3 convolutions at full width; the [bottleneck](bottleneck.md) brings the narrowing 1×1 back.',
      '- **The identity.** Every path of an Inception block transforms. Only the block of the last step passes what a ReLU made through unchanged when the weight of its last batch norm is zero (see [exercise 5](nested.md)).',
    ].join('\n'),
    '## The same bits',
    holds(
      compared.every(([, ...counts]) => counts.every((count) => count.startsWith('0 of '))) && alike.different === 0,
      'The claim can be checked to the last bit: two paths and an addition, put together by this program from `Conv2d`, `BatchNorm2d`, `ReLU`, `add` and `relu`, against the library’s `Residual` with the same weights. Numbers that differ in any bit, for two random images:',
    ),
    table(['block', 'outputs, training mode', 'outputs, eval mode', 'gradient of the input'], compared),
    `Concatenation and addition are closer than they look: concatenating is adding paths that are zero in the others' channels. With \`cat\` replaced by \`pad\` and \`add\`, ${alike.different} of the ${grouped(alike.numbers)} outputs of the Inception block differ. So a sum of paths is the general form, and the Inception block the case in which each channel has one path.`,
  );
  return page;
}
