/** The networks that the command knows by name. */
import { ArgumentError } from '../errors.js';
import * as models from '../models/index.js';
import type { InitOptions } from '../nn/init.js';
import type { Module } from '../nn/module.js';
import type { Sequential } from '../nn/sequential.js';
import type { Shape } from '../shape.js';

export interface NetOptions extends InitOptions {
  readonly inChannels?: number;
  readonly numClasses?: number;
}

export interface ModelEntry {
  /** One image of the size and the channels that it was published for. */
  readonly inputShape: Shape;
  readonly make: (o: NetOptions) => Sequential;
  /** The chapter's networks: as one of its tabs builds them, whose images are `[N, H, W, C]` in TensorFlow's. */
  readonly ofTab?: (o: InitOptions & { readonly tab: models.D2lTab }) => Module & Iterable<Module>;
}

export const tabNames: readonly models.D2lTab[] = ['pytorch', 'mxnet', 'tensorflow'];

const FASHION: Shape = [1, 1, 96, 96];
const IMAGENET: Shape = [1, 3, 224, 224];
const CIFAR: Shape = [1, 3, 32, 32];

/** The chapter's network a hundred times smaller, for tests and demonstrations. */
const TINY = { channels: [8, 16, 32, 64], blocks: [1, 1, 1, 1] } as const;

const family = (
  inputShape: Shape,
  makers: Readonly<Record<string, (o: NetOptions) => Sequential>>,
): [string, ModelEntry][] => Object.entries(makers).map(([name, make]) => [name, { inputShape, make }]);

const MODELS: ReadonlyMap<string, ModelEntry> = new Map<string, ModelEntry>([
  ['d2l-resnet18', { inputShape: FASHION, make: (o) => models.d2lResnet18(o), ofTab: (o) => models.d2lResnet18(o) }],
  [
    'd2l-resnet-tiny',
    {
      inputShape: FASHION,
      make: (o) => models.d2lResnet({ ...o, ...TINY }),
      ofTab: (o) => models.d2lResnet({ ...o, ...TINY }),
    },
  ],
  ...family(IMAGENET, {
    resnet18: models.resnet18,
    resnet34: models.resnet34,
    resnet50: models.resnet50,
    resnet101: models.resnet101,
    resnet152: models.resnet152,
    resnext50_32x4d: models.resnext50_32x4d,
    resnext101_32x8d: models.resnext101_32x8d,
    wide_resnet50_2: models.wideResnet50_2,
    wide_resnet101_2: models.wideResnet101_2,
    'preact-resnet18': models.preactResnet18,
    'preact-resnet34': models.preactResnet34,
    'preact-resnet50': models.preactResnet50,
    'preact-resnet101': models.preactResnet101,
    'preact-resnet152': models.preactResnet152,
  }),
  ...family(CIFAR, {
    'cifar-resnet20': models.cifarResnet20,
    'cifar-resnet32': models.cifarResnet32,
    'cifar-resnet44': models.cifarResnet44,
    'cifar-resnet56': models.cifarResnet56,
    'cifar-resnet110': models.cifarResnet110,
    'cifar-preact-resnet110': models.cifarPreactResnet110,
    'cifar-preact-resnet164': models.cifarPreactResnet164,
  }),
]);

export const modelNames: readonly string[] = [...MODELS.keys()];

/** Where the names are listed, since there are too many for a help or a message. */
export const WANT_MODEL = 'a name that `atalho summary` lists';

/** " (did you mean resnet50?)" for resnet-50, ResNet50, ...; else "". */
function guess(name: string): string {
  const plain = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]/g, '');
  const near = modelNames.find((known) => plain(known) === plain(name));
  return near === undefined ? '' : ` (did you mean ${near}?)`;
}

/** The entry of that name. Throws `ArgumentError`, which says where the names are listed. */
export function modelEntry(name: string): ModelEntry {
  const entry = MODELS.get(name);
  if (entry === undefined) {
    throw new ArgumentError(`there is no model ${JSON.stringify(name)}${guess(name)}; want ${WANT_MODEL}`);
  }
  return entry;
}

/** The network of that name. Throws `ArgumentError` as `modelEntry` does. */
export function makeModel(name: string, o: NetOptions): Sequential {
  return modelEntry(name).make(o);
}
