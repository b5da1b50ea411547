/**
 * Checkpoints: one safetensors file with `model.*` and `optimizer.*` tensors and, as JSON strings in its metadata, all
 * else that the rest of a run depends on. Bytes in and bytes out; no file system.
 */
import { AtalhoError, FormatError, StateDictError } from '../errors.js';
import { readSafetensors, type SafetensorsEntry, type SafetensorsInput, writeSafetensors } from '../io/safetensors.js';
import type { Module } from '../nn/module.js';
import { NUMERICS_VERSION } from '../numerics.js';
import { finiteState } from './nonFinite.js';
import { parseState, type TrainerState } from './state.js';
import type { Trainer } from './trainer.js';

/** What the run was asked to do: whatever changes its bits. The caller's own names. */
export type RunConfig = Readonly<Record<string, string | number | boolean | null>>;

/** A run as it stood: weights, optimizer, position, settings. */
export interface Checkpoint {
  /** What it was read from, for messages. */
  readonly name: string;
  /** Weights and buffers under the model's own state-dict names. */
  readonly model: ReadonlyMap<string, SafetensorsEntry>;
  readonly optimizer: ReadonlyMap<string, SafetensorsEntry>;
  readonly state: TrainerState;
  readonly config: RunConfig;
  /** `NUMERICS_VERSION` of the library that wrote it. */
  readonly numerics: number;
  /** The program that wrote it, such as "atalho 0.1.0". */
  readonly writer: string;
}

/** Version of the layout described here. */
const FORMAT = '1';

/**
 * The run as it stands between two steps. Metadata: `format`, `numerics`, `writer`, `config` and `state`, the last two
 * as JSON. The run must stand still until it is done.
 * @throws NonFiniteParameterError when a weight or running statistic is NaN or infinite: nobody can go on from that
 */
export async function encodeCheckpoint(
  trainer: Trainer,
  config: RunConfig,
  writer: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const { model, optimizer } = trainer;
  const entries: [string, SafetensorsInput][] = [];
  for (const [name, entry] of await finiteState(model, trainer.state().step)) entries.push([`model.${name}`, entry]);
  for (const [name, t] of optimizer.state()) {
    entries.push([`optimizer.${name}`, { shape: t.shape, data: await t.data() }]);
  }
  return writeSafetensors(entries, {
    format: FORMAT,
    numerics: String(NUMERICS_VERSION),
    writer,
    config: JSON.stringify(config),
    state: JSON.stringify(trainer.state()),
  });
}

function parseConfig(where: string, value: unknown): RunConfig {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FormatError(`${where} is no JSON object`);
  }
  for (const [key, item] of Object.entries(value)) {
    if (item !== null && !['string', 'number', 'boolean'].includes(typeof item)) {
      throw new FormatError(`${where}.${key.slice(0, 80)} is a ${typeof item}; want a string, number, boolean or null`);
    }
  }
  return value as RunConfig;
}

/**
 * Reads a checkpoint. Tensors are views of `bytes`; whether they fit a model shows when they are loaded.
 * @param name what the bytes are from, for messages
 * @throws FormatError that names file and field, when it is damaged or something else
 * @throws AtalhoError when a later version of the layout wrote it
 */
export function decodeCheckpoint(bytes: Uint8Array, name: string): Checkpoint {
  let file: ReturnType<typeof readSafetensors>;
  try {
    file = readSafetensors(bytes);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new FormatError(`${name}: ${error.message}`, { cause: error });
  }
  const text = (field: string): string => {
    if (!Object.hasOwn(file.metadata, field)) throw new FormatError(`${name}: metadata has no ${field}; no checkpoint`);
    return file.metadata[field];
  };
  const json = (field: string): unknown => {
    try {
      return JSON.parse(text(field));
    } catch (error) {
      if (error instanceof FormatError) throw error;
      throw new FormatError(`${name}: ${field} is not valid JSON`, { cause: error });
    }
  };
  const format = text('format');
  if (format !== FORMAT) {
    throw new AtalhoError(`${name}: checkpoint format is ${JSON.stringify(format.slice(0, 40))}; want ${FORMAT}`);
  }
  const numerics = text('numerics');
  if (!/^[1-9]\d{0,8}$/.test(numerics)) {
    throw new FormatError(`${name}: numerics is ${JSON.stringify(numerics.slice(0, 40))}; want a whole number`);
  }
  const parts = { model: new Map<string, SafetensorsEntry>(), optimizer: new Map<string, SafetensorsEntry>() };
  for (const [key, entry] of file) {
    const [, part, rest] = /^(model|optimizer)\.(.+)$/s.exec(key) ?? [];
    if (rest === undefined) {
      const shown = JSON.stringify(key.slice(0, 80));
      throw new FormatError(`${name}: tensor ${shown} is neither of the model nor of the optimizer`);
    }
    parts[part as keyof typeof parts].set(rest, entry);
  }
  return {
    name,
    ...parts,
    state: parseState(`${name}: state`, json('state')),
    config: parseConfig(`${name}: config`, json('config')),
    numerics: Number(numerics),
    writer: text('writer'),
  };
}

