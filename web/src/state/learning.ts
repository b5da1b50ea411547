/** What the page knows of the run at hand and of the saved ones. Lives on while another view is shown. */
import { learnWorker } from '../work/client.js';
import type {
  BlockInfo,
  Glimpse,
  Maps,
  Phase,
  Progress,
  RunRecord,
  RunSettings,
  TestPoint,
  Tiles,
} from '../work/messages.js';
import { deleteRun, listRuns } from './runStore.js';
import { Store } from './store.js';

export interface Learning {
  readonly phase: Phase | 'idle';
  readonly message: string | null;
  readonly warning: string | null;
  readonly record: RunRecord | null;
  readonly progress: Progress | null;
  readonly losses: readonly number[];
  readonly accuracies: readonly number[];
  readonly tests: readonly TestPoint[];
  /** Of the pictures that are shown. */
  readonly glimpse: Glimpse | null;
  /** The newest count of what was taken for what. */
  readonly confusion: Glimpse | null;
  readonly maps: Maps | null;
  readonly blocks: readonly BlockInfo[];
  readonly pictures: Tiles | null;
  readonly labels: Uint8Array | null;
  readonly watched: { readonly block: string; readonly picture: number };
  /** Step of the run's checkpoint in this browser, and why the last one could not be kept. */
  readonly savedStep: number | null;
  readonly unsaved: string | null;
  readonly runs: readonly RunRecord[];
  /** Runs whose curves are drawn beside. */
  readonly beside: ReadonlySet<string>;
}

const NOTHING = {
  ...{ message: null, warning: null, progress: null, losses: [], accuracies: [], tests: [] },
  ...{ glimpse: null, confusion: null, maps: null, savedStep: null, unsaved: null },
};

export const learning = new Store<Learning>({
  ...NOTHING,
  ...{ phase: 'idle', record: null, blocks: [], pictures: null, labels: null },
  watched: { block: '', picture: 0 },
  ...{ runs: [], beside: new Set() },
});

export async function refreshRuns(): Promise<void> {
  try {
    learning.update({ runs: await listRuns() });
  } catch {
    // A browser that keeps nothing has no saved runs.
  }
}

let listening = false;
/** Once, when the view is first shown. */
export function listen(): void {
  if (listening) return;
  listening = true;
  const worker = learnWorker();
  void refreshRuns();
  worker.on('phase', ({ phase, message = null, record }) => {
    const { losses, accuracies, tests } = record;
    learning.update({ phase, message, record, losses, accuracies, tests });
  });
  worker.on('progress', (progress) => {
    const { losses, accuracies } = learning.get();
    learning.update({
      progress,
      losses: [...losses, ...progress.losses],
      accuracies: [...accuracies, ...progress.accuracies],
    });
  });
  worker.on('test', (test) => learning.update({ tests: [...learning.get().tests, test] }));
  worker.on('glimpse', (glimpse) =>
    learning.update({
      // That of an epoch's end, on all test images, holds until the next step.
      ...(!keepsConfusion(learning.get().confusion, glimpse) && { confusion: glimpse }),
      ...(glimpse.predicted.length > 0 && { glimpse }),
    }),
  );
  worker.on('maps', (maps) => learning.update({ maps }));
  worker.on('blocks', ({ blocks, pictures, labels }) =>
    learning.update({ blocks, pictures, labels, watched: { block: blocks[0].name, picture: 0 } }),
  );
  worker.on('saved', ({ step }) => {
    learning.update({ savedStep: step, unsaved: null });
    void refreshRuns();
  });
  worker.on('unsaved', (unsaved) => learning.update({ unsaved }));
  worker.on('warning', (warning) => learning.update({ warning }));
}

const keepsConfusion = (old: Glimpse | null, next: Glimpse): boolean =>
  old !== null && old.step === next.step && old.images > next.images;

const failed = (error: unknown): void =>
  learning.update({ phase: 'failed', message: error instanceof Error ? error.message : String(error) });

function begin(): void {
  learning.update({ ...NOTHING, phase: 'loading', record: null });
}

export function startRun(settings: RunSettings, single = false): void {
  begin();
  learnWorker().call('learn.start', settings, single).catch(failed);
}
export function openRun(id: string): void {
  begin();
  learnWorker().call('learn.open', id).catch(failed);
}
export const goOn = (single = false): void => void learnWorker().call('learn.go', single).catch(failed);
export const pauseRun = (): void => void learnWorker().call('learn.pause').catch(failed);

export function watch(block: string, picture: number): void {
  learning.update({ watched: { block, picture } });
  // That it cannot be shown is no end of the run.
  learnWorker()
    .call('learn.watch', block, picture)
    .catch((error: Error) => learning.update({ warning: error.message }));
}

export async function forgetRun(id: string): Promise<void> {
  try {
    await deleteRun(id);
  } catch (error) {
    learning.update({ warning: error instanceof Error ? error.message : String(error) });
  }
  await refreshRuns();
}

export function toggleBeside(id: string): void {
  const beside = new Set(learning.get().beside);
  if (!beside.delete(id)) beside.add(id);
  learning.update({ beside });
}
