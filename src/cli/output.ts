/** What the commands say, and what becomes of them when nobody listens any more. */
import { systemCode } from './errors.js';

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

export function warn(message: string): void {
  process.stderr.write(`warning: ${message}\n`);
}

/** A pipe without a reader, a terminal that was closed, and writes after those. */
const GONE = new Set(['EPIPE', 'EIO', 'ERR_STREAM_DESTROYED']);

let outlives = false;

/** For commands that take hours: they go on to their end when the reader of what they print has gone. */
export function outliveReader(): void {
  outlives = true;
}

/** From now on a reader that has gone, as in `atalho ... | head`, ends the program without a complaint. */
export function endWithReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error) => {
      if (!GONE.has(systemCode(error) ?? '')) throw error;
      if (!outlives) process.exit(0);
    });
  }
}
