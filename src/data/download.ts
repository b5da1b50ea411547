/** One file from one address, with bounds on its size, on every wait and on all of them together. */
import { joinBytes } from '../bytes.js';
import { AtalhoError } from '../errors.js';

export interface DownloadOptions {
  /** Most bytes that may arrive. */
  maxBytes: number;
  /** Longest wait for the next bytes, in milliseconds. */
  timeoutMs: number;
  /** Slowest transfer that is waited for, bytes a second over all of `maxBytes`; 10,000 by default, a slow modem's. */
  minRate?: number;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // fetch says only "fetch failed"; why stands in the cause.
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message || error.cause.name}` : error.message;
}

/**
 * The body of `url`. Redirects are followed.
 * @throws AtalhoError that says what went wrong: no connection, a status other than 200, too many bytes, a body that
 *   breaks off, nothing arriving for `timeoutMs`, or bytes so slow that `maxBytes` would take longer than at `minRate`.
 */
export async function download(url: string, options: DownloadOptions): Promise<Uint8Array> {
  const { maxBytes, timeoutMs, minRate = 10_000 } = options;
  const abort = new AbortController();
  const silence = (): void => abort.abort(new AtalhoError(`nothing arrived for ${timeoutMs} ms`));
  let timer = setTimeout(silence, timeoutMs);
  // A server that sends a byte now and then never falls silent.
  const longest = timeoutMs + Math.ceil((maxBytes / minRate) * 1000);
  const deadline = setTimeout(() => abort.abort(new AtalhoError(`it was not done in ${longest} ms`)), longest);
  try {
    const response = await fetch(url, { signal: abort.signal });
    if (response.status !== 200 || !response.body) {
      throw new AtalhoError(`the server answered ${response.status} ${response.statusText}`.trim());
    }
    const reader = response.body.getReader();
    const chunks: Uint8Array[] = [];
    let size = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      clearTimeout(timer);
      timer = setTimeout(silence, timeoutMs);
      size += value.length;
      if (size > maxBytes) throw new AtalhoError(`the file is larger than ${maxBytes} bytes`);
      chunks.push(value);
    }
    return joinBytes(chunks);
  } catch (error) {
    throw error instanceof AtalhoError ? error : new AtalhoError(reasonOf(error), { cause: error });
  } finally {
    clearTimeout(timer);
    clearTimeout(deadline);
    abort.abort();
  }
}
