/**
 * A model as an ONNX file: its forward pass in eval mode is recorded, and each op becomes an operator.
 * @see https://onnx.ai/onnx/operators/
 */
import type { OpNode } from '../autograd.js';
import type { Device } from '../device/device.js';
import { foldNorm } from '../device/foldNorm.js';
import { ArgumentError } from '../errors.js';
import type { Module } from '../nn/module.js';
import { type Recording, recordForward } from '../nn/record.js';
import { formatShape, type Shape } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { afterNorm, type Call, Unsupported, type Variant, WRITERS } from './exportOps.js';
import { GraphBuilder, valueInfo } from './graphBuilder.js';
import { DATA_TYPE, ModelProto, type OnnxGraph } from './messages.js';
import { writeMessage } from './protobuf.js';
import { showName } from './tensorData.js';

export interface ExportOnnxOptions {
  /** Of the input, the batch included: `[N, C, H, W]`. */
  readonly inputShape: Shape;
  /** Whether the file is for this batch size alone, the default, or for any: the first extent is then the symbol `N`. */
  readonly batch?: 'fixed' | 'dynamic';
  /** Whether batch norm that follows a convolution becomes part of its weights and bias. Default false. */
  readonly foldBatchNorm?: boolean;
  /** Version of the operator set, 13 to 22. Default 17. */
  readonly opset?: number;
  /** Default `input`. */
  readonly inputName?: string;
  /** Default `output`. */
  readonly outputName?: string;
  /** Default `atalho`. */
  readonly graphName?: string;
  /** Who made the file. Default `atalho`. */
  readonly producerName?: string;
  readonly producerVersion?: string;
  /** Where a model that has no tensors is run once. */
  readonly device?: Device;
}

/** The IR version that came with each operator set. */
const IR_VERSIONS: ReadonlyMap<number, number> = new Map([
  [13, 7],
  [14, 7],
  [15, 8],
  [16, 8],
  [17, 8],
  [18, 8],
  [19, 9],
  [20, 9],
  [21, 10],
  [22, 10],
]);

/** The batch, in the shapes of a file. */
const SYMBOL = 'N';

/** What a convolution's batch norm makes of it: its own weights, and what comes instead of the norm. */
interface Folds {
  /** Convolutions, and the norm that each takes in. */
  readonly normOf: ReadonlyMap<OpNode, OpNode>;
  readonly norms: ReadonlySet<OpNode>;
}

/** A leaf that is not the input: a weight, or a constant of the model. */
const isConstant = (t: Tensor | null, x: Tensor): boolean => t === null || (t.node === null && t !== x);

/** The batch norms whose x is a convolution's result that nothing else reads. */
function findFolds({ calls, x, y }: Recording): Folds {
  const readers = new Map<Tensor, number>();
  for (const { inputs } of calls) for (const t of inputs) if (t !== null) readers.set(t, (readers.get(t) ?? 0) + 1);
  const normOf = new Map<OpNode, OpNode>();
  for (const norm of calls) {
    if (norm.name !== 'batchNorm' && norm.name !== 'batchNormRelu') continue;
    const [from, weight, bias, mean, variance] = norm.inputs;
    const conv = from?.node as OpNode | null;
    if (conv?.name !== 'conv2d' || from === y || from === null || readers.get(from) !== 1) continue;
    if ((norm.call.plan as unknown as { training: boolean }).training) continue;
    const given = [weight, bias, mean, variance, conv.inputs[1], conv.inputs[2]];
    if (given.every((t) => isConstant(t, x))) normOf.set(conv, norm);
  }
  return { normOf, norms: new Set(normOf.values()) };
}

/** Writes the calls of recordings that differ in the batch size alone. */
class Exporter {
  readonly #names = new Map<Tensor, string>();
  readonly #weights = new Map<Tensor, string>();
  readonly #builder: GraphBuilder;
  readonly #problems = new Map<string, number>();
  /** Names of the state dict that stand for folded weights. */
  readonly #foldedNames = new Set<string>();

