/** Times of ops, convolutions and a training step in this browser. */

import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';
import { Desk } from '../parts/desk.js';
import { Select, WhereFields } from '../parts/fields.js';
import { Scroll } from '../parts/scroll.js';
import { Share } from '../parts/share.js';
import { address, setParams } from '../state/address.js';
import { type Lab, LabRun } from '../state/lab.js';
import { brief, dictionary, duration, fixed, useText } from '../state/language.js';
import { learning } from '../state/learning.js';
import { usePart, useStore } from '../state/store.js';
import { whereOf, whereParams } from '../state/where.js';
import type { MeasureRequest, OpTime } from '../work/messages.js';

const texts = dictionary(
  {
    title: 'How fast is it here?',
    lead: 'The chapter’s convolutions, one training step, and each op of the case table, timed in this browser on the device that you choose. Medians of several calls.',
    size: 'Sizes',
    sizes: { small: 'small: any device', chapter: 'the chapter’s, batch 8' },
    start: 'Measure',
    stop: 'Stop',
    save: 'Download as JSON',
    status: {
      idle: 'Nothing measured yet.',
      running: (done: number, of: number) => `${done} of ${of}`,
      done: 'Measured.',
      stopped: 'Stopped.',
    },
    training: 'A run is training in this page: until it pauses, the times are longer.',
    step: 'One training step',
    stepNote: (name: string, shape: string) => `${name} on ${shape}: forward, loss, gradients, plain SGD`,
    figures: { speed: 'Images/s', ms: 'A step', best: 'Fastest', calls: 'Steps timed' },
    convolutions: 'The chapter’s convolutions',
    convolutionsNote:
      'Forward pass, billions of multiplications and additions a second. In fast mode the work of the direct sum is counted.',
    ops: 'Ops',
    opsNote: 'Time of one call. A gradient’s time is that of both passes less the forward one.',
    columns: {
      op: 'Op',
      shape: 'Operands',
      forward: 'Forward',
      gradient: 'Gradient',
      calls: 'Calls',
      rate: 'GFLOP/s',
    },
  },
  {
    title: 'Que velocidade tem aqui?',
    lead: 'As camadas convolucionais do capítulo, um passo de treinamento e cada operação da tabela de casos, cronometrados neste navegador no dispositivo que você escolher. Medianas de várias chamadas.',
    size: 'Tamanhos',
    sizes: { small: 'pequenos: qualquer dispositivo', chapter: 'os do capítulo, lote 8' },
    start: 'Medir',
    stop: 'Parar',
    save: 'Baixar como JSON',
    status: {
      idle: 'Nada medido ainda.',
      running: (done: number, of: number) => `${done} de ${of}`,
      done: 'Medido.',
      stopped: 'Parado.',
    },
    training: 'Uma execução está em treinamento nesta página: até que pause, os tempos são maiores.',
    step: 'Um passo de treinamento',
    stepNote: (name: string, shape: string) => `${name} em ${shape}: passagem direta, perda, gradientes, SGD simples`,
    figures: { speed: 'Imagens/s', ms: 'Um passo', best: 'O mais rápido', calls: 'Passos medidos' },
    convolutions: 'As camadas convolucionais do capítulo',
    convolutionsNote:
      'Passagem direta, bilhões de multiplicações e somas por segundo. No modo fast conta-se o trabalho da soma direta.',
    ops: 'Operações',
    opsNote: 'Tempo de uma chamada. O tempo do gradiente é o das duas passagens menos o da direta.',
    columns: {
      op: 'Operação',
      shape: 'Operandos',
      forward: 'Direta',
      gradient: 'Gradiente',
      calls: 'Chamadas',
      rate: 'GFLOP/s',
    },
  },
);

const measuring = new LabRun('measure');

function requestOf(params: Readonly<Record<string, string>>): MeasureRequest {
  return {
    size: params.size === 'chapter' ? 'chapter' : 'small',
    ...whereOf(params),
  };
}

function paramsOf({ size, ...where }: MeasureRequest): Record<string, string> {
  return {
    ...(size !== 'small' && { size }),
    ...whereParams(where),
  };
}

