/** What a guest tells its host: JSON, since text crosses every boundary. */

/** The empty module. */
const EMPTY = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);

/** What a sandbox might forbid, each by a try that throws where it does. */
const TRIES = {
  files() {
    const { Deno, imports, process, readFile } = globalThis;
    if (Deno !== undefined) Deno.statSync('/');
    // gjs's and jsc's own.
    else if (imports !== undefined) imports.gi.GLib.file_get_contents('/etc/passwd');
    else if (readFile !== undefined) readFile('/etc/passwd');
    else process.getBuiltinModule('fs').statSync('/');
  },
  // No method: SES would take its name for a call.
  eval: () => new Function('return 1')(),
  // WebKit compiles where it refuses to instantiate.
  wasm: () => new WebAssembly.Instance(new WebAssembly.Module(EMPTY)),
  clock: () => Date.now(),
  random: () => Math.random(),
  intrinsics() {
    if (Object.isFrozen(Array.prototype)) throw new Error('frozen');
  },
};

/** What this sandbox forbids, found by trying. */
function forbidden() {
  return Object.keys(TRIES).filter((name) => {
    try {
      TRIES[name]();
      return false;
    } catch {
      return true;
    }
  });
}

/** Hashes and what is forbidden here, or the error; never throws. */
export async function report(run, ...args) {
  try {
    return JSON.stringify({ ...(await run(...args)), forbidden: forbidden() });
  } catch (error) {
    return JSON.stringify({ error: String(error), stack: String(error?.stack), forbidden: forbidden() });
  }
}
