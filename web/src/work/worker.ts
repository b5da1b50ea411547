/** The worker: everything that computes. The page only shows what it is told. */
import { setBase } from './dataset.js';
import { judgeRun } from './judging.js';
import { LearnSession } from './learn.js';
import { decodePicture, Looker } from './looking.js';
import { measureRun } from './measuring.js';
import type { Calls, FromWorker, LabKind, LabTold, ToWorker } from './messages.js';

const post = (message: FromWorker, transfer: Transferable[] = []): void => self.postMessage(message, { transfer });
const emit = (event: string, value: unknown): void => post({ event, value });

let session: LearnSession | null = null;
/** A run asked for while another is being made waits for it. */
let making: Promise<void> = Promise.resolve();
let looker: Looker | null = null;
/** What is judged or measured now, and its end. */
let stop = new AbortController();
let alone: Promise<void> = Promise.resolve();

const learning = (): LearnSession => {
  if (session === null) throw new Error('no run is open');
  return session;
};

function replace(make: () => Promise<LearnSession>): Promise<void> {
  making = making
    .catch(() => {})
    .then(async () => {
      await session?.dispose();
      session = null;
      session = await make();
    });
  return making;
}

/** One at a time, so that a measurement has the processors for itself: what runs is stopped. */
function inLab<K extends LabKind>(kind: K, work: (told: LabTold<K>, signal: AbortSignal) => Promise<void>) {
  stop.abort();
  stop = new AbortController();
  const { signal } = stop;
  const told: LabTold<K> = {
    device: (name) => emit(`${kind}.device`, name),
    warning: (message) => emit(`${kind}.warning`, message),
    row: (row, at, of) => emit(`${kind}.row`, { row, at, of }),
  };
  alone = alone.catch(() => {}).then(() => (signal.aborted ? undefined : work(told, signal)));
  return alone;
}

const calls: {
  [C in keyof Calls]: (...args: Parameters<Calls[C]>) => ReturnType<Calls[C]> | Promise<ReturnType<Calls[C]>>;
} = {
  'learn.start': async (settings, single) => {
    await replace(() => LearnSession.make(settings, emit));
    void learning().go(single);
  },
  'learn.open': async (id) => {
    await replace(() => LearnSession.open(id, emit));
    // Shows where it stands.
    await learning().pause();
    void learning().show();
  },
  'learn.go': (single) => void learning().go(single),
  'learn.pause': async () => {
    await making;
    await learning().pause();
  },
  'learn.watch': async (block, picture) => {
    await making;
    await learning().watch(block, picture);
  },
  'look.summary': (...args) => Looker.summary(...args),
  'look.pictures': (count) => Looker.pictures(count),
  'look.decode': decodePicture,
  'look.file': (bytes) => {
    looker ??= new Looker();
    looker.file = bytes;
  },
  'look.see': (...args) => {
    looker ??= new Looker();
    return looker.see(...args);
  },
  'look.close': async () => {
    const old = looker;
    looker = null;
    await old?.close();
  },
  'judge.start': (request) => inLab('judge', (told, signal) => judgeRun(request, told, signal)),
  'measure.start': (request) => inLab('measure', (told, signal) => measureRun(request, told, signal)),
  stop: () => stop.abort(),
};

self.onmessage = async ({ data }: MessageEvent<ToWorker>) => {
  if ('base' in data) return setBase(data.base);
  const { id, call, args } = data;
  try {
    const value = await (calls[call] as (...args: readonly unknown[]) => unknown)(...args);
    post({ id, value });
  } catch (error) {
    post({ id, error: error instanceof Error ? error.message : String(error) });
  }
};
