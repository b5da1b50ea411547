// The guest in the extension's service worker, which the driver asks for `reports`.
import { report } from './dist/wasm.mjs';

globalThis.reports = report().then((told) => [told]);