/** Throws `AtalhoError` unless the checkpoint's run was asked for the same, under the same numerics. */
function checkSameRun(checkpoint: Checkpoint, config: RunConfig): void {
  const { name, numerics, writer } = checkpoint;
  if (numerics !== NUMERICS_VERSION) {
    throw new AtalhoError(
      `${name}: written by ${writer.slice(0, 40)} under numerics ${numerics}; this is numerics ${NUMERICS_VERSION}, whose bits differ, so the run cannot go on here`,
    );
  }
  for (const key of new Set([...Object.keys(config), ...Object.keys(checkpoint.config)])) {
    const [got, want] = [checkpoint.config, config].map((c) =>
      Object.hasOwn(c, key) ? JSON.stringify(c[key]) : 'not set',
    );
    if (got !== want) {
      throw new AtalhoError(
        `${name}: of another run: ${key.slice(0, 80)} is ${got.slice(0, 80)} there and ${want} here`,
      );
    }
  }
}

function naming(name: string, load: () => void): void {
  try {
    load();
  } catch (error) {
    if (!(error instanceof StateDictError)) throw error;
    throw new FormatError(`${name}: ${error.message}`, { cause: error });
  }
}

/**
 * Puts the weights and buffers of a checkpoint into a model of the same kind, to use it.
 * @throws FormatError that names file and entries when they do not fit; nothing has changed then
 */
export function loadModel(model: Module, { name, model: entries }: Checkpoint): void {
  naming(name, () => {
    // loadStateDict does not miss a counter, which files of others may lack; a checkpoint lacks it only where it is damaged.
    const counters = [...model.namedBuffers()].filter(([key, t]) => t.dtype === 'int64' && !entries.has(key));
    if (counters.length > 0) throw new StateDictError(`missing: ${counters.map(([key]) => key).join(', ')}`);
    model.loadStateDict(entries);
  });
}

function checkDtypes(name: string, part: string, entries: ReadonlyMap<string, SafetensorsEntry>, float: string): void {
  for (const [key, { dtype }] of entries) {
    // The counters are whole numbers, all else is the device's float; another would be rounded in silence.
    if (dtype !== 'I64' && dtype !== float) {
      throw new FormatError(
        `${name}: tensor ${JSON.stringify(`${part}.${key.slice(0, 80)}`)} is ${dtype}; want ${float}`,
      );
    }
  }
}

/**
 * Puts weights, optimizer and position of a checkpoint into a trainer that was made with the same options; `run` then
 * goes on bit for bit.
 * @throws AtalhoError when it is of another numerics version or of a run with another config
 * @throws FormatError that names file and field when it does not fit the model; the trainer may have changed then
 */
export function restoreCheckpoint(trainer: Trainer, checkpoint: Checkpoint, config: RunConfig): void {
  checkSameRun(checkpoint, config);
  const { name, model, optimizer, state } = checkpoint;
  const [{ dtype }] = trainer.optimizer.params;
  const float = dtype === 'float64' ? 'F64' : 'F32';
  checkDtypes(name, 'model', model, float);
  checkDtypes(name, 'optimizer', optimizer, float);
  // Before the optimizer, which counts up to the step: here it is bounded.
  trainer.restore(state, `${name}: state`);
  const step = optimizer.get('step');
  if (step?.dtype !== 'I64' || step.data.length !== 1 || step.data[0] !== BigInt(state.step)) {
    throw new FormatError(`${name}: optimizer.step does not hold ${state.step}, the step of the state`);
  }
  loadModel(trainer.model, checkpoint);
  naming(name, () => trainer.optimizer.loadState(optimizer));
}
