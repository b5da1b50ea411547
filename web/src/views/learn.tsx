/** Training: settings, the run as it goes, what it has learnt. */

import './learn.css';
import { optimizerNames, type TrainConfig } from 'atalho/cli/config.js';
import { scheduleNames } from 'atalho/train';
import { useEffect, useMemo } from 'preact/hooks';
import { Check, NumberField, Select, WhereFields } from '../parts/fields.js';
import { type Figure, FigureList } from '../parts/figures.js';
import { address, setParams } from '../state/address.js';
import { bytes, clock, fixed, useText, whole } from '../state/language.js';
import { goOn, learning, listen, pauseRun, startRun } from '../state/learning.js';
import { fromParams, MODELS, RECIPES, type RecipeName, recipeOf, toParams } from '../state/recipe.js';
import { usePart, useStore } from '../state/store.js';
import type { RunSettings } from '../work/messages.js';
import { Confusion } from './learn/confusion.js';
import { Curves } from './learn/curves.js';
import { HashSection } from './learn/hash.js';
import { Inside } from './learn/inside.js';
import { Pictures } from './learn/pictures.js';
import { Runs } from './learn/runs.js';
import { learnText } from './learnText.js';

function Settings({ settings, change }: { settings: RunSettings; change: (settings: RunSettings) => void }) {
  const text = useText(learnText);
  const { config, shortcuts, device, threads } = settings;
  const set = (part: Partial<TrainConfig>): void => change({ ...settings, config: { ...config, ...part } });
  const recipe = recipeOf(config) ?? 'own';
  const names: readonly (RecipeName | 'own')[] = [
    'first',
    'deep',
    'quick',
    'chapter',
    ...(recipe === 'own' ? ['own' as const] : []),
  ];
  return (
    <>
      <Select
        name="recipe"
        label={text.recipe}
        value={recipe}
        choices={names.map((value) => ({ value, label: text.recipes[value] }))}
        onChange={(value) => value !== 'own' && change({ ...settings, config: RECIPES[value as RecipeName] })}
      />
      <Select
        name="model"
        label={text.model}
        value={config.model}
        choices={MODELS}
        onChange={(model) => set({ model })}
      />
      <Check
        name="shortcuts"
        label={text.shortcuts}
        term={text.shortcutsTerm}
        checked={shortcuts}
        onChange={(on) => change({ ...settings, shortcuts: on })}
      />
      <WhereFields
        {...{ device, threads }}
        math={config.math}
        onChange={({ math, ...where }) => change({ ...settings, ...where, config: { ...config, math } })}
      />
      <div class="pair">
        <NumberField
          name="lr"
          label={text.lr}
          value={config.lr}
          {...{ min: 1e-6, max: 10, step: 'any' }}
          onChange={(lr) => set({ lr })}
        />
        <NumberField
          name="batchSize"
          label={text.batch}
          value={config.batchSize}
          {...{ min: 2, max: 512 }}
          onChange={(batchSize) => set({ batchSize })}
        />
        <NumberField
          name="limit"
          label={text.images}
          value={config.limit ?? 60_000}
          {...{ min: 2, max: 60_000 }}
          onChange={(limit) => set({ limit: limit === 60_000 ? null : limit })}
        />
        <NumberField
          name="resize"
          label={text.size}
          value={config.resize}
          {...{ min: 12, max: 224 }}
          onChange={(resize) => set({ resize })}
        />
        <NumberField
          name="epochs"
          label={text.epochs}
          value={config.epochs}
          {...{ min: 1, max: 100 }}
          onChange={(epochs) => set({ epochs })}
        />
      </div>
      <details>
        <summary>{text.more}</summary>
        <fieldset>
          <legend class="hidden">{text.more}</legend>
          <div class="pair">
            <Select
              name="optimizer"
              label={text.optimizer}
              value={config.optimizer}
              choices={optimizerNames}
              onChange={(optimizer) =>
                set({ optimizer, momentum: /sgd|rmsprop/.test(optimizer) ? config.momentum : 0 })
              }
            />
            <Select
              name="schedule"
              label={text.schedule}
              value={config.schedule}
              // Milestones are for the command line.
              choices={scheduleNames.filter((name) => name !== 'multiStep' || config.schedule === name)}
              onChange={(schedule) => set({ schedule })}
            />
            {/sgd|rmsprop/.test(config.optimizer) && (
              <NumberField
                name="momentum"
                label={text.momentum}
                value={config.momentum}
                {...{ min: 0, max: 0.999, step: 'any' }}
                onChange={(momentum) => set({ momentum })}
              />
            )}
            <NumberField
              name="seed"
              label={text.seed}
              value={config.seed}
              {...{ min: 0, max: 1e9 }}
              onChange={(seed) => set({ seed })}
            />
            <NumberField
              name="testLimit"
              label={text.testImages}
              value={config.testLimit ?? 10_000}
              {...{ min: 100, max: 10_000 }}
              onChange={(limit) => set({ testLimit: limit === 10_000 ? null : limit })}
            />
          </div>
        </fieldset>
      </details>
    </>
  );
}

