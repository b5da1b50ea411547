/**
 * Zip archives, as far as PyTorch's files are ones. The directory is read here, since a library gives copies of
 * stored entries where a view will do, and neither compares checksums nor sizes; fflate does the inflating.
 * @see https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
 */
import { inflateSync } from 'fflate';
import { FormatError } from '../../errors.js';
import { showName } from '../safetensorsHeader.js';
import { crc32 } from './crc32.js';

const LOCAL = 0x04034b50;
const ENTRY = 0x02014b50;
const END = 0x06054b50;
const END64 = 0x06064b50;
const END64_LOCATOR = 0x07064b50;

/** Flags of encrypted entries: bits 0, 6 and 13. */
const ENCRYPTED = 0x2041;

/** Most bytes that all deflated entries together may inflate to: so many times the file's own, and so many more. */
export const INFLATED_RATIO = 64;
export const INFLATED_MORE = 2 ** 20;

interface Entry {
  readonly flags: number;
  readonly method: number;
  readonly crc: number;
  readonly compressedSize: number;
  readonly size: number;
  /** Where its local header begins. */
  readonly at: number;
  readonly name: Uint8Array;
}

function fail(problem: string): never {
  throw new FormatError(`pth: zip: ${problem}`);
}

/** Little-endian numbers; whoever calls has checked that they are within the file. 64-bit ones are exact to 2^53. */
class Reader {
  private readonly view: DataView;
  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  u16 = (at: number): number => this.view.getUint16(at, true);
  u32 = (at: number): number => this.view.getUint32(at, true);
  u64 = (at: number): number => this.u32(at + 4) * 2 ** 32 + this.u32(at);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

export interface ZipOptions {
  /** Whether to compare each entry's content with its CRC-32. */
  readonly checksums: boolean;
}

/** A zip archive in memory. */
export class Zip {
  private readonly reader: Reader;
  private readonly entries = new Map<string, Entry>();
  /** Where the directory begins, and so the entries' data end. */
  private directory = 0;
  private bytesRead = 0;
  private bytesInflated = 0;

  /**
   * Reads the directory; 64-bit sizes too.
   * @throws FormatError for a directory that is missing, cut off, at odds with its own sizes, of several disks or
   *   with a name twice
   */
  constructor(
    private readonly bytes: Uint8Array,
    private readonly options: ZipOptions,
  ) {
    this.reader = new Reader(bytes);
    this.readDirectory();
  }

  /** The entries' names, in the directory's order. */
  get names(): string[] {
    return [...this.entries.keys()];
  }

  has(name: string): boolean {
    return this.entries.has(name);
  }

  private findEnd(): number {
    const { u16, u32 } = this.reader;
    const first = Math.max(0, this.bytes.length - 22 - 0xffff);
    for (let at = this.bytes.length - 22; at >= first; at--) {
      if (u32(at) === END && at + 22 + u16(at + 20) === this.bytes.length) return at;
    }
    return fail('no directory at the end of the file: truncated, or bytes follow it');
  }

  private readDirectory(): void {
    const { u16, u32, u64 } = this.reader;
    const end = this.findEnd();
    let disks = u16(end + 4) !== 0 || u16(end + 6) !== 0 || u16(end + 8) !== u16(end + 10);
    let count = u16(end + 10);
    let size = u32(end + 12);
    let start = u32(end + 16);
    let limit = end;
    // PyTorch writes the 64-bit form always; where it stands it counts.
    if (end >= 20 && u32(end - 20) === END64_LOCATOR) {
      limit = u64(end - 12);
      if (limit + 56 > end - 20 || u32(limit) !== END64)
        fail(`64-bit end record is not at ${limit}, where it should be`);
      disks = u32(limit + 16) !== 0 || u32(limit + 20) !== 0 || u64(limit + 24) !== u64(limit + 32);
      count = u64(limit + 32);
      size = u64(limit + 40);
      start = u64(limit + 48);
    }
    if (disks) fail('archive is one of several disks; want one file');
    if (start + size !== limit) fail(`directory of ${size} bytes at ${start} does not end at ${limit}`);
    if (count * 46 > size) fail(`directory of ${size} bytes cannot hold ${count} entries`);
    this.directory = start;

    let at = start;
    const decoder = new TextDecoder();
    for (let i = 0; i < count; i++) {
      if (at + 46 > limit || u32(at) !== ENTRY) fail(`directory is damaged at ${at}`);
      const nameEnd = at + 46 + u16(at + 28);
      const extraEnd = nameEnd + u16(at + 30);
      const next = extraEnd + u16(at + 32);
      if (next > limit) fail(`directory is damaged at ${at}`);
      const nameBytes = this.bytes.subarray(at + 46, nameEnd);
      // A copy, since decoders refuse shared memory.
      const name = decoder.decode(new Uint8Array(nameBytes));
      if (this.entries.has(name)) fail(`two entries are called ${showName(name)}`);
      this.entries.set(name, this.readEntry(at, nameBytes, nameEnd, extraEnd));
      at = next;
    }
    if (at !== limit) fail(`directory has ${limit - at} bytes after its last entry`);
  }

