/** `atalho train`: the chapter's train_ch6 with a progress bar, a run folder and checkpoints. */
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { isAddress } from '../../data/fashionMnist.js';
import { ArgumentError } from '../../errors.js';
import { classesOf, isClassFolders } from '../classFolders.js';
import { checkTogether, FIELD_NAMES, type TrainConfig } from '../config.js';
import { DEFAULT_DEVICE, deviceNames, type Threads } from '../devices.js';
import { fieldOption, threadsOption, wholeNumber } from '../options.js';
import { outliveReader } from '../output.js';
import { CHAPTER, CHAPTER_COMMAND, PRESETS } from '../presets.js';
import { RUNS, RunFolder, type RunSettings } from '../runFolder.js';
import { trainRun } from '../trainRun.js';

const DEFAULT_CHECKPOINT_EVERY = 50;

/** What commander hands over: only flags that were given are set. */
interface TrainFlags extends Partial<TrainConfig> {
  readonly preset?: string;
  readonly device?: string;
  readonly threads?: Threads;
  readonly data?: string;
  readonly out?: string;
  readonly resume?: string | true;
  readonly checkpointEvery?: number;
}

/** Where the images come from, as it still holds when the run goes on from another working folder. */
function absoluteSource(data: string | null): string | null {
  return data === null || isAddress(data) ? data : resolve(data);
}

/** The same of a file; '' for none. */
const absoluteFile = (path: string): string => (path === '' ? '' : resolve(path));

/** The folder of a new run, locked, with its settings. */
async function beginRun(flags: TrainFlags): Promise<RunFolder> {
  const asked = Object.fromEntries(FIELD_NAMES.filter((name) => flags[name] !== undefined).map((n) => [n, flags[n]]));
  const base = flags.preset === undefined ? CHAPTER : PRESETS[flags.preset].config;
  const data = absoluteSource(flags.data ?? null);
  const own = isClassFolders(data) ? { classes: await classesOf(data) } : {};
  const given: TrainConfig = { ...base, ...('classes' in own && { channels: 3 }), ...asked };
  const config = { ...given, weights: absoluteFile(given.weights) };
  checkTogether(config);
  const { device = DEFAULT_DEVICE, checkpointEvery = DEFAULT_CHECKPOINT_EVERY, out = null } = flags;
  return RunFolder.create(out, flags.preset ?? config.model, {
    config,
    device,
    data,
    ...own,
    checkpointEvery,
  });
}

/** The settings under which an earlier run goes on. Flags may say how it is carried out, not what it computes. */
function settingsToResume(run: RunFolder, flags: TrainFlags): RunSettings {
  if (flags.out !== undefined) throw new ArgumentError('--out with --resume: a run goes on in its own folder');
  const { settings } = run;
  const asked: Partial<TrainConfig> =
    flags.preset === undefined ? flags : { ...PRESETS[flags.preset].config, ...flags };
  for (const name of FIELD_NAMES) {
    const has = settings.config[name];
    const got = name === 'weights' && asked.weights !== undefined ? absoluteFile(asked.weights) : asked[name];
    if (got === undefined || got === has) continue;
    throw new ArgumentError(`${run.path} was begun with ${name} ${has ?? 'not set'}; it cannot go on with ${got}`);
  }
  const { device = settings.device, data = settings.data, checkpointEvery = settings.checkpointEvery } = flags;
  return { config: settings.config, device, data, classes: settings.classes, checkpointEvery };
}

async function train(flags: TrainFlags): Promise<void> {
  outliveReader();
  const resuming = flags.resume !== undefined;
  let run: RunFolder;
  if (!resuming) run = await beginRun(flags);
  else {
    run = flags.resume === true ? RunFolder.latest() : RunFolder.open(flags.resume as string);
    run.lock();
  }
  try {
    await trainRun(run, resuming ? settingsToResume(run, flags) : run.settings, resuming, flags.threads);
  } catch (error) {
    if (!resuming && !run.begun) run.abandon();
    throw error;
  } finally {
    run.unlock();
  }
}

export function trainCommand(): Command {
  const command = new Command('train')
    .description(
      "Trains a network on Fashion-MNIST, or on folders of pictures, as the chapter's train_ch6 does. Defaults are the chapter's recipe. Same options, same weights, bit for bit, on every machine.",
    )
    .addOption(
      new Option('--preset <name>', 'start from a preset; other flags change it').choices(Object.keys(PRESETS)),
    );
  for (const name of FIELD_NAMES) command.addOption(fieldOption(name, String(CHAPTER[name] ?? 'all') || 'none'));
  return command
    .addOption(
      new Option(
        '--device <name>',
        `where to compute; a GPU's bits are its own, all others' the same (default: ${DEFAULT_DEVICE})`,
      ).choices(deviceNames),
    )
    .addOption(threadsOption())
    .option(
      '--data <source>',
      "folder or http(s) address of Fashion-MNIST's four files, or folder with train/CLASS/*.png and test/CLASS/*.png (default: Fashion-MNIST of the clone, or a download)",
    )
    .option('--out <folder>', `run folder (default: a new one in ${RUNS}/)`)
    .option('--resume [run]', `go on with an interrupted run, by default the last one in ${RUNS}/`)
    .option(
      '--checkpoint-every <steps>',
      `steps from one checkpoint to the next (default: ${DEFAULT_CHECKPOINT_EVERY})`,
      wholeNumber,
    )
    .addHelpText('after', `\nThe chapter's recipe: ${CHAPTER_COMMAND}`)
    .action(train);
}
