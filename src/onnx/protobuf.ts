/**
 * Messages described by tables of fields, read and written with the wire format of @bufbuild/protobuf, which checks every
 * bound and generates no code.
 * @see https://protobuf.dev/programming-guides/encoding/
 */
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { FormatError } from '../errors.js';

/** Most messages in one file: far above what networks have, and a bound on what tiny ones can blow up to. */
const MAX_MESSAGES = 2 ** 18;

/** How one value stands in a file. */
export interface Codec<T> {
  readonly wire: WireType;
  /** Whether several may stand in one field, one behind the other. */
  readonly packable: boolean;
  read(reader: BinaryReader, budget: Budget): T;
  write(writer: BinaryWriter, value: T): void;
}

/** What is left of `MAX_MESSAGES`. */
export interface Budget {
  messages: number;
}

export interface Optional<T> {
  readonly number: number;
  readonly codec: Codec<T>;
  readonly repeated: false;
}

export interface Repeated<T> {
  readonly number: number;
  readonly codec: Codec<T>;
  readonly repeated: true;
}

type Fields = Readonly<Record<string, Optional<never> | Repeated<never>>>;

/** A message as an object: fields that a file leaves out are undefined, repeated ones empty. */
export type MessageOf<F> = {
  readonly [K in keyof F as F[K] extends Repeated<infer _> ? K : never]: F[K] extends Repeated<infer T>
    ? readonly T[]
    : never;
} & {
  readonly [K in keyof F as F[K] extends Optional<infer _> ? K : never]?: F[K] extends Optional<infer T> ? T : never;
};

/** What must be given to write a message: empty repeated fields may be left out. */
export type Writable<F> = Partial<MessageOf<F>>;

/** A field that stands once at most. */
export const optional = <T>(number: number, codec: Codec<T>): Optional<T> => ({ number, codec, repeated: false });
/** A field that may stand any number of times. */
export const repeated = <T>(number: number, codec: Codec<T>): Repeated<T> => ({ number, codec, repeated: true });

const scalar = <T>(
  wire: WireType,
  read: (reader: BinaryReader) => T,
  write: (writer: BinaryWriter, value: T) => void,
): Codec<T> => ({ wire, packable: wire !== WireType.LengthDelimited, read, write });

/** A number, exact within ±2^53 and the nearest one beyond, where only its being large counts. */
export const int64: Codec<number> = scalar(
  WireType.Varint,
  (r) => Number(r.int64()),
  (w, v) => w.int64(v),
);
export const int32: Codec<number> = scalar(
  WireType.Varint,
  (r) => r.int32(),
  (w, v) => w.int32(v),
);
export const float: Codec<number> = scalar(
  WireType.Bit32,
  (r) => r.float(),
  (w, v) => w.float(v),
);
export const double: Codec<number> = scalar(
  WireType.Bit64,
  (r) => r.double(),
  (w, v) => w.double(v),
);
/** A view of the file's bytes. */
export const bytes: Codec<Uint8Array> = scalar(
  WireType.LengthDelimited,
  (r) => r.bytes(),
  (w, v) => w.bytes(v),
);
/** Text, refused where it is not UTF-8. */
export const string: Codec<string> = scalar(
  WireType.LengthDelimited,
  (r) => r.string(true),
  (w, v) => w.string(v),
);

/** A message inside another. */
export function message<F extends object>(fields: F): Codec<MessageOf<F>> {
  return {
    wire: WireType.LengthDelimited,
    packable: false,
    read: (reader, budget) => readFields(fields, new BinaryReader(reader.bytes()), budget),
    write(writer, value) {
      writer.fork();
      writeFields(fields, writer, value as Writable<F>);
      writer.join();
    },
  };
}

const EMPTY: readonly never[] = Object.freeze([]);

interface Known {
  readonly name: string;
  readonly codec: Codec<unknown>;
  readonly repeated: boolean;
}

/** The fields of a description by number. */
const tables = new WeakMap<object, ReadonlyMap<number, Known>>();

function tableOf(fields: object): ReadonlyMap<number, Known> {
  let table = tables.get(fields);
  if (table === undefined) {
    const entries = Object.entries(fields as Fields);
    table = new Map(entries.map(([name, { number, codec, repeated }]) => [number, { name, codec, repeated }]));
    tables.set(fields, table);
  }
  return table;
}

function readFields<F extends object>(fields: F, reader: BinaryReader, budget: Budget): MessageOf<F> {
  if (--budget.messages < 0) throw new FormatError(`onnx: the file holds more than ${MAX_MESSAGES} messages`);
  const table = tableOf(fields);
  const found: Record<string, unknown> = Object.create(null);
  for (const { name, repeated } of table.values()) if (repeated) found[name] = EMPTY;
  while (reader.pos < reader.len) {
    const [number, wire] = reader.tag();
    const field = table.get(number);
    if (field === undefined) {
      reader.skip(wire, number);
      continue;
    }
    const { name, codec, repeated } = field;
    const list = (): unknown[] => {
      if (found[name] === EMPTY) found[name] = [];
      return found[name] as unknown[];
    };
    if (wire === codec.wire) {
      const value = codec.read(reader, budget);
      if (repeated) list().push(value);
      else if (name in found) throw new FormatError(`onnx: field ${number} (${name}) stands twice in one message`);
      else found[name] = value;
    } else if (repeated && codec.packable && wire === WireType.LengthDelimited) {
      const values = list();
      const packed = new BinaryReader(reader.bytes());
      while (packed.pos < packed.len) values.push(codec.read(packed, budget));
    } else {
      throw new FormatError(`onnx: field ${number} (${name}) has wire type ${wire}; want ${codec.wire}`);
    }
  }
  return found as MessageOf<F>;
}

function writeFields<F extends object>(fields: F, writer: BinaryWriter, value: Writable<F>): void {
  for (const [number, { name, codec, repeated }] of tableOf(fields)) {
    const given = (value as Record<string, unknown>)[name];
    if (given === undefined) continue;
    if (!repeated) {
      codec.write(writer.tag(number, codec.wire), given);
      continue;
    }
    const list = given as readonly unknown[];
    if (list.length === 0) continue;
    if (codec.packable) {
      writer.tag(number, WireType.LengthDelimited).fork();
      for (const one of list) codec.write(writer, one);
      writer.join();
    } else for (const one of list) codec.write(writer.tag(number, codec.wire), one);
  }
}

/**
 * Reads a file that is one message.
 * @throws FormatError when it is cut off or not in the wire format, has a field twice that may stand once, or holds an
 *   absurd number of messages
 */
export function readMessage<F extends object>(fields: F, file: Uint8Array): MessageOf<F> {
  try {
    return readFields(fields, new BinaryReader(file), { messages: MAX_MESSAGES });
  } catch (error) {
    if (error instanceof FormatError) throw error;
    throw new FormatError(`onnx: the file is not in the protobuf format: ${(error as Error).message}`);
  }
}

/** The file that is this message, fields in the order of their description. */
export function writeMessage<F extends object>(fields: F, value: Writable<F>): Uint8Array<ArrayBuffer> {
  const writer = new BinaryWriter();
  writeFields(fields, writer, value);
  return writer.finish();
}
