/**
 * Lets timers, signals and messages of the thread run: a training step blocks it for long, and awaiting what is ready
 * already gives them no turn.
 */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === 'function') setImmediate(resolve);
    else setTimeout(resolve);
  });
}
