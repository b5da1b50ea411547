/** The oracle's suite in this browser, row by row. */

import './judge.css';
import { useEffect } from 'preact/hooks';
import { Desk } from '../parts/desk.js';
import { Check, Select, WhereFields } from '../parts/fields.js';
import { Scroll } from '../parts/scroll.js';
import { Share } from '../parts/share.js';
import { address, setParams } from '../state/address.js';
import { LabRun } from '../state/lab.js';
import { brief, dictionary, useText, whole } from '../state/language.js';
import { useStore } from '../state/store.js';
import { whereOf, whereParams } from '../state/where.js';
import type { JudgedCase, JudgeRequest, JudgeSuite } from '../work/messages.js';

const texts = dictionary(
  {
    title: 'Is every result within its bound?',
    lead: 'The oracle asks the device for each call of a suite and holds every element against what float32 arithmetic may be off, proved from the plain loops in float64.',
    suite: 'Suite',
    suites: {
      smoke: 'smoke: each op, small',
      edge: 'edge: odd sizes, exact sums',
      resnet: 'resnet: layers of networks',
    },
    mistake: 'Plant a mistake',
    mistakeNote: 'A convolution that forgets its bias, to see what a failure looks like.',
    start: 'Judge',
    stop: 'Stop',
    status: {
      idle: 'Nothing judged yet.',
      running: (done: number, of: number) => `Case ${done} of ${of}`,
      done: (passed: number, failed: number) => `${passed} passed, ${failed} failed`,
      stopped: (done: number, of: number) => `Stopped after ${done} of ${of}`,
    },
    figures: {
      passed: 'Passed',
      failed: 'Failed',
      elements: 'Elements',
      worst: 'Largest share of a bound',
      bits: 'Equal bits',
    },
    table: 'Calls, as they are judged',
    columns: { op: 'Op', about: 'Call', share: 'Of the bound, at most', bits: 'Equal bits', verdict: 'Verdict' },
    verdicts: { passed: 'passed', failed: 'failed', error: 'threw', absent: 'absent' },
    likely: 'Likely:',
    unlooked: 'Only the smallest failures of an op are compared with known mistakes.',
    exact: 'exact',
    beyond: 'beyond',
    failures: 'Failures, explained',
  },
  {
    title: 'Todo resultado está dentro do seu limite?',
    lead: 'O oráculo pede ao dispositivo cada chamada de uma suíte e compara cada elemento com o que a aritmética float32 pode errar, provado a partir dos laços simples em float64.',
    suite: 'Suíte',
    suites: {
      smoke: 'smoke: cada operação, pequena',
      edge: 'edge: tamanhos ímpares, somas exatas',
      resnet: 'resnet: camadas de redes',
    },
    mistake: 'Plantar um erro',
    mistakeNote: 'Uma convolução que esquece o viés, para ver como é uma falha.',
    start: 'Julgar',
    stop: 'Parar',
    status: {
      idle: 'Nada julgado ainda.',
      running: (done: number, of: number) => `Caso ${done} de ${of}`,
      done: (passed: number, failed: number) => `${passed} passaram, ${failed} falharam`,
      stopped: (done: number, of: number) => `Parado depois de ${done} de ${of}`,
    },
    figures: {
      passed: 'Passaram',
      failed: 'Falharam',
      elements: 'Elementos',
      worst: 'Maior parte de um limite',
      bits: 'Bits iguais',
    },
    table: 'Chamadas, à medida que são julgadas',
    columns: {
      op: 'Operação',
      about: 'Chamada',
      share: 'Do limite, no máximo',
      bits: 'Bits iguais',
      verdict: 'Veredito',
    },
    verdicts: { passed: 'passou', failed: 'falhou', error: 'lançou erro', absent: 'ausente' },
    likely: 'Provável:',
    unlooked: 'Só as menores falhas de uma operação são comparadas com erros conhecidos.',
    exact: 'exato',
    beyond: 'além',
    failures: 'Falhas, explicadas',
  },
);

const judging = new LabRun('judge');

const SUITES: readonly JudgeSuite[] = ['smoke', 'edge', 'resnet'];

function requestOf(params: Readonly<Record<string, string>>): JudgeRequest {
  return {
    suite: SUITES.find((one) => one === params.suite) ?? 'smoke',
    ...whereOf(params),
    mistake: params.mistake === 'on',
  };
}

function paramsOf({ suite, mistake, ...where }: JudgeRequest): Record<string, string> {
  return {
    ...(suite !== 'smoke' && { suite }),
    ...whereParams(where),
    ...(mistake && { mistake: 'on' }),
  };
}

