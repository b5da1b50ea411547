/**
 * What all optimizers share: checks, a step count, state tensors per parameter that outlive scopes, and saving and
 * loading them so that training goes on bit for bit.
 */
import { Counter } from '../counter.js';
import type { Buffer, Kernels } from '../device/device.js';
import { ArgumentError, DeviceError, StateDictError, show } from '../errors.js';
import { formatShape, sameShape } from '../shape.js';
import { copyStateDict, type StateEntry } from '../stateDict.js';
import { checkTensor, keep, Tensor } from '../tensor.js';

/** What every optimizer has. */
export interface OptimizerOptions {
  /** Learning rate. */
  readonly lr: number;
  /** Multiple of the parameter that is added to its gradient (adamw: subtracted from the parameter). */
  readonly weightDecay?: number;
}

/** Parameters with options of their own; the optimizer's options hold where a group sets none. */
export type ParamGroup<O extends Partial<OptimizerOptions> = OptimizerOptions> = Partial<O> & {
  readonly params: Iterable<Tensor>;
};

/** What an optimizer updates: tensors, or groups of them. */
export type Params<O extends Partial<OptimizerOptions> = OptimizerOptions> = Iterable<Tensor> | Iterable<ParamGroup<O>>;

/** A group as the optimizer keeps it: each option checked, defaults filled in. */
export interface GroupState {
  readonly params: readonly Tensor[];
  /** Learning rate of the steps to come. */
  lr: number;
  readonly weightDecay: number;
}

/** What one parameter's update works with. */
export interface Update<O> {
  /** Options of the parameter's group, at this step's learning rate. */
  readonly options: O;
  readonly kernels: Kernels;
  readonly param: Buffer;
  readonly grad: Buffer;
  /** The parameter's state, in the order of `slots`. */
  readonly state: readonly Buffer[];
}

/** An option as a number from `min` up to, but not including, `end`; or an error that says so. */
export function numberFrom(op: string, option: string, value: number, min: number, end: number): number {
  if (!(typeof value === 'number' && value >= min && value < end)) {
    const upper = end === Number.POSITIVE_INFINITY ? '' : ` and below ${end}`;
    throw new ArgumentError(`${op}: ${option} is ${show(value)}; want a finite number of at least ${min}${upper}`);
  }
  return value;
}

/** A group with its options; `lr` is checked whenever it is set. */
class Group<O extends OptimizerOptions> implements GroupState {
  private rate: number;
  readonly weightDecay: number;

  constructor(
    private readonly name: string,
    readonly params: readonly Tensor[],
    private readonly rest: O,
  ) {
    this.rate = numberFrom(name, 'lr', rest.lr, 0, Number.POSITIVE_INFINITY);
    this.weightDecay = numberFrom(name, 'weightDecay', rest.weightDecay ?? 0, 0, Number.POSITIVE_INFINITY);
  }

  /** Learning rate of the steps to come. */
  get lr(): number {
    return this.rate;
  }

  /** @throws ArgumentError unless it is a finite number of at least 0 */
  set lr(value: number) {
    this.rate = numberFrom(this.name, 'lr', value, 0, Number.POSITIVE_INFINITY);
  }

  get options(): O & Required<OptimizerOptions> {
    return { ...this.rest, lr: this.rate, weightDecay: this.weightDecay };
  }
}

/** `O` holds the options of a group, all of them set. */
export abstract class Optimizer<O extends OptimizerOptions = OptimizerOptions> {
  /** Every parameter, group after group: the order of gradients and of the state. */
  readonly params: readonly Tensor[];
  /** The groups, one where tensors were given alone. Their `lr` may be set. */
  readonly paramGroups: readonly GroupState[];
  private readonly groups: readonly Group<O>[];
  /** The group of each parameter. */
  private readonly groupOf: readonly Group<O>[];
  /** The slots of each parameter. */
  private readonly slots: readonly (readonly string[])[];
  private readonly count: Counter;
  /** One list a parameter, in the order of its slots; null before the first step. */
  private slotTensors: Tensor[][] | null = null;

