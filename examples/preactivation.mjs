/** Exercise 4: activation before the convolutions, He et al. 2016b: training curves, and how gradients reach the first blocks. */
import { BasicBlock, crossEntropy, grad, PreactBasicBlock, preactResnet, resnet, tensor } from 'atalho';
import { batches } from 'atalho/data';
import { countParameters, grouped } from './count.mjs';
import { holds, Page, table } from './page.mjs';
import { plot } from './plot.mjs';
import { inWords, percent, slice, train } from './training.mjs';

const SLICE = { train: 1024, test: 1000 };
const TRAINING = { epochs: 6, batchSize: 64, resize: 16, seed: 1 };
const RATES = [0.05, 0.2];
/** Three stages of seven blocks: 44 layers, as one of the paper's networks for CIFAR. */
const NET = { inChannels: 1, numClasses: 10, planes: 8, stem: '3x3', shortcut: 'zeroPad', layers: [7, 7, 7] };
const KINDS = {
  'post-activation': (o) => resnet({ ...NET, ...o, block: BasicBlock }),
  'pre-activation': (o) => preactResnet({ ...NET, ...o, block: PreactBasicBlock }),
};

/**
 * The root mean square of the loss's gradient with respect to the input of each block, and behind the last one.
 * @returns {Promise<[number, number][]>} blocks passed, and the number
 */
async function gradientByDepth(net, dataset, device) {
  const { value: batch } = await batches(dataset, {
    batchSize: 128,
    resize: TRAINING.resize,
    prefetch: 'inline',
  }).next();
  const blocks = NET.layers.reduce((a, b) => a + b);
  return device.scope(() => {
    let x = tensor(batch.images, batch.shape, { device });
    const between = [];
    for (const [name, layer] of net.children()) {
      if (name.startsWith('layer')) {
        for (const block of layer) {
          between.push(x);
          x = block.forward(x);
        }
        continue;
      }
      // The first layer behind the blocks: the last batch norm of the one network, the pooling of the other.
      if (between.length === blocks) between.push(x);
      x = layer.forward(x);
    }
    return grad(crossEntropy(x, batch.labels), between).map((g, i) => {
      const values = g.dataSync();
      return [i, Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length)];
    });
  });
}

/** @param {import('atalho').Device} device */
export async function measure(device) {
  const data = await slice(SLICE);
  const results = [];
  const gradients = [];
  for (const lr of RATES) {
    for (const [name, make] of Object.entries(KINDS)) {
      const net = make({ device, seed: 1 });
      const watched = lr === RATES[0];
      // The running statistics that this moves have no part in training, and 96 steps later none in testing.
      const fresh = watched ? await gradientByDepth(net, data.trainData, device) : null;
      const result = await train(`${name}, learning rate ${lr}`, net, { ...data, ...TRAINING, lr });
      results.push({ name, lr, parameters: countParameters(net), ...result });
      if (watched) gradients.push({ name, fresh, trained: await gradientByDepth(net, data.trainData, device) });
      net.dispose();
    }
  }
  return { results, gradients };
}

