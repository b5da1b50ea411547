/** The frame of a view whose worker computes row by row: settings, start and stop, figures, how far it is; results below. */
import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { LabRun } from '../state/lab.js';
import { useStore } from '../state/store.js';
import type { LabKind, LabRequests } from '../work/messages.js';
import { type Figure, FigureList } from './figures.js';

interface DeskProps<K extends LabKind> {
  readonly run: LabRun<K>;
  readonly request: LabRequests[K];
  readonly text: { readonly title: string; readonly lead: string; readonly start: string; readonly stop: string };
  readonly fields: ComponentChildren;
  /** More buttons beside the first. */
  readonly buttons?: ComponentChildren;
  /** Above the figures. */
  readonly head?: ComponentChildren;
  readonly figures: readonly Figure[];
  /** In words; of a failure its message is said. */
  readonly status: string;
  readonly children: ComponentChildren;
}

export function Desk<K extends LabKind>({ run, request, text, status, ...o }: DeskProps<K>) {
  const { phase, device, message, warning, rows, of } = useStore(run.store);
  const running = phase === 'running';
  const said = phase === 'failed' ? (message ?? '') : status;
  const [told, setTold] = useState('');
  // A reader of the screen is told of the end, not of every row.
  useEffect(() => {
    if (!running) setTold(said);
  }, [running, said]);
  const lang = phase === 'failed' ? 'en' : undefined;
  return (
    <>
      <h1>{text.title}</h1>
      <p class="lead">{text.lead}</p>
      <div class="desk">
        <form class="settings" onSubmit={(event) => event.preventDefault()}>
          {o.fields}
          <div class="buttons wide">
            {running ? (
              <button type="button" class="plain strong" data-act="stop" onClick={() => run.stop()}>
                {text.stop}
              </button>
            ) : (
              <button type="button" class="plain strong" data-act={run.kind} onClick={() => void run.start(request)}>
                {text.start}
              </button>
            )}
            {o.buttons}
          </div>
        </form>
        <div class="flow">
          <section aria-label={text.title}>
            {o.head}
            <FigureList figures={o.figures} share={of === 0 ? 0 : rows.length / of} />
            <p class="status" data-lab={phase}>
              <span lang={lang}>{said}</span> {device !== '' && <span>· {device}</span>}
            </p>
            <p class="hidden" role="status" lang={lang}>
              {told}
            </p>
            {warning !== null && (
              <p class="notice" lang="en">
                {warning}
              </p>
            )}
          </section>
          {o.children}
        </div>
      </div>
    </>
  );
}
