/** Times of ops, convolutions and a training step in this browser. */

import { useEffect, useState } from 'preact/hooks';
import { Select, WhereFields } from '../parts/fields.js';
import { Scroll } from '../parts/scroll.js';
import { address, setParams } from '../state/address.js';
import { brief, dictionary, duration, fixed, useText } from '../state/language.js';
import { Store, usePart, useStore } from '../state/store.js';
import { whereOf, whereParams } from '../state/where.js';
import { labWorker } from '../work/client.js';
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
      ms: 'Forward',
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
      ms: 'Direta',
    },
  },
);

interface Measuring {
  readonly phase: 'idle' | 'running' | 'done' | 'stopped' | 'failed';
  readonly device: string;
  readonly message: string | null;
  readonly request: MeasureRequest | null;
  readonly times: readonly OpTime[];
}

const measuring = new Store<Measuring>({ phase: 'idle', device: '', message: null, request: null, times: [] });

let listening = false;
function listen(): void {
  if (listening) return;
  listening = true;
  const worker = labWorker();
  worker.on('device', (device) => measuring.get().phase === 'running' && measuring.update({ device }));
  worker.on('timed', (time) => measuring.update({ times: [...measuring.get().times, time] }));
}

async function start(request: MeasureRequest): Promise<void> {
  measuring.set({ phase: 'running', device: '', message: null, request, times: [] });
  try {
    await labWorker().call('measure.start', request);
    const { times } = measuring.get();
    measuring.update({ phase: times.length > 0 && times.length === times[0].of ? 'done' : 'stopped' });
  } catch (error) {
    measuring.update({ phase: 'failed', message: error instanceof Error ? error.message : String(error) });
  }
}

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
function download({ request, device, times }: Measuring): void {
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

/** A row of a bar chart: name, bar, number. */
function Bar({ share, value }: { readonly share: number; readonly value: string }) {
  return (
    <span class="share">
      <span class="track" aria-hidden="true">
        <i style={{ width: `${100 * share}%` }} />
      </span>
      {value}
    </span>
  );
}

function Convolutions({ times }: { readonly times: readonly OpTime[] }) {
  const text = useText(texts);
  const most = Math.max(...times.map((t) => t.gflops ?? 0));
  return (
    <section>
      <h2>{text.convolutions}</h2>
      <p class="note">{text.convolutionsNote}</p>
      <Scroll label={text.convolutions}>
        <table>
          <caption class="hidden">{text.convolutions}</caption>
          <thead>
            <tr>
              <th scope="col">{text.columns.op}</th>
              <th scope="col">{text.columns.rate}</th>
              <th scope="col" class="number">
                {text.columns.ms}
              </th>
              <th scope="col">{text.columns.shape}</th>
            </tr>
          </thead>
          <tbody>
            {times.map((t) => (
              <tr key={t.name}>
                <th scope="row">{t.name}</th>
                <td>
                  <Bar share={(t.gflops ?? 0) / most} value={brief(t.gflops ?? 0)} />
                </td>
                <td class="number">{duration(t.ms)}</td>
                <td class="note mono">{t.shape}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

function Ops({ times }: { readonly times: readonly OpTime[] }) {
  const text = useText(texts);
  const most = Math.max(...times.map((t) => t.ms + (t.gradientMs ?? 0)));
  return (
    <section>
      <h2>{text.ops}</h2>
      <p class="note">{text.opsNote}</p>
      <Scroll label={text.ops}>
        <table>
          <caption class="hidden">{text.ops}</caption>
          <thead>
            <tr>
              <th scope="col">{text.columns.op}</th>
              <th scope="col">{text.columns.forward}</th>
              <th scope="col" class="number">
                {text.columns.gradient}
              </th>
              <th scope="col" class="number">
                {text.columns.calls}
              </th>
              <th scope="col">{text.columns.shape}</th>
            </tr>
          </thead>
          <tbody>
            {times.map((t) => (
              <tr key={t.name} data-op={t.name}>
                <th scope="row">{t.name}</th>
                <td>
                  <Bar share={t.ms / most} value={duration(t.ms)} />
                </td>
                <td class="number">{t.gradientMs === null ? '–' : duration(t.gradientMs)}</td>
                <td class="number">{t.calls}</td>
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
  useEffect(listen, []);
  const text = useText(texts);
  const { params } = useStore(address);
  const request = requestOf(params);
  const change = (part: Partial<MeasureRequest>): void => setParams(paramsOf({ ...request, ...part }));
  const now = usePart(measuring, 'phase', 'device', 'message', 'times', 'request');
  const { phase, device, message, times } = now;
  const [told, setTold] = useState('');
  const running = phase === 'running';
  const of = times[0]?.of ?? 0;
  const status =
    phase === 'running' ? text.status.running(times.length, of) : phase === 'failed' ? message : text.status[phase];
  useEffect(() => {
    if (!running) setTold(status ?? '');
  }, [running, status]);
  const step = times.find((t) => t.kind === 'step');
  const { figures } = text;
  return (
    <>
      <h1>{text.title}</h1>
      <p class="lead">{text.lead}</p>
      <div class="desk">
        <form class="settings" onSubmit={(event) => event.preventDefault()}>
          <Select
            name="size"
            label={text.size}
            value={request.size}
            choices={(['small', 'chapter'] as const).map((value) => ({ value, label: text.sizes[value] }))}
            onChange={(size) => change({ size: size as MeasureRequest['size'] })}
          />
          <WhereFields {...request} onChange={change} />
          <div class="buttons wide">
            {running ? (
              <button type="button" class="plain strong" data-act="stop" onClick={() => void labWorker().call('stop')}>
                {text.stop}
              </button>
            ) : (
              <button type="button" class="plain strong" data-act="measure" onClick={() => void start(request)}>
                {text.start}
              </button>
            )}
            <button
              type="button"
              class="plain"
              data-act="download"
              disabled={times.length === 0 || running}
              onClick={() => download(measuring.get())}
            >
              {text.save}
            </button>
          </div>
        </form>
        <div class="flow">
          <section>
            <h2>{text.step}</h2>
            <p class="note">{step ? text.stepNote(step.name, step.shape) : '\u00a0'}</p>
            <dl class="figures">
              {(
                [
                  [figures.speed, step ? fixed(step.imagesPerSecond ?? 0, 1) : '–'],
                  [figures.ms, step ? duration(step.ms) : '–'],
                  [figures.best, step ? duration(step.best) : '–'],
                  [figures.calls, step ? String(step.calls) : '–'],
                ] as const
              ).map(([name, value]) => (
                <div key={name}>
                  <dt>{name}</dt>
                  <dd>{value}</dd>
                </div>
              ))}
            </dl>
            <div class="bar" aria-hidden="true">
              <i style={{ transform: `scaleX(${of === 0 ? 0 : times.length / of})` }} />
            </div>
            <p class="status" data-measuring={phase}>
              {status} {device !== '' && <span>· {device}</span>}
            </p>
            <p class="hidden" role="status">
              {told}
            </p>
          </section>
          {times.some((t) => t.kind === 'convolution') && (
            <Convolutions times={times.filter((t) => t.kind === 'convolution')} />
          )}
          {times.some((t) => t.kind === 'op') && <Ops times={times.filter((t) => t.kind === 'op')} />}
        </div>
      </div>
    </>
  );
}
