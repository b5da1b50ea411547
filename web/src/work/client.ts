/** The page's side of a worker. */
import type { CallName, Calls, FromWorker, LabEvents, LearnEvents } from './messages.js';

type Events = LearnEvents & LabEvents;

export class WorkerClient {
  private readonly worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  private readonly waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  private readonly listeners = new Map<string, Set<(value: never) => void>>();
  private next = 0;
  private heard = false;
  /** Why the worker never came to be: nothing would answer. */
  private broken: Error | null = null;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      this.heard = true;
      if ('event' in data) {
        for (const listener of this.listeners.get(data.event) ?? []) listener(data.value as never);
        return;
      }
      const waiting = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error === undefined) waiting?.resolve(data.value);
      else waiting?.reject(new Error(data.error));
    };
    this.worker.onerror = (event) => {
      const error = new Error(event.message || 'the worker did not load');
      if (!this.heard) this.broken = error;
      for (const { reject } of this.waiting.values()) reject(error);
      this.waiting.clear();
    };
    this.worker.postMessage({ base: document.baseURI });
  }

  call<C extends CallName>(call: C, ...args: Parameters<Calls[C]>): Promise<ReturnType<Calls[C]>> {
    if (this.broken !== null) return Promise.reject(this.broken);
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      // A file of weights is handed over, not copied.
      const transfer = args.flatMap((arg: unknown) => (arg instanceof Uint8Array ? [arg.buffer] : []));
      this.worker.postMessage({ id, call, args }, transfer);
    });
  }

  on<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): () => void {
    const all = this.listeners.get(event) ?? new Set();
    this.listeners.set(event, all);
    all.add(listener as (value: never) => void);
    return () => all.delete(listener as (value: never) => void);
  }
}

let learner: WorkerClient | null = null;
let lab: WorkerClient | null = null;
/** Trains; goes on while another view is shown. */
export const learnWorker = (): WorkerClient => {
  learner ??= new WorkerClient();
  return learner;
};
/** Looks, judges and measures. */
export const labWorker = (): WorkerClient => {
  lab ??= new WorkerClient();
  return lab;
};