function Buttons({ settings }: { settings: RunSettings }) {
  const text = useText(learnText);
  const { phase, record } = usePart(learning, 'phase', 'record');
  const active = phase === 'running' || phase === 'testing' || phase === 'loading';
  const paused = phase === 'paused';
  // Of the run that is shown: the fields may ask for something else by now.
  const twin = record && { ...record.settings, shortcuts: !record.settings.shortcuts };
  return (
    <div class="buttons wide">
      {active ? (
        <button type="button" class="plain strong" onClick={pauseRun} disabled={phase === 'loading'} data-act="pause">
          {text.pause}
        </button>
      ) : paused ? (
        <button type="button" class="plain strong" onClick={() => goOn()} data-act="resume">
          {text.resume}
        </button>
      ) : (
        <button type="button" class="plain strong" onClick={() => startRun(settings)} data-act="start">
          {text.start}
        </button>
      )}
      <button
        type="button"
        class="plain"
        disabled={active}
        onClick={() => (paused ? goOn(true) : startRun(settings, true))}
        data-act="step"
      >
        {text.step}
      </button>
      {paused && (
        <button type="button" class="plain" onClick={() => startRun(settings)} data-act="restart">
          {text.restart}
        </button>
      )}
      {phase === 'done' && twin !== null && (
        <button
          type="button"
          class="plain"
          data-act="twin"
          onClick={() => {
            setParams(toParams(twin));
            startRun(twin);
          }}
        >
          {twin.shortcuts ? text.twinOn : text.twinOff}
        </button>
      )}
    </div>
  );
}

/** The mean of the last few. */
function recentMean(values: readonly number[], count = 20): number | null {
  const last = values.slice(-count);
  return last.length === 0 ? null : last.reduce((a, b) => a + b, 0) / last.length;
}

function Figures() {
  const text = useText(learnText);
  const { phase, message, warning, record, progress, losses, accuracies, tests, savedStep, unsaved } = usePart(
    learning,
    'phase',
    'message',
    'warning',
    'record',
    'progress',
    'losses',
    'accuracies',
    'tests',
    'savedStep',
    'unsaved',
  );
  const total = record?.totalSteps ?? 0;
  const step = losses.length;
  const loss = recentMean(losses);
  const train = recentMean(accuracies);
  const test = tests.at(-1);
  const going = phase === 'running' || phase === 'testing';
  const { figures } = text;
  const rows: Figure[] = [
    [figures.step, whole(step), total > 0 ? `/ ${whole(total)}` : ''],
    [figures.loss, loss === null ? '–' : fixed(loss, 3)],
    [figures.train, train === null ? '–' : fixed(train, 3)],
    [figures.test, test ? fixed(test.accuracy, 3) : '–', test ? text.onImages(whole(test.images)) : ''],
    [figures.speed, progress && progress.imagesPerSecond > 0 ? fixed(progress.imagesPerSecond, 1) : '–'],
    [figures.memory, progress ? bytes(progress.memoryBytes) : '–'],
    [figures.left, progress && going ? clock(progress.secondsLeft) : '–'],
  ];
  return (
    <section aria-label={text.curves}>
      <FigureList figures={rows} share={total > 0 ? step / total : 0} />
      <p class="status" role="status" data-phase={phase} data-step={step}>
        {text.phases[phase]}{' '}
        {phase === 'failed' && (
          <span lang="en" class="bad">
            {message}
          </span>
        )}
        {phase === 'testing' && progress?.testing != null && (
          // A reader of the screen is told that it tests, not of each image.
          <span aria-hidden="true">{whole(100 * progress.testing)} % </span>
        )}
        {(phase === 'paused' || phase === 'done') && savedStep === record?.step && `${text.saved} `}
        {record !== null && phase !== 'failed' && record.device}
      </p>
      {unsaved !== null && (
        <p class="notice" role="alert" data-unsaved>
          {text.unsaved} <span lang="en">{unsaved}</span>
        </p>
      )}
      {warning !== null && (
        <p class="notice" lang="en">
          {warning}
        </p>
      )}
    </section>
  );
}

export function Learn() {
  useEffect(listen, []);
  const text = useText(learnText);
  const { params } = useStore(address);
  const settings = useMemo(() => fromParams(params), [params]);
  return (
    <>
      <h1>{text.title}</h1>
      <p class="lead">{text.lead}</p>
      <div class="desk">
        <form class="settings" onSubmit={(event) => event.preventDefault()}>
          <Settings settings={settings} change={(next) => setParams(toParams(next))} />
          <Buttons settings={settings} />
        </form>
        <div class="flow">
          <Figures />
          <Curves />
          <HashSection settings={settings} />
          <Pictures />
          <div class="columns">
            <Confusion />
            <Inside />
          </div>
          <Runs />
        </div>
      </div>
    </>
  );
}
