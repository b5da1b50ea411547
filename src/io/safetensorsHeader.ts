/**
 * The JSON header of a safetensors file. It has one fixed form, three levels deep, so it gets a parser of its own:
 * JSON.parse would keep the last of two equal keys in silence, and nest as deep as a hostile file asks.
 */
import { FormatError } from '../errors.js';

export interface TensorInfo {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** First byte and the one after the last, counted from the end of the header. */
  readonly offsets: readonly [number, number];
}

export interface Header {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

const FIELDS = '"dtype", "shape" and "data_offsets"';

/** A name as errors show it: quoted, escaped, and cut when it is long. */
export function showName(name: string): string {
  return JSON.stringify(name.length > 100 ? `${name.slice(0, 100)}…` : name);
}

class HeaderParser {
  private at = 0;

  constructor(private readonly text: string) {}

  header(): Header {
    // No prototype: a key "constructor" or "__proto__" is a key like any other.
    const metadata: Record<string, string> = Object.create(null);
    const tensors = new Map<string, TensorInfo>();
    if (this.text[0] !== '{') this.fail('it must begin with {');
    let seenMetadata = false;
    this.object('the header', (name) => {
      if (name !== '__metadata__') {
        if (tensors.has(name)) this.fail(`two tensors are called ${showName(name)}`);
        tensors.set(name, this.tensorInfo(`tensor ${showName(name)}`));
        return;
      }
      if (seenMetadata) this.fail('"__metadata__" stands twice');
      seenMetadata = true;
      this.object('"__metadata__"', (key) => {
        if (key in metadata) this.fail(`"__metadata__" has the key ${showName(key)} twice`);
        metadata[key] = this.string(`the value of ${showName(key)} in "__metadata__"`);
      });
    });
    this.skipSpace();
    if (this.at < this.text.length) this.fail('want only spaces after the closing }');
    return { metadata, tensors };
  }

  private tensorInfo(owner: string): TensorInfo {
    let dtype: string | undefined;
    let shape: number[] | undefined;
    let offsets: number[] | undefined;
    this.object(owner, (field) => {
      if (field === 'dtype' && dtype === undefined) dtype = this.string(`the dtype of ${owner}`);
      else if (field === 'shape' && shape === undefined) shape = this.wholeNumbers(`the shape of ${owner}`);
      else if (field === 'data_offsets' && offsets === undefined)
        offsets = this.wholeNumbers(`the data_offsets of ${owner}`);
      else this.fail(`${owner} has the field ${showName(field)} too many; want ${FIELDS}, once each`);
    });
    if (dtype === undefined || shape === undefined || offsets === undefined) {
      this.fail(`${owner} lacks a field; want ${FIELDS}`);
    }
    if (offsets.length !== 2) this.fail(`${owner} has ${offsets.length} data_offsets; want [begin, end]`);
    return { dtype, shape, offsets: [offsets[0], offsets[1]] };
  }

  /** `{ "key": value, ... }`; `value` must consume each value. */
  private object(what: string, value: (key: string) => void): void {
    this.expect('{', what);
    if (this.take('}')) return;
    do {
      const key = this.string(`a key of ${what}`);
      this.expect(':', what);
      value(key);
    } while (this.take(','));
    this.expect('}', what);
  }

  private wholeNumbers(what: string): number[] {
    const numbers: number[] = [];
    this.expect('[', what);
    if (this.take(']')) return numbers;
    do {
      this.skipSpace();
      const digits = /(?:0|[1-9]\d*)(?![\d.eE])/y;
      digits.lastIndex = this.at;
      const found = digits.exec(this.text)?.[0];
      if (found === undefined) this.fail(`${what} must hold whole numbers of at least 0`);
      const number = Number(found);
      if (!Number.isSafeInteger(number)) this.fail(`${what} holds ${found.slice(0, 30)}, which is beyond 2^53 - 1`);
      numbers.push(number);
      this.at += found.length;
    } while (this.take(','));
    this.expect(']', what);
    return numbers;
  }

  private string(what: string): string {
    this.skipSpace();
    if (this.text[this.at] !== '"') this.fail(`${what} must be a string`);
    let end = this.at + 1;
    while (end < this.text.length && this.text[end] !== '"') end += this.text[end] === '\\' ? 2 : 1;
    let value: string;
    try {
      value = JSON.parse(this.text.slice(this.at, end + 1)) as string;
    } catch {
      this.fail(`${what} is not a valid JSON string`);
    }
    if (/\p{Surrogate}/u.test(value)) this.fail(`${what} holds half a surrogate pair`);
    this.at = end + 1;
    return value;
  }

  private expect(char: string, what: string): void {
    if (!this.take(char)) {
      const got = this.at < this.text.length ? JSON.stringify(this.text[this.at]) : 'its end';
      this.fail(`in ${what}: want ${char}, got ${got}`);
    }
  }

  private take(char: string): boolean {
    this.skipSpace();
    if (this.text[this.at] !== char) return false;
    this.at++;
    return true;
  }

  private skipSpace(): void {
    while (this.at < this.text.length && ' \t\n\r'.includes(this.text[this.at])) this.at++;
  }

  private fail(problem: string): never {
    throw new FormatError(`safetensors: header, character ${this.at}: ${problem}`);
  }
}

/** Parses the header's text. Throws `FormatError`. */
export function parseHeader(text: string): Header {
  return new HeaderParser(text).header();
}
