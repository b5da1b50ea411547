/** A value that is watched. */
import { useEffect, useRef, useState } from 'preact/hooks';

export class Store<T> {
  private readonly listeners = new Set<() => void>();
  constructor(private value: T) {}
  get(): T {
    return this.value;
  }
  set(value: T): void {
    if (Object.is(value, this.value)) return;
    this.value = value;
    for (const listener of this.listeners) listener();
  }
  update(part: Partial<T>): void {
    this.set({ ...this.value, ...part });
  }
  watch(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

export function useStore<T>(store: Store<T>): T {
  const [value, setValue] = useState(() => store.get());
  useEffect(() => {
    const take = (): void => setValue(() => store.get());
    take();
    return store.watch(take);
  }, [store]);
  return value;
}

/** Only these entries: what else changes draws nothing anew. */
export function usePart<T extends object, K extends keyof T>(store: Store<T>, ...keys: readonly K[]): Pick<T, K> {
  const [, again] = useState(0);
  const shown = useRef(store.get());
  useEffect(() => {
    const look = (): void => {
      const now = store.get();
      if (keys.some((key) => !Object.is(now[key], shown.current[key]))) again((n) => n + 1);
    };
    look();
    return store.watch(look);
  }, [store]);
  shown.current = store.get();
  return shown.current;
}
