/** What the page knows of a suite that is judged or measured, row by row. Lives on while another view is shown. */
import { labWorker } from '../work/client.js';
import type { LabKind, LabRequests, LabRows } from '../work/messages.js';
import { Store } from './store.js';

export interface Lab<K extends LabKind> {
  readonly phase: 'idle' | 'running' | 'done' | 'stopped' | 'failed';
  /** What computes, in words; '' while it is not known. */
  readonly device: string;
  readonly message: string | null;
  readonly warning: string | null;
  readonly request: LabRequests[K] | null;
  readonly rows: readonly LabRows[K][];
  /** Rows that there will be. */
  readonly of: number;
}

const NOTHING = { device: '', message: null, warning: null, request: null, rows: [], of: 0 } as const;

export class LabRun<K extends LabKind> {
  readonly store: Store<Lab<K>> = new Store<Lab<K>>({ ...NOTHING, phase: 'idle' });
  private listening = false;

  constructor(readonly kind: K) {}

  /** Once, when the view is first shown: there is no worker before. */
  listen(): void {
    if (this.listening) return;
    this.listening = true;
    const worker = labWorker();
    const { store, kind } = this;
    // The events of `kind` have its rows, which the compiler does not follow.
    type Row = { row: LabRows[K]; at: number; of: number };
    worker.on(`${kind}.row` as 'judge.row', (value) => {
      const { row, at, of } = value as Row;
      const rows = [...store.get().rows];
      rows[at] = row;
      store.update({ rows, of });
    });
    worker.on(`${kind}.device` as 'judge.device', (device) => store.update({ device }));
    worker.on(`${kind}.warning` as 'judge.warning', (warning) => store.update({ warning }));
  }

  async start(request: LabRequests[K]): Promise<void> {
    const { store, kind } = this;
    store.set({ ...NOTHING, phase: 'running', request });
    try {
      await labWorker().call(`${kind}.start` as 'judge.start', request as LabRequests['judge']);
      const { rows, of } = store.get();
      store.update({ phase: of > 0 && rows.length === of ? 'done' : 'stopped' });
    } catch (error) {
      store.update({ phase: 'failed', message: error instanceof Error ? error.message : String(error) });
    }
  }

  stop(): void {
    // Where the worker has gone, `start` says so.
    labWorker()
      .call('stop')
      .catch(() => {});
  }
}
