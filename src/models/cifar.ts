/** The small networks for CIFAR's 32×32 images: He et al. 2016, section 4.2, and 2016b. */
import { ArgumentError, show } from '../errors.js';
import type { Sequential } from '../nn/sequential.js';
import { BasicBlock, type ShortcutType } from './blocks.js';
import { PreactBasicBlock, PreactBottleneck, preactResnet } from './preact.js';
import { type ResnetOptions, resnet } from './resnet.js';

/** Options of `cifarResnet` and of its depths. */
export interface CifarResnetOptions extends Omit<ResnetOptions, 'strideOn'> {
  /** Where a block changes the shape. Default 'zeroPad', the paper's A, without parameters. */
  readonly shortcut?: ShortcutType;
}

/** Blocks of each of the three stages, given the depth. */
function blocks(name: string, depth: number, layersPerBlock: number): number {
  const n = typeof depth === 'number' ? (depth - 2) / (3 * layersPerBlock) : Number.NaN;
  if (!Number.isInteger(n) || n < 1) {
    throw new ArgumentError(`${name}: depth is ${show(depth)}; want ${3 * layersPerBlock}n + 2, n at least 1`);
  }
  return n;
}

const COMMON = { numClasses: 10, planes: 16, stem: '3x3', shortcut: 'zeroPad' } as const;

/**
 * The network of depth 6n + 2: a 3×3 stem, three stages of n basic blocks with 16, 32 and 64 channels on maps of 32, 16 and
 * 8, global average pooling, a linear layer. x `[N, 3, 32, 32]` to logits `[N, 10]`; other sizes work.
 * @throws ArgumentError when the depth is none of those
 * @see https://arxiv.org/abs/1512.03385, section 4.2
 */
export function cifarResnet(options: CifarResnetOptions & { readonly depth: number }): Sequential {
  const { depth, ...o } = options ?? {};
  const n = blocks('cifarResnet', depth, 2);
  return resnet({ ...COMMON, ...o, block: BasicBlock, layers: [n, n, n] });
}

/** 20 layers, 0.27 million parameters. See `cifarResnet`. */
export const cifarResnet20 = (o: CifarResnetOptions): Sequential => cifarResnet({ ...o, depth: 20 });
/** 32 layers, 0.46 million parameters. See `cifarResnet`. */
export const cifarResnet32 = (o: CifarResnetOptions): Sequential => cifarResnet({ ...o, depth: 32 });
/** 44 layers, 0.66 million parameters. See `cifarResnet`. */
export const cifarResnet44 = (o: CifarResnetOptions): Sequential => cifarResnet({ ...o, depth: 44 });
/** 56 layers, 0.85 million parameters. See `cifarResnet`. */
export const cifarResnet56 = (o: CifarResnetOptions): Sequential => cifarResnet({ ...o, depth: 56 });
/** 110 layers, 1.7 million parameters. See `cifarResnet`. */
export const cifarResnet110 = (o: CifarResnetOptions): Sequential => cifarResnet({ ...o, depth: 110 });

/** Options of `cifarPreactResnet` and of its depths. */
export type CifarPreactResnetOptions = Omit<CifarResnetOptions, 'zeroInitResidual'>;

/**
 * The pre-activation network of depth 6n + 2 with basic blocks, or 9n + 2 with bottlenecks of 64, 128 and 256 channels.
 * @throws ArgumentError when the depth is none of those
 * @see https://arxiv.org/abs/1603.05027, Tables 1 and 3
 */
export function cifarPreactResnet(
  options: CifarPreactResnetOptions & { readonly depth: number; readonly bottleneck?: boolean },
): Sequential {
  const { depth, bottleneck = false, ...o } = options ?? {};
  const n = blocks('cifarPreactResnet', depth, bottleneck ? 3 : 2);
  return preactResnet({
    ...COMMON,
    ...o,
    block: bottleneck ? PreactBottleneck : PreactBasicBlock,
    layers: [n, n, n],
  });
}

/** 110 layers of basic blocks, 1.7 million parameters. See `cifarPreactResnet`. */
export const cifarPreactResnet110 = (o: CifarPreactResnetOptions): Sequential =>
  cifarPreactResnet({ ...o, depth: 110 });
/** 164 layers of bottlenecks, 1.7 million parameters. See `cifarPreactResnet`. */
export const cifarPreactResnet164 = (o: CifarPreactResnetOptions): Sequential =>
  cifarPreactResnet({ ...o, depth: 164, bottleneck: true });
