/** The networks of the page: those of the command line, and their plain twins without shortcuts. */
import {
  BasicBlock,
  type BatchNorm2d,
  Bottleneck,
  Conv2d,
  type Device,
  type Generator,
  initXavierUniform,
  Module,
  Residual,
  Sequential,
  type Tensor,
} from 'atalho';
import { makeModel } from 'atalho/cli/models.js';

/** A block without its shortcut: relu(bn2(conv2(relu(bn1(conv1(x)))))), and a third time for a bottleneck. */
export class PlainBlock extends Module {
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm2d;
  readonly conv3: Conv2d | null;
  readonly bn3: BatchNorm2d | null;

  constructor(block: Residual | BasicBlock | Bottleneck) {
    super();
    this.conv1 = block.conv1;
    this.bn1 = block.bn1;
    this.conv2 = block.conv2;
    this.bn2 = block.bn2;
    [this.conv3, this.bn3] = block instanceof Bottleneck ? [block.conv3, block.bn3] : [null, null];
  }

  override forward(x: Tensor): Tensor {
    const y = this.bn2.forwardRelu(this.conv2.forward(this.bn1.forwardRelu(this.conv1.forward(x))));
    return this.conv3 && this.bn3 ? this.bn3.forwardRelu(this.conv3.forward(y)) : y;
  }
}

/** The network with its very layers, nothing added to what a block computes; a shortcut's own convolution is left out. */
function withoutShortcuts(module: Module): Module {
  if (module instanceof Residual || module instanceof BasicBlock || module instanceof Bottleneck) {
    const shortcut = module instanceof Residual ? module.conv3 : module.downsample;
    shortcut?.dispose();
    return new PlainBlock(module);
  }
  if (!(module instanceof Sequential)) return module;
  const children = [...module.children()].map(([name, child]) => [name, withoutShortcuts(child)] as const);
  const numbered = children.every(([name], i) => name === String(i));
  return numbered
    ? new Sequential(...children.map(([, child]) => child))
    : new Sequential(Object.fromEntries(children));
}

export interface NetworkOptions {
  readonly device: Device;
  readonly generator: Generator;
  readonly initWeights?: boolean;
  readonly inChannels: number;
  readonly numClasses: number;
}

/**
 * The network as a run begins with it. With shortcuts, weights are left for the Trainer to draw. The twin's are drawn here, for all
 * layers that the residual network has, so that both start from the same weights and take the same order of pictures.
 */
export function makeNetwork(model: string, shortcuts: boolean, o: NetworkOptions): Sequential {
  const net = makeModel(model, o);
  return shortcuts ? net : (withoutShortcuts(initXavierUniform(net, o.generator)) as Sequential);
}

/** Modules by their full names. */
export function modulesOf(module: Module, prefix = ''): Map<string, Module> {
  const found = new Map<string, Module>([[prefix, module]]);
  for (const [name, child] of module.children()) {
    const full = [prefix, name].filter((part) => part !== '').join('.');
    for (const [key, one] of modulesOf(child, full)) found.set(key, one);
  }
  return found;
}

/** The first convolution and every block: what may be looked into. */
export function blocksOf(net: Module): { name: string; type: string }[] {
  const all = [...modulesOf(net)];
  const kinds = [Residual, BasicBlock, Bottleneck, PlainBlock];
  const stem = all.find(([, m]) => m instanceof Conv2d);
  return [...(stem ? [stem] : []), ...all.filter(([, m]) => kinds.some((kind) => m instanceof kind))].map(
    // The build keeps the names of classes.
    ([name, m]) => ({ name, type: m.constructor.name }),
  );
}
