/** Exercise 5: nested function classes: what residual blocks guarantee, and what no block does. */
import { BasicBlock, BatchNorm2d, Conv2d, Generator, Module, noGrad, resnet, Sequential, tensor } from 'atalho';
import { batches } from 'atalho/data';
import { countCorrect, predictLogits } from 'atalho/train';
import { countParameters, grouped } from './count.mjs';
import { holds, Page, table } from './page.mjs';
import { plot } from './plot.mjs';
import { inWords, percent, slice, train } from './training.mjs';

const SLICE = { train: 1024, test: 1000 };
const TRAINING = { epochs: 8, batchSize: 64, lr: 0.05, resize: 16, seed: 1 };
const THIN = { inChannels: 1, numClasses: 10, stem: '3x3', shortcut: 'zeroPad' };
const PLANES = 8;
const DEPTHS = { 18: [2, 2, 2, 2], 34: [3, 4, 6, 3] };
/** Planes of the ten-layer nets of which each class holds the one before. */
const WIDTHS = [2, 4, 8, 16];

/** relu(bn2(conv2(relu(bn1(conv1(x)))))): a basic block without its shortcut. */
class PlainBlock extends Module {
  static expansion = 1;

  /**
   * @param {number} inPlanes
   * @param {number} planes
   * @param {import('atalho/models').BlockOptions} o
   */
  constructor(inPlanes, planes, { device, generator, stride = 1 }) {
    super();
    const weightInit = (g, shape) => g.kaimingNormal(shape, 'fanOut');
    const conv = { device, generator, padding: 1, bias: false, weightInit };
    this.conv1 = new Conv2d(inPlanes, planes, 3, { ...conv, stride });
    this.bn1 = new BatchNorm2d(planes, { device });
    this.conv2 = new Conv2d(planes, planes, 3, conv);
    this.bn2 = new BatchNorm2d(planes, { device });
  }

  forward(x) {
    return this.bn2.forwardRelu(this.conv2.forward(this.bn1.forwardRelu(this.conv1.forward(x))));
  }
}

const fill = (t, value) => t.write(new Float32Array(t.size).fill(value));

/** Makes the plain block the identity where batch norm uses its running statistics: kernels of one 1, statistics undone. */
function makeDirac(block) {
  for (const conv of [block.conv1, block.conv2]) {
    const [channels] = conv.weight.shape;
    const kernels = new Float32Array(conv.weight.size);
    for (let c = 0; c < channels; c++) kernels[(c * channels + c) * 9 + 4] = 1;
    conv.weight.write(kernels);
  }
  for (const norm of [block.bn1, block.bn2]) fill(norm.weight, Math.sqrt(1 + norm.eps));
}

/** The network with one block more at the end of its second stage; it shares all other layers. */
function grow(net, block) {
  const { conv1, bn1, relu, layer1, layer2, ...rest } = Object.fromEntries(net.children());
  return new Sequential({ conv1, bn1, relu, layer1, layer2: new Sequential(...layer2, block), ...rest });
}

function difference(a, b) {
  let [same, most] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    if (Object.is(a[i], b[i])) same++;
    most = Math.max(most, Math.abs(a[i] - b[i]));
  }
  return { same: `${grouped(same)} of ${grouped(a.length)}`, most: most === 0 ? '0' : most.toPrecision(2) };
}

/** What a new block does to the logits of a trained network. */
async function insertion(device, nets, testData) {
  const init = { device, generator: new Generator(9) };
  const width = 2 * PLANES;
  const cases = [
    [
      'residual',
      'last batch norm at 0',
      nets.residual,
      new BasicBlock(width, width, init),
      (b) => fill(b.bn2.weight, 0),
    ],
    ['residual', 'as layers start', nets.residual, new BasicBlock(width, width, init), () => {}],
    ['plain', 'last batch norm at 0', nets.plain, new PlainBlock(width, width, init), (b) => fill(b.bn2.weight, 0)],
    ['plain', 'as layers start', nets.plain, new PlainBlock(width, width, init), () => {}],
    ['plain', 'kernels of one 1, set by hand', nets.plain, new PlainBlock(width, width, init), makeDirac],
  ];
  const all = batches(testData, { batchSize: SLICE.test, resize: TRAINING.resize, prefetch: 'inline' });
  const { value: batch } = await all.next();
  const inTraining = (net) =>
    device.scope(() =>
      noGrad(() =>
        net
          .forward(tensor(batch.images, batch.shape, { device }))
          .dataSync()
          .slice(),
      ),
    );
  const wrong = (logits) => percent(1 - countCorrect(logits, batch.labels) / batch.labels.length);
  const rows = [];
  for (const [kind, start, net, block, prepare] of cases) {
    prepare(block);
    const grown = grow(net, block);
    const [before, after] = [net, grown].map((one) => predictLogits(one, batch.images, batch.shape));
    const found = difference(await before, await after);
    rows.push([kind, start, found.same, found.most, wrong(await before), wrong(await after), grown]);
  }
  // Last, for this moves the running statistics.
  for (const [i, [, , net]] of cases.entries()) {
    net.train();
    const grown = rows[i].pop();
    grown.train();
    rows[i].push(difference(inTraining(net), inTraining(grown)).same);
  }
  return rows;
}

