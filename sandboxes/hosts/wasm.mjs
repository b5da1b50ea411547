// For engines that run a module: prints the report.
import { report } from '../dist/wasm.mjs';

const write = globalThis.print ?? console.log;
write(await report());
