/** What a model consists of: its modules in the order of their calls, with shapes, parameters and multiply-adds. */
import type { OpNode } from '../autograd.js';
import { ArgumentError } from '../errors.js';
import { type ConvGeometry, checkShape, type Shape, sizeOf } from '../shape.js';
import { Tensor } from '../tensor.js';
import { BatchNorm2d } from './batchNorm2d.js';
import { checkModule, type Module } from './module.js';
import { Sequential } from './sequential.js';
import { ReLU } from './stateless.js';

/** What a model is summarized for. */
export interface SummarizeOptions {
  /** Of the input, the batch included: `[N, C, H, W]`. */
  readonly inputShape: Shape;
}

/** One call of a module. */
export interface LayerSummary {
  /** Its full name, such as "layer1.0.conv1"; "" for the model itself. */
  readonly name: string;
  /** Its class, such as "Conv2d". */
  readonly type: string;
  /** 0 for the model itself, 1 for what is directly inside, and so on. */
  readonly depth: number;
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  /** Elements of its parameters, those of modules inside included; each tensor once. */
  readonly parameters: number;
  /** Multiply-adds of its convolutions and matrix products, those of modules inside included. */
  readonly macs: number;
  /** Whether nothing inside was called. */
  readonly leaf: boolean;
  /** Whether the same module was called before; its parameters are that call's. */
  readonly repeated: boolean;
}

/** A model in numbers, for an input of `inputShape`. */
export interface Summary {
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  /** Every call, the model's first; what is inside a module follows it, in the order of the calls. */
  readonly layers: readonly LayerSummary[];
  /** Elements of parameters, which all are trainable: a tensor that requires no gradient is a buffer. */
  readonly parameters: number;
  /** Elements of buffers, such as running statistics. */
  readonly buffers: number;
  /** Multiply-adds of convolutions and matrix products in one forward pass of the whole batch. */
  readonly macs: number;
  readonly inputBytes: number;
  /** Results of the innermost modules that have parameters, and as much again for their gradients. */
  readonly forwardBackwardBytes: number;
  readonly parameterBytes: number;
}

/** Products that are added up in one call; 0 for an op without sums of products. */
function macsOf({ name, call, inputs }: OpNode): number {
  switch (name) {
    case 'conv2d': {
      const { geometry } = call.plan as unknown as { readonly geometry: ConvGeometry };
      const { inChannels, groups, kernelHeight, kernelWidth } = geometry;
      return sizeOf(call.plan.shape) * (inChannels / groups) * kernelHeight * kernelWidth;
    }
    case 'linear':
    case 'matmul':
      return sizeOf(call.plan.shape) * ((inputs[0] as Tensor).shape.at(-1) ?? 1);
    default:
      return 0;
  }
}

/** The full name of a child; one named "" shares its parent's. */
const inside = (name: string, child: string): string => [name, child].filter((part) => part !== '').join('.');

type Draft = { -readonly [K in keyof LayerSummary]: LayerSummary[K] };

/** Writes down the calls of modules while `watch` runs. */
class Watcher {
  readonly rows: Draft[] = [];
  private readonly open: { readonly module: Module; readonly row: Draft }[] = [];
  private readonly called = new Set<Module>();
  private readonly counted = new Set<OpNode>();

  /** Runs `fn`; `forward` of `model` and of all inside is watched until it returns. */
  watch(model: Module, fn: () => void): void {
    const undo: (() => void)[] = [];
    const seen = new Set<Module>();
    const visit = (module: Module, name: string): void => {
      if (seen.has(module)) return;
      seen.add(module);
      for (const method of module instanceof BatchNorm2d ? ['forward', 'forwardRelu'] : ['forward']) {
        undo.push(this.hook(module, name, method));
      }
      for (const [child, one] of module.children()) visit(one, inside(name, child));
    };
    try {
      visit(model, '');
      fn();
    } finally {
      for (const one of undo.reverse()) one();
    }
  }

  /** Nobody calls modules but modules, so a method of the object's own, for as long as it is watched, sees every call. */
  private hook(module: Module, name: string, method: string): () => void {
    const own = Object.getOwnPropertyDescriptor(module, method);
    const inner = Reflect.get(module, method) as (x: Tensor, ...rest: unknown[]) => Tensor;
    const value = (x: Tensor, ...rest: unknown[]): Tensor =>
      this.row(module, name, x, () => inner.call(module, x, ...rest));
    Object.defineProperty(module, method, { value, configurable: true, enumerable: false, writable: true });
    return () => {
      if (own === undefined) Reflect.deleteProperty(module, method);
      else Object.defineProperty(module, method, own);
    };
  }

