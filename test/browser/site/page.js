// What the tests call: the functions of work.js, on the page's main thread and in a module worker.
import { work } from './work.js';

const trainer = new Worker(new URL('./trainer.js', import.meta.url), { type: 'module' });

Object.assign(globalThis, {
  onPage: (name, ...args) => work[name](...args),
  inWorker: (name, ...args) =>
    new Promise((resolve, reject) => {
      trainer.onmessage = ({ data }) => resolve(data);
      trainer.onerror = ({ message }) => reject(new Error(`the trainer broke: ${message}`));
      trainer.postMessage([name, ...args]);
    }),
});
