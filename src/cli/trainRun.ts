/** Carries out a training run in its folder: resuming, checkpoints, metrics, curves, the chapter's last lines. */
import { basename } from 'node:path';
import { countBatches } from '../data/loader.js';
import type { Device } from '../device/device.js';
import { ArgumentError, AtalhoError } from '../errors.js';
import { writeSafetensors } from '../io/safetensors.js';
import { Generator } from '../random.js';
import { encodeCheckpoint, type RunConfig, restoreCheckpoint } from '../train/checkpoint.js';
import { freeze } from '../train/freeze.js';
import { hashWeights } from '../train/hash.js';
import { finiteState } from '../train/nonFinite.js';
import { bestPoint, type HistoryPoint } from '../train/state.js';
import { Trainer } from '../train/trainer.js';
import { hashImages } from './classFolders.js';
import { FIELD_NAMES, type TrainConfig, withAbsentOptions } from './config.js';
import { curvesSvg } from './curves.js';
import { describeDevice, makeDevice, type Threads } from './devices.js';
import { INTERRUPTED_EXIT_CODE, listenForInterrupt } from './interrupt.js';
import { makeModel } from './models.js';
import { normalizationOf } from './normalization.js';
import { print, warn } from './output.js';
import { CHAPTER, CHAPTER_COMMAND, PRESETS, type Presets } from './presets.js';
import { Progress } from './progress.js';
import { makeOptimizer, makeSchedule } from './recipe.js';
import type { RunFolder, RunSettings } from './runFolder.js';
import { augmentationOf, BEST, loadImages, sizesOfData } from './runParts.js';
import { VERSION, WRITER } from './version.js';
import { loadFitting, readWeights } from './weights.js';

const DIFFERENT_EXIT_CODE = 1;

const sameConfig = (a: TrainConfig, b: TrainConfig): boolean => FIELD_NAMES.every((name) => a[name] === b[name]);

/** "loss 0.012, train acc 0.997, test acc 0.893": the chapter's line. */
function summary({ trainLoss, trainAcc, testAcc }: HistoryPoint): string {
  return `loss ${trainLoss.toFixed(3)}, train acc ${trainAcc.toFixed(3)}, test acc ${(testAcc ?? 0).toFixed(3)}`;
}

/** Goes to the newest whole checkpoint, or stays at the first step when there is none. */
function resume(run: RunFolder, trainer: Trainer, config: RunConfig): void {
  const damaged: string[] = [];
  const from = run.checkpoints.newest(
    (checkpoint) => {
      restoreCheckpoint(trainer, { ...checkpoint, config: withAbsentOptions(checkpoint.config) }, config);
      return checkpoint.name;
    },
    (name, message) => {
      damaged.push(name);
      warn(`${message}; trying the one before`);
    },
  );
  // Only now: had none been whole, all would stay for whoever can mend one.
  run.checkpoints.setAside(damaged);
  run.tidy();
  run.rewriteMetrics(trainer.state().history);
  const { step } = trainer.state();
  print(from === null ? 'no checkpoint yet: starting at the first step' : `going on after step ${step} from ${from}`);
}

/** Compares with the hash of the same preset, where one is published; another one is a failure. */
function compareWithPublished(config: TrainConfig, hash: string, presets: Presets): void {
  for (const { config: preset, publishedHash } of Object.values(presets)) {
    if (publishedHash === null || !sameConfig(preset, config)) continue;
    if (publishedHash === hash) print('equals the published hash');
    else {
      print(`differs from the published hash: ${publishedHash}`);
      process.exitCode = DIFFERENT_EXIT_CODE;
    }
  }
}

/** The trained weights as a file of their own. */
async function weightsFile(
  trainer: Trainer,
  config: TrainConfig,
  more: Readonly<Record<string, string>> = {},
): Promise<Uint8Array> {
  const weights = await finiteState(trainer.model, trainer.state().step);
  const sha256 = await hashWeights(trainer.model);
  return writeSafetensors(weights, { model: config.model, sha256, writer: WRITER, ...more });
}

/** The chapter's two lines, the hash, the weights as a file of their own, and what to do next. */
async function finish(
  run: RunFolder,
  trainer: Trainer,
  { config, classes }: RunSettings,
  device: Device,
  presets: Presets,
): Promise<void> {
  const { images, seconds, history } = trainer.state();
  const hash = await hashWeights(trainer.model);
  run.replace('weights.safetensors', await weightsFile(trainer, config));
  if (trainer.stoppedEarly) {
    const { epoch, testAcc } = bestPoint(history) as HistoryPoint;
    const best = `the best, ${(testAcc as number).toFixed(3)} after epoch ${epoch}, is ${BEST}`;
    print(
      `ended early: ${config.patience} epoch${config.patience === 1 ? '' : 's'} without a better test acc; ${best}`,
    );
  }
  print(summary(history[history.length - 1]));
  print(`${(images / seconds).toFixed(1)} examples/sec on ${describeDevice(device)}`);
  print(`sha256 of the trained weights: ${hash}`);
  // A GPU's bits are its own.
  if (classes === undefined && device.name !== 'webgpu') compareWithPublished(config, hash, presets);
  print(`curves, metrics and weights: ${run.path}`);
  if (classes === undefined && !sameConfig(config, CHAPTER)) print(`the chapter's full recipe: ${CHAPTER_COMMAND}`);
}

