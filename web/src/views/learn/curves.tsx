/** Loss and accuracy over the steps, of this run and of those beside it. */
import { useMemo } from 'preact/hooks';
import { Chart, type Curve, Keys } from '../../parts/chart.js';
import { fixed, useText } from '../../state/language.js';
import { learning } from '../../state/learning.js';
import { usePart } from '../../state/store.js';
import type { RunRecord, TestPoint } from '../../work/messages.js';
import { learnText } from '../learnText.js';

interface Drawn {
  readonly losses: readonly number[];
  readonly accuracies: readonly number[];
  readonly tests: readonly TestPoint[];
}

/** Points of a curve at most: more than pixels are of no use. */
const MOST = 600;

/** The mean of the batches around: single ones are noise. */
function smooth(values: readonly number[]): { x: number[]; y: number[] } {
  const window = Math.max(1, Math.min(25, Math.round(values.length / 12)));
  const every = Math.max(1, Math.ceil(values.length / MOST));
  const x: number[] = [];
  const y: number[] = [];
  let sum = 0;
  values.forEach((v, i) => {
    sum += v;
    if (i >= window) sum -= values[i - window];
    if ((i + 1) % every !== 0 && i !== values.length - 1) return;
    x.push(i + 1);
    y.push(sum / Math.min(i + 1, window));
  });
  return { x, y };
}

const every = (values: readonly number[]): { x: number[]; y: number[] } => {
  const by = Math.max(1, Math.ceil(values.length / MOST));
  const at = values.map((_, i) => i).filter((i) => i % by === 0);
  return { x: at.map((i) => i + 1), y: at.map((i) => values[i]) };
};

/** Runs that are alike but for the shortcuts belong into one chart. */
function isTwin(a: RunRecord, b: RunRecord): boolean {
  return (
    a.settings.shortcuts !== b.settings.shortcuts &&
    JSON.stringify(a.settings.config) === JSON.stringify(b.settings.config)
  );
}

export function Curves() {
  const text = useText(learnText);
  const { record, losses, accuracies, tests, runs, beside } = usePart(
    learning,
    'record',
    'losses',
    'accuracies',
    'tests',
    'runs',
    'beside',
  );
  const others = runs.filter(
    (run) => run.id !== record?.id && (beside.has(run.id) || (record !== null && isTwin(run, record))),
  );
  const twin = others.find((run) => record !== null && isTwin(run, record));
  const shown = [...others.filter((run) => beside.has(run.id)), ...(twin && !beside.has(twin.id) ? [twin] : [])].slice(
    0,
    3,
  );
  const xMax = Math.max(record?.totalSteps ?? 0, losses.length, ...shown.map((run) => run.step), 10);
  // With shortcuts in the colour of the shortcuts, wherever they are drawn.
  const kinds = [record?.settings.shortcuts ?? true, ...shown.map((run) => run.settings.shortcuts)];
  const colors = kinds.map((on, i): Curve['color'] => (kinds.indexOf(on) < i ? 'soft' : on ? 'warm' : 'cold'));
  const { loss, accuracy } = useMemo(() => {
    const loss: Curve[] = [];
    const accuracy: Curve[] = [];
    const add = (run: Drawn, color: Curve['color'], n: number): void => {
      const tested = (own: readonly TestPoint[]) => ({ x: own.map((t) => t.step), y: own.map((t) => t.accuracy) });
      const sorted = [...run.tests].sort((a, b) => a.step - b.step).filter((t, i, all) => all[i + 1]?.step !== t.step);
      if (n === 0) loss.push({ label: 'batches', color, style: 'faint', ...every(run.losses) });
      loss.push({ label: `train ${n}`, color, ...smooth(run.losses) });
      accuracy.push({ label: `train ${n}`, color, ...smooth(run.accuracies) });
      accuracy.push({ label: `test ${n}`, color, style: 'dashed', ...tested(sorted) });
      accuracy.push({ label: `whole ${n}`, color, style: 'points', ...tested(sorted.filter((t) => t.whole)) });
    };
    add({ losses, accuracies, tests }, colors[0], 0);
    shown.forEach((run, i) => {
      add(run, colors[i + 1], i + 1);
    });
    return { loss, accuracy };
  }, [losses, accuracies, tests, shown.map((run) => run.id + run.step).join(), colors.join()]);
  const last = (values: readonly number[]): string => (values.length > 0 ? fixed(values[values.length - 1], 3) : '–');
  return (
    <section>
      <h2 class="hidden">{text.curves}</h2>
      <div class="charts">
        <Chart title={text.loss} curves={loss} xMax={xMax} description={last(losses)} />
        <Chart
          title={text.accuracy}
          curves={accuracy}
          range={[0, 1]}
          xMax={xMax}
          description={last(tests.map((t) => t.accuracy))}
        />
      </div>
      <Keys
        lines={[
          ...kinds
            .map((on, i) => [colors[i], 'line', on ? text.with : text.without] as const)
            // Two runs of one kind beside are drawn alike.
            .filter(([color, , label], i, all) => all.findIndex((l) => l[0] === color && l[2] === label) === i),
          ['soft', 'line', text.trainAcc],
          ['soft', 'dashed', text.testAcc],
          ['soft', 'points', text.epochEnd],
        ]}
        note={text.steps}
      />
    </section>
  );
}
