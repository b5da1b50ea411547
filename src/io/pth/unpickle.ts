/**
 * A pickle machine for weights: the opcodes that writers of protocols 0 to 5 emit for containers, numbers, strings
 * and tensors. It runs nothing: a global is looked up in a fixed table, and what is not there is refused by name.
 * @see https://github.com/python/cpython/blob/main/Lib/pickletools.py for what each opcode does
 */
import { FormatError } from '../../errors.js';
import { showName } from '../safetensorsHeader.js';
import { describe, Global, type Item, isTensor } from './values.js';

const PROTOCOL = 5;
const ONLY = 'only tensors and plain containers are read';
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** Most bytes of an int. Python's own writer goes further, no file of weights does. */
const MAX_INT_BYTES = 255;
const MAX_INT_DIGITS = 616;
/**
 * Most containers that one pickle may make, with the axes of its tensors. An empty dict takes one byte of a pickle
 * and hundreds of memory, so the file's length is no bound.
 */
export const MAX_CONTAINERS = 1_000_000;

/** What the machine is told about the world outside the pickle. */
export interface Surroundings {
  /** What the global "module.name" stands for; undefined if it is refused. */
  global(name: string): Item | undefined;
  /** What a persistent id stands for. Throws FormatError. */
  persistent(id: Item): Item;
}

export interface Unpickled {
  readonly value: Item;
  /** Index of the byte after the pickle. */
  readonly end: number;
}