  private readEntry(at: number, name: Uint8Array, extra: number, extraEnd: number): Entry {
    const { u16, u32, u64 } = this.reader;
    const sizes = { size: u32(at + 24), compressedSize: u32(at + 20), at: u32(at + 42) };
    // Extra field 1 holds those that do not fit into 32 bits, in this order.
    const wide = (['size', 'compressedSize', 'at'] as const).filter((key) => sizes[key] === 0xffffffff);
    for (let field = extra; wide.length > 0 && field + 4 <= extraEnd; field += 4 + u16(field + 2)) {
      if (u16(field) !== 1) continue;
      const end = Math.min(field + 4 + u16(field + 2), extraEnd);
      for (let value = field + 4; wide.length > 0 && value + 8 <= end; value += 8) {
        const key = wide.shift();
        if (key) sizes[key] = u64(value);
      }
      break;
    }
    return { name, flags: u16(at + 8), method: u16(at + 10), crc: u32(at + 16), ...sizes };
  }

  /**
   * An entry's content: a view of the file where it is stored, as PyTorch does, else inflated.
   * @throws FormatError where there is none of this name, where it is encrypted, packed by another method, damaged
   *   or beyond the limits; entries that overlap are found when more is read than the file has
   */
  read(name: string): Uint8Array {
    const { u16, u32 } = this.reader;
    const entry = this.entries.get(name);
    const shown = `entry ${showName(name)}`;
    if (!entry) return fail(`there is no ${shown}`);
    const { at, size, compressedSize, method } = entry;
    if (entry.flags & ENCRYPTED) fail(`${shown} is encrypted`);
    if (at + 30 > this.directory || u32(at) !== LOCAL) fail(`${shown}: no local header at ${at}`);
    const nameEnd = at + 30 + u16(at + 26);
    const start = nameEnd + u16(at + 28);
    const end = start + compressedSize;
    if (end > this.directory) fail(`${shown}: ${compressedSize} bytes at ${start} leave the file's data: truncated`);
    if (!sameBytes(this.bytes.subarray(at + 30, nameEnd), entry.name)) fail(`${shown}: local header has another name`);
    this.bytesRead += end - at;
    if (this.bytesRead > this.bytes.length) fail('entries overlap');

    const packed = this.bytes.subarray(start, end);
    let content = packed;
    if (method === 8) content = this.inflate(shown, packed, size);
    else if (method !== 0) fail(`${shown} has method ${method}; want stored (0) or deflated (8)`);
    if (content.length !== size) fail(`${shown} has ${content.length} bytes; want ${size}`);
    if (this.options.checksums && crc32(content) !== entry.crc) {
      fail(`${shown}: content does not have its checksum; the file is damaged, or was written without checksums`);
    }
    return content;
  }

  private inflate(shown: string, packed: Uint8Array, size: number): Uint8Array {
    this.bytesInflated += size;
    const most = INFLATED_RATIO * this.bytes.length + INFLATED_MORE;
    if (this.bytesInflated > most) {
      fail(`${shown} of ${size} bytes: more than ${most} would be inflated, which is the limit for this file`);
    }
    try {
      // fflate drops in silence what does not fit; one byte more tells.
      const content = inflateSync(packed, { out: new Uint8Array(size + 1) });
      return content.length <= size ? content : fail(`${shown} inflates to more than ${size} bytes`);
    } catch (error) {
      if (error instanceof FormatError) throw error;
      throw new FormatError(`pth: zip: ${shown}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
  }
}
