/** Carries out a training run in its folder: resuming, checkpoints, metrics, curves, the chapter's last lines. */
import { type SafetensorsInput, writeSafetensors } from '../io/safetensors.js';
import { Generator } from '../random.js';
import { encodeCheckpoint, restoreCheckpoint } from '../train/checkpoint.js';
import { hashWeights } from '../train/hash.js';
import { type ScheduleName, scheduleOf } from '../train/schedule.js';
import type { HistoryPoint } from '../train/state.js';
import { Trainer } from '../train/trainer.js';
import { FIELD_NAMES, type TrainConfig } from './config.js';
import { curvesSvg } from './curves.js';
import { makeDevice } from './devices.js';
import { INTERRUPTED_EXIT_CODE, listenForInterrupt } from './interrupt.js';
import { makeModel } from './models.js';
import { CHAPTER, CHAPTER_COMMAND, PRESETS } from './presets.js';
import { Progress } from './progress.js';
import type { RunFolder, RunSettings } from './runFolder.js';
import { loadImages, makeOptimizer, print, warn } from './session.js';
import { VERSION, WRITER } from './version.js';

const sameConfig = (a: TrainConfig, b: TrainConfig): boolean => FIELD_NAMES.every((name) => a[name] === b[name]);

/** "loss 0.012, train acc 0.997, test acc 0.893": the chapter's line. */
function summary({ trainLoss, trainAcc, testAcc }: HistoryPoint): string {
  return `loss ${trainLoss.toFixed(3)}, train acc ${trainAcc.toFixed(3)}, test acc ${(testAcc ?? 0).toFixed(3)}`;
}

/** Goes to the newest whole checkpoint, or stays at the first step when there is none. */
function resume(run: RunFolder, trainer: Trainer, config: TrainConfig): void {
  run.tidy();
  const from = run.checkpoints.newest(
    (checkpoint) => {
      restoreCheckpoint(trainer, checkpoint, config);
      return checkpoint.name;
    },
    (message) => warn(`${message}; trying the one before`),
  );
  run.rewriteMetrics(trainer.state().history);
  const { step } = trainer.state();
  print(from === null ? 'no checkpoint yet: starting at the first step' : `going on after step ${step} from ${from}`);
}

/** The chapter's two lines, the hash, the weights as a file of their own, and what to do next. */
async function finish(run: RunFolder, trainer: Trainer, config: TrainConfig, deviceName: string): Promise<void> {
  const { images, seconds, history } = trainer.state();
  const hash = await hashWeights(trainer.model);
  const weights = [...trainer.model.stateDict()] as [string, SafetensorsInput][];
  run.replace('weights.safetensors', writeSafetensors(weights, { model: config.model, sha256: hash, writer: WRITER }));
  print(summary(history[history.length - 1]));
  print(`${(images / seconds).toFixed(1)} examples/sec on ${deviceName}`);
  print(`sha256 of the trained weights: ${hash}`);
  for (const { config: preset, publishedHash } of Object.values(PRESETS)) {
    if (publishedHash === null || !sameConfig(preset, config)) continue;
    print(publishedHash === hash ? 'equals the published hash' : `differs from the published hash: ${publishedHash}`);
  }
  print(`curves, metrics and weights: ${run.path}`);
  if (!sameConfig(config, CHAPTER)) print(`the chapter's full recipe: ${CHAPTER_COMMAND}`);
}

/**
 * Trains until the end, or until Ctrl-C, which sets the exit code to 130.
 * @param resuming whether to go on from the folder's checkpoints
 */
export async function trainRun(run: RunFolder, settings: RunSettings, resuming: boolean): Promise<void> {
  const { config, checkpointEvery } = settings;
  let bar: Progress | null = null;
  const interrupt = listenForInterrupt(
    () => {
      bar?.stop();
      process.stderr.write('stopping: the run is saved after this step; Ctrl-C again to end at once\n');
    },
    () => bar?.stop(),
  );
  try {
    const trainData = await loadImages('train', config.limit, settings.data);
    const testData = await loadImages('test', config.testLimit, settings.data);
    const device = await makeDevice(settings.device);
    const generator = new Generator(config.seed);
    const model = makeModel(config.model, { device, generator });
    const optimizer = makeOptimizer(model, config);
    const { epochs, batchSize, resize } = config;
    const schedule = scheduleOf(config.schedule as ScheduleName);
    const options = { epochs, batchSize, resize, generator, init: 'xavierUniform', schedule } as const;
    const trainer = new Trainer({ model, optimizer, trainData, testData, ...options });
    const [trainImages, testImages] = [trainData.shape[0], testData.shape[0]];
    print(
      `atalho ${VERSION}: ${config.model} on ${device.name}, ${trainImages} images at ${resize}×${resize}, ` +
        `${epochs} epoch${epochs === 1 ? '' : 's'} of ${trainer.batchesPerEpoch} steps; run folder ${run.path}`,
    );
    if (resuming) resume(run, trainer, config);

    const save = (): void => run.checkpoints.save(trainer.state().step, encodeCheckpoint(trainer, config, WRITER));
    const draw = (): void =>
      run.replace('curves.svg', curvesSvg(trainer.state().history, epochs, `${config.model}, ${run.path}`));
    draw();
    const progress = new Progress({ epochs, trainImages, testImages });
    bar = progress;
    let saved = false;
    const outcome = await trainer.run({
      signal: interrupt.signal,
      onStep(event) {
        progress.step(event);
        saved = event.step % checkpointEvery === 0;
        if (saved) save();
      },
      onPoint(point) {
        run.appendMetrics(point);
        draw();
      },
      onTest: (done, total) => progress.test(done, total),
      onEpoch(point) {
        save();
        saved = true;
        progress.stop();
        print(`epoch ${point.epoch}: train ${summary(point)}`);
      },
    });
    progress.stop();
    if (outcome === 'finished') return await finish(run, trainer, config, device.name);
    if (!saved) save();
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
