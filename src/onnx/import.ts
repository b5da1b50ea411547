/**
 * An ONNX file as a module: its operators are this library's ops, its initializers the parameters.
 * @see https://github.com/onnx/onnx/blob/main/docs/IR.md
 */
import type { Device } from '../device/device.js';
import { ArgumentError, FormatError } from '../errors.js';
import { Module } from '../nn/module.js';
import { sizeOf } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { foldIntegers } from './foldIntegers.js';
import { READERS } from './importOps.js';
import {
  DATA_TYPE,
  ModelProto,
  type OnnxGraph,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValueInfo,
} from './messages.js';
import { type Frame, NodeReader, Problems, type Read, Stored, type Value } from './nodeReader.js';
import { readMessage } from './protobuf.js';
import { checkTensor, floatTensor, int64Tensor, showName, typeName } from './tensorData.js';

/** Where an imported model goes. */
export interface ImportOnnxOptions {
  /** Where the weights go. */
  readonly device: Device;
}

/** The operator sets whose rules are known here. */
const OPSETS: readonly [number, number] = [7, 23];

/** One operator of the graph, in the order of the file. */
interface Step {
  readonly slot: number;
  readonly node: string;
  readonly run: Read;
}

interface Parts {
  readonly inputName: string;
  readonly inputShape: readonly (number | string | null)[] | null;
  readonly outputName: string;
  readonly steps: readonly Step[];
  readonly slots: number;
  readonly result: Read;
  /** All that the file holds, in its order. */
  readonly stored: readonly Stored[];
}

/**
 * A network out of an ONNX file. State-dict names are the file's: initializers that are read as tensors are parameters, but
 * running statistics and constants are buffers. It begins in eval mode, as the file means it; after `train()` batch norm goes
 * by the batch and keeps statistics, while Dropout stays without effect.
 */
export class OnnxModel extends Module {
  /** What the file calls the input and the result. */
  readonly inputName: string;
  readonly outputName: string;
  /** The input's shape as the file has it: a name for an extent that is free, null for one that is not told. */
  readonly inputShape: readonly (number | string | null)[] | null;
  readonly #parts: Parts;
  readonly #weights: ReadonlyMap<string, Tensor>;

  /** Use `importOnnx`. */
  constructor(parts: Parts) {
    super();
    this.training = false;
    this.inputName = parts.inputName;
    this.outputName = parts.outputName;
    this.inputShape = parts.inputShape;
    this.#parts = parts;
    const weights = parts.stored.filter(({ tensor }) => tensor !== null);
    this.#weights = new Map(weights.map(({ name, tensor }) => [name, tensor as Tensor]));
    // A module around this one finds its tensors by walking the fields.
    for (const [name, value] of this.#weights) {
      let field = name;
      while (field in this) field = `$${field}`;
      Object.defineProperty(this, field, { value, enumerable: true });
    }
  }

  /** The graph's result for one input, which has the file's shape. */
  override forward(x: Tensor): Tensor {
    const { steps, slots, result } = this.#parts;
    const frame: Frame = { values: new Array<Tensor>(slots), training: this.training };
    frame.values[0] = x;
    for (const { slot, node, run } of steps) {
      try {
        frame.values[slot] = run(frame);
      } catch (error) {
        if (!(error instanceof ArgumentError)) throw error;
        throw new ArgumentError(`OnnxModel: node ${node}: ${error.message}`);
      }
    }
    return result(frame);
  }

