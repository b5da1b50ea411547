/** Settings of a run: presets, the address, the command line that asks for the same. */
import { checkTogether, FIELD_NAMES, FIELDS, type Field, type TrainConfig } from 'atalho/cli/config.js';
import { CHAPTER, PRESETS } from 'atalho/cli/presets.js';
import type { RunSettings } from '../work/messages.js';
import { whereOf, whereParams } from './where.js';

/** Small enough to watch: seconds on any machine. */
const FIRST: TrainConfig = {
  ...CHAPTER,
  ...{ model: 'd2l-resnet-tiny', optimizer: 'adam', lr: 0.002, schedule: 'cosine' },
  ...{ epochs: 3, batchSize: 32, resize: 28, limit: 3200, testLimit: 1000 },
};
/** Deep enough that the shortcuts tell. */
const DEEP: TrainConfig = {
  ...CHAPTER,
  ...{ model: 'cifar-resnet56', lr: 0.05, momentum: 0.9, epochs: 2, batchSize: 32, resize: 28 },
  ...{ limit: 1600, testLimit: 500 },
};

export const RECIPES = { first: FIRST, deep: DEEP, quick: PRESETS.quick.config, chapter: CHAPTER } as const;
export type RecipeName = keyof typeof RECIPES;

export const MODELS: readonly string[] = ['d2l-resnet18', 'd2l-resnet-tiny', 'cifar-resnet20', 'cifar-resnet56'];

/** What the command line has for pictures and weights of one's own, and the page has not: as usual, whatever an address says. */
const NOT_HERE: readonly (keyof TrainConfig)[] = [
  ...(['channels', 'normalize', 'cropPadding', 'flip', 'weights', 'freeze', 'patience'] as const),
];

export const USUAL: RunSettings = { config: FIRST, shortcuts: true, device: 'wasm', threads: 'auto' };

const same = (a: TrainConfig, b: TrainConfig): boolean => FIELD_NAMES.every((name) => a[name] === b[name]);

export function recipeOf(config: TrainConfig): RecipeName | null {
  const found = Object.entries(RECIPES).find(([, recipe]) => same(recipe, config));
  return (found?.[0] as RecipeName | undefined) ?? null;
}

/** The hash that the README gives for these settings, if it gives one. */
export function publishedHash({ config, shortcuts, device }: RunSettings): string | null {
  if (!shortcuts || device === 'webgpu') return null;
  return Object.values(PRESETS).find((preset) => same(preset.config, config))?.publishedHash ?? null;
}

export function toParams({ config, shortcuts, device, threads }: RunSettings): Record<string, string> {
  const params: Record<string, string> = {};
  for (const name of FIELD_NAMES) {
    if (config[name] !== USUAL.config[name]) params[name] = config[name] === null ? 'all' : String(config[name]);
  }
  if (!shortcuts) params.shortcuts = 'off';
  return { ...params, ...whereParams({ device, threads, math: config.math }) };
}

function fieldOf({ numeric, valid }: Field, text: string, usual: unknown): unknown {
  const value = text === 'all' ? null : numeric ? Number(text) : text;
  return valid(value) ? value : usual;
}

/** What is no good value is as usual, and all is where the values do not go together. */
export function fromParams(params: Readonly<Record<string, string>>): RunSettings {
  const config = Object.fromEntries(
    FIELD_NAMES.map((name) => {
      const usual = USUAL.config[name];
      return [name, name in params && !NOT_HERE.includes(name) ? fieldOf(FIELDS[name], params[name], usual) : usual];
    }),
  ) as TrainConfig;
  try {
    checkTogether(config);
  } catch {
    return fromParams({});
  }
  const { device, threads, math } = whereOf(params);
  const model = MODELS.includes(config.model) ? config.model : USUAL.config.model;
  return { config: { ...config, model, math }, shortcuts: params.shortcuts !== 'off', device, threads };
}

/** The command that ends with the same weights; null for the plain twin, which the command line does not have. */
export function commandOf({ config, shortcuts, device, threads }: RunSettings): string | null {
  if (!shortcuts) return null;
  const where = [
    ...(device === 'wasm' ? [] : [`--device ${device}`]),
    ...(threads === 'auto' ? [] : [`--threads ${threads}`]),
  ];
  if (same(PRESETS.quick.config, config)) return ['npm start', ...(where.length > 0 ? ['--', ...where] : [])].join(' ');
  const flags = FIELD_NAMES.filter((name) => config[name] !== CHAPTER[name] && config[name] !== null).map(
    (name) => `${FIELDS[name].flag.split(' ')[0]} ${config[name]}`,
  );
  return ['npx atalho train', ...flags, ...where].join(' ');
}