/** The results as a file. */
function download({ request, device, rows: times }: Lab<'measure'>): void {
  const what = {
    ...{ library: `atalho ${__VERSION__}`, date: new Date().toISOString(), userAgent: navigator.userAgent },
    ...{ processors: navigator.hardwareConcurrency, isolated: crossOriginIsolated, device, request, times },
  };
  const url = URL.createObjectURL(new Blob([JSON.stringify(what, null, 2)], { type: 'application/json' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = `atalho-${device.split(/[ ,]/)[0] || 'device'}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

interface Column {
  readonly head: string;
  readonly number?: boolean;
  readonly of: (time: OpTime) => ComponentChildren;
}

/** Times under a title, one a row by name, their operands last. */
function Times({
  title,
  note,
  times,
  columns,
}: {
  readonly title: string;
  readonly note: string;
  readonly times: readonly OpTime[];
  readonly columns: readonly Column[];
}) {
  const text = useText(texts);
  if (times.length === 0) return null;
  return (
    <section>
      <h2>{title}</h2>
      <p class="note">{note}</p>
      <Scroll label={title}>
        <table>
          <caption class="hidden">{title}</caption>
          <thead>
            <tr>
              <th scope="col">{text.columns.op}</th>
              {columns.map(({ head, number }) => (
                <th key={head} scope="col" class={number ? 'number' : undefined}>
                  {head}
                </th>
              ))}
              <th scope="col">{text.columns.shape}</th>
            </tr>
          </thead>
          <tbody>
            {times.map((t) => (
              <tr key={t.name}>
                <th scope="row">{t.name}</th>
                {columns.map(({ head, number, of }) => (
                  <td key={head} class={number ? 'number' : undefined}>
                    {of(t)}
                  </td>
                ))}
                <td class="note mono">{t.shape}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

export function Measure() {
  useEffect(() => measuring.listen(), []);
  const text = useText(texts);
  const { params } = useStore(address);
  const request = requestOf(params);
  const change = (part: Partial<MeasureRequest>): void => setParams(paramsOf({ ...request, ...part }));
  const { phase, rows: times, of } = useStore(measuring.store);
  const { phase: training } = usePart(learning, 'phase');
  const step = times.find((t) => t.kind === 'step');
  const convolutions = times.filter((t) => t.kind === 'convolution');
  const ops = times.filter((t) => t.kind === 'op');
  const most = (value: (time: OpTime) => number, all: readonly OpTime[]): number => Math.max(...all.map(value));
  const mostFlops = most((t) => t.gflops ?? 0, convolutions);
  const longest = most((t) => t.ms, ops);
  const { figures, columns } = text;
  return (
    <Desk
      {...{ run: measuring, request, text }}
      status={
        phase === 'running' ? text.status.running(times.length, of) : phase === 'failed' ? '' : text.status[phase]
      }
      head={
        <>
          <h2>{text.step}</h2>
          <p class="note">{step ? text.stepNote(step.name, step.shape) : '\u00a0'}</p>
        </>
      }
      figures={[
        [figures.speed, step ? fixed(step.imagesPerSecond ?? 0, 1) : '–'],
        [figures.ms, step ? duration(step.ms) : '–'],
        [figures.best, step ? duration(step.best) : '–'],
        [figures.calls, step ? String(step.calls) : '–'],
      ]}
      fields={
        <>
          <Select
            name="size"
            label={text.size}
            value={request.size}
            choices={(['small', 'chapter'] as const).map((value) => ({ value, label: text.sizes[value] }))}
            onChange={(size) => change({ size: size as MeasureRequest['size'] })}
          />
          <WhereFields {...request} onChange={change} />
          {(training === 'running' || training === 'testing') && <p class="note">{text.training}</p>}
        </>
      }
      buttons={
        <button
          type="button"
          class="plain"
          data-act="download"
          disabled={times.length === 0 || phase === 'running'}
          onClick={() => download(measuring.store.get())}
        >
          {text.save}
        </button>
      }
    >
      <Times
        title={text.convolutions}
        note={text.convolutionsNote}
        times={convolutions}
        columns={[
          { head: columns.rate, of: (t) => <Share share={(t.gflops ?? 0) / mostFlops} value={brief(t.gflops ?? 0)} /> },
          { head: columns.forward, number: true, of: (t) => duration(t.ms) },
        ]}
      />
      <Times
        title={text.ops}
        note={text.opsNote}
        times={ops}
        columns={[
          { head: columns.forward, of: (t) => <Share share={t.ms / longest} value={duration(t.ms)} /> },
          { head: columns.gradient, number: true, of: (t) => (t.gradientMs === null ? '–' : duration(t.gradientMs)) },
          { head: columns.calls, number: true, of: (t) => t.calls },
        ]}
      />
    </Desk>
  );
}