  /**
   * @param o holds where a group sets nothing else
   * @param check a group's options, each checked
   * @param slotsOf PyTorch's names of the state tensors that each parameter of a group has
   */
  constructor(
    readonly name: string,
    params: Params<O>,
    o: O,
    check: (options: O) => O,
    slotsOf: (options: O) => readonly string[],
  ) {
    const listed = (what: string, list: unknown): unknown[] => {
      if (typeof (list as Iterable<unknown> | null)?.[Symbol.iterator] === 'function')
        return [...(list as Iterable<unknown>)];
      throw new ArgumentError(`${name}: ${what} is ${show(list)}; want tensors`);
    };
    const given = listed('params', params);
    const isGroup = (item: unknown): item is ParamGroup<O> =>
      typeof item === 'object' && item !== null && !(item instanceof Tensor) && 'params' in item;
    const grouped = given.some(isGroup);
    const groups = grouped ? given : [{ params: given }];
    this.groups = groups.map((group, i) => {
      if (!isGroup(group))
        throw new ArgumentError(`${name}: params[${i}] is no group; want { params, ... } throughout`);
      const { params: own, ...options } = group;
      const set = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
      return new Group(name, listed(`params[${i}].params`, own) as Tensor[], check({ ...o, ...set }));
    });
    this.paramGroups = this.groups;
    this.groupOf = this.groups.flatMap((group) => group.params.map(() => group));
    this.slots = this.groupOf.map((group) => slotsOf(group.options));
    this.params = this.groups.flatMap((group) => group.params);
    if (this.params.length === 0) throw new ArgumentError(`${name}: params is empty; want at least one tensor`);
    for (const [i, p] of this.params.entries()) checkTensor(name, `params[${i}]`, p);
    const [{ device }] = this.params;
    this.params.forEach((p, i) => {
      if (!p.requiresGrad) {
        throw new ArgumentError(`${name}: params[${i}] ${formatShape(p.shape)} has requiresGrad false; want true`);
      }
      if (p.node !== null) {
        throw new ArgumentError(`${name}: params[${i}] ${formatShape(p.shape)} is the result of an op; want a leaf`);
      }
      if (p.device !== device) {
        throw new DeviceError(`${name}: params[0] is on ${device.name}, params[${i}] is not; want all on one device`);
      }
    });
    if (new Set(this.params).size < this.params.length) {
      throw new ArgumentError(`${name}: params holds a tensor twice; want each once`);
    }
    this.count = new Counter(device);
  }

  /** Learning rate of the steps to come: that of the first group. Setting it sets that of every group. */
  get lr(): number {
    return this.groups[0].lr;
  }

  /** @throws ArgumentError unless it is a finite number of at least 0 */
  set lr(value: number) {
    for (const group of this.groups) group.lr = value;
  }

  /** Steps taken so far. */
  get steps(): number {
    return Number(this.count.value);
  }

  /**
   * Updates the parameters in place. `grads[i]` is the gradient of `params[i]` and has its shape.
   * @throws ArgumentError when a gradient is missing or misshapen; nothing has changed then
   */
  step(grads: readonly Tensor[]): void {
    const { params, name } = this;
    if (grads?.length !== params.length) {
      throw new ArgumentError(
        `${name}: step got ${show(grads?.length)} gradients; want ${params.length}, one a parameter`,
      );
    }
    params.forEach((p, i) => {
      const g = grads[i];
      if (!(g instanceof Tensor) || !sameShape(g.shape, p.shape) || g.dtype !== p.dtype) {
        const got = g instanceof Tensor ? `has shape ${formatShape(g.shape)}, ${g.dtype}` : 'is not a Tensor';
        throw new ArgumentError(`${name}: grads[${i}] ${got}; want ${formatShape(p.shape)}, ${p.dtype}`);
      }
      if (g.device !== p.device || g.disposed || p.disposed) {
        const why = g.disposed || p.disposed ? 'was disposed' : `is on ${g.device.name}, not on ${p.device.name}`;
        throw new DeviceError(`${name}: grads[${i}] or its parameter ${why}`);
      }
    });
    this.slotTensors ??= this.allocate();
    const first = this.count.value === 0n;
    this.count.value += 1n;
    this.advance(1);
    const optionsOf = new Map(this.groups.map((group) => [group, group.options]));
    params.forEach((p, i) => {
      const state = (this.slotTensors as Tensor[][])[i].map((t) => t.buffer);
      const options = optionsOf.get(this.groupOf[i]) as Required<OptimizerOptions> & O;
      this.update({ options, kernels: p.device.kernels, param: p.buffer, grad: grads[i].buffer, state }, first);
      p.buffer.version++;
    });
  }

