/** One file from one address, with a bound on its size and on every wait. */
import { AtalhoError } from '../errors.js';

export interface DownloadOptions {
  /** Most bytes that may arrive. */
  maxBytes: number;
  /** Longest wait for the next bytes, in milliseconds. */
  timeoutMs: number;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // fetch says only "fetch failed"; why stands in the cause.
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message || error.cause.name}` : error.message;
}

/**
 * The body of `url`. Redirects are followed.
 * @throws AtalhoError that says what went wrong: no connection, a status other than 200, too many bytes, a body that
 *   breaks off, or nothing arriving for `timeoutMs`.
 */
export async function download(url: string, { maxBytes, timeoutMs }: DownloadOptions): Promise<Uint8Array> {
  const abort = new AbortController();
  const silence = (): void => abort.abort(new AtalhoError(`nothing arrived for ${timeoutMs} ms`));
  let timer = setTimeout(silence, timeoutMs);
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
    const bytes = new Uint8Array(size);
    let at = 0;
    for (const chunk of chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    return bytes;
  } catch (error) {
    throw error instanceof AtalhoError ? error : new AtalhoError(reasonOf(error), { cause: error });
  } finally {
    clearTimeout(timer);
    abort.abort();
  }
}
