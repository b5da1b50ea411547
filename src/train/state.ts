/** Where a training run stands, besides weights and optimizer: plain JSON, which checkpoints carry. */
import { FormatError } from '../errors.js';
import { Generator } from '../random.js';

/** One point of the chapter's plot. Accuracies are shares from 0 to 1, the loss is in nats. */
export interface HistoryPoint {
  /** Epochs done, in fractions within one. */
  readonly epoch: number;
  /** Steps done. */
  readonly step: number;
  /** Mean over the images of the epoch so far. */
  readonly trainLoss: number;
  readonly trainAcc: number;
  /** Only at the end of an epoch, and null there too without test images. */
  readonly testAcc: number | null;
  /** Seconds spent in training steps so far, all epochs together. */
  readonly seconds: number;
}

/** Where a run stands: with the weights and the state of the optimizer, all that its rest depends on. */
export interface TrainerState {
  /** Epochs finished. */
  readonly epoch: number;
  /** Batches done of the epoch that runs. */
  readonly position: number;
  /** Steps done in all. */
  readonly step: number;
  /** Over the epoch so far: Σ loss · images, images classified rightly, images. */
  readonly lossSum: number;
  readonly correct: number;
  readonly count: number;
  /** Images trained on in all, and the seconds that the steps took. */
  readonly images: number;
  readonly seconds: number;
  /** `Generator.state()` before the running epoch's order was drawn. */
  readonly generator: readonly number[];
  readonly history: readonly HistoryPoint[];
}

const tested = (history: readonly HistoryPoint[]): HistoryPoint[] => history.filter(({ testAcc }) => testAcc !== null);

/** The point of the best test accuracy, the first of equals; null before the first test. */
export function bestPoint(history: readonly HistoryPoint[]): HistoryPoint | null {
  return tested(history).reduce<HistoryPoint | null>(
    (best, point) => (best === null || (point.testAcc as number) > (best.testAcc as number) ? point : best),
    null,
  );
}

/** Epochs tested since the best one: 0 right after it, and before the first. */
export function epochsSinceBest(history: readonly HistoryPoint[]): number {
  const all = tested(history);
  const best = bestPoint(all);
  return best === null ? 0 : all.length - 1 - all.indexOf(best);
}

/** A JSON object's fields, one by one, or an error that names file and field. */
class Fields {
  private readonly object: Readonly<Record<string, unknown>>;

  constructor(
    private readonly where: string,
    value: unknown,
  ) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new FormatError(`${where} is no JSON object`);
    }
    this.object = value as Readonly<Record<string, unknown>>;
  }

  get(field: string): unknown {
    return Object.hasOwn(this.object, field) ? this.object[field] : undefined;
  }

  count(field: string): number {
    const value = this.get(field);
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
      this.fail(field, value, 'a whole number of at least 0');
    }
    return value;
  }

  /** A finite number from `min` to `max`. */
  number(field: string, min: number, max: number): number {
    const value = this.get(field);
    if (typeof value !== 'number' || !(value >= min && value <= max)) {
      this.fail(field, value, `a number from ${min} to ${max}`);
    }
    return value;
  }

  array(field: string): readonly unknown[] {
    const value = this.get(field);
    if (!Array.isArray(value)) this.fail(field, value, 'a list');
    return value;
  }

  fail(field: string, value: unknown, want: string): never {
    const got = value === undefined ? 'missing' : JSON.stringify(value)?.slice(0, 80);
    throw new FormatError(`${this.where}.${field} is ${got}; want ${want}`);
  }
}

const MOST = Number.MAX_VALUE;

function historyPoint(where: string, value: unknown): HistoryPoint {
  const f = new Fields(where, value);
  return {
    epoch: f.number('epoch', 0, MOST),
    step: f.count('step'),
    trainLoss: f.number('trainLoss', 0, MOST),
    trainAcc: f.number('trainAcc', 0, 1),
    testAcc: f.get('testAcc') === null ? null : f.number('testAcc', 0, 1),
    seconds: f.number('seconds', 0, MOST),
  };
}

/**
 * The state in `value`, checked field by field.
 * @param where what it was read from, such as "step-50.safetensors: state"
 * @throws FormatError that names `where` and the field
 */
export function parseState(where: string, value: unknown): TrainerState {
  const f = new Fields(where, value);
  const generator = f.array('generator');
  try {
    Generator.fromState(generator as readonly number[]);
  } catch {
    f.fail('generator', generator, 'the six numbers of Generator.state()');
  }
  return {
    epoch: f.count('epoch'),
    position: f.count('position'),
    step: f.count('step'),
    lossSum: f.number('lossSum', 0, MOST),
    correct: f.count('correct'),
    count: f.count('count'),
    images: f.count('images'),
    seconds: f.number('seconds', 0, MOST),
    generator: generator as readonly number[],
    history: f.array('history').map((point, i) => historyPoint(`${where}.history[${i}]`, point)),
  };
}