function asInt(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** A global as errors show it: plain where it is a plain name. */
function showGlobal(name: string): string {
  return /^[\w.]{1,100}$/.test(name) ? name : showName(name);
}

class Machine {
  private readonly view: DataView;
  private readonly stack: Item[] = [];
  /** Heights of the stack at each open mark. */
  private readonly marks: number[] = [];
  private readonly memo = new Map<number, Item>();
  /** Arrays that are lists, and so may grow; the others are tuples. */
  private readonly lists = new Set<Item>();
  private containers = 0;
  /** First byte of the opcode at work, for errors. */
  private opcodeAt: number;

  constructor(
    private readonly bytes: Uint8Array,
    private at: number,
    private readonly surroundings: Surroundings,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.opcodeAt = at;
  }

  run(): Unpickled {
    for (;;) {
      this.opcodeAt = this.at;
      const opcode = this.view.getUint8(this.take(1));
      if (opcode === 0x2e) {
        const value = this.pop();
        const left = this.stack.length + this.marks.length;
        if (left > 0) this.fail(`${left} items or marks are left on the stack`);
        return { value, end: this.at };
      }
      const item = this.value(opcode);
      if (item === undefined) this.act(opcode);
      else this.stack.push(item);
    }
  }

  /** What an opcode pushes; undefined for the opcodes of `act`. */
  private value(opcode: number): Item | undefined {
    const { view } = this;
    switch (opcode) {
      case 0x4e: // NONE
        return null;
      case 0x88: // NEWTRUE
        return true;
      case 0x89: // NEWFALSE
        return false;
      case 0x49: // INT
        return this.decimalInt();
      case 0x4c: // LONG
        return this.decimalLong();
      case 0x4b: // BININT1
        return view.getUint8(this.take(1));
      case 0x4d: // BININT2
        return view.getUint16(this.take(2), true);
      case 0x4a: // BININT
        return view.getInt32(this.take(4), true);
      case 0x8a: // LONG1
        return this.int(view.getUint8(this.take(1)));
      case 0x8b: // LONG4
        return this.int(view.getInt32(this.take(4), true));
      case 0x46: // FLOAT
        return this.decimalFloat();
      case 0x47: // BINFLOAT
        return view.getFloat64(this.take(8), false);

      case 0x56: // UNICODE
        return this.escapedText();
      case 0x58: // BINUNICODE
      case 0x54: // BINSTRING, of Python 2
        return this.text(view.getUint32(this.take(4), true));
      case 0x8c: // SHORT_BINUNICODE
      case 0x55: // SHORT_BINSTRING, of Python 2
        return this.text(view.getUint8(this.take(1)));
      case 0x8d: // BINUNICODE8
        return this.text(this.uint64());
      case 0x42: // BINBYTES
        return this.copy(view.getUint32(this.take(4), true));
      case 0x43: // SHORT_BINBYTES
        return this.copy(view.getUint8(this.take(1)));
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        return this.copy(this.uint64());

      case 0x5d: // EMPTY_LIST
        return this.list([]);
      case 0x6c: // LIST
        return this.list(this.popToMark());
      case 0x29: // EMPTY_TUPLE
        return this.spend([]);
      case 0x74: // TUPLE
        return this.spend(this.popToMark());
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return this.spend(this.popMany(opcode - 0x84));
      case 0x7d: // EMPTY_DICT
        return this.spend(new Map<Item, Item>());
      case 0x64: // DICT
        return this.setItems(this.spend(new Map<Item, Item>()), this.popToMark());

      case 0x67: // GET
        return this.get(this.index());
      case 0x68: // BINGET
        return this.get(view.getUint8(this.take(1)));
      case 0x6a: // LONG_BINGET
        return this.get(view.getUint32(this.take(4), true));

      case 0x63: // GLOBAL
        return this.global(this.line(), this.line());
      case 0x93: // STACK_GLOBAL
        return this.stackGlobal();
      case 0x69: // INST, of protocol 0: an instance of a class, and no class is known
        return this.refuse(`${this.line()}.${this.line()}`);
      case 0x52: // REDUCE
        return this.reduce();
      case 0x51: // BINPERSID
        return this.persistent();
      default:
        return undefined;
    }
  }

  /** The opcodes that push nothing. */
  private act(opcode: number): void {
    const { view } = this;
    switch (opcode) {
      case 0x80: // PROTO
        this.protocol(view.getUint8(this.take(1)));
        break;
      case 0x95: // FRAME: a hint for readers of streams
        this.checkLength(this.uint64());
        break;
      case 0x61: // APPEND
        this.append([this.pop()]);
        break;
      case 0x65: // APPENDS
        this.append(this.popToMark());
        break;
      case 0x73: // SETITEM
        this.setTopItems(this.popMany(2));
        break;
      case 0x75: // SETITEMS
        this.setTopItems(this.popToMark());
        break;
      case 0x62: // BUILD
        this.build();
        break;
      case 0x28: // MARK
        this.marks.push(this.stack.length);
        break;
      case 0x30: // POP
        if (this.marks.at(-1) === this.stack.length) this.marks.pop();
        else this.pop();
        break;
      case 0x31: // POP_MARK
        this.popToMark();
        break;
      case 0x70: // PUT
        this.put(this.index());
        break;
      case 0x71: // BINPUT
        this.put(view.getUint8(this.take(1)));
        break;
      case 0x72: // LONG_BINPUT
        this.put(view.getUint32(this.take(4), true));
        break;
      case 0x94: // MEMOIZE
        this.put(this.memo.size);
        break;
      default:
        this.fail(`opcode 0x${opcode.toString(16).padStart(2, '0')} is not read: ${ONLY}`);
    }
  }

  private protocol(version: number): void {
    if (version > PROTOCOL) this.fail(`protocol ${version}; want at most ${PROTOCOL}`);
  }

  // What follows an opcode.

  /** Index of the next `count` bytes, which are then passed. */
  private take(count: number): number {
    this.checkLength(count);
    const start = this.at;
    this.at += count;
    return start;
  }

  private checkLength(count: number): void {
    if (count > this.bytes.length - this.at) {
      this.fail(`${count} bytes are wanted where ${this.bytes.length - this.at} are left: truncated`);
    }
  }

  private uint64(): number {
    const start = this.take(8);
    return this.view.getUint32(start + 4, true) * 2 ** 32 + this.view.getUint32(start, true);
  }

  private copy(count: number): Uint8Array {
    const start = this.take(count);
    return new Uint8Array(this.bytes.subarray(start, start + count));
  }

  private text(count: number): string {
    const bytes = this.copy(count);
    try {
      return UTF8.decode(bytes);
    } catch {
      return this.fail('a string is not valid UTF-8');
    }
  }

  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) this.fail('a line does not end: truncated');
    const line = this.text(end - this.at);
    this.at = end + 1;
    return line;
  }

  /** The text of UNICODE, whose backslashes and line ends stand as \uXXXX, and letters below 256 as one byte. */
  private escapedText(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) this.fail('a line does not end: truncated');
    const raw = Array.from(this.bytes.subarray(this.at, end), (byte) => String.fromCharCode(byte)).join('');
    this.at = end + 1;
    return raw.replace(/\\(?:u([\da-fA-F]{4})|U([\da-fA-F]{8}))/g, (_, short?: string, long?: string) => {
      const point = Number.parseInt(short ?? long ?? '', 16);
      return point <= 0x10ffff ? String.fromCodePoint(point) : this.fail('a string has a code point beyond Unicode');
    });
  }

  /** Little-endian two's complement. */
  private int(count: number): number | bigint {
    if (count < 0 || count > MAX_INT_BYTES) this.fail(`an int of ${count} bytes; want at most ${MAX_INT_BYTES}`);
    const bytes = this.copy(count).reverse();
    if (count === 0) return 0;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
    return asInt(BigInt.asIntN(8 * count, BigInt(`0x${hex}`)));
  }

  private decimal(digits: string): number | bigint {
    if (!/^[+-]?\d+$/.test(digits)) this.fail(`${showName(digits)} is no int`);
    if (digits.length > MAX_INT_DIGITS) this.fail(`an int of ${digits.length} digits; want at most ${MAX_INT_DIGITS}`);
    return asInt(BigInt(digits));
  }

  private decimalInt(): number | bigint | boolean {
    const line = this.line();
    // Protocols 0 and 1 write booleans so.
    if (line === '00') return false;
    if (line === '01') return true;
    return this.decimal(line);
  }

  private decimalLong(): number | bigint {
    return this.decimal(this.line().replace(/L$/, ''));
  }

  private decimalFloat(): number {
    const line = this.line();
    if (line === 'nan') return Number.NaN;
    if (/^-?inf$/.test(line)) return line === 'inf' ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
    if (!/^-?\d{1,30}(\.\d{1,30})?(e[+-]?\d{1,5})?$/i.test(line)) this.fail(`${showName(line)} is no float`);
    return Number(line);
  }

  private index(): number {
    const index = this.decimal(this.line());
    if (typeof index !== 'number' || index < 0) this.fail(`memo index ${index}; want a whole number of at least 0`);
    return index;
  }

  // The stack and the memo.

  private pop(): Item {
    const item = this.stack.length > (this.marks.at(-1) ?? 0) ? this.stack.pop() : undefined;
    return item === undefined ? this.fail('stack underflow') : item;
  }

  private popMany(count: number): Item[] {
    if (this.stack.length - (this.marks.at(-1) ?? 0) < count) this.fail('stack underflow');
    return this.stack.splice(this.stack.length - count);
  }

  private popToMark(): Item[] {
    const mark = this.marks.pop();
    return mark === undefined ? this.fail('no mark on the stack') : this.stack.splice(mark);
  }

  private top(): Item {
    const item = this.stack.length > (this.marks.at(-1) ?? 0) ? this.stack.at(-1) : undefined;
    return item === undefined ? this.fail('stack underflow') : item;
  }

  private put(index: number): void {
    this.memo.set(index, this.top());
  }

  private get(index: number): Item {
    const item = this.memo.get(index);
    return item === undefined ? this.fail(`memo has no entry ${index}`) : item;
  }

  // Containers.

  /** Counts a container, or what is as large as one. */
  private spend<T extends Item>(item: T): T {
    this.containers += 1 + (isTensor(item) ? item.shape.length : 0);
    if (this.containers > MAX_CONTAINERS) this.fail(`more than ${MAX_CONTAINERS} containers`);
    return item;
  }

  private list(items: Item[]): Item[] {
    this.lists.add(this.spend(items));
    return items;
  }

  private append(items: readonly Item[]): void {
    const list = this.top();
    if (!Array.isArray(list) || !this.lists.has(list)) this.fail(`append to ${describe(list)}; want a list`);
    for (const item of items) list.push(item);
  }

  private setTopItems(pairs: readonly Item[]): void {
    const map = this.top();
    if (!(map instanceof Map)) this.fail(`items are set in ${describe(map)}; want a dict`);
    this.setItems(map, pairs);
  }

  private setItems(map: Map<Item, Item>, pairs: readonly Item[]): Map<Item, Item> {
    if (pairs.length % 2 !== 0) this.fail('a dict has a key without a value');
    for (let i = 0; i < pairs.length; i += 2) map.set(this.key(pairs[i]), pairs[i + 1]);
    return map;
  }

  private key(key: Item): Item {
    const tuple = Array.isArray(key) && !this.lists.has(key);
    if (!tuple && typeof key === 'object' && key !== null) {
      this.fail(`${describe(key)} is the key of a dict; want a string, a number, True, False, None or a tuple`);
    }
    return key;
  }

  // Globals.

  private refuse(name: string): never {
    let why = ONLY;
    if (/^torch\.(\w+\.)?\w*Storage$/.test(name)) why = 'its element type is not among those that are read';
    if (/^(torch\.nn\.|__main__\.)/.test(name)) why += "; save a model's state_dict(), not the model";
    this.fail(`refuses global ${showGlobal(name)}: ${why}`);
  }

  private global(module: string, name: string): Item {
    const path = `${module}.${name}`;
    const item = this.surroundings.global(path);
    return item === undefined ? this.refuse(path) : item;
  }

  private stackGlobal(): Item {
    const [module, name] = this.popMany(2);
    if (typeof module !== 'string' || typeof name !== 'string') {
      this.fail(`a global is named by ${describe(module)} and ${describe(name)}; want two strings`);
    }
    return this.global(module, name);
  }

  private reduce(): Item {
    const [callee, args] = this.popMany(2);
    if (!(callee instanceof Global) || !callee.call) return this.fail(`${describe(callee)} is called; want a function`);
    if (!Array.isArray(args)) this.fail(`${callee.name} is called with ${describe(args)}; want a tuple`);
    const { call } = callee;
    return this.spend(this.outside(() => call(args)));
  }

  private persistent(): Item {
    const id = this.pop();
    return this.spend(this.outside(() => this.surroundings.persistent(id)));
  }

  /** Runs what is not the machine's own, whose errors know no place. */
  private outside(run: () => Item): Item {
    try {
      return run();
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      return this.fail(error.message.replace(/^pth: /, ''));
    }
  }

  /** Attributes of an OrderedDict, such as `_metadata`, and of a Parameter of old: looked at and left out. */
  private build(): void {
    const state = this.pop();
    const target = this.top();
    const dict = target instanceof Map && state instanceof Map;
    // requires_grad, volatile, _backward_hooks
    const parameter = isTensor(target) && Array.isArray(state) && state.length === 3;
    if (!dict && !parameter) this.fail(`${describe(target)} is given the attributes ${describe(state)}`);
  }

  private fail(problem: string): never {
    throw new FormatError(`pth: pickle, byte ${this.opcodeAt}: ${problem}`);
  }
}

/**
 * Reads the pickle that begins at `at`.
 * @throws FormatError that names the byte: a pickle that is cut off, of a later protocol or with an opcode that
 *   weights need not; a stack, mark or memo that has not what is asked for; a global that is not known; more than a
 *   million containers
 */
export function unpickle(bytes: Uint8Array, at: number, surroundings: Surroundings): Unpickled {
  return new Machine(bytes, at, surroundings).run();
}
