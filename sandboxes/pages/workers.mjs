// The guest in a worker of this page, of each kind.
const [script, options] = ['worker.mjs', { type: 'module' }];

const run = {
  Worker: () =>
    new Promise((resolve, reject) => {
      const worker = new Worker(script, options);
      worker.onerror = (event) => reject(new Error(event.message));
      worker.onmessage = ({ data }) => resolve(data);
    }),
  SharedWorker: () =>
    new Promise((resolve, reject) => {
      const worker = new SharedWorker(script, options);
      worker.onerror = (event) => reject(new Error(event.message));
      worker.port.onmessage = ({ data }) => resolve(data);
    }),
  async ServiceWorker() {
    await navigator.serviceWorker.register(script, options);
    const { active } = await navigator.serviceWorker.ready;
    return new Promise((resolve) => {
      navigator.serviceWorker.onmessage = ({ data }) => resolve(data);
      active.postMessage(null);
    });
  },
};

/** The report of a Worker, a SharedWorker or a ServiceWorker. */
export const inWorker = (kind) => run[kind]();
