/** `atalho predict`: what a run's network, or one with weights from a file, takes pictures for. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { fashionMnistClasses } from '../../data/fashionMnist.js';
import { imagenetNormalization } from '../../data/normalize.js';
import { BatchMaker } from '../../data/prepare.js';
import { preprocess } from '../../data/preprocess.js';
import { ArgumentError, FormatError } from '../../errors.js';
import type { Module } from '../../nn/module.js';
import { softmax } from '../../ops/softmax.js';
import type { Shape } from '../../shape.js';
import { tensor } from '../../tensor.js';
import { deviceOf, predictLogits } from '../../train/predict.js';
import { DEFAULT_DEVICE, deviceNames, makeDevice } from '../devices.js';
import { usePicture } from '../images.js';
import { readLabels } from '../labels.js';
import { makeModel } from '../models.js';
import { normalizationOf } from '../normalization.js';
import { bestOption, threadsOption, wholeNumber } from '../options.js';
import { print } from '../output.js';
import { RunFolder, type RunSettings } from '../runFolder.js';
import { loadTrained, type TrainedFlags } from '../runParts.js';
import { loadWeights, readWeights, sizesOf } from '../weights.js';

/** Classes that are shown: of a run, and of a network with weights from a file. */
const SHOWN = 3;
const SHOWN_OF_MODEL = 5;

const DEFAULT_RESIZE = 256;
const DEFAULT_CROP = 224;

interface PredictFlags extends TrainedFlags {
  readonly model?: string;
  readonly weights?: string;
  readonly labels?: string;
  readonly resize?: number;
  readonly crop?: number;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
}

/** Flags that say something only beside --model. */
const OF_MODEL = ['weights', 'labels', 'resize', 'crop', 'mean', 'std'] as const;

interface Picture {
  readonly path: string;
  readonly pixels: Float32Array;
  /** `[1, C, H, W]` */
  readonly shape: Shape;
}

/** Brought to the size of training, and normalised, as there. */
function asInTraining(path: string, { config, classes }: RunSettings): Picture {
  const { resize: size } = config;
  const channels = config.channels as 1 | 3;
  return usePicture(path, channels, (image) => {
    const { data, height, width } = image;
    const shape = [1, channels, size, size];
    const normalization = normalizationOf(config);
    if (classes !== undefined) {
      return {
        path,
        pixels: preprocess(image, { resize: size, crop: size, normalization: normalization ?? null }),
        shape,
      };
    }
    const recipe = { channels, height, width, outHeight: size, outWidth: size, normalization };
    return { path, pixels: new BatchMaker(data, recipe).make(Int32Array.of(0)), shape };
  });
}

/** As torchvision's presets prepare pictures for networks that were trained on ImageNet. */
function asForImagenet(path: string, channels: 1 | 3, flags: PredictFlags): Picture {
  const { resize = DEFAULT_RESIZE, crop = DEFAULT_CROP } = flags;
  const base = channels === 3 ? imagenetNormalization : { mean: [0], std: [1] };
  const normalization = { mean: flags.mean ?? base.mean, std: flags.std ?? base.std };
  return usePicture(path, channels, (image) => {
    return { path, pixels: preprocess(image, { resize, crop, normalization }), shape: [1, channels, crop, crop] };
  });
}

/** Prints a line a picture: the likeliest classes with their probabilities. */
async function rank(
  model: Module,
  pictures: readonly Picture[],
  labels: readonly string[],
  shown: number,
): Promise<void> {
  const device = deviceOf(model);
  for (const { path, pixels, shape } of pictures) {
    const logits = Array.from(await predictLogits(model, pixels, shape));
    const shares = device.scope(() => softmax(tensor(logits, { device })));
    const ranked = Array.from((await shares.data()) as Float32Array)
      .map((share, c) => ({ share, label: labels[c] }))
      .sort((a, b) => b.share - a.share);
    shares.dispose();
    const best = ranked.slice(0, shown).map(({ share, label }) => `${label} ${share.toFixed(3)}`);
    print(`${path}: ${best.join(', ')}`);
  }
}

