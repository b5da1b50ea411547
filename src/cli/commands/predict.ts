/** `atalho predict`: what a run's network takes pictures for. */
import { Command, Option } from 'commander';
import { fashionMnistClasses } from '../../data/fashionMnist.js';
import { BatchMaker } from '../../data/prepare.js';
import { FormatError } from '../../errors.js';
import { readFileBounded } from '../../io/readFile.js';
import { softmax } from '../../ops/softmax.js';
import { tensor } from '../../tensor.js';
import { predictLogits } from '../../train/evaluate.js';
import { DEFAULT_DEVICE, deviceNames, type Threads } from '../devices.js';
import { attempt } from '../errors.js';
import { decodeImage, MAX_FILE_BYTES, toGray } from '../images.js';
import { threadsOption } from '../options.js';
import { print } from '../output.js';
import { RunFolder } from '../runFolder.js';
import { loadTrained } from '../runParts.js';

const SHOWN = 3;

/** Gray pixels in [0, 1], `size` × `size`, as in training. */
function readImage(path: string, size: number): Float32Array {
  const bytes = attempt(`read ${path}`, () => readFileBounded(path, MAX_FILE_BYTES));
  try {
    const { data, height, width } = toGray(decodeImage(bytes));
    const geometry = { channels: 1, height, width, outHeight: size, outWidth: size };
    return new BatchMaker(data, geometry).make(Int32Array.of(0));
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new FormatError(`${path}: ${error.message}`, { cause: error });
  }
}

async function predict(
  path: string,
  images: readonly string[],
  { device: deviceName, threads }: { device: string; threads?: Threads },
): Promise<void> {
  const run = RunFolder.open(path);
  const { resize } = run.settings.config;
  // Before the network is loaded, so that a bad file is told at once.
  const pixels = images.map((image) => readImage(image, resize));
  const { model, device } = await loadTrained(run, deviceName, threads);
  for (const [i, image] of images.entries()) {
    const logits = Array.from(await predictLogits(model, pixels[i], [1, 1, resize, resize]));
    const shares = device.scope(() => softmax(tensor(logits, { device })));
    const ranked = Array.from((await shares.data()) as Float32Array)
      .map((share, c) => ({ share, label: fashionMnistClasses[c] }))
      .sort((a, b) => b.share - a.share);
    shares.dispose();
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
    .addOption(threadsOption())
    .addHelpText(
      'after',
      '\nPictures are made gray and brought to the size of training. Fashion-MNIST shows one piece of clothing, white on\nblack: a photograph of dark clothes on a light ground wants its colours inverted first.',
    )
    .action(predict);
}
