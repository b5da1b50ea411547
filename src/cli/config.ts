/** What a training run is asked to do: every option that its bits depend on, in one table. */
import { ArgumentError, FormatError } from '../errors.js';
import { scheduleNames } from '../train/schedule.js';
import { modelNames, WANT_MODEL } from './models.js';
import { NORMALIZATION_WANTED, parseNormalization } from './normalization.js';

export const mathNames = ['exact', 'fast', 'relaxed'] as const;
/** What weight decay is for: all parameters, or all but biases and batch norms. */
export const decayNames = ['all', 'weights'] as const;
export const optimizerNames = ['sgd', 'adam', 'adamw', 'rmsprop'] as const;

/** A type and not an interface, so that it is a `RunConfig`. */
export type TrainConfig = {
  readonly model: string;
  /** Learning rate. */
  readonly lr: number;
  readonly epochs: number;
  readonly batchSize: number;
  /** Height and width in pixels that images are brought to. */
  readonly resize: number;
  /** Of the images: 1 gray, 3 red, green, blue. */
  readonly channels: number;
  /** Mean and deviation of the channels: none, imagenet or MEAN/STD. */
  readonly normalize: string;
  /** Black pixels around a training image before a window of its size is taken at random. */
  readonly cropPadding: number;
  /** Whether half of the training images are flipped: none or horizontal. */
  readonly flip: string;
  readonly seed: number;
  /** Only the first so many training images; null for all. */
  readonly limit: number | null;
  /** Only the first so many test images; null for all. */
  readonly testLimit: number | null;
  readonly optimizer: string;
  readonly momentum: number;
  readonly weightDecay: number;
  /** What weight decay is for. */
  readonly decay: string;
  readonly schedule: string;
  /** Epochs from one step of the step schedule to the next. */
  readonly stepSize: number;
  /** Epochs at which the multiStep schedule steps, such as "30,60"; '' for none. */
  readonly milestones: string;
  /** What a step multiplies the rate by. */
  readonly gamma: number;
  /** Steps over which the rate rises at first. */
  readonly warmup: number;
  readonly labelSmoothing: number;
  /** File of the first weights; '' to draw them. */
  readonly weights: string;
  /** Parts of the network that stay as they are, with commas; '' for none. */
  readonly freeze: string;
  /** Epochs without a better test accuracy that end the run; 0 for never. */
  readonly patience: number;
  /** Arithmetic: exact, fast or relaxed. */
  readonly math: string;
};

export interface Field {
  /** As commander takes it. */
  readonly flag: string;
  readonly help: string;
  readonly numeric: boolean;
  /** What a good value is, for messages. */
  readonly want: string;
  readonly valid: (value: unknown) => boolean;
  /** What holds in files that were written before there was the option. */
  readonly absent?: string | number;
}

const whole =
  (min: number, max: number) =>
  (value: unknown): boolean =>
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max;
const number = (good: (value: number) => boolean) => (value: unknown) =>
  typeof value === 'number' && Number.isFinite(value) && good(value);
const text = (value: unknown): boolean => typeof value === 'string' && value.length <= 4096;
const oneOf = (names: readonly string[]) => ({
  numeric: false,
  want: `one of ${names.join(', ')}`,
  valid: (value: unknown) => names.includes(value as string),
});
const count = { numeric: true, want: 'a whole number of at least 1', valid: whole(1, 1e9) };
const countOrAll = { ...count, valid: (value: unknown) => value === null || count.valid(value) };