  /**
   * Everything that the next step depends on besides options and parameters: `step`, an int64 scalar, and once a step
   * was taken, `i.<name>` for each state tensor of parameter i, under PyTorch's names. The tensors, not copies.
   */
  state(): Map<string, Tensor> {
    return this.named(this.slotTensors);
  }

  /**
   * Takes over a state that `state()` gave, from tensors or plain data; training then goes on bit for bit.
   * @throws StateDictError that names every missing, unexpected and misshapen entry; nothing has changed then
   */
  loadState(entries: ReadonlyMap<string, StateEntry>): void {
    const count = this.stepOf(entries);
    const fresh = count === 0n ? null : (this.slotTensors ?? this.allocate());
    try {
      copyStateDict(`${this.name}.loadState`, this.named(fresh), entries);
    } catch (error) {
      if (fresh !== this.slotTensors) for (const t of fresh?.flat() ?? []) t.dispose();
      throw error;
    }
    if (fresh !== this.slotTensors) for (const t of this.slotTensors?.flat() ?? []) t.dispose();
    this.slotTensors = fresh;
    this.restart();
    this.advance(this.steps);
  }

  /** Gives the memory of the state back; the parameters stay. */
  dispose(): void {
    for (const t of this.state().values()) t.dispose();
  }

  /** The options of each group. */
  protected groupOptions(): O[] {
    return this.groups.map((group) => group.options);
  }

  /** Updates one parameter; `first` on the very first step. */
  protected abstract update(u: Update<O & Required<OptimizerOptions>>, first: boolean): void;

  /** Forgets what `advance` worked out. */
  protected restart(): void {}

  /** Moves what depends on the number of steps, such as βᵗ, on by `steps`. */
  protected advance(_steps: number): void {}

  private named(slotTensors: Tensor[][] | null): Map<string, Tensor> {
    const all = new Map<string, Tensor>([['step', this.count]]);
    slotTensors?.forEach((tensors, i) => {
      tensors.forEach((t, j) => {
        all.set(`${i}.${this.slots[i][j]}`, t);
      });
    });
    return all;
  }

  private stepOf(entries: ReadonlyMap<string, StateEntry>): bigint | null {
    const entry = entries instanceof Map ? entries.get('step') : undefined;
    if (entry === undefined) return null;
    const data = entry instanceof Tensor ? (entry instanceof Counter ? [entry.value] : entry.dataSync()) : entry.data;
    const value = Number(data[0]);
    if (data.length !== 1 || !Number.isSafeInteger(value) || value < 0) {
      throw new StateDictError(`${this.name}.loadState: step is ${String(data[0])}; want a whole number of at least 0`);
    }
    return BigInt(value);
  }

  /** State tensors of zeros for every parameter; all or none. */
  private allocate(): Tensor[][] {
    const made: Tensor[] = [];
    try {
      return this.params.map((p, i) =>
        this.slots[i].map(() => {
          const t = keep(new Tensor(p.device, p.shape, p.device.alloc(p.size)));
          made.push(t);
          p.device.kernels.fill({ out: t.buffer, value: 0 });
          return t;
        }),
      );
    } catch (error) {
      for (const t of made) t.dispose();
      throw error;
    }
  }
}