/** @param {Awaited<ReturnType<typeof measure>>} found */
export function write({ results, gradients }) {
  const [post, pre, fastPost, fastPre] = results;
  const depth = 2 * NET.layers.reduce((a, b) => a + b) + 2;
  const page = new Page('preactivation', 'Exercise 4: activation before the convolutions');
  page.add(
    '> In later versions of ResNet, the authors changed the “convolution, batch normalization, activation” structure to “batch normalization, activation, convolution”. Make this improvement yourself. See Figure 1 in He et al. (2016b).',
    'The library has it: `PreactBasicBlock` and `PreactBottleneck`, `preactResnet18` to `preactResnet152`, and `preactResnet({ block, layers })`. **What changes is the shortcut: with the activation inside the branch, nothing stands between one addition and the next, so the sum of all branches runs through a stage untouched, and so does the gradient on its way back.** In the first version a ReLU follows each addition.',
    `Two networks of ${depth} layers, alike but for the block: three stages of ${NET.layers[0]} basic blocks with ${[1, 2, 4].map((k) => k * NET.planes).join(', ')} channels, shortcuts without parameters. Both trained on ${inWords(SLICE, TRAINING, RATES.join(' or '))}.`,
    '## Training curves',
  );
  page.picture(
    'curves',
    plot(
      RATES.map((rate) => ({
        title: `learning rate from ${rate}`,
        xLabel: 'epoch',
        yLabel: 'training loss',
        xDomain: [0, TRAINING.epochs],
        yDomain: [0, Math.max(...results.flatMap(({ losses }) => losses.map(([, loss]) => loss)))],
        series: results.filter(({ lr }) => lr === rate).map(({ name, losses }) => ({ name, points: losses })),
      })),
    ),
    `Training loss over epochs, post-activation and pre-activation, at learning rates ${RATES.join(' and ')}`,
  );
  page.add(
    table(
      ['network', 'learning rate', 'parameters', 'training loss', 'training error', 'test error'],
      results.map((r) => [
        r.name,
        r.lr,
        grouped(r.parameters),
        r.trainLoss.toFixed(3),
        percent(r.trainError),
        percent(r.testError),
      ]),
    ),
    [
      holds(
        post.trainLoss < pre.trainLoss && post.testError < pre.testError,
        `At the lower rate the first version learns faster: ${post.trainLoss.toFixed(3)} against ${pre.trainLoss.toFixed(3)} at the end.`,
      ),
      holds(
        fastPost.trainLoss > 2 && fastPre.trainLoss < 1 && fastPre.trainLoss < pre.trainLoss,
        `At the higher one it starts at losses far above the ${Math.log(10).toFixed(1)} of guessing, and hardly learns (${fastPost.trainLoss.toFixed(3)}); pre-activation starts smoothly at both, and gets better (${fastPre.trainLoss.toFixed(3)}).`,
      ),
      holds(
        post.trainLoss < fastPre.trainLoss,
        `So on this slice pre-activation is easier to start, not better: with its better rate the first version is ahead.`,
      ),
      'That is not what the paper found, nor does it contradict it. There 50,000 images were trained on for some 160 epochs, and on CIFAR-10 the error went from 6.61 % to 6.37 % with 110 layers, and from 7.61 % to 4.92 % with 1001: the gain comes with depths far beyond this page’s.',
    ].join(' '),
    '## Gradients by depth',
    `The gradient of the loss with respect to what goes into each block: root mean square of its elements, for the first 128 training images in training mode, at the lower learning rate. Block 0 is the one behind the stem; the last point is what leaves the last block.`,
  );
  const sizes = gradients.flatMap(({ fresh, trained }) => [...fresh, ...trained].map(([, size]) => size));
  page.picture(
    'gradients',
    plot(
      ['fresh', 'trained'].map((when) => ({
        title: when === 'fresh' ? 'before training' : 'after training',
        xLabel: 'block',
        yLabel: 'gradient, root mean square',
        log: true,
        yDomain: [Math.min(...sizes), Math.max(...sizes)],
        series: gradients.map((g) => ({ name: g.name, points: g[when], dots: true })),
      })),
    ),
    'Root mean square of the gradient at the input of each block, before and after training',
  );
  const perStage = NET.layers[0];
  const growth = (g) => g.fresh[1][1] / g.fresh[perStage][1];
  const [postGradients, preGradients] = gradients;
  page.add(
    [
      holds(
        gradients.every(
          ({ fresh, trained }) => fresh[1][1] > fresh[perStage][1] && trained[1][1] > trained[perStage][1],
        ),
        `In neither network does the gradient vanish on its way to the first blocks. Within a stage it grows: each shortcut hands it on, and each branch adds its part. From the end of the first stage to the input of block 1, before training, ${growth(postGradients).toFixed(1)} times in the first version and ${growth(preGradients).toFixed(1)} times with pre-activation.`,
      ),
      holds(
        preGradients.fresh[perStage][1] < postGradients.fresh[perStage][1] &&
          preGradients.trained[perStage][1] < postGradients.trained[perStage][1],
        'With pre-activation it is the smaller of the two almost everywhere: nothing normalises the sum between the blocks, which grows with every branch, and the batch norms that read it divide by that. A change of a weight then moves the result less, which fits both curves above: slower at the same rate, stable at a higher one.',
      ),
      'The steps are where a block changes the shape: there the maps become smaller, and with pre-activation the shortcut too is normalised. Block 0 of the pre-activation network reads the raw convolution of the stem, whose small values its batch norm scales up, and the gradient with them.',
    ].join(' '),
  );
  return page;
}
