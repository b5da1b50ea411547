/** The same app with the build for sandboxes. */
import * as atalho from 'atalho/embed';

const net = atalho.d2lResnet({ channels: [4, 8], blocks: [1, 1], device: await atalho.wasm(), seed: 0 });
const losses = await atalho.fit(net, atalho.sgd(net.parameters(), { lr: 0.1 }), {
  ...{ images: new Float32Array(512).fill(0.5), shape: [2, 1, 16, 16], labels: [0, 1], steps: 2, batchSize: 2 },
});
console.log(JSON.stringify(Array.from(losses)));
