/** `atalho eval`: the test accuracy of a run's newest checkpoint. */
import { Command, Option } from 'commander';
import { evaluateAccuracy } from '../../train/evaluate.js';
import { hashWeights } from '../../train/hash.js';
import { DEFAULT_DEVICE, deviceNames } from '../devices.js';
import { normalizationOf } from '../normalization.js';
import { bestOption, fieldOption, threadsOption } from '../options.js';
import { print } from '../output.js';
import { RunFolder } from '../runFolder.js';
import { loadImages, loadTrained, type TrainedFlags } from '../runParts.js';

interface EvalFlags extends TrainedFlags {
  readonly testLimit?: number;
  readonly data?: string;
}

async function evaluate(path: string, { testLimit, data, ...flags }: EvalFlags): Promise<void> {
  const run = RunFolder.open(path);
  const { config } = run.settings;
  const settings = { ...run.settings, data: data ?? run.settings.data };
  const { model } = await loadTrained(run, flags);
  const images = await loadImages('test', settings, testLimit ?? config.testLimit);
  const { batchSize, resize } = config;
  const accuracy = await evaluateAccuracy(model, images, { batchSize, resize, normalization: normalizationOf(config) });
  print(`test acc ${(accuracy ?? 0).toFixed(3)} on ${images.shape[0]} images`);
  print(`sha256 of the weights: ${await hashWeights(model)}`);
}

export function evalCommand(): Command {
  return new Command('eval')
    .description('Tests the newest checkpoint of a run on the test images.')
    .argument('<run>', 'run folder')
    .addOption(bestOption())
    .addOption(fieldOption('testLimit', 'as in training'))
    .addOption(new Option('--device <name>', 'where to compute').choices(deviceNames).default(DEFAULT_DEVICE))
    .addOption(threadsOption())
    .option(
      '--data <source>',
      "folder or http(s) address of Fashion-MNIST's four files, or folder with test/CLASS/*.png",
    )
    .action(evaluate);
}