/**
 * Trains until the end, or until Ctrl-C, which sets the exit code to 130. Weights that differ from a published hash set
 * it to 1.
 * @param run the folder, locked
 * @param resuming whether to go on from the folder's checkpoints
 * @param presets those whose hashes are published
 */
export async function trainRun(
  run: RunFolder,
  settings: RunSettings,
  resuming: boolean,
  threads: Threads = 'auto',
  presets: Presets = PRESETS,
): Promise<void> {
  const { config, checkpointEvery } = settings;
  const own = settings.classes !== undefined;
  let bar: Progress | null = null;
  const interrupt = listenForInterrupt(
    () => {
      bar?.stop();
      process.stderr.write('stopping: the run is saved after this step; Ctrl-C again to end at once\n');
    },
    () => bar?.stop(),
  );
  try {
    const trainData = await loadImages('train', settings, config.limit);
    const testData = await loadImages('test', settings, config.testLimit);
    const device = await makeDevice(settings.device, threads, config.math);
    // A new run may begin in fast mode where there is no relaxed SIMD; the bits of an old one are those of its mode.
    if (resuming && 'math' in device && device.math !== config.math) {
      throw new AtalhoError(`${run.path} was begun with math ${config.math}, which this engine does not have`);
    }
    const generator = new Generator(config.seed);
    const modelOptions = { device, generator, ...sizesOfData(settings) };
    const model = makeModel(config.model, modelOptions);
    const pretrained = config.weights !== '';
    // A checkpoint has them all.
    const fromFile = pretrained && (!resuming || run.checkpoints.list().length === 0);
    if (fromFile) {
      const drawn = loadFitting(model, config.weights, readWeights(config.weights));
      print(`weights of ${config.weights}${drawn.length === 0 ? '' : `; as drawn: ${drawn.join(', ')}`}`);
    }
    if (config.freeze !== '') {
      freeze(
        model,
        config.freeze.split(',').map((part) => part.trim()),
      );
      if (model.parameters().length === 0) throw new ArgumentError('--freeze leaves nothing to train');
    }
    const optimizer = makeOptimizer(model, config);
    const { epochs, batchSize, resize, labelSmoothing } = config;
    const schedule = makeSchedule(config, countBatches(trainData, { batchSize }));
    const patience = config.patience === 0 ? undefined : config.patience;
    const pictures = { resize, normalization: normalizationOf(config), augment: augmentationOf(config) };
    const recipe = { schedule, labelSmoothing, patience, init: pretrained ? 'asIs' : 'xavierUniform' } as const;
    const options = { epochs, batchSize, generator, ...pictures, ...recipe };
    const trainer = new Trainer({ model, optimizer, trainData, testData, ...options });
    const [trainImages, testImages] = [trainData.shape[0], testData.shape[0]];
    print(
      `atalho ${VERSION}: ${config.model} on ${describeDevice(device)}${config.math === 'exact' ? '' : `, ${config.math} math`}, ${trainImages} images at ${resize}×${resize}, ` +
        `${epochs} epoch${epochs === 1 ? '' : 's'} of ${trainer.batchesPerEpoch} steps; run folder ${run.path}`,
    );
    // Fashion-MNIST's content is checked as it is read; pictures of one's own may be others the next time.
    const identity = own ? { ...config, dataSha256: hashImages(trainData, testData) } : config;
    if (resuming) resume(run, trainer, identity);

    const save = async (): Promise<void> =>
      run.checkpoints.save(trainer.state().step, await encodeCheckpoint(trainer, identity, WRITER));
    const draw = (): void =>
      run.replace('curves.svg', curvesSvg(trainer.state().history, epochs, `${config.model}, ${basename(run.path)}`));
    run.begun = true;
    draw();
    // The file may be another when the run goes on.
    if (fromFile) await save();
    const progress = new Progress({ epochs, trainImages, testImages });
    bar = progress;
    let saved = false;
    const outcome = await trainer.run({
      signal: interrupt.signal,
      async onStep(event) {
        progress.step(event);
        saved = event.step % checkpointEvery === 0;
        if (saved) await save();
      },
      onPoint(point) {
        run.appendMetrics(point);
        draw();
      },
      // Before the checkpoint: a run that is killed between the two tests this epoch again.
      async onBest(point) {
        run.replace(BEST, await weightsFile(trainer, config, { epoch: String(point.epoch) }));
      },
      onTest: (done, total) => progress.test(done, total),
      async onEpoch(point) {
        await save();
        saved = true;
        progress.stop();
        print(`epoch ${point.epoch}: train ${summary(point)}`);
      },
    });
    progress.stop();
    if (outcome === 'finished') return await finish(run, trainer, settings, device, presets);
    if (!saved) await save();
    const { step } = trainer.state();
    print(
      `stopped after step ${step} of ${trainer.totalSteps}, saved; to go on: npx atalho train --resume ${run.path}`,
    );
    process.exitCode = INTERRUPTED_EXIT_CODE;
  } finally {
    bar?.stop();
    interrupt.release();
  }
}