  constructor(
    readonly recordings: readonly Recording[],
    readonly stateDict: ReadonlyMap<string, Tensor>,
    readonly o: Required<Pick<ExportOnnxOptions, 'inputName' | 'outputName' | 'graphName' | 'opset' | 'foldBatchNorm'>>,
  ) {
    const { inputName, outputName, opset } = o;
    for (const [option, name] of Object.entries({ inputName, outputName })) {
      if (typeof name !== 'string' || name === '' || stateDict.has(name)) {
        throw new ArgumentError(
          `exportOnnx: ${option} is ${JSON.stringify(name)}; want a name that no weight of the model has`,
        );
      }
    }
    if (inputName === outputName) {
      throw new ArgumentError(`exportOnnx: inputName and outputName are both ${showName(inputName)}; want two names`);
    }
    this.#builder = new GraphBuilder(opset, [...stateDict.keys(), inputName, outputName]);
    for (const [name, t] of stateDict) if (!this.#weights.has(t)) this.#weights.set(t, name);
  }

  graph(): OnnxGraph {
    const [first, ...others] = this.recordings;
    const { inputName, outputName, graphName, foldBatchNorm } = this.o;
    this.#checkAlike();
    const folds = foldBatchNorm ? findFolds(first) : { normOf: new Map(), norms: new Set<OpNode>() };
    const statistics = new Set(
      first.calls.flatMap(({ name, inputs }) => (name.startsWith('batchNorm') ? inputs.slice(3, 5) : [])),
    );
    this.#names.set(first.x, inputName);
    const nameOf = (t: Tensor): string => {
      const known = this.#names.get(t);
      if (known !== undefined) return known;
      const wanted = this.#weights.get(t) ?? 'constant';
      const free = this.#weights.has(t) && !this.#foldedNames.has(wanted);
      const own = free ? wanted : this.#builder.unique(wanted);
      // Readers take initializers for what is trained.
      const name =
        t.requiresGrad || statistics.has(t)
          ? this.#builder.initializer(own, t.shape, floats(t))
          : this.#builder.constant(t.shape, floats(t), own);
      this.#names.set(t, name);
      return name;
    };
    first.calls.forEach((node, i) => {
      const [x] = node.inputs;
      const norm = folds.normOf.get(node);
      try {
        let result: string;
        if (folds.norms.has(node)) {
          const residual = node.inputs[5];
          result = afterNorm(node.name, nameOf(x as Tensor), residual && nameOf(residual), this.#builder);
        } else {
          const inputs = norm
            ? [nameOf(x as Tensor), ...this.#folded(node, norm)]
            : node.inputs.map((t) => t && nameOf(t));
          const write = WRITERS[node.name];
          if (!Object.hasOwn(WRITERS, node.name)) throw new Unsupported(node.name);
          const variants = this.recordings.map(({ calls }) => variantOf(calls[i]));
          const call: Call = { name: node.name, variants, inputs };
          result = write(call, this.#builder);
        }
        this.#names.set(node.output, result);
      } catch (error) {
        if (!(error instanceof Unsupported)) throw error;
        this.#problems.set(error.message, (this.#problems.get(error.message) ?? 0) + 1);
        this.#names.set(node.output, '?');
      }
    });
    if (this.#problems.size > 0) {
      const list = [...this.#problems].map(([what, count]) => (count === 1 ? what : `${what} (${count} times)`));
      throw new ArgumentError(`exportOnnx: the model uses what is not written as ONNX: ${list.join('; ')}`);
    }

    const shape = first.y.shape.map((extent, i) => {
      if (others.every(({ y }) => y.shape[i] === extent)) return extent;
      return this.recordings.every(({ x, y }) => y.shape[i] === x.shape[0]) ? SYMBOL : null;
    });
    const [, ...extents] = first.x.shape;
    const inputShape = others.length > 0 ? [SYMBOL, ...extents] : first.x.shape;
    const input = valueInfo(inputName, DATA_TYPE.FLOAT, inputShape);
    const output = valueInfo(outputName, DATA_TYPE.FLOAT, shape);
    return this.#builder.finish(graphName, input, output, nameOf(first.y));
  }

  /** Throws unless all recordings make the same calls on the same operands, of at least one element each. */
  #checkAlike(): void {
    const [first, ...others] = this.recordings;
    const empty = [first.x, ...first.calls.map(({ output }) => output)].find(({ size }) => size === 0);
    if (empty !== undefined) {
      throw new ArgumentError(
        `exportOnnx: the forward pass has an empty tensor, ${formatShape(empty.shape)}; want elements everywhere`,
      );
    }
    const structure = ({ x, y, calls }: Recording): string => {
      const numbers = new Map<Tensor, number>([[x, 0]]);
      for (const { output } of calls) numbers.set(output, numbers.size);
      // Weights are the same objects in all of them.
      const operand = (t: Tensor | null): string => (t === null ? '' : `${numbers.get(t) ?? this.#weights.get(t)}`);
      const lines = calls.map(({ name, inputs }) => `${name} ${inputs.map(operand)}`);
      return [...lines, operand(y)].join('\n');
    };
    const want = structure(first);
    if (others.some((one) => structure(one) !== want)) {
      throw new ArgumentError(
        "exportOnnx: the forward pass makes other calls at another batch size; want batch: 'fixed', or a model that treats images alike",
      );
    }
  }

  /** Initializers for a convolution's weight and bias with its norm in them; in float64, rounded once. */
  #folded(conv: OpNode, norm: OpNode): [string, string] {
    const [, weight, bias] = conv.inputs as [Tensor, Tensor, Tensor | null];
    const [, scale, shift, mean, variance] = norm.inputs;
    const values = (t: Tensor | null): ArrayLike<number> | null => t && floats(t);
    const { eps } = norm.call.plan as unknown as { eps: number };
    const [outChannels] = weight.shape;
    const folded = foldNorm(floats(weight), weight.size / outChannels, values(bias), {
      mean: floats(mean as Tensor),
      variance: floats(variance as Tensor),
      ...{ weight: values(scale), bias: values(shift), eps },
    });
    const own = this.#weights.get(weight) ?? 'weight';
    const ofBias = (bias && this.#weights.get(bias)) ?? own.replace(/(^|\.)weight$/, '$1bias');
    return [
      this.#builder.initializer(this.#foldedName(own), weight.shape, folded.filters),
      this.#builder.initializer(this.#foldedName(ofBias), [outChannels], folded.bias),
    ];
  }

  /** The weight's own name the first time. */
  #foldedName(own: string): string {
    const t = this.stateDict.get(own);
    const free = !this.#foldedNames.has(own) && (t === undefined || !this.#names.has(t));
    if (!free || t === undefined) return this.#builder.unique(own);
    this.#foldedNames.add(own);
    return own;
  }
}

const variantOf = ({ call, inputs }: OpNode): Variant => ({
  plan: call.plan,
  inputs: inputs.map((t) => t && t.shape),
});

function floats(t: Tensor): ArrayLike<number> {
  return t.dataSync() as Float32Array | Float64Array;
}

/**
 * The model's forward pass in eval mode as an ONNX file: one operator for each op, weights in float32 under their
 * state-dict names. The pass is recorded once, on zeros (with a dynamic batch twice, at two sizes, and what differs follows the
 * batch): it must not depend on the values of x, nor make tensors but by ops. `foldBatchNorm` computes w·scale and
 * (bias − mean)·scale + shift in float64 and rounds once.
 * @throws ArgumentError when an option or the shape is wrong, or that names every op which ONNX has no operator for
 * @see https://github.com/onnx/onnx/blob/main/docs/IR.md
 */
export function exportOnnx(model: Module, o: ExportOnnxOptions): Uint8Array<ArrayBuffer> {
  const { inputShape, batch = 'fixed', foldBatchNorm = false, opset = 17 } = o;
  const { inputName = 'input', outputName = 'output', graphName = 'atalho' } = o;
  const { producerName = 'atalho', producerVersion } = o;
  const irVersion = IR_VERSIONS.get(opset);
  if (irVersion === undefined) throw new ArgumentError(`exportOnnx: opset is ${opset}; want one from 13 to 22`);
  if (batch !== 'fixed' && batch !== 'dynamic') {
    throw new ArgumentError(`exportOnnx: batch is ${JSON.stringify(batch)}; want 'fixed' or 'dynamic'`);
  }
  if (batch === 'dynamic' && inputShape.length === 0) {
    throw new ArgumentError('exportOnnx: inputShape is [], which has no batch; want a first axis for a dynamic one');
  }
  const options = { inputName, outputName, graphName, opset, foldBatchNorm };
  const write = (recordings: readonly Recording[]): OnnxGraph =>
    new Exporter(recordings, model.stateDict(), options).graph();
  const record = <T>(shape: Shape, use: (recording: Recording) => T): T =>
    recordForward('exportOnnx', model, shape, use, o.device);
  const graph = record(inputShape, (one) => {
    if (batch === 'fixed') return write([one]);
    const [size, ...extents] = inputShape;
    return record([size + 1, ...extents], (other) => write([one, other]));
  });
  return writeMessage(ModelProto, {
    ...{ irVersion, producerName, producerVersion, graph },
    opsetImport: [{ domain: '', version: opset }],
  });
}
