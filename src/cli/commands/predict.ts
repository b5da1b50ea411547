/** `atalho predict`: what a run's network takes pictures for. */
import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { fashionMnistClasses } from '../../data/fashionMnist.js';
import { resizeBilinear } from '../../data/resize.js';
import { FormatError } from '../../errors.js';
import { exp } from '../../math.js';
import { predictLogits } from '../../train/evaluate.js';
import { DEFAULT_DEVICE, deviceNames } from '../devices.js';
import { decodeImage, toGray } from '../images.js';
import { attempt } from '../report.js';
import { RunFolder } from '../runFolder.js';
import { loadTrained, print } from '../session.js';

const SHOWN = 3;

/** Gray pixels in [0, 1], `size` × `size`, as in training. */
function readImage(path: string, size: number): Float32Array {
  const bytes = attempt(`read ${path}`, () => readFileSync(path));
  try {
    const { data, height, width } = toGray(decodeImage(bytes));
    return Float32Array.from(resizeBilinear(data, height, width, size, size), (value) => value / 255);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new FormatError(`${path}: ${error.message}`, { cause: error });
  }
}

function softmax(logits: ArrayLike<number>): number[] {
  const values = Array.from(logits);
  const most = Math.max(...values);
  const powers = values.map((value) => exp(value - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

async function predict(path: string, images: readonly string[], { device }: { device: string }): Promise<void> {
  const run = RunFolder.open(path);
  const { resize } = run.settings.config;
  // Before the network is loaded, so that a bad file is told at once.
  const pixels = images.map((image) => readImage(image, resize));
  const { model } = await loadTrained(run, device);
  for (const [i, image] of images.entries()) {
    const shares = softmax(await predictLogits(model, pixels[i], [1, 1, resize, resize]));
    const ranked = shares
      .map((share, c) => ({ share, label: fashionMnistClasses[c] }))
      .sort((a, b) => b.share - a.share);
    const best = ranked.slice(0, SHOWN).map(({ share, label }) => `${label} ${share.toFixed(3)}`);
    print(`${image}: ${best.join(', ')}`);
  }
}

export function predictCommand(): Command {
  return new Command('predict')
    .description("Names what pictures show: the three likeliest classes, with their probabilities, by a run's network.")
    .argument('<run>', 'run folder')
    .argument('<image...>', 'PNG or JPEG files, gray or colour')
    .addOption(new Option('--device <name>', 'where to compute').choices(deviceNames).default(DEFAULT_DEVICE))
    .addHelpText(
      'after',
      '\nPictures are made gray and brought to the size of training. Fashion-MNIST shows one piece of clothing, white on\nblack: a photograph of dark clothes on a light ground wants its colours inverted first.',
    )
    .action(predict);
}