/** In the order in which the help shows them. */
export const FIELDS: Readonly<Record<keyof TrainConfig, Field>> = {
  model: {
    flag: '--model <name>',
    help: 'network; `atalho summary` lists them',
    ...oneOf(modelNames),
    want: WANT_MODEL,
  },
  lr: {
    flag: '--lr <rate>',
    help: 'learning rate',
    numeric: true,
    want: 'a number above 0',
    valid: number((v) => v > 0),
  },
  epochs: { flag: '--epochs <n>', help: 'passes over the training images', ...count },
  batchSize: { flag: '--batch-size <n>', help: 'images a step', ...count },
  resize: {
    flag: '--resize <pixels>',
    help: 'height and width that images are brought to',
    numeric: true,
    want: 'a whole number from 1 to 1024',
    valid: whole(1, 1024),
  },
  channels: {
    flag: '--channels <n>',
    help: 'channels of the images: 1 gray, 3 colour, as pictures of folders have',
    numeric: true,
    want: '1 or 3',
    valid: (value) => value === 1 || value === 3,
    absent: 1,
  },
  normalize: {
    flag: '--normalize <how>',
    help: 'what the channels are shifted and divided by: none, imagenet or MEAN/STD',
    numeric: false,
    want: NORMALIZATION_WANTED,
    valid: (value) => typeof value === 'string' && parseNormalization(value) !== null,
    absent: 'none',
  },
  cropPadding: {
    flag: '--crop-padding <pixels>',
    help: 'black around a training image before a window of its size is taken at random',
    numeric: true,
    want: 'a whole number from 0 to 1024',
    valid: whole(0, 1024),
    absent: 0,
  },
  flip: {
    flag: '--flip <how>',
    help: 'flips half of the training images at random: horizontal, or none',
    absent: 'none',
    ...oneOf(['none', 'horizontal']),
  },
  seed: {
    flag: '--seed <n>',
    help: 'what first weights and the order of images follow from',
    numeric: true,
    want: 'a whole number from 0 to 2^53 - 1',
    valid: whole(0, Number.MAX_SAFE_INTEGER),
  },
  limit: { flag: '--limit <n>', help: 'take only the first n training images', ...countOrAll },
  testLimit: { flag: '--test-limit <n>', help: 'take only the first n test images', ...countOrAll },
  optimizer: { flag: '--optimizer <name>', help: 'optimizer', ...oneOf(optimizerNames) },
  momentum: {
    flag: '--momentum <share>',
    help: 'momentum of sgd and rmsprop',
    numeric: true,
    want: 'a number from 0 to below 1',
    valid: number((v) => v >= 0 && v < 1),
  },
  weightDecay: {
    flag: '--weight-decay <rate>',
    help: 'weight decay',
    numeric: true,
    want: 'a number of at least 0',
    valid: number((v) => v >= 0),
  },
  decay: {
    flag: '--decay <which>',
    help: 'what weight decay is for: all parameters, or weights: neither biases nor batch norms',
    absent: 'all',
    ...oneOf(decayNames),
  },
  schedule: { flag: '--schedule <name>', help: 'course of the learning rate', ...oneOf(scheduleNames) },
  stepSize: { flag: '--step-size <epochs>', help: 'of the step schedule', absent: 30, ...count },
  milestones: {
    flag: '--milestones <epochs>',
    help: 'of the multiStep schedule, such as 30,60',
    absent: '',
    numeric: false,
    want: 'whole numbers of at least 1 with commas between',
    valid: (value) => typeof value === 'string' && /^(?:[1-9]\d{0,8}(?:,[1-9]\d{0,8})*)?$/.test(value),
  },
  gamma: {
    flag: '--gamma <factor>',
    help: 'what each step of these two multiplies the rate by',
    absent: 0.1,
    numeric: true,
    want: 'a number above 0, at most 1',
    valid: number((v) => v > 0 && v <= 1),
  },
  warmup: {
    flag: '--warmup <steps>',
    help: 'steps over which the rate rises at first',
    absent: 0,
    numeric: true,
    want: 'a whole number of at least 0',
    valid: whole(0, 1e9),
  },
  labelSmoothing: {
    flag: '--label-smoothing <share>',
    help: 'share of each target that is spread over all classes',
    absent: 0,
    numeric: true,
    want: 'a number from 0 to 1',
    valid: number((v) => v >= 0 && v <= 1),
  },
  weights: {
    flag: '--weights <file>',
    help: 'begin from the weights of a .safetensors or .pth file, as far as they fit',
    absent: '',
    numeric: false,
    want: 'the path of a file',
    valid: text,
  },
  freeze: {
    flag: '--freeze <parts>',
    help: 'parts of the network that stay as they are, such as conv1,bn1,layer1',
    absent: '',
    numeric: false,
    want: 'names of parts with commas between, such as conv1,bn1; `atalho summary MODEL` shows them',
    valid: (value) => text(value) && (value === '' || (value as string).split(',').every((part) => part.trim() !== '')),
  },
  patience: {
    flag: '--patience <epochs>',
    help: 'end once so many epochs in a row have not bettered the test accuracy; 0 for never',
    absent: 0,
    numeric: true,
    want: 'a whole number of at least 0',
    valid: whole(0, 1e9),
  },
  math: {
    flag: '--math <mode>',
    help: 'exact: bits of the plain loops; fast: Winograd, other bits, as reproducible; relaxed: fused multiply-adds too, bits of this engine',
    absent: 'exact',
    ...oneOf(mathNames),
  },
};

export const FIELD_NAMES = Object.keys(FIELDS) as readonly (keyof TrainConfig)[];

/** A config as it was written before there were all of today's options, with what held then. */
export function withAbsentOptions<C extends Readonly<Record<string, unknown>>>(config: C): C {
  const absent = FIELD_NAMES.filter((name) => FIELDS[name].absent !== undefined);
  return { ...Object.fromEntries(absent.map((name) => [name, FIELDS[name].absent])), ...config };
}

/** Throws `ArgumentError` when options do not go together. */
export function checkTogether({ optimizer, momentum, normalize, channels, schedule, milestones }: TrainConfig): void {
  const given = parseNormalization(normalize)?.mean.length ?? channels;
  if (given !== channels) {
    throw new ArgumentError(`normalize is ${normalize} with channels ${channels}; want a number a channel`);
  }
  if (momentum !== 0 && optimizer !== 'sgd' && optimizer !== 'rmsprop') {
    throw new ArgumentError(`momentum is ${momentum} with optimizer ${optimizer}; want it with sgd or rmsprop`);
  }
  if (milestones !== '' && schedule !== 'multiStep') {
    throw new ArgumentError(`milestones is ${milestones} with schedule ${schedule}; want it with multiStep`);
  }
  if (milestones === '' && schedule === 'multiStep') {
    throw new ArgumentError('schedule is multiStep without milestones; want the epochs, such as 30,60');
  }
}

/**
 * The config in `value`, such as a file's JSON.
 * @param where what it was read from, for messages
 * @throws FormatError that names `where` and the field, or the options that do not go together
 */
export function parseTrainConfig(where: string, value: unknown): TrainConfig {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FormatError(`${where} is no JSON object`);
  }
  const given = value as Readonly<Record<string, unknown>>;
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(FIELDS, name)) throw new FormatError(`${where}.${name.slice(0, 80)} is no option of a run`);
  }
  const entries = FIELD_NAMES.map((name) => {
    const got = Object.hasOwn(given, name) ? given[name] : FIELDS[name].absent;
    if (got === undefined || !FIELDS[name].valid(got)) {
      const shown = got === undefined ? 'missing' : JSON.stringify(got)?.slice(0, 80);
      throw new FormatError(`${where}.${name} is ${shown}; want ${FIELDS[name].want}`);
    }
    return [name, got];
  });
  const config = Object.fromEntries(entries) as TrainConfig;
  try {
    checkTogether(config);
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    throw new FormatError(`${where}: ${error.message}`, { cause: error });
  }
  return config;
}