  private row(module: Module, name: string, x: Tensor, call: () => Tensor): Tensor {
    const outer = this.open.at(-1);
    // A method that calls another of the same module is one call.
    if (outer?.module === module) return call();
    // What the outer module did itself, before it called this one.
    this.count(x);
    const parameters = module.parameters();
    const row: Draft = {
      name,
      type: module.constructor.name,
      depth: this.open.length,
      inputShape: x.shape,
      outputShape: x.shape,
      parameters: parameters.reduce((sum, { size }) => sum + size, 0),
      macs: 0,
      leaf: true,
      repeated: this.called.has(module),
    };
    this.called.add(module);
    if (outer !== undefined) outer.row.leaf = false;
    this.rows.push(row);
    this.open.push({ module, row });
    const y = call();
    this.count(y);
    this.open.pop();
    row.outputShape = y.shape;
    if (module instanceof Sequential) this.addFused(module, row);
    return y;
  }

  /** Adds the multiply-adds of the calls behind `y` that are not counted yet to the running modules. */
  private count(y: Tensor): void {
    let macs = 0;
    const stack = [y.node as OpNode | null];
    while (stack.length > 0) {
      const node = stack.pop() as OpNode | null;
      if (node === null || this.counted.has(node)) continue;
      this.counted.add(node);
      macs += macsOf(node);
      for (const input of node.inputs) stack.push((input?.node ?? null) as OpNode | null);
    }
    for (const { row } of this.open) row.macs += macs;
  }

  /** A Sequential computes a ReLU within the batch norm before it: it was called all the same, for whoever reads. */
  private addFused(module: Sequential, parent: Draft): void {
    let before = this.rows.indexOf(parent);
    for (const [child, one] of module.children()) {
      const name = inside(parent.name, child);
      const at = this.rows.findIndex((row, i) => i > before && row.depth === parent.depth + 1 && row.name === name);
      if (at >= 0) {
        before = at;
        continue;
      }
      const norm = this.rows[before];
      if (norm.type !== BatchNorm2d.name || one.constructor !== ReLU) continue;
      before++;
      this.rows.splice(before, 0, {
        ...norm,
        ...{ name, type: ReLU.name, inputShape: norm.outputShape, parameters: 0, macs: 0 },
        repeated: this.called.has(one),
      });
    }
  }
}

/**
 * What `model` consists of: every module that one forward pass in eval mode calls, with the shapes that go in and come
 * out, its parameters and multiply-adds. On the `meta` device that takes no memory and no arithmetic, on another one
 * forward pass. Modules that are never called have no row; their parameters count in the totals.
 *
 * Multiply-adds are those of conv2d, linear and matmul, bias and all else not counted, as the GFLOPS of torchvision's
 * tables.
 * @throws ArgumentError when the model is on no device or refuses the shape
 * @see https://github.com/TylerYep/torchinfo
 */
export function summarize(model: Module, o: SummarizeOptions): Summary {
  const { inputShape } = o ?? {};
  checkModule('summarize', model);
  const device = model.stateDict().values().next().value?.device;
  if (device === undefined) {
    throw new ArgumentError('summarize: the model has no parameters, so it is on no device');
  }
  checkShape('summarize', 'inputShape', inputShape);
  const watcher = new Watcher();
  watcher.watch(model, () => {
    device.scope(() => {
      // Requires a gradient, so that every call is recorded.
      const x = new Tensor(device, inputShape, device.alloc(sizeOf(inputShape)), true);
      device.kernels.fill({ out: x.buffer, value: 0 });
      model.inMode(false, () => void model.forward(x));
    });
  });
  const [whole] = watcher.rows;
  const elementBytes = device.dtype === 'float64' ? 8 : 4;
  const results = watcher.rows
    .filter((row) => row.leaf && row.parameters > 0)
    .reduce((sum, row) => sum + sizeOf(row.outputShape), 0);
  return {
    inputShape: [...inputShape],
    outputShape: whole.outputShape,
    layers: watcher.rows,
    parameters: whole.parameters,
    buffers: [...model.namedBuffers().values()].reduce((sum, { size }) => sum + size, 0),
    macs: whole.macs,
    inputBytes: sizeOf(inputShape) * elementBytes,
    forwardBackwardBytes: 2 * results * elementBytes,
    parameterBytes: whole.parameters * elementBytes,
  };
}
