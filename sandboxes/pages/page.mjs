// Guests, one after another, on this page, page.html?guests=reference,wasm, or one in a worker of it, page.html?kind=Worker. The driver
// reads `reports`; without a driver (?post), they are posted to the server.
const query = new URLSearchParams(location.search);

async function run() {
  const kind = query.get('kind');
  if (kind !== null) return [await (await import('./workers.mjs')).inWorker(kind)];
  const reports = [];
  for (const name of query.get('guests').split(',')) {
    const { report } = await import(`../dist/${name}.mjs`);
    reports.push(await report());
  }
  return reports;
}

globalThis.reports = run().catch((error) => [JSON.stringify({ error: String(error), stack: error.stack })]);
if (query.has('post')) {
  await fetch('/reports', { method: 'POST', body: JSON.stringify(await globalThis.reports) });
}