  override namedParameters(): Map<string, Tensor> {
    return new Map([...this.#weights].filter(([, t]) => t.requiresGrad));
  }

  override namedBuffers(): Map<string, Tensor> {
    return new Map([...this.#weights].filter(([, t]) => !t.requiresGrad));
  }

  override stateDict(): Map<string, Tensor> {
    return new Map(this.#weights);
  }
}

/** The version of ONNX's own operator set that the file asks for. */
function opsetOf(imports: readonly { readonly domain?: string; readonly version?: number }[]): number {
  const own = imports.filter(({ domain = '' }) => domain === '' || domain === 'ai.onnx');
  if (own.length !== 1) {
    throw new FormatError(`onnx: the file imports ${own.length} versions of ONNX's operator set; want one`);
  }
  const { version = 0 } = own[0];
  const [low, high] = OPSETS;
  if (!(version >= low && version <= high)) {
    throw new FormatError(`onnx: the file is for version ${version} of the operator set; want ${low} to ${high}`);
  }
  return version;
}

/** The one input that is no initializer. */
function inputOf(graph: OnnxGraph, stored: ReadonlyMap<string, Value>): OnnxValueInfo {
  const free = graph.input.filter(({ name = '' }) => !stored.has(name));
  if (free.length !== 1) {
    const names = free.slice(0, 8).map(({ name = '' }) => showName(name));
    throw new FormatError(`onnx: the graph has ${free.length} inputs (${names.join(', ')}); want exactly one`);
  }
  const { name = '', type } = free[0];
  if (name === '') throw new FormatError('onnx: the input has no name');
  const elemType = type?.tensorType?.elemType;
  const floats: readonly number[] = [DATA_TYPE.FLOAT, DATA_TYPE.DOUBLE, DATA_TYPE.FLOAT16, DATA_TYPE.BFLOAT16];
  if (elemType !== undefined && !floats.includes(elemType)) {
    throw new FormatError(`onnx: the input ${showName(name)} is of type ${typeName(elemType)}; want floats`);
  }
  return free[0];
}

function shapeOf(info: OnnxValueInfo): readonly (number | string | null)[] | null {
  const shape = info.type?.tensorType?.shape;
  if (shape === undefined) return null;
  return shape.dim.map(({ dimValue, dimParam }) => {
    if (dimValue !== undefined && (!Number.isSafeInteger(dimValue) || dimValue < 0)) {
      throw new FormatError(`onnx: the input has an extent of ${dimValue}; want a whole number of at least 0`);
    }
    return dimValue ?? dimParam ?? null;
  });
}

/** Which nodes the output depends on. Throws where a name is not defined once, before it is read. */
function neededNodes(graph: OnnxGraph, given: Iterable<string>, output: string): ReadonlySet<OnnxNode> {
  const makers = new Map<string, OnnxNode | null>();
  for (const name of given) makers.set(name, null);
  const where = ({ name = '', opType = '', output: [first = ''] }: OnnxNode): string =>
    `node ${showName(name || first)} (${showName(opType)})`;
  for (const node of graph.node) {
    for (const name of node.input) {
      if (name !== '' && !makers.has(name)) {
        throw new FormatError(`onnx: ${where(node)} reads ${showName(name)}, which nothing before it makes`);
      }
    }
    for (const name of node.output) {
      if (name === '') continue;
      if (makers.has(name))
        throw new FormatError(`onnx: ${where(node)} makes ${showName(name)}, which is there already`);
      makers.set(name, node);
    }
  }
  if (!makers.has(output)) throw new FormatError(`onnx: nothing makes the output ${showName(output)}`);
  const needed = new Set<OnnxNode>();
  const open = [output];
  while (open.length > 0) {
    const node = makers.get(open.pop() as string);
    if (!node || needed.has(node)) continue;
    needed.add(node);
    for (const name of node.input) if (name !== '') open.push(name);
  }
  return needed;
}

/** The tensor that a Constant node holds, or null (and noted). */
function constantOf(n: NodeReader): OnnxTensor | null {
  if (n.inputs > 0) throw n.malformed(`has ${n.inputs} inputs; want none`);
  const kinds = ['value', 'value_float', 'value_floats', 'value_int', 'value_ints'].filter((name) => n.has(name));
  if (kinds.length > 1) throw n.malformed(`has ${kinds.length} values; want one`);
  switch (kinds[0]) {
    case 'value':
      return n.tensorAttribute('value') ?? null;
    case 'value_float':
      return floatTensor('', [], [n.float('value_float', 0)]);
    case 'value_floats': {
      const floats = n.floats('value_floats') ?? [];
      return floatTensor('', [floats.length], floats);
    }
    case 'value_int':
      return int64Tensor('', [n.int('value_int', 0)]);
    case 'value_ints':
      return int64Tensor('', n.ints('value_ints') ?? []);
    default:
      return null;
  }
}

/** Whatever a graph is made of, checked, with nothing on the device yet. */
function readGraph(graph: OnnxGraph, opset: number): Parts {
  const stored = new Map<string, Stored>();
  for (const proto of graph.initializer) {
    const { name = '' } = proto;
    if (name === '') throw new FormatError('onnx: an initializer has no name');
    if (stored.has(name)) throw new FormatError(`onnx: two initializers are called ${showName(name)}`);
    checkTensor(proto, `tensor ${showName(name)}`);
    stored.set(name, new Stored(name, proto, false));
  }
  const input = inputOf(graph, stored);
  const inputName = input.name as string;
  if (graph.output.length !== 1) {
    throw new FormatError(`onnx: the graph has ${graph.output.length} outputs; want exactly one`);
  }
  const { name: outputName = '' } = graph.output[0];
  const needed = neededNodes(graph, [inputName, ...stored.keys()], outputName);

  const problems = new Problems();
  const values = new Map<string, Value>([...stored, [inputName, { slot: 0 }]]);
  const steps: Step[] = [];
  let slots = 1;
  for (const node of graph.node) {
    if (!needed.has(node)) continue;
    const operands = node.input.map((name) => (name === '' ? null : (values.get(name) ?? null)));
    const n = new NodeReader(node, opset, operands, problems);
    const [result = ''] = node.output;
    const own = !node.domain || node.domain === 'ai.onnx';
    const only = operands[0];
    let value: Value | null = null;
    const folded = own ? foldIntegers(n) : null;
    if (folded !== null) value = new Stored(result, folded, true);
    else if (own && n.opType === 'Constant') {
      const proto = constantOf(n);
      if (proto === null) n.refuse('Constant that is no tensor of numbers');
      else {
        checkTensor(proto, `tensor ${showName(result)}`);
        value = new Stored(result, proto, true);
      }
    } else if (own && n.opType === 'Identity' && only instanceof Stored) {
      // Exporters store equal weights once and name the others so; each is trained on its own.
      value = new Stored(result, only.proto, only.constant);
    } else {
      const slot = slots++;
      value = { slot };
      const read = own ? READERS.get(n.opType) : undefined;
      if (read === undefined) {
        n.refuse(`operator ${showName(own ? n.opType : `${node.domain}:${n.opType}`)}`);
        n.ignore(...node.attribute.map(({ name = '' }) => name));
      } else steps.push({ slot, node: `${showName(n.name)} (${n.opType})`, run: read(n) });
    }
    n.refuseStrangers();
    node.output.forEach((name, i) => {
      if (name === '') return;
      if (i === 0) values.set(name, value ?? { slot: 0 });
      // Of several results only the first is computed.
      else values.set(name, { slot: -1 });
    });
    if (operands.some((one) => one !== null && !(one instanceof Stored) && one.slot === -1)) {
      n.refuse('a second result of another operator as input');
    }
  }
  const last = values.get(outputName) as Value;
  if (!(last instanceof Stored) && last.slot === -1)
    problems.add('a second result of an operator as output', outputName);
  if (graph.sparseInitializer.length > 0) problems.add('sparse initializers', '');
  const text = problems.text();
  if (text !== null) throw new ArgumentError(`importOnnx: the graph needs what is not supported: ${text}`);

  let result: Read;
  if (last instanceof Stored) {
    if (!checkTensor(last.proto, last.what).format.float) throw new FormatError('onnx: the output is of integers');
    if (last.role === 'unused') last.role = last.constant ? 'buffer' : 'parameter';
    result = () => last.tensor as Tensor;
  } else result = ({ values }) => values[last.slot];
  const found = [...values.values()].filter((one) => one instanceof Stored);
  return { inputName, inputShape: shapeOf(input), outputName, steps, slots, result, stored: found };
}

/**
 * Reads a model of one input and one result, as float exporters write them. Initializers become parameters under their own
 * names, rounded to the device's dtype; the file's bytes are not kept.
 * @throws FormatError for a file that is cut off or contradicts itself, external data, an operator set that is not
 *   known; before anything is allocated for a tensor
 * @throws ArgumentError for a graph that needs what is not supported: one error that lists every operator and attribute
 *   with the nodes that have it
 */
export function importOnnx(file: Uint8Array, { device }: ImportOnnxOptions): OnnxModel {
  if (!device) throw new ArgumentError('importOnnx: no device given; want importOnnx(bytes, { device })');
  const model = readMessage(ModelProto, file);
  if (model.graph === undefined) throw new FormatError('onnx: the file has no graph');
  const parts = readGraph(model.graph, opsetOf(model.opsetImport));
  // Identity copies what it names, so that a few bytes could ask for much.
  const wanted = parts.stored.filter(({ role }) => role !== 'unused');
  const elements = wanted.reduce((sum, { proto }) => sum + sizeOf(proto.dims), 0);
  if (elements > file.length) {
    throw new FormatError(
      `onnx: Identity nodes repeat tensors to ${elements} elements in a file of ${file.length} bytes; want at most one a byte`,
    );
  }
  try {
    for (const one of parts.stored) one.upload(device);
  } catch (error) {
    for (const { tensor: made } of parts.stored) made?.dispose();
    throw error;
  }
  for (const one of parts.stored) one.forget();
  return new OnnxModel(parts);
}
