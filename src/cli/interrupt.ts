/** Ctrl-C and its kin: the first asks to stop at the next good moment, a second ends the process at once. */

export const INTERRUPTED_EXIT_CODE = 130;

/** A second signal within this time is the same Ctrl-C: npm passes on what the terminal has sent to all already. */
const SAME_MS = 400;

/** SIGHUP: the terminal was closed. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface Interrupt {
  readonly signal: AbortSignal;
  /** Gives Ctrl-C its usual meaning back. */
  release(): void;
}

/** Listens for SIGINT, SIGTERM and SIGHUP. `onFirst` tells the user; `onSecond` tidies the terminal. */
export function listenForInterrupt(onFirst: () => void, onSecond: () => void): Interrupt {
  const controller = new AbortController();
  let first = 0;
  const listener = (): void => {
    if (!controller.signal.aborted) {
      first = performance.now();
      controller.abort();
      onFirst();
    } else if (performance.now() - first > SAME_MS) {
      onSecond();
      process.exit(INTERRUPTED_EXIT_CODE);
    }
  };
  for (const name of SIGNALS) process.on(name, listener);
  return {
    signal: controller.signal,
    release() {
      for (const name of SIGNALS) process.off(name, listener);
    },
  };
}
