/**
 * Module: the base of all layers and networks. Nothing is registered: parameters, buffers and children are found by
 * walking an object's plain fields in the order in which they were declared.
 */
import type { Device } from '../device/device.js';
import { ArgumentError, StateDictError, show } from '../errors.js';
import { copyStateDict, type Disagreement, type StateEntry } from '../stateDict.js';
import { keep, Tensor } from '../tensor.js';

/** @throws ArgumentError unless it is a module */
export function checkModule(op: string, model: unknown): asserts model is Module {
  if (!(model instanceof Module)) throw new ArgumentError(`${op}: model is ${show(model)}; want a Module`);
}

/** The state-dict name of a field: `runningMean` is `running_mean`, as in PyTorch. */
function stateName(field: string): string {
  return field.replace(/([a-z0-9])([A-Z])/g, (_, before: string, capital: string) => {
    return `${before}_${capital.toLowerCase()}`;
  });
}

/** The fields of `module` that pass `is`, alone or in an array (`name.0`, `name.1`, ...), under their state names. */
function walk<T>(module: Module, is: (value: unknown) => value is T): Map<string, T> {
  const found = new Map<string, T>();
  const put = (name: string, value: T): void => {
    if (found.has(name)) throw new StateDictError(`${module.constructor.name}: two fields share the name ${name}`);
    found.set(name, value);
  };
  for (const [field, value] of Object.entries(module)) {
    const name = stateName(field);
    if (is(value)) put(name, value);
    else if (Array.isArray(value)) {
      value.forEach((item: unknown, i) => {
        if (is(item)) put(`${name}.${i}`, item);
      });
    }
  }
  return found;
}

/** What names begin with inside the child `name` of a module whose own begin with `prefix`. */
const within = (prefix: string, name: string): string => (name === '' ? prefix : `${prefix}${name}.`);

const isTensor = (value: unknown): value is Tensor => value instanceof Tensor;
const isModule = (value: unknown): value is Module => value instanceof Module;

/**
 * A part of a network. Subclasses keep tensors and modules in plain fields, alone or in arrays: a tensor that requires
 * a gradient is a parameter, any other is a buffer. Both should be `keep`-ed, so that they outlive scopes; every layer
 * of this library does so. Fields that begin with `#` are not seen.
 */
export abstract class Module {
  /** Whether layers such as batch norm behave as in training. Set by `train` and `eval`. */
  training = true;

  /**
   * What the module makes of x, recorded for `grad`.
   * @throws ArgumentError when x has a shape that it cannot take
   */
  abstract forward(x: Tensor): Tensor;

  /** The layer that does the work: this one, or what a lazy one has become. */
  get resolved(): Module {
    return this;
  }

  /** The modules directly inside, by name. The parameters of one named "" have the names that they have in it. */
  children(): Map<string, Module> {
    return walk(this, isModule);
  }

  /** Every parameter once, under its full name, in the order of PyTorch: own ones, then the children's. */
  namedParameters(): Map<string, Tensor> {
    return this.collect((t) => t.requiresGrad, true);
  }

  /** Every parameter once, in the order of `namedParameters`. */
  parameters(): Tensor[] {
    return [...this.namedParameters().values()];
  }

  /** Every buffer once (running statistics and the like), under its full name. */
  namedBuffers(): Map<string, Tensor> {
    return this.collect((t) => !t.requiresGrad, true);
  }

  /**
   * Parameters and buffers under PyTorch's names and in its order: a module's own parameters, its own buffers, then
   * its children. The tensors themselves, not copies.
   * @see https://pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.state_dict
   */
  stateDict(): Map<string, Tensor> {
    return this.collect(() => true, false);
  }

  /**
   * Copies `entries` into the parameters and buffers, which keep their identity. Values are rounded to the device's
   * dtype; an int64 entry may come as a BigInt64Array or as whole numbers. As in PyTorch, a batch norm's
   * `num_batches_tracked` may be missing, since files from before 2018 have none: it stays as it is.
   *
   * With `strict: false` names need not agree, for a network with another head: what is missing stays as it is, what is
   * unexpected is left out, and both are returned. An entry of another shape is an error all the same.
   * @throws StateDictError that names every missing, unexpected and misshapen entry; nothing has changed then
   * @see https://pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.load_state_dict
   */
  loadStateDict(entries: ReadonlyMap<string, StateEntry>, o?: { readonly strict?: true }): this;
  loadStateDict(entries: ReadonlyMap<string, StateEntry>, o: { readonly strict: false }): Disagreement;
  loadStateDict(entries: ReadonlyMap<string, StateEntry>, o: { readonly strict?: boolean } = {}): this | Disagreement {
    const { strict = true } = o ?? {};
    const mayLack = (name: string): boolean =>
      /(^|\.)num_batches_tracked$/.test(name) && entries.has(name.replace(/num_batches_tracked$/, 'running_mean'));
    const undo = this.makeAllFrom(entries);
    try {
      const found = copyStateDict('loadStateDict', this.stateDict(), entries, strict, mayLack);
      return strict ? this : found;
    } catch (error) {
      undo();
      throw error;
    }
  }

