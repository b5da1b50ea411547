/** When the loss is NaN or infinite: which layer it came from. When a weight is: which one. */
import { type OpNode, topologicalOrder } from '../autograd.js';
import type { TypedArray } from '../device/device.js';
import { AtalhoError } from '../errors.js';
import type { Module } from '../nn/module.js';
import { formatShape, type Shape } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** The loss of a training step is NaN or infinite. The step has changed no parameter. */
export class NonFiniteLossError extends AtalhoError {
  override name = 'NonFiniteLossError';
  constructor(
    message: string,
    /** The step, counted from 1. */
    readonly step: number,
    readonly loss: number,
    /**
     * What produced the first value that is not finite, such as "conv2d of 2.0.conv1" or "parameter 6.weight"; null
     * on a device that the CPU cannot read at once.
     */
    readonly layer: string | null,
  ) {
    super(message);
  }
}

/** A parameter or a running statistic is NaN or infinite after a step whose loss was finite. */
export class NonFiniteParameterError extends AtalhoError {
  override name = 'NonFiniteParameterError';
  constructor(
    message: string,
    /** Steps done. */
    readonly step: number,
    /** Its name in the state dict. */
    readonly parameter: string,
  ) {
    super(message);
  }
}

/** The first value that is NaN or infinite; null when all are finite. */
function firstBad(data: ArrayLike<number> | ArrayLike<bigint>): number | null {
  for (let i = 0; i < data.length; i++) if (!Number.isFinite(Number(data[i]))) return Number(data[i]);
  return null;
}

function isFiniteTensor(t: Tensor): boolean {
  return firstBad(t.dataSync()) === null;
}

/**
 * The state dict of a model as plain data, all of it finite.
 * @param step steps done, for messages
 * @throws NonFiniteParameterError that names the first entry that is not
 */
export async function finiteState(
  model: Module,
  step: number,
): Promise<[string, { shape: Shape; data: TypedArray }][]> {
  const entries: [string, { shape: Shape; data: TypedArray }][] = [];
  for (const [name, t] of model.stateDict()) {
    const data = await t.data();
    const bad = firstBad(data);
    if (bad !== null) {
      const message = `train: ${name} holds ${bad} after step ${step}; want finite values, such as a smaller lr gives`;
      throw new NonFiniteParameterError(message, step, name);
    }
    entries.push([name, { shape: t.shape, data }]);
  }
  return entries;
}

/** "2.0.conv1" of "2.0.conv1.weight". */
function owner(parameter: string): string {
  const dot = parameter.lastIndexOf('.');
  return dot < 0 ? parameter : parameter.slice(0, dot);
}

/** "conv2d of 2.0.conv1", or for an op without parameters "relu after batchNorm of 2.0.bn1". */
function describe(t: Tensor, names: ReadonlyMap<Tensor, string>): string {
  const passed: string[] = [];
  for (let at: Tensor | null = t; at !== null; ) {
    const node = at.node as OpNode | null;
    if (node === null) break;
    const parameter = node.inputs.map((input) => input && names.get(input)).find((name) => name);
    if (parameter) return [...passed, `${node.name} of ${owner(parameter)}`].join(' after ');
    // Only the op itself and the last layer matter to a reader, not every reshape between.
    if (passed.length === 0) passed.push(node.name);
    at = node.inputs[0];
  }
  return passed[0] ?? 'the loss';
}

/**
 * What the first value that is not finite came from, walking the graph behind `loss` in the order in which it was
 * computed: an input, a parameter that holds such a value already, or an op. Null when all are finite. To be called before
 * `grad`, which spends the graph, on a device that the CPU sees.
 */
export function firstNonFinite(loss: Tensor, model: Module): string | null {
  const names = new Map([...model.namedParameters()].map(([name, t]) => [t, name]));
  // Running statistics are written by the forward pass, not read: they are its victims, never the cause.
  const buffers = new Set(model.namedBuffers().values());
  const order = topologicalOrder(loss);
  // Leaves first: an op can only be blamed if what it was given is sound.
  for (const t of order) {
    if (t.node !== null || buffers.has(t) || isFiniteTensor(t)) continue;
    const name = names.get(t);
    return name === undefined ? `the input ${formatShape(t.shape)}` : `parameter ${name}`;
  }
  for (const t of order) {
    if (t.node !== null && !isFiniteTensor(t)) return `${describe(t, names)}, result ${formatShape(t.shape)}`;
  }
  return null;
}
