// The module worker of the page.
import { work } from './work.js';

globalThis.addEventListener('message', async ({ data: [name, ...args] }) => {
  globalThis.postMessage(await work[name](...args));
});