function OfBound({ share, failed }: { readonly share: number; readonly failed: boolean }) {
  const text = useText(texts);
  if (share === 0 && !failed) return <span class="note">{text.exact}</span>;
  return <Share share={share} value={share > 10 ? text.beyond : `${brief(100 * share)} %`} />;
}

function Rows({ cases }: { readonly cases: readonly JudgedCase[] }) {
  const text = useText(texts);
  const { columns } = text;
  return (
    <Scroll label={text.table}>
      <table class="judged">
        <caption class="hidden">{text.table}</caption>
        <thead>
          <tr>
            <th scope="col">{columns.op}</th>
            <th scope="col">{columns.about}</th>
            <th scope="col">{columns.share}</th>
            <th scope="col" class="number bits">
              {columns.bits}
            </th>
            <th scope="col">{columns.verdict}</th>
          </tr>
        </thead>
        <tbody>
          {cases.map((c, i) => (
            <tr key={c.id} data-status={c.status}>
              <th scope="row">{c.op === cases[i - 1]?.op ? <span class="hidden">{c.op}</span> : c.op}</th>
              <td>
                <span lang="en">{c.title}</span> <span class="note mono">{c.id}</span>
              </td>
              <td>
                <OfBound share={c.share} failed={c.status === 'failed'} />
              </td>
              <td class="number bits">
                {c.equalBits === null ? '–' : c.elements === 0 ? '–' : `${brief((100 * c.equalBits) / c.elements)} %`}
              </td>
              <td class={c.status === 'passed' ? 'good' : c.status === 'absent' ? 'note' : 'bad'}>
                {text.verdicts[c.status]}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Failures({ cases }: { readonly cases: readonly JudgedCase[] }) {
  const text = useText(texts);
  const failed = cases.filter(({ status }) => status === 'failed' || status === 'error');
  if (failed.length === 0) return null;
  return (
    <section data-failures>
      <h2>{text.failures}</h2>
      {failed.map((c) => (
        <article key={c.id} style={{ marginTop: '0.875rem' }}>
          <h3>
            {c.op}, <span lang="en">{c.title}</span> <span class="note mono">{c.id}</span>
          </h3>
          <p>
            <span class="note">{c.causes.length > 0 ? text.likely : text.unlooked}</span>{' '}
            <span lang="en">{c.causes.join('; ')}</span>
          </p>
          {c.lines.map((line) => (
            <p key={line} lang="en" class="note mono" style={{ overflowWrap: 'anywhere' }}>
              {line}
            </p>
          ))}
        </article>
      ))}
    </section>
  );
}

export function Judge() {
  useEffect(() => judging.listen(), []);
  const text = useText(texts);
  const { params } = useStore(address);
  const request = requestOf(params);
  const change = (part: Partial<JudgeRequest>): void => setParams(paramsOf({ ...request, ...part }));
  const { phase, rows: cases, of } = useStore(judging.store);
  const count = (status: JudgedCase['status']): number => cases.filter((c) => c.status === status).length;
  const [passed, failed] = [count('passed'), count('failed') + count('error')];
  const elements = cases.reduce((sum, c) => sum + c.elements, 0);
  const bits = cases.every((c) => c.equalBits !== null)
    ? cases.reduce((sum, c) => sum + (c.equalBits as number), 0)
    : null;
  const worst = cases.reduce((most, c) => Math.max(most, c.share), 0);
  const status = {
    idle: text.status.idle,
    running: text.status.running(cases.length, of),
    done: text.status.done(passed, failed),
    stopped: text.status.stopped(cases.length, of),
    failed: '',
  }[phase];
  const { figures } = text;
  return (
    <Desk
      {...{ run: judging, request, text, status }}
      figures={[
        [figures.passed, whole(passed)],
        [figures.failed, whole(failed)],
        [figures.elements, whole(elements)],
        [figures.worst, cases.length === 0 ? '–' : worst > 10 ? text.beyond : `${brief(100 * worst)} %`],
        [figures.bits, bits === null || elements === 0 ? '–' : `${brief((100 * bits) / elements)} %`],
      ]}
      fields={
        <>
          <Select
            name="suite"
            label={text.suite}
            value={request.suite}
            choices={SUITES.map((value) => ({ value, label: text.suites[value] }))}
            onChange={(suite) => change({ suite: suite as JudgeSuite })}
          />
          <WhereFields {...request} onChange={change} />
          <div>
            <Check
              name="mistake"
              label={text.mistake}
              checked={request.mistake}
              onChange={(mistake) => change({ mistake })}
            />
            <p class="note">{text.mistakeNote}</p>
          </div>
        </>
      }
    >
      {phase !== 'running' && <Failures cases={cases} />}
      {cases.length > 0 && (
        <section>
          <h2>{text.table}</h2>
          <Rows cases={cases} />
        </section>
      )}
    </Desk>
  );
}
