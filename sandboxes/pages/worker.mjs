// A dedicated, a shared or a service worker; the last may import only like this.
import { report } from '../dist/wasm.mjs';

if (self.constructor.name === 'ServiceWorkerGlobalScope') {
  self.onmessage = (event) => event.waitUntil(report().then((told) => event.source.postMessage(told)));
} else if (self.constructor.name === 'SharedWorkerGlobalScope') {
  self.onconnect = async ({ ports }) => ports[0].postMessage(await report());
} else report().then((told) => self.postMessage(told));