async function predictWithRun(path: string, images: readonly string[], flags: PredictFlags): Promise<void> {
  for (const flag of OF_MODEL) {
    if (flags[flag] !== undefined) throw new ArgumentError(`--${flag} without --model; want both, or a run alone`);
  }
  const run = RunFolder.open(path);
  if (images.length === 0) throw new ArgumentError(`predict: no picture after the run ${path}; want at least one`);
  // Before the network is loaded, so that a bad file is told at once.
  const pictures = images.map((image) => asInTraining(image, run.settings));
  const { model } = await loadTrained(run, flags);
  await rank(model, pictures, run.settings.classes ?? fashionMnistClasses, SHOWN);
}

async function predictWithModel(name: string, images: readonly string[], flags: PredictFlags): Promise<void> {
  const { weights: file, labels: labelFile } = flags;
  if (flags.best) throw new ArgumentError('--best with --model; want it with a run');
  if (file === undefined) throw new ArgumentError('--model without --weights; want the file of its weights');
  const weights = readWeights(file);
  const { inChannels, numClasses } = sizesOf(file, weights);
  if (inChannels !== 1 && inChannels !== 3) {
    throw new FormatError(`${file}: weights are for images of ${inChannels} channels; want 1 or 3`);
  }
  const labels =
    labelFile === undefined
      ? Array.from({ length: numClasses }, (_, i) => `class ${i}`)
      : readLabels(labelFile, numClasses);
  const pictures = images.map((image) => asForImagenet(image, inChannels, flags));
  const device = await makeDevice(flags.device, flags.threads);
  const options = { device, initWeights: false, inChannels, numClasses };
  const model = makeModel(name, options);
  loadWeights(model, file, weights);
  await rank(model, pictures, labels, SHOWN_OF_MODEL);
}

async function predict([first, ...rest]: readonly string[], flags: PredictFlags): Promise<void> {
  if (flags.model !== undefined) await predictWithModel(flags.model, [first, ...rest], flags);
  else await predictWithRun(first, rest, flags);
}

function numberList(text: string): number[] {
  const values = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if (!values.every(Number.isFinite)) throw new InvalidArgumentError('Want numbers, such as 0.485,0.456,0.406.');
  return values;
}

export function predictCommand(): Command {
  return new Command('predict')
    .description(
      'Names what pictures show: the likeliest classes, with their probabilities, by the network of a run or by one with weights from a file.',
    )
    .usage('[options] <run> <image...>\n       atalho predict --model <name> --weights <file> [options] <image...>')
    .argument('<path...>', 'run folder (without --model), then PNG or JPEG files, gray or colour')
    .addOption(bestOption())
    .option('--model <name>', 'network, in the place of a run; a name that `atalho summary` lists')
    .option('--weights <file>', 'its weights: .safetensors, or a .pth that holds a state dict')
    .option('--labels <file>', "names of its classes: one a line, or JSON (default: the classes' numbers)")
    .option('--resize <pixels>', `shorter side of the pictures first (default: ${DEFAULT_RESIZE})`, wholeNumber)
    .option('--crop <pixels>', `height and width cut from the centre then (default: ${DEFAULT_CROP})`, wholeNumber)
    .option('--mean <list>', "mean of the channels that is subtracted (default: ImageNet's, gray: 0)", numberList)
    .option('--std <list>', "deviation of the channels that is divided by (default: ImageNet's, gray: 1)", numberList)
    .addOption(new Option('--device <name>', 'where to compute').choices(deviceNames).default(DEFAULT_DEVICE))
    .addOption(threadsOption())
    .addHelpText(
      'after',
      "\nFor a run pictures are brought to the size of training, and made gray for Fashion-MNIST. Fashion-MNIST shows one piece of clothing, white\non black: a photograph of dark clothes on a light ground wants its colours inverted first. For --model they are prepared\nas torchvision's presets do: the shorter side resized, the centre cut out, the channels normalised.",
    )
    .action(predict);
}
