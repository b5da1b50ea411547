/** What an operator's reader sees of its node: typed attributes, operands, and a place to say what is not supported. */
import type { Device } from '../device/device.js';
import { FormatError } from '../errors.js';
import { formatShape } from '../shape.js';
import { keep, type Tensor, tensor } from '../tensor.js';
import { ATTRIBUTE_TYPE, type OnnxAttribute, type OnnxNode, type OnnxTensor } from './messages.js';
import { checkTensor, decodeTensor, showName, type TensorData, typeName } from './tensorData.js';

/** One forward pass. */
export interface Frame {
  /** Results by slot; the input's is 0. */
  readonly values: Tensor[];
  /** Whether batch norm goes by the batch's statistics. */
  readonly training: boolean;
}

/** Finds a tensor in a forward pass. */
export type Read = (frame: Frame) => Tensor;

/** Most numbers in a list of options: more than two for each axis are never wanted. */
const MAX_OPTIONS = 64;

/** A tensor that the file holds. What it becomes depends on who reads it: nothing is decoded before. */
export class Stored {
  /** Trained, kept as it is, or not read as a tensor at all. */
  role: 'parameter' | 'buffer' | 'unused' = 'unused';
  /** On the device, once the whole graph was found to be supported. */
  tensor: Tensor | null = null;

  constructor(
    readonly name: string,
    /** A view of the file, until `upload`. */
    public proto: OnnxTensor,
    /** A constant is no weight, so it is not trained. */
    readonly constant: boolean,
  ) {}

  get what(): string {
    return `tensor ${showName(this.name)}`;
  }

  decode(): TensorData {
    return decodeTensor(this.proto, this.what);
  }

  /** Puts the elements on the device, where `role` asks for it. */
  upload(device: Device): void {
    if (this.role === 'unused') return;
    const { shape, data } = this.decode();
    this.tensor = keep(tensor(data, shape, { device, requiresGrad: this.role === 'parameter' }));
  }

  /** Lets go of the file's bytes. */
  forget(): void {
    const lists = { floatData: [], int32Data: [], int64Data: [], doubleData: [], externalData: [] };
    this.proto = { ...lists, dims: this.proto.dims };
  }
}

/** What a name in the graph stands for: a tensor of the file, or a result with its slot in a frame. */
export type Value = Stored | { readonly slot: number };

/** What the graph needs and this library lacks: each kind with the nodes that need it. */
export class Problems {
  readonly #nodes = new Map<string, string[]>();

  add(what: string, node: string): void {
    const nodes = this.#nodes.get(what);
    if (nodes === undefined) this.#nodes.set(what, [node]);
    else nodes.push(node);
  }

