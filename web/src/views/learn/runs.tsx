/** Runs that this browser keeps. */
import { Scroll } from '../../parts/scroll.js';
import { setParams } from '../../state/address.js';
import { fixed, useText, whole } from '../../state/language.js';
import { forgetRun, learning, openRun, toggleBeside } from '../../state/learning.js';
import { toParams } from '../../state/recipe.js';
import { usePart } from '../../state/store.js';
import type { RunRecord } from '../../work/messages.js';
import { learnText } from '../learnText.js';

export function Runs() {
  const text = useText(learnText);
  const { runs, record, beside, phase } = usePart(learning, 'runs', 'record', 'beside', 'phase');
  const nameOf = ({ settings: { config, shortcuts } }: RunRecord): string =>
    `${config.model}, ${shortcuts ? text.on : text.off}, ${config.resize}², ${config.math}`;
  const busy = phase === 'running' || phase === 'testing' || phase === 'loading';
  return (
    <section>
      <h2>{text.runs}</h2>
      <p class="note">{text.runsLead}</p>
      {runs.length === 0 ? (
        <p class="note">{text.noRuns}</p>
      ) : (
        <Scroll label={text.runs}>
          <table>
            <caption class="hidden">{text.runs}</caption>
            <thead>
              <tr>
                <th scope="col">{text.columns.run}</th>
                <th scope="col" class="number">
                  {text.columns.state}
                </th>
                <th scope="col" class="number">
                  {text.columns.loss}
                </th>
                <th scope="col" class="number">
                  {text.columns.test}
                </th>
                <th scope="col">{text.columns.hash}</th>
                <th scope="col">{text.columns.beside}</th>
                <td />
              </tr>
            </thead>
            <tbody>
              {runs.map((run) => {
                const last = run.losses.slice(-20);
                const test = run.tests.at(-1);
                return (
                  <tr key={run.id} class={run.id === record?.id ? 'chosen' : ''} data-run={run.id}>
                    <th scope="row">{nameOf(run)}</th>
                    <td class="number">
                      {whole(run.step)} / {whole(run.totalSteps)}
                    </td>
                    <td class="number">
                      {last.length > 0 ? fixed(last.reduce((a, b) => a + b, 0) / last.length, 3) : '–'}
                    </td>
                    <td class="number">{test ? fixed(test.accuracy, 3) : '–'}</td>
                    <td class="mono">{run.hash?.slice(0, 8) ?? '–'}</td>
                    <td>
                      <input
                        type="checkbox"
                        aria-label={text.besideLabel(nameOf(run))}
                        checked={beside.has(run.id)}
                        disabled={run.id === record?.id}
                        onChange={() => toggleBeside(run.id)}
                      />
                    </td>
                    <td>
                      <button
                        type="button"
                        class="quiet"
                        disabled={busy}
                        data-act="open"
                        onClick={() => {
                          setParams(toParams(run.settings));
                          openRun(run.id);
                        }}
                      >
                        {text.open}
                        <span class="hidden"> {nameOf(run)}</span>
                      </button>{' '}
                      <button
                        type="button"
                        class="quiet"
                        disabled={run.id === record?.id}
                        onClick={() => confirm(text.forgetSure(nameOf(run))) && forgetRun(run.id)}
                      >
                        {text.forget}
                        <span class="hidden"> {nameOf(run)}</span>
                      </button>
                    </td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </Scroll>
      )}
    </section>
  );
}
