/** How many threads `auto` means: one a processor, but where there are four or more one is left to the page. */
export function autoThreads(): number {
  if (!crossOriginIsolated) return 1;
  const processors = navigator.hardwareConcurrency;
  return processors >= 4 ? processors - 1 : processors;
}
