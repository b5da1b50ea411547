// For engines that run a module: prints the report, and that of the WASM guest, which must be refused.
import { report } from '../dist/reference.mjs';
import { report as reportWasm } from '../dist/wasm.mjs';

const write = globalThis.print ?? console.log;
write(await report());
write(await reportWasm());
