/** Whole networks. */
export {
  BasicBlock,
  type BlockOptions,
  type BlockType,
  Bottleneck,
  type ShortcutType,
  ZeroPadShortcut,
} from './blocks.js';
export {
  type CifarPreactResnetOptions,
  type CifarResnetOptions,
  cifarPreactResnet,
  cifarPreactResnet110,
  cifarPreactResnet164,
  cifarResnet,
  cifarResnet20,
  cifarResnet32,
  cifarResnet44,
  cifarResnet56,
  cifarResnet110,
} from './cifar.js';
export { type D2lResnet18Options, type D2lResnetOptions, type D2lTab, d2lResnet, d2lResnet18 } from './d2l.js';
export { d2lLayerNames } from './d2lTabs.js';
export {
  PreactBasicBlock,
  type PreactBlockOptions,
  type PreactBlockType,
  PreactBottleneck,
  type Preactivation,
  type PreactResnetConfig,
  type PreactResnetOptions,
  preactResnet,
  preactResnet18,
  preactResnet34,
  preactResnet50,
  preactResnet101,
  preactResnet152,
} from './preact.js';
export * from './torchvision.js';
