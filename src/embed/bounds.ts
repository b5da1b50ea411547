/** What bounds a guest's run: a signal, polled between steps, and progress, which may make the run wait. */
import { AbortedError, ArgumentError, show } from '../errors.js';

/** As much of an AbortSignal as is read; where a host has none, any object with such a field. */
export interface Abort {
  readonly aborted: boolean;
}

/** How far a run has come. */
export interface Progress {
  /** Images or steps done, and how many there will be. */
  readonly done: number;
  readonly total: number;
}

/** How a run is watched and ended. */
export interface Bounds<P extends Progress> {
  /** Looked at before each step; once aborted, the run ends with an AbortedError. */
  readonly signal?: Abort;
  /** Told after each step; a promise that it returns is awaited before the next. What it throws ends the run. */
  readonly onProgress?: (progress: P) => unknown;
}

/** @throws ArgumentError when they are no signal and no function */
export function checkBounds(op: string, { signal, onProgress }: Bounds<never>): void {
  if (signal !== undefined && typeof signal?.aborted !== 'boolean') {
    throw new ArgumentError(`${op}: signal is no AbortSignal; want one, or an object with a boolean 'aborted'`);
  }
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new ArgumentError(`${op}: onProgress is a ${typeof onProgress}; want a function`);
  }
}

/** @throws AbortedError once the signal is */
export function checkAbort(op: string, signal: Abort | undefined, done: number, total: number, what: string): void {
  if (signal?.aborted) throw new AbortedError(`${op}: aborted after ${done} of ${total} ${what}`, done);
}

/** @throws ArgumentError unless `value` is a whole number from 1 to `most` */
export function checkCount(
  op: string,
  argument: string,
  value: unknown,
  most = Number.MAX_SAFE_INTEGER,
): asserts value is number {
  if (!Number.isSafeInteger(value) || Number(value) < 1 || Number(value) > most) {
    throw new ArgumentError(`${op}: ${argument} is ${show(value)}; want a whole number from 1 to ${most}`);
  }
}