  /** All of them, or null. Long lists are cut, and say so. */
  text(): string | null {
    if (this.#nodes.size === 0) return null;
    const kinds = [...this.#nodes].slice(0, 40).map(([what, nodes]) => {
      const shown = nodes.slice(0, 5).map(showName).join(', ');
      const rest = nodes.length > 5 ? `, and ${nodes.length - 5} more` : '';
      return `${what} (${nodes.length}: ${shown}${rest})`;
    });
    if (this.#nodes.size > 40) kinds.push(`and ${this.#nodes.size - 40} kinds more`);
    return kinds.join('; ');
  }
}

/** The decimal number that a float32 was most likely written as: 1e-5 where the file holds 9.99999974e-6. */
export function shortest(float: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const decimal = Number(float.toPrecision(digits));
    if (Math.fround(decimal) === float) return decimal;
  }
  return float;
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class NodeReader {
  readonly #attributes = new Map<string, OnnxAttribute>();
  readonly #asked = new Set<string>();
  readonly #values: readonly (Value | null)[];

  constructor(
    readonly node: OnnxNode,
    readonly opset: number,
    values: readonly (Value | null)[],
    readonly problems: Problems,
  ) {
    this.#values = values;
    for (const attribute of node.attribute) {
      const { name = '' } = attribute;
      if (this.#attributes.has(name)) throw this.malformed(`has attribute ${showName(name)} twice`);
      this.#attributes.set(name, attribute);
    }
  }

  get opType(): string {
    return this.node.opType ?? '';
  }

  /** The node's name, or that of its result. */
  get name(): string {
    return this.node.name || this.node.output[0] || '';
  }

  malformed(why: string): FormatError {
    return new FormatError(`onnx: node ${showName(this.name)} (${showName(this.opType)}) ${why}`);
  }

  /** Notes that the graph needs something that is not there. */
  refuse(what: string): void {
    this.problems.add(what, this.name);
  }

  /** Notes the attributes that nobody asked for. */
  refuseStrangers(): void {
    for (const name of this.#attributes.keys()) {
      if (!this.#asked.has(name)) this.refuse(`attribute ${showName(name)} of ${this.opType}`);
    }
  }

  /** Attributes that make no difference here. */
  ignore(...names: readonly string[]): void {
    for (const name of names) this.#asked.add(name);
  }

  /** The attribute, or undefined. An absent value of it is 0 or empty, as protobuf leaves those out. */
  #find(name: string, type: number, kind: string): OnnxAttribute | undefined {
    this.#asked.add(name);
    const found = this.#attributes.get(name);
    if (found === undefined) return undefined;
    // Files from before types were written have none.
    if (found.type !== undefined && found.type !== 0 && found.type !== type) {
      throw this.malformed(`has attribute ${showName(name)} of type ${found.type}; want ${kind}`);
    }
    if (found.refAttrName) throw this.malformed(`has attribute ${showName(name)} of a function; want a value`);
    return found;
  }

  has(name: string): boolean {
    return this.#attributes.has(name);
  }

  int(name: string, otherwise: number): number {
    const found = this.#find(name, ATTRIBUTE_TYPE.INT, 'a whole number');
    return found === undefined ? otherwise : (found.i ?? 0);
  }

  /** A switch: 0 or 1. */
  flag(name: string, otherwise: boolean): boolean {
    const value = this.int(name, otherwise ? 1 : 0);
    if (value !== 0 && value !== 1) throw this.malformed(`has attribute ${showName(name)} = ${value}; want 0 or 1`);
    return value === 1;
  }

  /** Whole numbers, as many as `count` says where it does. */
  ints(name: string, count?: number): readonly number[] | undefined {
    const ints = this.#find(name, ATTRIBUTE_TYPE.INTS, 'whole numbers')?.ints;
    if (ints !== undefined && count !== undefined && ints.length !== count) {
      throw this.malformed(`has ${ints.length} numbers in attribute ${showName(name)}; want ${count}`);
    }
    return ints;
  }

  float(name: string, otherwise: number): number {
    const found = this.#find(name, ATTRIBUTE_TYPE.FLOAT, 'a float');
    return found === undefined ? otherwise : shortest(found.f ?? 0);
  }

  string(name: string, otherwise: string): string {
    const found = this.#find(name, ATTRIBUTE_TYPE.STRING, 'a string');
    if (found === undefined) return otherwise;
    try {
      return decoder.decode(new Uint8Array(found.s ?? []));
    } catch {
      throw this.malformed(`has attribute ${showName(name)}, which is not UTF-8`);
    }
  }

  tensorAttribute(name: string): OnnxTensor | undefined {
    return this.#find(name, ATTRIBUTE_TYPE.TENSOR, 'a tensor')?.t;
  }

  floats(name: string): readonly number[] | undefined {
    return this.#find(name, ATTRIBUTE_TYPE.FLOATS, 'floats')?.floats;
  }

  get inputs(): number {
    return this.#values.length;
  }

  /** Operand i; null where it is left out. */
  value(i: number): Value | null {
    return this.#values[i] ?? null;
  }

  /** The tensor of the file that operand i is, or null where it is computed or left out. */
  stored(i: number): Stored | null {
    const value = this.value(i);
    return value instanceof Stored ? value : null;
  }

  /** Operand i in a forward pass. */
  tensor(i: number): Read {
    const value = this.value(i);
    if (value === null) throw this.malformed(`lacks input ${i}`);
    return this.#read(value, i, 'parameter');
  }

  optionalTensor(i: number): Read | null {
    return this.value(i) === null ? null : this.tensor(i);
  }

  /** Operand i, a running statistic: training writes to it, and takes no gradient. */
  statistic(i: number): Read {
    const value = this.value(i);
    if (value === null) throw this.malformed(`lacks input ${i}`);
    if (!(value instanceof Stored)) this.refuse(`input ${i} of ${this.opType}, computed`);
    return this.#read(value, i, 'buffer');
  }

  #read(value: Value, i: number, role: 'parameter' | 'buffer'): Read {
    if (!(value instanceof Stored)) {
      const { slot } = value;
      return ({ values }) => values[slot];
    }
    if (!checkTensor(value.proto, value.what).format.float) this.refuse(`integers as input ${i} of ${this.opType}`);
    if (value.role !== 'buffer') value.role = value.constant ? 'buffer' : role;
    return () => value.tensor as Tensor;
  }

  /** The number that operand i is, where it is a float constant without axes; else null. */
  scalar(i: number): number | null {
    const stored = this.stored(i);
    if (stored === null || !stored.constant || stored.proto.dims.length > 0) return null;
    const { float, data } = stored.decode();
    return float ? data[0] : null;
  }

  /**
   * Operand i, which an operator reads as options: its elements, undefined where it is left out, null (and noted) where
   * it is computed.
   */
  options(i: number, kind: 'ints' | 'floats'): readonly number[] | null | undefined {
    const value = this.value(i);
    if (value === null) return undefined;
    if (!(value instanceof Stored)) {
      this.refuse(`input ${i} of ${this.opType}, computed`);
      return null;
    }
    const { shape, size, format } = checkTensor(value.proto, value.what);
    if (shape.length > 1 || size > MAX_OPTIONS || format.float !== (kind === 'floats')) {
      throw this.malformed(
        `has input ${i} of ${typeName(value.proto.dataType ?? 0)} and shape ${formatShape(shape)}; want a short list of ${kind}`,
      );
    }
    return [...value.decode().data];
  }
}
