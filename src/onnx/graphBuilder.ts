/** A GraphProto in the making: nodes, initializers, and names that are nobody else's. */
import type { Shape } from '../shape.js';
import {
  ATTRIBUTE_TYPE,
  type OnnxAttribute,
  type OnnxGraph,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValueInfo,
} from './messages.js';
import { floatTensor, int64Tensor } from './tensorData.js';

/** A whole number, whole numbers, a float, a tensor. */
export type AttributeValue = number | readonly number[] | { readonly float: number } | { readonly tensor: OnnxTensor };

function attribute(name: string, value: AttributeValue): OnnxAttribute {
  const lists = { floats: [], ints: [], strings: [] };
  if (typeof value === 'number') return { ...lists, name, i: value, type: ATTRIBUTE_TYPE.INT };
  if ('float' in value) return { ...lists, name, f: Math.fround(value.float), type: ATTRIBUTE_TYPE.FLOAT };
  if ('tensor' in value) return { ...lists, name, t: value.tensor, type: ATTRIBUTE_TYPE.TENSOR };
  return { ...lists, name, ints: value, type: ATTRIBUTE_TYPE.INTS };
}

export class GraphBuilder {
  readonly #nodes: OnnxNode[] = [];
  readonly #initializers: OnnxTensor[] = [];
  readonly #names: Set<string>;

  /** `reserved`: names that are taken before the graph begins. */
  constructor(
    readonly opset: number,
    reserved: Iterable<string>,
  ) {
    this.#names = new Set(reserved);
  }

  /** `wanted`, or that with a number where it is taken. */
  unique(wanted: string): string {
    let name = wanted;
    for (let i = 1; this.#names.has(name); i++) name = `${wanted}_${i}`;
    this.#names.add(name);
    return name;
  }

  /** Adds a node and returns the name of its result, which is the node's own. Nulls at the end of `inputs` are left out. */
  node(
    opType: string,
    inputs: readonly (string | null)[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
  ): string {
    const name = this.unique(`${opType}_${this.#nodes.length}`);
    this.#push(opType, name, inputs, attributes);
    return name;
  }

  #push(
    opType: string,
    name: string,
    inputs: readonly (string | null)[],
    attributes: Readonly<Record<string, AttributeValue>>,
  ): void {
    let count = inputs.length;
    while (count > 0 && inputs[count - 1] === null) count--;
    this.#nodes.push({
      name,
      opType,
      input: inputs.slice(0, count).map((input) => input ?? ''),
      output: [name],
      attribute: Object.entries(attributes).map(([key, value]) => attribute(key, value)),
    });
  }

  /** A FLOAT initializer; the caller made the name unique. */
  initializer(name: string, shape: Shape, data: ArrayLike<number>): string {
    this.#initializers.push(floatTensor(name, shape, data));
    return name;
  }

  /** An INT64 initializer of one axis: what some operators take instead of an attribute. */
  int64s(what: string, values: readonly number[]): string {
    const name = this.unique(`${what}_${this.#nodes.length}`);
    this.#initializers.push(int64Tensor(name, values));
    return name;
  }

  /** A FLOAT constant that is no weight: a Constant node, as which readers can tell it. */
  constant(shape: Shape, data: ArrayLike<number>, name?: string): string {
    const tensor = floatTensor(undefined, shape, data);
    if (name === undefined) return this.node('Constant', [], { value: { tensor } });
    this.#push('Constant', name, [], { value: { tensor } });
    return name;
  }

  /** The graph whose result is `result`, called as `output` says. */
  finish(name: string, input: OnnxValueInfo, output: OnnxValueInfo, result: string): OnnxGraph {
    const last = output.name as string;
    const own = this.#nodes.some((node) => node.opType !== 'Constant' && node.output[0] === result);
    if (!own) this.#push('Identity', this.unique('Identity'), [result], {});
    const from = own ? result : this.#nodes[this.#nodes.length - 1].output[0];
    const renamed = (value: string): string => (value === from ? last : value);
    const node = this.#nodes.map((one) => ({
      ...one,
      input: one.input.map(renamed),
      output: one.output.map(renamed),
    }));
    return { name, node, initializer: this.#initializers, input: [input], output: [output], sparseInitializer: [] };
  }
}

/** A FLOAT value; an extent as a string is a symbol, null unknown. */
export function valueInfo(name: string, elemType: number, shape: readonly (number | string | null)[]): OnnxValueInfo {
  const dim = shape.map((extent) =>
    typeof extent === 'number' ? { dimValue: extent } : extent === null ? {} : { dimParam: extent },
  );
  return { name, type: { tensorType: { elemType, shape: { dim } } } };
}
