/**
 * Scopes: whoever makes a resource on a device inside `device.scope(fn)` has it freed at the end, unless
 * `fn` returns it or it was kept.
 */
import { ArgumentError, AtalhoError, show } from '../errors.js';

/** What a scope can free. Tensor implements it, so that devices need to know no more of tensors. */
export interface Resource {
  readonly disposed: boolean;
  /** Gives the memory back. */
  dispose(): void;
}

function isResource(value: object): value is Resource {
  return 'dispose' in value && typeof value.dispose === 'function' && 'disposed' in value;
}

/** The resources in `value`: itself, or those in arrays, Maps and plain records, however deep. */
function collect(value: unknown, found: Set<Resource>): void {
  const seen = new Set<object>();
  const stack: unknown[] = [value];
  while (stack.length > 0) {
    const item = stack.pop();
    if (typeof item !== 'object' || item === null || seen.has(item) || ArrayBuffer.isView(item)) continue;
    seen.add(item);
    if (isResource(item)) found.add(item);
    else if (Array.isArray(item)) for (const part of item) stack.push(part);
    else if (item instanceof Map) for (const part of item.values()) stack.push(part);
    else {
      const prototype = Object.getPrototypeOf(item);
      if (prototype === Object.prototype || prototype === null)
        for (const part of Object.values(item)) stack.push(part);
    }
  }
}

/**
 * What `fn` returns. `noGrad`, `inferenceMode` and scopes end then, so a function that goes on later is a mistake.
 * @throws ArgumentError when it is no function
 * @throws AtalhoError when it returns a promise
 */
export function synchronously<T>(what: string, fn: () => T): T {
  if (typeof fn !== 'function') throw new ArgumentError(`${what}: fn is ${show(fn)}; want a function`);
  const result = fn();
  if (typeof result === 'object' && result !== null && 'then' in result && typeof result.then === 'function') {
    throw new AtalhoError(`${what}: fn returned a promise; a ${what} is synchronous, so await outside of it`);
  }
  return result;
}

/** The open scopes of one device, innermost last, and whether what is computed on it is recorded. */
export class ScopeStack {
  private readonly open: Set<Resource>[] = [];
  /** What was made since, for each attempt under way. */
  private readonly attempts: Resource[][] = [];
  private inferring = 0;

  /** False inside `inferenceMode`. */
  get recording(): boolean {
    return this.inferring === 0;
  }

  /**
   * Runs `fn` with nothing recorded for `grad`.
   * @throws AtalhoError when `fn` returns a promise
   */
  withoutRecording<T>(fn: () => T): T {
    this.inferring++;
    try {
      return synchronously('inferenceMode', fn);
    } finally {
      this.inferring--;
    }
  }

  /** Puts a new resource into the innermost scope, if there is one. */
  track(resource: Resource): void {
    this.open.at(-1)?.add(resource);
    for (const made of this.attempts) made.push(resource);
  }

  /** Runs `fn`; should it throw, whatever it made is freed, kept or not: half a network is of no use. */
  attempt<T>(fn: () => T): T {
    const made: Resource[] = [];
    this.attempts.push(made);
    try {
      return fn();
    } catch (error) {
      for (const resource of made) resource.dispose();
      throw error;
    } finally {
      this.attempts.pop();
    }
  }

  /** Takes a resource out of every scope: it now lives until it is disposed. */
  forget(resource: Resource): void {
    for (const scope of this.open) scope.delete(resource);
  }

  /** True when the innermost open scope made this resource and would free it. */
  ownsInnermost(resource: Resource): boolean {
    return this.open.at(-1)?.has(resource) ?? false;
  }

  /**
   * Runs `fn` in a new scope: what was made inside is disposed at its end, but for what `fn` returns, which goes to the scope
   * around.
   * @throws AtalhoError when `fn` returns a promise
   */
  run<T>(fn: () => T): T {
    const scope = new Set<Resource>();
    this.open.push(scope);
    const survivors = new Set<Resource>();
    try {
      const result = synchronously('scope', fn);
      collect(result, survivors);
      return result;
    } finally {
      this.open.pop();
      const outer = this.open.at(-1);
      for (const resource of scope) {
        if (survivors.has(resource)) outer?.add(resource);
        else if (!resource.disposed) resource.dispose();
      }
    }
  }
}
