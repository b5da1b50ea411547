/** Exercise 3: the bottleneck block: what it costs and gives beside the basic block. */
import { BasicBlock, Bottleneck, Generator, resnet } from 'atalho';
import { countMacs, countParameters, grouped } from './count.mjs';
import { holds, Page, table } from './page.mjs';
import { plot } from './plot.mjs';
import { inWords, percent, slice, train } from './training.mjs';

const EXTENT = 56;
const SLICE = { train: 1024, test: 1000 };
const TRAINING = { epochs: 6, batchSize: 64, lr: 0.05, resize: 16, seed: 1 };
const THIN = { inChannels: 1, numClasses: 10, stem: '3x3', strideOn: '1x1', layers: [3, 4, 6, 3], planes: 8 };

/** A block by itself: name, channels, layers, parameters, millions of multiply-adds. */
function blockRow(name, block, channels, device) {
  const one = new block(channels, channels / block.expansion, { device, generator: new Generator(1) });
  const macs = countMacs(one, [1, channels, EXTENT, EXTENT], device);
  const row = { name, channels, layers: block === Bottleneck ? 3 : 2, parameters: countParameters(one), macs };
  one.dispose();
  return row;
}

/** @param {import('atalho').Device} device */
export async function measure(device) {
  const blocks = [
    blockRow('basic: 3×3, 3×3', BasicBlock, 64, device),
    blockRow('bottleneck: 1×1, 3×3, 1×1', Bottleneck, 256, device),
    blockRow('basic: 3×3, 3×3', BasicBlock, 256, device),
  ];
  const data = await slice(SLICE);
  const results = [];
  for (const [name, block, layers] of [
    ['basic blocks', BasicBlock, 34],
    ['bottlenecks', Bottleneck, 50],
  ]) {
    const net = resnet({ ...THIN, device, seed: 1, block });
    const macs = countMacs(net, [1, 1, TRAINING.resize, TRAINING.resize], device);
    const result = await train(name, net, { ...data, ...TRAINING });
    results.push({ name, layers, parameters: countParameters(net), macs, ...result });
    net.dispose();
  }
  return { blocks, results };
}

/** @param {Awaited<ReturnType<typeof measure>>} found */
export function write({ blocks, results }) {
  const [narrow, bottleneck, wide] = blocks;
  const [basic, deep] = results;

  const page = new Page('bottleneck', 'Exercise 3: the bottleneck');
  page.add(
    '> For deeper networks, ResNet introduces a bottleneck architecture to reduce model complexity. Try to implement it.',
    'The library has it: `Bottleneck`, in `resnet50` and deeper, or in `resnet({ block: Bottleneck, layers })` for networks of one’s own. **A 1×1 convolution narrows the maps to a quarter of their channels, the 3×3 works on those, a second 1×1 widens them again. Three layers on four times the channels cost what a basic block costs on a quarter of them.**',
    '## One block',
    `As He et al. 2016, Figure 5: maps of ${EXTENT}×${EXTENT}. Parameters with batch norm’s; millions of multiply-adds (MMAC) of the convolutions for one image.`,
    table(
      ['block', 'channels of its input and result', 'layers', 'parameters', 'MMAC'],
      blocks.map((b) => [b.name, b.channels, b.layers, grouped(b.parameters), (b.macs / 1e6).toFixed(1)]),
    ),
    holds(
      bottleneck.macs < narrow.macs && wide.macs > 15 * bottleneck.macs,
      `The bottleneck on 256 channels costs ${(bottleneck.macs / narrow.macs).toFixed(2)} times the multiply-adds of the basic block on 64; a basic block on 256 channels would cost ${(wide.macs / bottleneck.macs).toFixed(1)} times the bottleneck’s. The count says why: with C channels two 3×3 convolutions have 2·9·C² = 18·C² weights, the bottleneck C²/4 + 9·C²/16 + C²/4 = 17/16·C².`,
    ),
    '## Two thin networks of the same budget',
    `The paper’s own pair, with an eighth of its channels: stages of 3, 4, 6 and 3 blocks, once basic blocks (34 layers), once bottlenecks (50 layers, four times the channels between blocks). Trained on ${inWords(SLICE, TRAINING, TRAINING.lr)}.`,
  );
  page.picture(
    'curves',
    plot([
      {
        title: 'training loss',
        xLabel: 'epoch',
        yLabel: 'cross-entropy',
        xDomain: [0, TRAINING.epochs],
        series: results.map(({ name, losses }) => ({ name, points: losses })),
      },
      {
        title: 'test error',
        xLabel: 'epoch',
        yLabel: 'share wrong',
        xDomain: [0, TRAINING.epochs],
        series: results.map(({ name, testErrors }) => ({ name, points: testErrors, dots: true })),
      },
    ]),
    'Training loss and test error over epochs, basic blocks and bottlenecks',
  );
  page.add(
    table(
      ['network', 'layers', 'parameters', 'MMAC', 'training loss', 'training error', 'test error'],
      results.map((r) => [
        r.name,
        r.layers,
        grouped(r.parameters),
        (r.macs / 1e6).toFixed(2),
        r.trainLoss.toFixed(3),
        percent(r.trainError),
        percent(r.testError),
      ]),
    ),
    [
      holds(
        deep.macs < 1.1 * basic.macs,
        `Bottlenecks bring ${deep.layers - basic.layers} layers more for ${(deep.macs / basic.macs).toFixed(2)} times the multiply-adds and ${(deep.parameters / basic.parameters).toFixed(2)} times the parameters.`,
      ),
      holds(
        deep.trainLoss > basic.trainLoss && deep.testError > basic.testError,
        `What the depth is for does not show here: after ${TRAINING.epochs * Math.ceil(SLICE.train / TRAINING.batchSize)} steps the deeper network is still behind on its training images too (${deep.trainLoss.toFixed(3)} against ${basic.trainLoss.toFixed(3)}), so it has not been trained long enough to say. In the paper, trained to the end on ImageNet, the step from 34 layers to 50 takes the top-1 error from 24.5 % to 22.9 % (Table 3).`,
      ),
    ].join(' '),
  );
  return page;
}
