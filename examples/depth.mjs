/** Exercise 2: the variants of Table 1 of He et al. 2016: counted at full size, trained thin. */
import { BasicBlock, Bottleneck, resnet, resnet18, resnet34, resnet50, resnet101, resnet152 } from 'atalho';
import { countMacs, countParameters, grouped } from './count.mjs';
import { holds, Page, table } from './page.mjs';
import { plot } from './plot.mjs';
import { inWords, percent, slice, train } from './training.mjs';

/** Table 1: blocks of each stage, and its last row, in 10⁹. */
const VARIANTS = [
  { depth: 18, make: resnet18, block: BasicBlock, layers: [2, 2, 2, 2], paper: 1.8 },
  { depth: 34, make: resnet34, block: BasicBlock, layers: [3, 4, 6, 3], paper: 3.6 },
  { depth: 50, make: resnet50, block: Bottleneck, layers: [3, 4, 6, 3], paper: 3.8 },
  { depth: 101, make: resnet101, block: Bottleneck, layers: [3, 4, 23, 3], paper: 7.6 },
  { depth: 152, make: resnet152, block: Bottleneck, layers: [3, 8, 36, 3], paper: 11.3 },
];
const IMAGE = [1, 3, 224, 224];
const SLICE = { train: 1024, test: 1000 };
const TRAINING = { epochs: 4, batchSize: 64, lr: 0.05, resize: 16, seed: 1 };
const THIN = { inChannels: 1, numClasses: 10, stem: '3x3', planes: 4 };

/** @param {import('atalho').Device} device */
export async function measure(device) {
  const data = await slice(SLICE);
  const rows = [];
  for (const { depth, make, block, layers, paper } of VARIANTS) {
    const count = (strideOn) => {
      const net = make({ device, strideOn });
      const found = { parameters: countParameters(net), macs: countMacs(net, IMAGE, device) };
      net.dispose();
      return found;
    };
    const { parameters, macs } = count('1x1');
    const later = block === Bottleneck ? count('3x3').macs : macs;
    const net = resnet({ ...THIN, device, seed: 1, block, layers });
    const thin = countParameters(net);
    const result = await train(`${depth} layers`, net, { ...data, ...TRAINING });
    net.dispose();
    rows.push({ depth, block: block.name, layers, paper, parameters, macs, later, thin, ...result });
  }
  return { rows };
}

/** @param {Awaited<ReturnType<typeof measure>>} found */
export function write({ rows }) {
  const giga = (macs) => (macs / 1e9).toFixed(2);
  const page = new Page('depth', 'Exercise 2: the variants of Table 1');
  page.add(
    '> Refer to Table 1 in the ResNet paper (He et al., 2016) to implement different variants.',
    '**The five networks differ in two things only: the kind of block and how many of them each of the four stages has.** The library has them by name, `resnet18` to `resnet152`, and `resnet({ block, layers })` makes any other:',
    table(
      ['layers', 'block', 'blocks of each stage', 'call'],
      rows.map(({ depth, block, layers }) => [
        depth,
        `\`${block}\``,
        layers.join(', '),
        `\`resnet({ block: ${block}, layers: [${layers.join(', ')}], device })\``,
      ]),
    ),
    'A basic block has two convolutions, a bottleneck three; with the stem and the linear layer that makes 2·8 + 2 = 18 layers, 3·16 + 2 = 50, and so on. The 1×1 convolutions of shortcuts are not counted.',
    '## Counted against the paper',
    "Multiply-adds of convolutions and linear layer, counted from the shapes of a forward pass on one image of 3×224×224, in 10⁹. The paper’s last row calls them FLOPs. Its bottlenecks stride on the first 1×1 (`strideOn: '1x1'`); torchvision’s, and the library’s by default, on the 3×3, which costs more.",
    table(
      [
        'layers',
        'parameters',
        'the paper’s row',
        'counted, stride on the 1×1',
        'counted / paper',
        'counted, stride on the 3×3',
      ],
      rows.map((r) => [
        r.depth,
        grouped(r.parameters),
        r.paper.toFixed(1),
        giga(r.macs),
        (r.macs / 1e9 / r.paper).toFixed(3),
        giga(r.later),
      ]),
    ),
    [
      holds(
        rows.every((r) => Math.abs(r.macs / 1e9 / r.paper - 1) < 0.03),
        'Every count agrees with the paper within 3 %.',
      ),
      holds(
        rows[2].macs < 1.1 * rows[1].macs && rows[4].macs < 15.3e9,
        `Fifty layers cost hardly more than 34, which is what the [bottleneck](bottleneck.md) is for, and 152 layers less than VGG-16’s 15.3 and VGG-19’s 19.6, as the paper has them.`,
      ),
    ].join(' '),
    '## Trained thin',
    `The same five with a sixteenth of the channels (${THIN.planes} in the first stage) and a 3×3 stem, on ${inWords(SLICE, TRAINING, TRAINING.lr)}.`,
  );
  const curves = (title, yLabel, value, dots) => ({
    title,
    xLabel: 'epoch',
    yLabel,
    xDomain: [0, TRAINING.epochs],
    series: rows.map((r) => ({ name: `${r.depth} layers`, points: r[value], dots })),
  });
  page.picture(
    'curves',
    plot([
      curves('training loss', 'cross-entropy', 'losses', false),
      curves('test error', 'share wrong', 'testErrors', true),
    ]),
    'Training loss and test error over epochs, 18 to 152 layers',
  );
  page.add(
    table(
      ['layers', 'parameters', 'training loss', 'training error', 'test error'],
      rows.map((r) => [r.depth, grouped(r.thin), r.trainLoss.toFixed(3), percent(r.trainError), percent(r.testError)]),
    ),
    [
      holds(
        rows.every((r) => r.trainLoss < 1 && r.trainLoss >= rows[0].trainLoss),
        `All five train, the one of 152 layers too: guessing has a loss of ${Math.log(10).toFixed(3)}. But the deeper ones are not ahead: ${rows[0].trainLoss.toFixed(3)} with 18 layers is the lowest training loss, and the lowest test error goes with it.`,
      ),
      holds(
        rows.every((r) => r.testError >= rows[0].testError),
        `${TRAINING.epochs * Math.ceil(SLICE.train / TRAINING.batchSize)} steps on ${grouped(SLICE.train)} small images are far too few for what depth gives: the paper’s networks had up to 600,000 steps on more than a million images, and there the error falls with every row of the table. A run of a minute can show that these networks train, not that they are better.`,
      ),
      'A plain network of 34 layers has trouble even with that: see [exercise 5](nested.md).',
    ].join(' '),
  );
  return page;
}