/** @param {import('atalho').Device} device */
export async function measure(device) {
  const data = await slice(SLICE);
  const results = [];
  const nets = {};
  for (const [kind, block] of [
    ['plain', PlainBlock],
    ['residual', BasicBlock],
  ]) {
    for (const [depth, layers] of Object.entries(DEPTHS)) {
      const net = resnet({ ...THIN, device, seed: 1, block, layers, planes: PLANES });
      const result = await train(`${kind}-${depth}`, net, { ...data, ...TRAINING });
      results.push({ kind, depth, parameters: countParameters(net), ...result });
      if (depth === '18') nets[kind] = net;
      else net.dispose();
    }
  }
  const inserted = await insertion(device, nets, data.testData);
  for (const net of Object.values(nets)) net.dispose();

  const widths = [];
  for (const planes of WIDTHS) {
    const net = resnet({ ...THIN, device, seed: 1, block: BasicBlock, layers: [1, 1, 1, 1], planes });
    widths.push({
      planes,
      parameters: countParameters(net),
      ...(await train(`${planes} planes`, net, { ...data, ...TRAINING })),
    });
    net.dispose();
  }
  return { results, inserted, widths };
}

/** @param {Awaited<ReturnType<typeof measure>>} found */
export function write({ results, inserted, widths }) {
  const of = (kind, depth) => results.find((r) => r.kind === kind && r.depth === depth);
  const [plain18, plain34, residual18, residual34] = ['plain', 'residual'].flatMap((kind) =>
    Object.keys(DEPTHS).map((depth) => of(kind, depth)),
  );
  const figures = (r) => [
    grouped(r.parameters),
    r.trainLoss.toFixed(3),
    percent(r.trainError),
    percent(r.testError),
    percent(r.testError - r.trainError),
  ];
  const points = (share) => (100 * share).toFixed(1);
  const page = new Page('nested', 'Exercise 5: nested function classes');
  page.add(
    '> Why can’t we just increase the complexity of functions without bound, even if the function classes are nested?',
    '**Nesting promises one thing: the best function of the larger class fits the training images at least as well. It does not promise that training finds that function, nor that it is any better on images not trained on; and it costs memory and time.** Residual blocks give the nesting in a form that training can use. The other two limits stay: below, a plain network gets worse on its own training images as it gets deeper, and residual networks that grow wider gain far less on test images than on those they train on.',
    '## Does training find the better function? Plain and residual, 18 and 34 layers',
    `As He et al. 2016, Figure 4, on a small scale: ${inWords(SLICE, TRAINING, TRAINING.lr)}. Plain and residual networks have the same parameters and the same first weights: the shortcut is x, or x sampled and padded with zeros, as in the figure. The plain block is a class of this program; \`resnet({ block: PlainBlock, ... })\` takes it.`,
  );
  page.picture(
    'curves',
    plot(
      ['plain', 'residual'].map((kind) => ({
        title: `${kind} networks`,
        xLabel: 'epoch',
        yLabel: 'training loss',
        xDomain: [0, TRAINING.epochs],
        yDomain: [0, Math.max(...results.flatMap(({ losses }) => losses.map(([, loss]) => loss)))],
        series: results
          .filter((r) => r.kind === kind)
          .map(({ depth, losses }) => ({ name: `${depth} layers`, points: losses })),
      })),
    ),
    'Training loss over epochs: left, plain networks of 18 and 34 layers; right, residual ones',
  );
  page.add(
    table(
      ['network', 'parameters', 'training loss', 'training error', 'test error', 'gap'],
      results.map((r) => [`${r.kind}, ${r.depth} layers`, ...figures(r)]),
    ),
    'Loss and error of training are those of the last epoch, taken as it trained.',
    [
      holds(
        plain34.trainLoss > plain18.trainLoss,
        `The plain network of 34 layers fits its training images worse than the one of 18: ${plain34.trainLoss.toFixed(3)} against ${plain18.trainLoss.toFixed(3)}. That is not overfitting, for it is the training loss, and not the class, which has room for all that 18 layers can do: it is the search.`,
      ),
      holds(
        Math.max(residual18.trainLoss, residual34.trainLoss) < plain18.trainLoss,
        `With shortcuts both are ahead of both plain ones: ${residual18.trainLoss.toFixed(3)} with 18 layers, ${residual34.trainLoss.toFixed(3)} with 34.`,
      ),
      holds(
        residual34.trainLoss - residual18.trainLoss < (plain34.trainLoss - plain18.trainLoss) / 4 &&
          residual34.trainLoss > residual18.trainLoss,
        `The deeper one is no better, and a trace behind, after ${TRAINING.epochs} epochs of ${Math.ceil(SLICE.train / TRAINING.batchSize)} steps, though its class holds the other’s functions, as the next section shows: shortcuts make the search easier, not perfect.`,
      ),
      holds(
        residual34.testError > residual18.testError - 0.026,
        `On the test images 34 layers gain nothing over 18 (${percent(residual34.testError)} and ${percent(residual18.testError)}; with ${grouped(SLICE.test)} images, differences of up to about 2.6 points are chance).`,
      ),
      'In the paper, with more than a million images and 600,000 steps, the deeper residual network is ahead in both: how much complexity pays depends on the data and on how long one trains.',
    ].join(' '),
    '## What nesting is: a new block that changes nothing',
    'A residual block whose last batch norm has weight 0 adds zero to its input, which a ReLU made and so passes the last ReLU unchanged. Put into a trained network, it gives a deeper one that starts as the same function: the smaller class lies within the larger one, in the place where training starts. Below, one block is put at the end of the second stage of the trained networks of 18 layers. Logits of the test images that stay the same by `Object.is`:',
    table(
      [
        'block',
        'its weights',
        'same, eval mode',
        'largest change',
        'same, training mode',
        'test error before',
        'after',
      ],
      inserted.map(([kind, start, same, most, before, after, trained]) => [
        kind,
        start,
        same,
        most,
        trained,
        before,
        after,
      ]),
    ),
    [
      holds(
        inserted[0][2] === inserted[0][6] && inserted[0][3] === '0' && inserted[2][3] !== '0',
        'A plain block with that weight at 0 gives zero for everything: the network gives all images the same logits, and guesses.',
      ),
      'It can be the identity all the same: with kernels that have a single 1 in the middle, and batch norms that undo their eps. But those are weights set by hand, far from where layers start, and they hold in eval mode only: in training mode batch norm takes the batch’s own mean and variance out, so that the weights would have to follow each batch.',
      '`resnet({ zeroInitResidual: true })` starts all blocks of a network as the first row’s.',
    ].join(' '),
    '## Is the better fit a better function? Ten layers, growing width',
    'Each class holds the one before (the new channels’ weights could be zero), and all have shortcuts. Same images, same training.',
  );
  page.picture(
    'widths',
    plot([
      {
        title: 'training loss',
        xLabel: 'epoch',
        yLabel: 'cross-entropy',
        xDomain: [0, TRAINING.epochs],
        series: widths.map(({ planes, losses }) => ({ name: `${planes} channels`, points: losses })),
      },
      {
        title: 'test error',
        xLabel: 'epoch',
        yLabel: 'share wrong',
        xDomain: [0, TRAINING.epochs],
        series: widths.map(({ planes, testErrors }) => ({
          name: `${planes} channels`,
          points: testErrors,
          dots: true,
        })),
      },
    ]),
    'Residual networks of ten layers and growing width: left, training loss; right, test error, over epochs',
  );
  const [narrow, , before, wide] = widths;
  const gap = (r) => r.testError - r.trainError;
  page.add(
    table(
      ['channels of the first stage', 'parameters', 'training loss', 'training error', 'test error', 'gap'],
      widths.map((r) => [r.planes, ...figures(r)]),
    ),
    [
      holds(
        widths.every((r, i) => i === 0 || r.trainLoss < widths[i - 1].trainLoss),
        `With every step the training loss falls, from ${narrow.trainLoss.toFixed(3)} to ${wide.trainLoss.toFixed(3)}, as nesting allows.`,
      ),
      holds(
        gap(wide) > 1.5 * gap(narrow) && wide.testError < narrow.testError,
        `The test error follows only part of the way: while the training error falls by ${points(narrow.trainError - wide.trainError)} points it falls by ${points(narrow.testError - wide.testError)}, and the gap between them grows from ${points(gap(narrow))} points to ${points(gap(wide))}.`,
      ),
      holds(
        before.testError - wide.testError < 0.026 && before.trainError - wide.trainError > 0,
        `The last doubling multiplies parameters and work by four and gains ${points(before.testError - wide.testError)} points, less than ${grouped(SLICE.test)} test images can tell from chance.`,
      ),
      `${grouped(SLICE.train)} images say so much about the function that is looked for and no more: a larger class has more functions that agree on them and differ elsewhere. Here the widest network is not worse for it, as the classical picture of overfitting would have it; it is that complexity buys less and less once the training images are fitted.`,
    ].join(' '),
    'So complexity is limited from three sides: by the search, which shortcuts ease; by the data, which regularisation, augmentation and more images ease; and by what computing it costs, which grows with every block whether it helps or not.',
  );
  return page;
}