  /** Puts this module and all inside into training mode, or out of it. */
  train(mode = true): this {
    return this.apply((module) => {
      module.training = mode;
    });
  }

  /** Puts this module and all inside into eval mode: batch norm goes by its running statistics. */
  eval(): this {
    return this.train(false);
  }

  /** Runs `fn` with this module and all inside in training (or eval) mode; afterwards each has its own mode back. */
  inMode<T>(training: boolean, fn: () => T): T {
    const modes: [Module, boolean][] = [];
    this.apply((module) => modes.push([module, module.training]));
    this.train(training);
    try {
      return fn();
    } finally {
      const known = new Set(modes.map(([module]) => module));
      for (const [module, mode] of modes) {
        module.training = mode;
        // What a lazy layer has made meanwhile has no mode of before.
        for (const child of module.children().values()) if (!known.has(child)) child.train(mode);
      }
    }
  }

  /** Calls `fn` on every module inside, children first, then on this one. */
  apply(fn: (module: Module) => void): this {
    for (const child of this.children().values()) child.apply(fn);
    fn(this);
    return this;
  }

  /**
   * Moves every parameter and buffer to `device`: new tensors take the places of the old ones, which are disposed. An
   * optimizer or a plan that was made before holds the old ones, so make it anew. Tensors that are there already stay.
   * @throws whatever the devices throw; nothing has changed then
   * @see https://pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.to
   */
  async to(device: Device): Promise<this> {
    const moved = new Map<unknown, Tensor>();
    const left = new Set<unknown>();
    try {
      for (const old of new Set(this.stateDict().values())) {
        if (old.device === device) continue;
        moved.set(old, keep(await old.to(device)));
        left.add(old.device);
      }
    } catch (error) {
      for (const t of moved.values()) t.dispose();
      throw error;
    }
    const now = (value: unknown): unknown => (left.has(value) ? device : (moved.get(value) ?? value));
    this.apply((module) => {
      const fields = module as unknown as Record<string, unknown>;
      for (const [name, value] of Object.entries(fields)) {
        if (now(value) !== value) fields[name] = now(value);
        else if (Array.isArray(value) && value.some((item) => moved.has(item))) fields[name] = value.map(now);
      }
    });
    for (const old of moved.keys()) (old as Tensor).dispose();
    return this;
  }

  /** Gives the memory of all parameters and buffers back. */
  dispose(): void {
    // Module by module, since one that is still to be made has nothing to give back.
    this.apply((module) => {
      for (const t of walk(module, isTensor).values()) t.dispose();
    });
  }

  /** Throws where the module's parameters are still to be made. `name`: the module's, for messages. */
  protected checkMade(_name: string): void {}

  /**
   * Makes parameters that are still to be made, from the entries whose names begin with `prefix`; what undoes it, or null
   * where there is nothing to make.
   * @throws StateDictError when the entries do not tell
   */
  protected makeFrom(_entries: ReadonlyMap<string, StateEntry>, _prefix: string): (() => void) | null {
    return null;
  }

  /** The same for this module and all inside; all or nothing. */
  private makeAllFrom(entries: ReadonlyMap<string, StateEntry>): () => void {
    const undos: (() => void)[] = [];
    const undo = (): void => {
      for (const one of undos.splice(0)) one();
    };
    const visit = (module: Module, prefix: string): void => {
      const made = module.makeFrom(entries, prefix);
      if (made !== null) undos.push(made);
      for (const [name, child] of module.children()) visit(child, within(prefix, name));
    };
    try {
      if (entries instanceof Map) visit(this, '');
    } catch (error) {
      undo();
      throw error;
    }
    return undo;
  }

  private collect(wanted: (t: Tensor) => boolean, once: boolean): Map<string, Tensor> {
    const found = new Map<string, Tensor>();
    const seen = new Set<Tensor>();
    const visit = (module: Module, prefix: string): void => {
      module.checkMade(prefix.slice(0, -1));
      const own = [...walk(module, isTensor)];
      const ordered = [...own.filter(([, t]) => t.requiresGrad), ...own.filter(([, t]) => !t.requiresGrad)];
      for (const [name, t] of ordered) {
        if (!wanted(t) || (once && seen.has(t))) continue;
        seen.add(t);
        found.set(prefix + name, t);
      }
      for (const [name, child] of module.children()) visit(child, within(prefix, name));
    };
    visit(this, '');
    return found;
  }
}
